"""Commands that list, show, add, rename, delete, attach, export and import resources."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from memgpt.cli.app import (
    DOCUMENTS,
    THINGS,
    AgentName,
    AsJson,
    Force,
    MessageTtl,
    Name,
    NoteTtl,
    SourceName,
    Text,
    TextFile,
    Wide,
    Yes,
    app,
    connected,
    group,
    open_ui,
    shape_of,
)

list_app = group("List what there is.")
show_app = group("Show one thing whole.")
add_app = group("Add a persona, human, preset, block, tag or description.")
rename_app = group("Give something another name.")
update_app = group("Change settings.")
delete_app = group("Delete something for good.")
tools_app = group("Manage functions that run elsewhere.")
export_app = group("Write an agent to a file.")
import_app = group("Make agents from such a file, or from one of another system.")
for _name, _group in (
    ("list", list_app),
    ("show", show_app),
    ("add", add_app),
    ("rename", rename_app),
    ("update", update_app),
):
    app.add_typer(_group, name=_name, rich_help_panel=THINGS)
app.add_typer(delete_app, name="delete", rich_help_panel=THINGS)


@app.command(rich_help_panel=DOCUMENTS)
def attach(agent: AgentName, data_source: SourceName) -> None:
    """Let an agent search a data source."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.attach(ui, memgpt, agent, data_source)


@app.command(rich_help_panel=DOCUMENTS)
def detach(agent: AgentName, data_source: SourceName) -> None:
    """Take a data source away from an agent."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.detach(ui, memgpt, agent, data_source)


for _name, _group in (("tools", tools_app), ("export", export_app), ("import", import_app)):
    app.add_typer(_group, name=_name, rich_help_panel=THINGS)


@list_app.command("agents")
def list_agents(
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only agents with this tag; may be given several times.")
    ] = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """List the agents, or those with all of the tags."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_agents(ui, memgpt, shape_of(wide, as_json), tag or [])


@list_app.command("sources")
def list_sources(wide: Wide = False, as_json: AsJson = False) -> None:
    """List the data sources."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_sources(ui, memgpt, shape_of(wide, as_json))


@list_app.command("loads")
def list_loads(wide: Wide = False, as_json: AsJson = False) -> None:
    """List the loads, the latest first."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_loads(ui, memgpt, shape_of(wide, as_json))


@list_app.command("blocks")
def list_blocks(agent: AgentName, wide: Wide = False, as_json: AsJson = False) -> None:
    """List the blocks of an agent's core memory."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_blocks(ui, memgpt, agent, shape_of(wide, as_json))


@show_app.command("agent")
def show_agent(name: Name, as_json: AsJson = False) -> None:
    """Show an agent: its settings, core memory and data sources."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_agent(ui, memgpt, name, shape_of(as_json=as_json))


@show_app.command("source")
def show_source(
    name: Name,
    file: Annotated[str, typer.Option(metavar="NAME", help="Show the passages of this file instead.")] = "",
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """Show a data source with its files, or the passages of one file."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_source(ui, memgpt, name, file, shape_of(wide, as_json))


@show_app.command("notes")
def show_notes(agent: AgentName, as_json: AsJson = False) -> None:
    """Show the notes that an agent has made in archival memory."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_notes(ui, memgpt, agent, shape_of(as_json=as_json))


@add_app.command("block")
def add_block(
    agent: AgentName,
    name: Annotated[str, typer.Option(help="Its label: a letter, then letters, digits and _.")],
    text: Annotated[str | None, typer.Option(help="Its text. [default: as it is, or empty]")] = None,
    file: TextFile = None,
    limit: Annotated[
        int,
        typer.Option(metavar="CHARACTERS", help="Its size. [default: as it is, or 2000]", min=0, show_default=False),
    ] = 0,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--writable", help="Whether the agent is kept from changing it.")
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="What it is for; the agent sees it. [default: as it is, or none]")
    ] = None,
) -> None:
    """Add a block to an agent's core memory, or change one."""
    from memgpt.cli import resources
    from memgpt.memory.v1.block_pb2 import BlockEdit

    ui = open_ui()
    if file is not None:
        text = resources.read_text(text or "", file)
    with connected(ui) as memgpt:
        block = BlockEdit(label=name, value=text, limit=limit, read_only=read_only, description=description)
        resources.set_block(ui, memgpt, agent, block)


@rename_app.command("agent")
def rename_agent(
    name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.", show_default=False)]
) -> None:
    """Give an agent another name."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.rename_agent(ui, memgpt, name, new_name)


@rename_app.command("source")
def rename_source(
    name: Annotated[str, typer.Argument(help="Name or id of the data source.", show_default=False)],
    new_name: Annotated[str, typer.Argument(help="Its new name.", show_default=False)],
) -> None:
    """Give a data source another name; agents that it is attached to keep it."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.rename_source(ui, memgpt, name, new_name)


@update_app.command("agent")
def update_agent(name: Name, message_ttl: MessageTtl = "", note_ttl: NoteTtl = "") -> None:
    """Change how long an agent keeps its messages and notes; older ones are forgotten."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.update_agent(ui, memgpt, name, message_ttl, note_ttl)


Tag = Annotated[str, typer.Argument(help="The tag.", show_default=False)]


@add_app.command("tag")
def add_tag(tag: Tag, agent: AgentName) -> None:
    """Add a tag to an agent, to find it by: memgpt list agents --tag."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.tag_agent(ui, memgpt, agent, tag, add=True)


@add_app.command("description")
def add_description(
    text: Annotated[
        str, typer.Argument(help="The description; people see it, the model does not.", show_default=False)
    ],
    agent: AgentName,
) -> None:
    """Describe an agent, in place of the description that it has."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.describe_agent(ui, memgpt, agent, text)


@delete_app.command("description")
def delete_description(agent: AgentName) -> None:
    """Remove the description of an agent."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.describe_agent(ui, memgpt, agent, "")


@delete_app.command("tag")
def delete_tag(tag: Tag, agent: AgentName) -> None:
    """Remove a tag from an agent."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.tag_agent(ui, memgpt, agent, tag, add=False)


@delete_app.command("block")
def delete_block(name: Name, agent: AgentName, yes: Yes = False) -> None:
    """Delete a block of an agent's core memory."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.delete_block(ui, memgpt, agent, name, yes=yes)


@delete_app.command("file")
def delete_file(
    name: Annotated[str, typer.Argument(help="Its name, as `memgpt show source` lists it.", show_default=False)],
    data_source: SourceName,
    yes: Yes = False,
) -> None:
    """Delete a file of a data source with its passages."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.delete_file(ui, memgpt, data_source, name, yes=yes)


@delete_app.command("note")
def delete_note(
    note_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, as `memgpt show notes` lists it.", show_default=False)
    ],
    agent: AgentName,
    yes: Yes = False,
) -> None:
    """Delete a note of an agent."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.delete_note(ui, memgpt, agent, note_id, yes=yes)


def _declare_profiles(kind: str) -> None:
    """Declare the commands for a kind of profile."""

    @list_app.command(f"{kind}s", help=f"List the {kind}s.")
    def list_profiles(wide: Wide = False, as_json: AsJson = False) -> None:
        from memgpt.cli import resources

        ui = open_ui()
        with connected(ui) as memgpt:
            resources.show_profiles(ui, memgpt, kind, shape_of(wide, as_json))

    @show_app.command(kind, help=f"Show the text of a {kind}.")
    def show_profile(name: Name, as_json: AsJson = False) -> None:
        from memgpt.cli import resources

        ui = open_ui()
        with connected(ui) as memgpt:
            resources.show_profile(ui, memgpt, kind, name, shape_of(as_json=as_json))

    @add_app.command(kind, help=f"Add a {kind}, or replace one of yours.")
    def add_profile(
        name: Annotated[str, typer.Option(help="Its name.")],
        text: Text = "",
        file: TextFile = None,
        yes: Yes = False,
    ) -> None:
        from memgpt.cli import resources

        ui = open_ui()
        content = resources.read_text(text, file)
        with connected(ui) as memgpt:
            resources.add_profile(ui, memgpt, kind, name, content, yes=yes)


def _declare_delete(kind: str, text: str) -> None:
    @delete_app.command(kind, help=text)
    def delete(name: Name, yes: Yes = False) -> None:
        from memgpt.cli import resources

        ui = open_ui()
        with connected(ui) as memgpt:
            resources.delete(ui, memgpt, kind, name, yes=yes)


for _kind in ("persona", "human", "preset"):
    _declare_profiles(_kind)
    _declare_delete(_kind, f"Delete a {_kind}.")
_declare_delete("agent", "Delete an agent with all it remembers.")
_declare_delete("source", "Delete a data source with its passages.")

Address = Annotated[str, typer.Argument(help="host:port of a tool service.", show_default=False)]


@tools_app.command("add")
def tools_add(address: Address, agent: AgentName) -> None:
    """Let an agent call the functions of an address; repeated, it asks the address again."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.add_tools(ui, memgpt, agent, address)


@tools_app.command("list")
def tools_list(agent: AgentName, wide: Wide = False, as_json: AsJson = False) -> None:
    """List an agent's remote functions."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.show_tools(ui, memgpt, agent, shape_of(wide, as_json))


@tools_app.command("remove")
def tools_remove(address: Address, agent: AgentName) -> None:
    """Take the functions of an address away from an agent."""
    from memgpt.cli import resources

    ui = open_ui()
    with connected(ui) as memgpt:
        resources.remove_tools(ui, memgpt, agent, address)


class ExportFormat(Enum):
    """Format of an exported agent."""

    own = "own"
    af = "af"


@export_app.command("agent")
def export_agent(
    name: Name,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where to. [default: standard output]", show_default=False),
    ] = Path("-"),
    force: Force = False,
    format: Annotated[  # noqa: A002 - the name of the flag
        ExportFormat,
        typer.Option("--format", help="own: everything; af: a Letta Agent File, without archival memory."),
    ] = ExportFormat.own,
) -> None:
    """Write an agent whole: settings, core memory, messages, notes, tools, heartbeats, and names of its sources."""
    from memgpt.cli import maintenance, transfer

    ui = open_ui()
    with maintenance.written(output, replace=force) as target, connected(ui) as memgpt:
        export = transfer.export_agent if format is ExportFormat.own else transfer.export_agent_file
        export(ui, memgpt, name, target, quiet=output == maintenance.STANDARD)


@import_app.command("agent")
def import_agent(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file of `memgpt export agent`; - for standard input.")
    ],
    name: Annotated[str, typer.Option(help="Its name. [default: the exported one]")] = "",
    tools: Annotated[bool, typer.Option("--tools/--no-tools", help="Keep its tool services.")] = True,
    heartbeats: Annotated[bool, typer.Option("--heartbeats/--no-heartbeats", help="Keep its heartbeats.")] = True,
) -> None:
    """Make an agent from a file, all or nothing. Sources are attached by name, if they are here."""
    from memgpt.cli import transfer

    ui = open_ui()
    with transfer.opened(file) as source, connected(ui) as memgpt:
        transfer.import_agent(ui, memgpt, source, name, tools=tools, heartbeats=heartbeats)
