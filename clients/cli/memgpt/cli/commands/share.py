"""Commands for blocks of core memory that agents have in common."""

from __future__ import annotations

from typing import Annotated

import typer
from memgpt.cli.app import (
    THINGS,
    AgentName,
    AsJson,
    Name,
    TextFile,
    Wide,
    Yes,
    app,
    connected,
    group,
    open_ui,
    shape_of,
)

blocks_app = group("Manage blocks of core memory that agents share.")
app.add_typer(blocks_app, name="blocks", rich_help_panel=THINGS)


@blocks_app.command("add")
def blocks_add(
    name: Annotated[str, typer.Option(help="Its name.")],
    text: Annotated[str | None, typer.Option(help="Its text. [default: as it is, or empty]")] = None,
    file: TextFile = None,
    limit: Annotated[
        int,
        typer.Option(metavar="CHARACTERS", help="Its size. [default: as it is, or 2000]", min=0, show_default=False),
    ] = 0,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--writable", help="Whether agents are kept from changing it.")
    ] = None,
) -> None:
    """Add a shared block, or change one for all agents that have it."""
    from memgpt.cli import resources, shared_blocks

    ui = open_ui()
    if file is not None:
        text = resources.read_text(text or "", file)
    with connected(ui) as memgpt:
        shared_blocks.put(ui, memgpt, name, text, limit, read_only)


@blocks_app.command("list")
def blocks_list(wide: Wide = False, as_json: AsJson = False) -> None:
    """List the shared blocks."""
    from memgpt.cli import shared_blocks

    ui = open_ui()
    with connected(ui) as memgpt:
        shared_blocks.list_all(ui, memgpt, shape_of(wide, as_json))


@blocks_app.command("show")
def blocks_show(name: Name, as_json: AsJson = False) -> None:
    """Show a shared block and the agents that have it."""
    from memgpt.cli import shared_blocks

    ui = open_ui()
    with connected(ui) as memgpt:
        shared_blocks.show(ui, memgpt, name, shape_of(as_json=as_json))


@blocks_app.command("delete")
def blocks_delete(
    name: Name,
    detach: Annotated[bool, typer.Option("--detach", help="Delete it although agents have it.")] = False,
    yes: Yes = False,
) -> None:
    """Delete a shared block."""
    from memgpt.cli import shared_blocks

    ui = open_ui()
    with connected(ui) as memgpt:
        shared_blocks.delete(ui, memgpt, name, detach=detach, yes=yes)


@blocks_app.command("attach")
def blocks_attach(
    name: Name,
    agent: AgentName,
    label: Annotated[str, typer.Option(help="The agent's label for it. [default: its name]")] = "",
) -> None:
    """Give an agent a shared block."""
    from memgpt.cli import shared_blocks

    ui = open_ui()
    with connected(ui) as memgpt:
        shared_blocks.attach(ui, memgpt, name, agent, label)


@blocks_app.command("detach")
def blocks_detach(name: Name, agent: AgentName) -> None:
    """Take a shared block away from an agent."""
    from memgpt.cli import shared_blocks

    ui = open_ui()
    with connected(ui) as memgpt:
        shared_blocks.detach(ui, memgpt, name, agent)
