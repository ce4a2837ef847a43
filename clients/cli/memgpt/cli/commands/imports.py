"""`memgpt import`: agents, memories and documents of other systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from memgpt.cli.app import Force, connected, open_ui
from memgpt.cli.commands.manage import import_app

if TYPE_CHECKING:
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.pieces import Contents
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report
    from memgpt.cli.terminal.ui import Ui

NewName = Annotated[str, typer.Option("--name", help="Name of the agent, if only one comes. [default: its own]")]
SourceName = Annotated[str, typer.Option("--name", help="Name of the data source.")]
OnlyAgent = Annotated[str, typer.Option("--agent", metavar="NAME", help="Import only this agent. [default: all]")]
TimeZone = Annotated[
    str, typer.Option(metavar="ZONE", help="Time zone where none is given, such as Europe/Berlin. [default: UTC]")
]
System = Annotated[
    str,
    typer.Option(
        metavar="auto|keep|preset",
        help="Instructions: keep them, take the preset's, or (auto) replace only stock ones, which name other tools.",
    ),
]
KeepModel = Annotated[bool, typer.Option("--keep-model", help="Keep the model's name and the size of its window.")]
Profiles = Annotated[bool, typer.Option("--profiles", help="Import personas, humans and presets too.")]
Tools = Annotated[
    Path | None,
    typer.Option("--tools", metavar="FOLDER", help="Write schemas and code of tools there; nothing runs them."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would come, and import nothing.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write every changed and left-out value there, as JSON.")
]


def _options(name: str, time_zone: str, system: str, *, keep_model: bool) -> Options:
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.imports.plan import Options

    if system not in ("auto", "keep", "preset"):
        raise CliError(f'unknown --system "{system}"; use auto, keep or preset', MISUSE)
    return Options(name, time_zone, system, keep_model)


def _import(ui: Ui, contents: Contents, origin: str, options: Options, outputs: Outputs, report: Report) -> None:
    from memgpt.cli.imports.bring import import_contents

    import_contents(ui, contents, origin, options, outputs, report, lambda: connected(ui))


@import_app.command("letta")
def import_letta(
    dump: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A dump of its PostgreSQL database, which --sql makes.")
    ] = None,
    sqlite: Annotated[Path | None, typer.Option(metavar="FILE", help="Its SQLite database.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL for psql that dumps a database.")] = False,
    agent: OnlyAgent = "",
    conversation: Annotated[
        str, typer.Option(metavar="ID", help="Conversation whose window agents continue. [default: the default one]")
    ] = "",
    all_agents: Annotated[
        bool, typer.Option("--all-agents", help="Also those that only work on the memory of another one.")
    ] = False,
    name: NewName = "",
    time_zone: TimeZone = "",
    system: System = "auto",
    keep_model: KeepModel = False,
    profiles: Profiles = False,
    tools: Tools = None,
    dry_run: DryRun = False,
    report_file: ReportFile = None,
    force: Force = False,
) -> None:
    """Import agents of Letta 0.4 to 0.16 with all their memory. Letta itself is not needed."""
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.letta.database import Choice, read_letta
    from memgpt.cli.imports.letta.dump import open_dump
    from memgpt.cli.imports.letta.tables import TABLES, script
    from memgpt.cli.imports.report import Report
    from memgpt.cli.imports.sqlite_database import open_database

    ui = open_ui()
    if sql:
        typer.echo(script(), nl=False)
        return
    if (dump is None) == (sqlite is None):
        raise CliError("give one of --dump FOLDER and --sqlite FILE", MISUSE)
    options = _options(name, time_zone, system, keep_model=keep_model)
    outputs = Outputs(dry_run, report_file, tools, profiles, force)
    opened = open_dump(dump, TABLES) if dump is not None else open_database(sqlite or Path())
    with Report() as report, opened as database:
        contents = read_letta(database, Choice(agent, conversation, all_agents), report)
        _import(ui, contents, "letta", options, outputs, report)


@import_app.command("memgpt")
def import_memgpt(
    home: Annotated[Path, typer.Argument(metavar="HOME", help="Its folder.")] = Path("~/.memgpt"),
    agent: OnlyAgent = "",
    milvus: Annotated[
        str, typer.Option(metavar="URI", help="Milvus server with its archival memory. [default: the files in HOME]")
    ] = "",
    milvus_token: Annotated[str, typer.Option(help="Token for that server.", envvar="MEMGPT_IMPORT_MILVUS_TOKEN")] = "",
    name: NewName = "",
    time_zone: TimeZone = "",
    system: System = "auto",
    keep_model: KeepModel = False,
    profiles: Profiles = False,
    dry_run: DryRun = False,
    report_file: ReportFile = None,
    force: Force = False,
) -> None:
    """Import agents of MemGPT 0.1.12 to 0.3.25 with all their memory. MemGPT itself is not needed."""
    from zoneinfo import ZoneInfo

    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.imports import names
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.homes.home import Choice, open_home
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    if time_zone and not names.is_time_zone(time_zone):
        raise CliError(f'unknown time zone "{time_zone}"; use an IANA name such as Europe/Berlin', MISUSE)
    options = _options(name, time_zone, system, keep_model=keep_model)
    outputs = Outputs(dry_run, report_file, None, profiles, force)
    choice = Choice(agent, milvus, milvus_token, ZoneInfo(time_zone or "UTC"))
    with Report() as report, open_home(home.expanduser(), choice, report) as contents:
        _import(ui, contents, "memgpt", options, outputs, report)


Download = Annotated[
    Path, typer.Argument(metavar="FILE", help="The zip archive, a folder with its files, or one of them.")
]


@import_app.command("chatgpt")
def import_chatgpt(
    file: Download,
    name: SourceName = "chatgpt",
    dry_run: DryRun = False,
    report_file: ReportFile = None,
    force: Force = False,
) -> None:
    """Import the conversations of a ChatGPT export as a data source, each as a document."""
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.chats.chatgpt import read_chatgpt
    from memgpt.cli.imports.chats.exports import open_export
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    outputs = Outputs(dry_run, report_file, force=force)
    with Report() as report, open_export(file) as export:
        _import(ui, read_chatgpt(export, name, report), "chatgpt", Options(), outputs, report)


@import_app.command("claude")
def import_claude(
    file: Download,
    name: Annotated[str, typer.Option(help="Name of the data source, and of the agent with the memories.")] = "claude",
    dry_run: DryRun = False,
    report_file: ReportFile = None,
    force: Force = False,
) -> None:
    """Import the conversations of a Claude export as a data source, and its memories as notes of an agent."""
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.chats.claude import read_claude
    from memgpt.cli.imports.chats.exports import open_export
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    outputs = Outputs(dry_run, report_file, force=force)
    with Report() as report, open_export(file) as export:
        _import(ui, read_claude(export, name, report), "claude", Options(), outputs, report)


@import_app.command("mem0")
def import_mem0(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What get_all() returned, as JSON; - for standard input.")
    ],
    name: Annotated[str, typer.Option(help="Name of the agent.")] = "mem0",
    dry_run: DryRun = False,
    report_file: ReportFile = None,
    force: Force = False,
) -> None:
    """Import the memories of mem0 as notes of an agent."""
    from memgpt.cli.imports.bring import Outputs
    from memgpt.cli.imports.chats.mem0 import read_mem0
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    outputs = Outputs(dry_run, report_file, force=force)
    with Report() as report:
        _import(ui, read_mem0(file, name, report), "mem0", Options(), outputs, report)
