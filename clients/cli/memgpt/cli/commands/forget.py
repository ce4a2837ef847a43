"""Commands that remove what agents remember for good, and export or erase a user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from memgpt.cli.app import THINGS, AgentName, Force, Yes, app, connected, group, open_ui
from memgpt.cli.commands.manage import export_app

forget_app = group("Forget something for good.")
app.add_typer(forget_app, name="forget", rich_help_panel=THINGS)

UserId = Annotated[str, typer.Argument(metavar="USER", help="The user, as its agents name it.", show_default=False)]


@forget_app.command("message")
def forget_message(
    sequence: Annotated[int, typer.Argument(metavar="SEQUENCE", help="Its number.", min=0, show_default=False)],
    agent: AgentName,
    yes: Yes = False,
) -> None:
    """Forget a message of an agent, with its copies and its function's call or result."""
    from memgpt.cli import forgetting

    ui = open_ui()
    with connected(ui) as memgpt:
        forgetting.forget_message(ui, memgpt, agent, sequence, yes=yes)


@forget_app.command("note")
def forget_note(
    note_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, as `memgpt show notes` lists it.", show_default=False)
    ],
    agent: AgentName,
    yes: Yes = False,
) -> None:
    """Forget a note of an agent, and the messages that hold its text word for word."""
    from memgpt.cli import forgetting

    ui = open_ui()
    with connected(ui) as memgpt:
        forgetting.forget_note(ui, memgpt, agent, note_id, yes=yes)


@forget_app.command("user")
def forget_user(
    user: UserId,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Continue the erasure with this id. [default: a new one]")
    ] = "",
    yes: Yes = False,
) -> None:
    """Erase everything about a user: agents and shared blocks."""
    from memgpt.cli import forgetting

    ui = open_ui()
    with connected(ui) as memgpt:
        forgetting.forget_user(ui, memgpt, user, request_id, yes=yes)


@export_app.command("user")
def export_user(
    user: UserId,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where to. [default: standard output]", show_default=False),
    ] = Path("-"),
    force: Force = False,
) -> None:
    """Write everything about a user, one JSON object a line: shared blocks, then each agent whole."""
    from memgpt.cli import forgetting, maintenance

    ui = open_ui()
    with maintenance.written(output, replace=force) as target, connected(ui) as memgpt:
        forgetting.export_user(ui, memgpt, user, target, quiet=output == maintenance.STANDARD)
