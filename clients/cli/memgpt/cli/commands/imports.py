"""`memgpt import` from files of other systems."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from memgpt.cli.app import connected, open_ui
from memgpt.cli.commands.manage import import_app

if TYPE_CHECKING:
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.pieces import Contents
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report
    from memgpt.cli.terminal.ui import Ui


class System(Enum):
    """Which instructions an agent gets."""

    auto = "auto"
    keep = "keep"
    preset = "preset"


IntoAgent = Annotated[
    str,
    typer.Option(
        "--agent", metavar="NAME", help="Your agent that gets the notes. [default: a new one]", show_default=False
    ),
]
AgentName = Annotated[str, typer.Option("--name", help="Name of the only agent. [default: its own]")]
TimeZone = Annotated[
    str,
    typer.Option(metavar="ZONE", help="Time zone of agents whose file has none. [default: UTC]", show_default=False),
]
SystemOption = Annotated[
    System,
    typer.Option(
        "--system", help="Instructions: keep theirs, or use the preset's. auto: the preset's in place of stock ones."
    ),
]
KeepModel = Annotated[bool, typer.Option("--keep-model", help="Keep the name of the model and its window.")]
Profiles = Annotated[bool, typer.Option("--profiles", help="Also import personas, humans and presets.")]
ToolsFolder = Annotated[
    Path | None, typer.Option("--tools", metavar="FOLDER", help="Write schemas and code of tools here. None is run.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would come, change and stay behind.")]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Write every value that was changed or left out, as JSON."),
]
OnlyAgent = Annotated[
    str, typer.Option("--agent", metavar="NAME", help="Only this agent of a database or home. [default: all]")
]
Export = Annotated[
    Path, typer.Argument(metavar="FILE", help="The downloaded zip archive, a folder with its files, or one of them.")
]
ForceReport = Annotated[bool, typer.Option("--force", help="Replace a report that exists.")]


@import_app.command("letta")
def import_letta(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Agent Files (.af); - for standard input.")
    ] = None,
    dump: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Instead: a dump of its PostgreSQL database, made by --sql.")
    ] = None,
    sqlite: Annotated[Path | None, typer.Option(metavar="FILE", help="Instead: its SQLite database.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL for psql that dumps a database, and end.")] = False,
    agent: OnlyAgent = "",
    conversation: Annotated[
        str, typer.Option(metavar="ID", help="Conversation of a database that agents continue. [default: the main one]")
    ] = "",
    name: AgentName = "",
    time_zone: TimeZone = "",
    system: SystemOption = System.auto,
    keep_model: KeepModel = False,
    all_agents: Annotated[
        bool, typer.Option("--all-agents", help="Also agents that only maintain another's memory in the background.")
    ] = False,
    profiles: Profiles = False,
    tools: ToolsFolder = None,
    dry_run: DryRun = False,
    report: ReportFile = None,
    force: ForceReport = False,
) -> None:
    """Make agents from Letta's Agent Files or database, each whole or not at all. Repeating it changes nothing."""
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.letta.agent_file import read_agent_files
    from memgpt.cli.imports.letta.database import Choice, open_letta
    from memgpt.cli.imports.letta.tables import script
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    if sql:
        typer.echo(script(), nl=False)
        return
    if sum((bool(files), dump is not None, sqlite is not None)) != 1:
        raise CliError("give Agent Files, --dump FOLDER or --sqlite FILE", MISUSE)
    options = Options(name, time_zone, system.value, keep_model)
    outputs = Outputs(dry_run, report, tools, profiles, force)
    with Report() as found:
        if files:
            contents = read_agent_files(files, found, all_agents=all_agents)
            _import(ui, contents, "letta", options, outputs, found)
            return
        choice = Choice(agent, conversation, all_agents)
        with open_letta(dump or sqlite or Path(), choice, found, is_dump=dump is not None) as contents:
            _import(ui, contents, "letta", options, outputs, found)


@import_app.command("memgpt")
def import_memgpt(
    home: Annotated[Path, typer.Argument(metavar="HOME", help="Its folder.")] = Path("~/.memgpt"),
    agent: OnlyAgent = "",
    milvus: Annotated[
        str, typer.Option(metavar="URI", help="Milvus server that has its archival memory. [default: files in HOME]")
    ] = "",
    milvus_token: Annotated[str, typer.Option(help="Token for that server.", envvar="MEMGPT_IMPORT_MILVUS_TOKEN")] = "",
    name: AgentName = "",
    time_zone: TimeZone = "",
    system: SystemOption = System.auto,
    keep_model: KeepModel = False,
    profiles: Profiles = False,
    dry_run: DryRun = False,
    report: ReportFile = None,
    force: ForceReport = False,
) -> None:
    """Make agents from a home of MemGPT 0.1.12 to 0.3.25, each whole or not at all. Repeating it changes nothing."""
    from zoneinfo import ZoneInfo

    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.imports import names
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.homes.home import Choice, open_home
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    if time_zone and not names.is_time_zone(time_zone):
        raise CliError(f'unknown time zone "{time_zone}"; use an IANA name such as Europe/Berlin', MISUSE)
    options = Options(name, time_zone, system.value, keep_model)
    outputs = Outputs(dry_run, report, None, profiles, force)
    choice = Choice(agent, milvus, milvus_token, ZoneInfo(time_zone or "UTC"))
    with Report() as found, open_home(home.expanduser(), choice, found) as contents:
        _import(ui, contents, "memgpt", options, outputs, found)


@import_app.command("chatgpt")
def import_chatgpt(
    file: Export,
    name: Annotated[str, typer.Option(help="Name of the data source.")] = "chatgpt",
    dry_run: DryRun = False,
    report: ReportFile = None,
    force: ForceReport = False,
) -> None:
    """Load the conversations of a ChatGPT export into a data source, each as a document."""
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.chats.chatgpt import read_chatgpt
    from memgpt.cli.imports.chats.exports import open_export
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    with Report() as found, open_export(file) as export:
        contents = read_chatgpt(export, name, found)
        _import(ui, contents, "chatgpt", Options(), Outputs(dry_run, report, force=force), found)


@import_app.command("claude")
def import_claude(
    file: Export,
    name: Annotated[str, typer.Option(help="Name of the data source, and of the agent with the memories.")] = "claude",
    agent: IntoAgent = "",
    dry_run: DryRun = False,
    report: ReportFile = None,
    force: ForceReport = False,
) -> None:
    """Load the conversations of a Claude export into a data source; its memories become an agent's notes."""
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.chats.claude import read_claude
    from memgpt.cli.imports.chats.exports import open_export
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    with Report() as found, open_export(file) as export:
        contents = read_claude(export, name, found)
        _import(ui, contents, "claude", Options(), Outputs(dry_run, report, force=force, agent=agent), found)


@import_app.command("mem0")
def import_mem0(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What get_all() returned, as JSON; - for standard input.")
    ],
    name: Annotated[str, typer.Option(help="Name of the agent.")] = "mem0",
    agent: IntoAgent = "",
    dry_run: DryRun = False,
    report: ReportFile = None,
    force: ForceReport = False,
) -> None:
    """Make notes of the memories of mem0, in a new agent or in yours."""
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.chats.mem0 import read_mem0
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    with Report() as found:
        contents = read_mem0(file, name, found)
        _import(ui, contents, "mem0", Options(), Outputs(dry_run, report, force=force, agent=agent), found)


def _import(ui: Ui, contents: Contents, origin: str, options: Options, outputs: Outputs, report: Report) -> None:
    from memgpt.cli.imports.bring import import_contents

    import_contents(ui, contents, origin, options, outputs, report, lambda: connected(ui))
