"""`memgpt import` from files of other systems."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from memgpt.cli.app import connected, open_ui
from memgpt.cli.commands.manage import import_app


class System(Enum):
    """Which instructions an agent gets."""

    auto = "auto"
    keep = "keep"
    preset = "preset"


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
ForceReport = Annotated[bool, typer.Option("--force", help="Replace a report that exists.")]


@import_app.command("letta")
def import_letta(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Agent Files (.af); - for standard input.")],
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
    """Make agents from Letta's Agent Files, each all or nothing. The same file again changes nothing."""
    from memgpt.cli.imports.bring import Outputs, import_contents
    from memgpt.cli.imports.letta_file import read_agent_files
    from memgpt.cli.imports.plan import Options
    from memgpt.cli.imports.report import Report

    ui = open_ui()
    options = Options(name, time_zone, system.value, keep_model)
    outputs = Outputs(dry_run, report, tools, profiles, force)
    with Report() as found:
        contents = read_agent_files(files, found, all_agents=all_agents)
        import_contents(ui, contents, "letta", options, outputs, found, lambda: connected(ui))
