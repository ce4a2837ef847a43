"""`memgpt list`, `add`, `delete`, `attach` and `tools`."""

from __future__ import annotations

from pathlib import Path

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.ui import Ui
from memgpt.client import MemGPT
from memgpt.loader.v1.load_pb2 import LoadState
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.profile_pb2 import ProfileKind

_KINDS = {
    "persona": ProfileKind.PROFILE_KIND_PERSONA,
    "human": ProfileKind.PROFILE_KIND_HUMAN,
    "preset": ProfileKind.PROFILE_KIND_PRESET,
}
_SHOWN_CHARACTERS = 60


def show_agents(ui: Ui, memgpt: MemGPT) -> None:
    """Writes all agents as a table."""
    rows = [
        [
            agent.name,
            agent.agent_id,
            agent.info.persona,
            agent.info.human,
            str(agent.message_count),
            ", ".join(attachment.source_name for attachment in agent.info.attachments),
            agent.info.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        ]
        for agent in memgpt.agents.list()
    ]
    ui.table(["Name", "Id", "Persona", "Human", "Messages", "Sources", "Created (UTC)"], rows)


def show_sources(ui: Ui, memgpt: MemGPT) -> None:
    """Writes all data sources as a table."""
    attached: dict[str, list[str]] = {}
    for agent in memgpt.agents.list():
        for attachment in agent.info.attachments:
            attached.setdefault(attachment.source_id, []).append(agent.name)
    rows = [
        [
            source.name,
            source.source_id,
            str(source.info.file_count),
            str(source.info.document_count),
            str(source.passage_count),
            ", ".join(attached.get(source.source_id, [])),
            source.info.description,
        ]
        for source in memgpt.sources.list()
    ]
    ui.table(["Name", "Id", "Files", "Documents", "Passages", "Agents", "Description"], rows)


def show_loads(ui: Ui, memgpt: MemGPT) -> None:
    """Writes all loads as a table."""
    rows = [
        [
            load.load_id,
            load.source_name,
            LoadState.Name(load.state).removeprefix("LOAD_STATE_").lower(),
            str(load.document_count),
            str(load.passage_count),
            load.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        ]
        for load in memgpt.loads.list()
    ]
    ui.table(["Id", "Source", "State", "Documents", "Passages", "Created (UTC)"], rows)


def show_profiles(ui: Ui, memgpt: MemGPT, kind: str) -> None:
    """Writes the profiles of a kind as a table."""
    rows = [
        [profile.name, "yes" if profile.built_in else "no", _shown(profile.text)]
        for profile in memgpt.profiles.list(_KINDS[kind])
    ]
    ui.table(["Name", "Built in", "Text"], rows)


def show_blocks(ui: Ui, memgpt: MemGPT, agent_name: str) -> None:
    """Writes the blocks of an agent as a table."""
    context = memgpt.agents.context(memgpt.agents.find(agent_name).agent_id)
    rows = [
        [block.label, f"{len(block.value)}/{block.limit}", "yes" if block.read_only else "no", _shown(block.value)]
        for block in context.blocks
    ]
    ui.table(["Label", "Characters", "Read-only", "Text"], rows)


def set_block(ui: Ui, memgpt: MemGPT, agent_name: str, edit: BlockEdit) -> None:
    """Writes a block of an agent."""
    agent = memgpt.agents.find(agent_name)
    block = memgpt.agents.set_block(agent.agent_id, edit)
    read_only = ", read-only" if block.read_only else ""
    ui.line(f"{agent.name}: {block.label} has {len(block.value)} of {block.limit} characters{read_only}.", "green")


def delete_block(ui: Ui, memgpt: MemGPT, agent_name: str, label: str, *, yes: bool) -> None:
    """Deletes a block of an agent; asks first, where somebody can be asked."""
    agent = memgpt.agents.find(agent_name)
    if label not in (block.label for block in memgpt.agents.context(agent.agent_id).blocks):
        raise CliError(f"the agent {agent.name} has no block {label!r}; `memgpt list blocks` shows those it has")
    if ui.interactive and not yes and not ui.confirm(f"Delete block {label!r} for good?", default=False):
        return
    memgpt.agents.delete_block(agent.agent_id, label)
    ui.line(f"Deleted block {label!r}.", "green")


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"


def read_text(text: str, file: Path | None) -> str:
    """The text of a profile, from `--text` or `-f`."""
    if bool(text) == (file is not None):
        raise CliError("give the text either by --text or by -f FILE", MISUSE)
    if file is None:
        return text
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CliError(f"{file} cannot be read: {reason}", MISUSE) from error


def add_profile(ui: Ui, memgpt: MemGPT, kind: str, name: str, text: str, *, yes: bool) -> None:
    """Writes a profile; asks before one is replaced, where somebody can be asked."""
    asking = ui.interactive and not yes
    replaces = asking and any(profile.name == name for profile in memgpt.profiles.list(_KINDS[kind]))
    if replaces and not ui.confirm(f"There is a {kind} {name!r} already. Replace it?", default=False):
        return
    memgpt.profiles.put(_KINDS[kind], name, text)
    ui.line(f"Added {kind} {name!r}.", "green")


def delete(ui: Ui, memgpt: MemGPT, kind: str, name: str, *, yes: bool) -> None:
    """Deletes an agent, a source or a profile; asks first, where somebody can be asked."""
    if ui.interactive and not yes and not ui.confirm(f"Delete {kind} {name!r} for good?", default=False):
        return
    if kind == "agent":
        memgpt.agents.delete(memgpt.agents.find(name).agent_id)
    elif kind == "source":
        memgpt.sources.delete(memgpt.sources.find(name).source_id)
    else:
        memgpt.profiles.delete(_KINDS[kind], name)
    ui.line(f"Deleted {kind} {name!r}.", "green")


def attach(ui: Ui, memgpt: MemGPT, agent_name: str, source_name: str) -> None:
    """Lets an agent search a source."""
    agent = memgpt.agents.find(agent_name)
    source = memgpt.sources.find(source_name)
    memgpt.agents.attach(agent.agent_id, source.source_id)
    ui.line(f"Attached data source {source.name} to agent {agent.name}: {source.passage_count} passages.", "green")


def add_tools(ui: Ui, memgpt: MemGPT, agent_name: str, address: str) -> None:
    """Lets an agent call the functions of an address."""
    agent = memgpt.agents.find(agent_name)
    server = memgpt.agents.register_tools(agent.agent_id, address)
    names = ", ".join(function.name for function in server.functions)
    ui.line(f"Agent {agent.name} may call at {server.address}: {names}", "green")


def show_tools(ui: Ui, memgpt: MemGPT, agent_name: str) -> None:
    """Writes the functions that an agent may call elsewhere as a table."""
    servers = memgpt.agents.tools(memgpt.agents.find(agent_name).agent_id)
    rows = [[one.name, server.address, one.description] for server in servers for one in server.functions]
    ui.table(["Function", "Address", "Description"], rows)


def remove_tools(ui: Ui, memgpt: MemGPT, agent_name: str, address: str) -> None:
    """Takes the functions of an address away from an agent."""
    agent = memgpt.agents.find(agent_name)
    known = [server.address for server in memgpt.agents.tools(agent.agent_id)]
    if address.lower() not in known:
        raise CliError(
            f"agent {agent.name} has no tools from {address}; it has them from: {', '.join(known) or 'nowhere'}"
        )
    memgpt.agents.unregister_tools(agent.agent_id, address)
    ui.line(f"Agent {agent.name} may no longer call {address}.", "green")
