"""Operations on agents, data sources, profiles, blocks, notes and tools: list, show, add, change and delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.cli.access.times import parse_ttl, ttl_text
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui, plural
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


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The output format of a list.

    Attributes:
        wide: Whether to show every column on a terminal.
        json: Whether to write one JSON object per line for programs.
    """

    wide: bool = False
    json: bool = False


DEFAULT = OutputFormat()


Columns = Sequence[str | Column]


def write(
    ui: Ui, shape: OutputFormat, columns: Columns, items: Iterable[tuple[Message, list[str]]], nothing: str
) -> None:
    """Write a list as JSON or as a table; on a terminal, an empty list becomes a sentence."""
    if shape.json:
        for message, _ in items:
            ui.json(message)
        return
    rows = [row for _, row in items]
    if not rows and ui.terminal:
        ui.note(nothing)
        return
    ui.table(columns, rows, wide=shape.wide)


def _day(time: Timestamp) -> str:
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M")


_ID = Column("Id", wide=True)
_CREATED = Column("Created (UTC)", priority=1)


def show_agents(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT, tags: Sequence[str] = ()) -> None:
    """List the agents that have all of the tags."""
    items = (
        (
            agent.info,
            [
                agent.name,
                agent.agent_id,
                agent.info.persona,
                agent.info.human,
                str(agent.message_count),
                ", ".join(attachment.source_name for attachment in agent.info.attachments),
                ", ".join(agent.info.tags),
                _day(agent.info.create_time),
            ],
        )
        for agent in memgpt.agents.list(tags=tags)
    )
    columns: Columns = [
        "Name",
        _ID,
        Column("Persona", priority=3),
        Column("Human", priority=2),
        Column("Messages", number=True, priority=5),
        Column("Sources", whole=False, priority=4),
        Column("Tags", whole=False, priority=1),
        _CREATED,
    ]
    nothing = "No agent has all of these tags." if tags else "No agents yet; `memgpt run` creates one."
    write(ui, shape, columns, items, nothing)


def show_sources(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """List all data sources."""
    attached: dict[str, list[str]] = {}
    for agent in memgpt.agents.list():
        for attachment in agent.info.attachments:
            attached.setdefault(attachment.source_id, []).append(agent.name)
    items = (
        (
            source.info,
            [
                source.name,
                source.source_id,
                str(source.info.file_count),
                str(source.info.document_count),
                str(source.passage_count),
                ", ".join(attached.get(source.source_id, [])),
                source.info.description,
            ],
        )
        for source in memgpt.sources.list()
    )
    columns: Columns = [
        "Name",
        _ID,
        Column("Files", number=True, priority=4),
        Column("Documents", number=True, priority=1),
        Column("Passages", number=True, priority=3),
        Column("Agents", whole=False, priority=2),
        Column("Description", whole=False),
    ]
    write(ui, shape, columns, items, "No data sources yet; `memgpt load FILE` loads one.")


def show_loads(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """List all loads."""
    items = (
        (
            load,
            [
                load.load_id,
                load.source_name,
                LoadState.Name(load.state).removeprefix("LOAD_STATE_").lower(),
                str(load.document_count),
                str(load.passage_count),
                _day(load.create_time),
            ],
        )
        for load in memgpt.loads.list()
    )
    columns: Columns = [
        _ID,
        "Source",
        Column("State", priority=4),
        Column("Documents", number=True, priority=2),
        Column("Passages", number=True, priority=3),
        _CREATED,
    ]
    write(ui, shape, columns, items, "Nothing was loaded yet.")


def show_profiles(ui: Ui, memgpt: MemGPT, kind: str, shape: OutputFormat = DEFAULT) -> None:
    """List the profiles of a kind."""
    items = (
        (profile, [profile.name, "yes" if profile.built_in else "no", shown(profile.text)])
        for profile in memgpt.profiles.list(_KINDS[kind])
    )
    columns: Columns = ["Name", Column("Built in"), Column("Text", whole=False, priority=1)]
    write(ui, shape, columns, items, f"No {kind}s yet.")


def show_blocks(ui: Ui, memgpt: MemGPT, agent_name: str, shape: OutputFormat = DEFAULT) -> None:
    """List the blocks of an agent."""
    context = memgpt.agents.context(memgpt.agents.find(agent_name).agent_id)
    items = (
        (
            block,
            [block.label, f"{len(block.value)}/{block.limit}", "yes" if block.read_only else "no", shown(block.value)],
        )
        for block in context.blocks
    )
    columns: Columns = [
        "Label",
        Column("Characters", priority=1),
        Column("Read-only"),
        Column("Text", whole=False, priority=2),
    ]
    write(ui, shape, columns, items, "It has no blocks.")


def show_files(ui: Ui, memgpt: MemGPT, source_name: str, shape: OutputFormat = DEFAULT) -> None:
    """List the files of a data source."""
    source = memgpt.sources.find(source_name)
    items = (
        (
            file,
            [
                file.version.name,
                file.version.media_type,
                str(file.version.size),
                str(file.document_count),
                str(file.passage_count),
                ", ".join(file.tags),
                _day(file.create_time),
            ],
        )
        for file in source.files()
    )
    columns: Columns = [
        "Name",
        Column("Type", priority=1, wide=True),
        Column("Bytes", number=True, priority=2),
        Column("Documents", number=True, priority=3),
        Column("Passages", number=True, priority=4),
        Column("Tags", whole=False),
        Column("Loaded (UTC)", priority=1),
    ]
    write(ui, shape, columns, items, f"The data source {source.name} has no files.")


def show_notes(ui: Ui, memgpt: MemGPT, agent_name: str, shape: OutputFormat = DEFAULT) -> None:
    """List the notes of an agent."""
    agent = memgpt.agents.find(agent_name)
    items = ((note, [note.passage_id, _day(note.create_time), note.text]) for note in agent.notes())
    if shape.json or not ui.terminal:
        write(ui, shape, ["Id", "Stored (UTC)", "Text"], items, "")
        return
    count = 0
    for _, (note_id, day, text) in items:
        count += 1
        ui.line(f"{day} UTC  {note_id}", "bold")
        ui.line(text)
        ui.line()
    ui.note(f"{agent.name} has {plural(count, 'note')}")


def show_agent(ui: Ui, memgpt: MemGPT, name: str, shape: OutputFormat = DEFAULT) -> None:
    """Show an agent: its settings, core memory and data sources."""
    agent = memgpt.agents.find(name)
    context = memgpt.agents.context(agent.agent_id)
    info = context.agent
    if shape.json:
        ui.json(info)
        return
    ui.line(info.name, "bold")
    facts = {
        "Id": info.agent_id,
        "Created": f"{_day(info.create_time)} UTC",
        **({"Description": info.description} if info.description else {}),
        **({"Tags": ", ".join(info.tags)} if info.tags else {}),
        "Preset": info.preset,
        "Persona": info.persona,
        "Human": info.human,
        "Model": info.model or "the service's",
        "Time zone": info.time_zone or "UTC",
        "Context window": f"{context.total_tokens:,} of {context.context_window:,} tokens",
        "Messages": f"{info.message_count:,}",
        "Notes": f"{info.passage_count:,}",
        **({"Message TTL": ttl_text(info.message_ttl.ToTimedelta())} if info.HasField("message_ttl") else {}),
        **({"Note TTL": ttl_text(info.note_ttl.ToTimedelta())} if info.HasField("note_ttl") else {}),
        "Data sources": ", ".join(each.source_name for each in info.attachments) or "none",
    }
    for title, text in facts.items():
        ui.line(f"  {title + ':':<16}{text}", indent=4 if 0 < ui.width < 60 else 18)
    for block in context.blocks:
        read_only = ", read-only" if block.read_only else ""
        ui.line()
        ui.line(f"[{block.label}: {len(block.value):,} of {block.limit:,} characters{read_only}]", "bold")
        if block.description:
            ui.line(block.description, "dim")
        ui.line(block.value)


def show_profile(ui: Ui, memgpt: MemGPT, kind: str, name: str, shape: OutputFormat = DEFAULT) -> None:
    """Show the text of a profile."""
    profile = memgpt.profiles.get(_KINDS[kind], name)
    if shape.json:
        ui.json(profile)
    else:
        ui.line(profile.text)


def show_source(ui: Ui, memgpt: MemGPT, name: str, file_name: str = "", shape: OutputFormat = DEFAULT) -> None:
    """Show a data source with its files, or the passages of one file."""
    if file_name:
        _show_passages(ui, memgpt, name, file_name, shape)
        return
    source = memgpt.sources.find(name)
    if shape.json:
        ui.json(source.info)
        return
    info = source.info
    counted = (
        f"{plural(info.file_count, 'file')}, {plural(info.document_count, 'document')}, "
        f"{plural(info.passage_count, 'passage')}"
    )
    ui.line(f"{info.name}: {counted}", "bold")
    if info.description:
        ui.line(info.description)
    show_files(ui, memgpt, name, shape)


def _show_passages(ui: Ui, memgpt: MemGPT, name: str, file_name: str, shape: OutputFormat) -> None:
    source = memgpt.sources.find(name)
    if file_name not in (file.version.name for file in source.files()):
        raise CliError(f'data source "{source.name}" has no file "{file_name}"; `memgpt show source` lists its files')
    for number, passage in enumerate(source.passages(file_name), start=1):
        if shape.json:
            ui.json(passage)
            continue
        page = f", page {passage.citation.page}" if passage.citation.page else ""
        ui.line(f"{number}. {file_name}{page}", "bold")
        ui.line(passage.text)
        ui.line()


def rename_agent(ui: Ui, memgpt: MemGPT, name: str, new_name: str) -> None:
    """Give an agent another name."""
    agent = memgpt.agents.find(name)
    agent.update(name=new_name)
    ui.line(f"Agent {name} is now {agent.name}.", "green")


def rename_source(ui: Ui, memgpt: MemGPT, name: str, new_name: str) -> None:
    """Give a data source another name."""
    source = memgpt.sources.find(name)
    former = source.name
    source.rename(new_name)
    ui.line(f"Data source {former} is now {source.name}.", "green")


def update_agent(ui: Ui, memgpt: MemGPT, name: str, message_ttl: str, note_ttl: str) -> None:
    """Change how long an agent keeps its messages and notes; an empty text keeps the setting."""
    given = {"message_ttl": parse_ttl(message_ttl), "note_ttl": parse_ttl(note_ttl)}
    fields = {field: ttl for field, ttl in given.items() if ttl is not None}
    if not fields:
        raise CliError("nothing to change; give --message-ttl or --note-ttl", MISUSE)
    agent = memgpt.agents.find(name)
    agent.update(**fields)
    kept = " and ".join(
        f"{what} {ttl_text(ttl)}" if ttl else f"{what} indefinitely"
        for what, ttl in (
            ("messages", agent.info.message_ttl.ToTimedelta()),
            ("notes", agent.info.note_ttl.ToTimedelta()),
        )
    )
    ui.line(f"Agent {agent.name} keeps {kept}.", "green")


def delete_file(ui: Ui, memgpt: MemGPT, source_name: str, name: str, *, yes: bool) -> None:
    """Delete a file of a data source; ask for confirmation on a terminal."""
    source = memgpt.sources.find(source_name)
    found = next((file for file in source.files() if file.version.name == name), None)
    if found is None:
        raise CliError(f'data source "{source.name}" has no file "{name}"; `memgpt show source` lists its files')
    if not confirmed(ui, f"Delete {name} with {plural(found.passage_count, 'passage')} for good?", yes=yes):
        return
    source.delete_file(name)
    ui.line(f"Deleted file {name} from {source.name}.", "green")


def delete_note(ui: Ui, memgpt: MemGPT, agent_name: str, note_id: str, *, yes: bool) -> None:
    """Delete a note of an agent; ask for confirmation on a terminal."""
    agent = memgpt.agents.find(agent_name)
    found = next((note for note in agent.notes() if note.passage_id == note_id), None)
    if found is None:
        raise CliError(f'agent "{agent.name}" has no note "{note_id}"; `memgpt show notes` lists them')
    if not confirmed(ui, f"Delete the note “{shown(found.text)}” for good?", yes=yes):
        return
    memgpt.memory.delete_notes(agent.agent_id, [note_id])
    ui.line(f"Deleted a note of {agent.name}.", "green")


def confirmed(ui: Ui, question: str, *, yes: bool) -> bool:
    """Ask for confirmation on a terminal; elsewhere the command itself is the confirmation."""
    return yes or not ui.interactive or ui.confirm(question, default=False)


def set_block(ui: Ui, memgpt: MemGPT, agent_name: str, edit: BlockEdit) -> None:
    """Write a block of an agent."""
    agent = memgpt.agents.find(agent_name)
    block = memgpt.agents.set_block(agent.agent_id, edit)
    read_only = ", read-only" if block.read_only else ""
    ui.line(f"{agent.name}: {block.label} has {len(block.value):,} of {block.limit:,} characters{read_only}.", "green")


def tag_agent(ui: Ui, memgpt: MemGPT, agent_name: str, tag: str, *, add: bool) -> None:
    """Add a tag to an agent, or remove it."""
    agent = memgpt.agents.find(agent_name)
    others = [each for each in agent.info.tags if each != tag]
    if not add and len(others) == len(agent.info.tags):
        raise CliError(f'agent "{agent.name}" has no tag "{tag}"; `memgpt show agent` lists its tags')
    updated = memgpt.agents.update(agent.agent_id, {"tags": [*others, tag] if add else others}, agent.info.etag)
    ui.line(f"{updated.name} has the tags: {', '.join(updated.info.tags) or 'none'}", "green")


def describe_agent(ui: Ui, memgpt: MemGPT, agent_name: str, text: str) -> None:
    """Write the description of an agent; an empty text removes it."""
    agent = memgpt.agents.find(agent_name)
    updated = memgpt.agents.update(agent.agent_id, {"description": text}, agent.info.etag)
    ui.line(f"{updated.name} {'has a new' if text else 'has no'} description.", "green")


def delete_block(ui: Ui, memgpt: MemGPT, agent_name: str, label: str, *, yes: bool) -> None:
    """Delete a block of an agent; ask for confirmation on a terminal."""
    agent = memgpt.agents.find(agent_name)
    if label not in (block.label for block in memgpt.agents.context(agent.agent_id).blocks):
        raise CliError(f'agent "{agent.name}" has no block "{label}"; `memgpt list blocks` lists its blocks')
    if not confirmed(ui, f"Delete block {label} for good?", yes=yes):
        return
    memgpt.agents.delete_block(agent.agent_id, label)
    ui.line(f"Deleted block {label}.", "green")


def shown(text: str) -> str:
    """Return the beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"


def read_text(text: str, file: Path | None) -> str:
    """Return the text of a profile, from `--text` or `-f`."""
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
    """Write a profile; on a terminal, ask before replacing one."""
    asking = ui.interactive and not yes
    replaces = asking and any(profile.name == name for profile in memgpt.profiles.list(_KINDS[kind]))
    if replaces and not ui.confirm(f"There is a {kind} {name} already. Replace it?", default=False):
        return
    memgpt.profiles.put(_KINDS[kind], name, text)
    ui.line(f"Added {kind} {name}.", "green")


def delete(ui: Ui, memgpt: MemGPT, kind: str, name: str, *, yes: bool) -> None:
    """Delete an agent, a source or a profile; ask for confirmation on a terminal."""
    if kind == "agent":
        agent = memgpt.agents.find(name)
        if confirmed(ui, f"Delete agent {agent.name} with all it remembers for good?", yes=yes):
            agent.delete()
            ui.line(f"Deleted agent {agent.name}.", "green")
    elif kind == "source":
        source = memgpt.sources.find(name)
        counted = plural(source.passage_count, "passage")
        if confirmed(ui, f"Delete data source {source.name} with {counted} for good?", yes=yes):
            source.delete()
            ui.line(f"Deleted data source {source.name}.", "green")
    else:
        memgpt.profiles.get(_KINDS[kind], name)
        if confirmed(ui, f"Delete {kind} {name} for good?", yes=yes):
            memgpt.profiles.delete(_KINDS[kind], name)
            ui.line(f"Deleted {kind} {name}.", "green")


def attach(ui: Ui, memgpt: MemGPT, agent_name: str, source_name: str) -> None:
    """Attach a source to an agent."""
    agent = memgpt.agents.find(agent_name)
    source = memgpt.sources.find(source_name)
    memgpt.agents.attach(agent.agent_id, source.source_id)
    counted = plural(source.passage_count, "passage")
    ui.line(f"Attached data source {source.name} to agent {agent.name}: {counted}.", "green")


def detach(ui: Ui, memgpt: MemGPT, agent_name: str, source_name: str) -> None:
    """Detach a source from an agent."""
    agent = memgpt.agents.find(agent_name)
    for attachment in agent.info.attachments:
        if source_name in (attachment.source_name, attachment.source_id):
            memgpt.agents.detach(agent.agent_id, attachment.source_id)
            ui.line(f"Detached data source {attachment.source_name} from agent {agent.name}.", "green")
            return
    attached = ", ".join(f'"{each.source_name}"' for each in agent.info.attachments)
    raise CliError(
        f'data source "{source_name}" is not attached to agent "{agent.name}"; '
        + (f"attached: {attached}" if attached else "none is")
    )


def add_tools(ui: Ui, memgpt: MemGPT, agent_name: str, address: str) -> None:
    """Let an agent call the functions of an address."""
    agent = memgpt.agents.find(agent_name)
    server = memgpt.agents.register_tools(agent.agent_id, address)
    names = ", ".join(function.name for function in server.functions)
    ui.line(f"Agent {agent.name} may call at {server.address}: {names}", "green")


def show_tools(ui: Ui, memgpt: MemGPT, agent_name: str, shape: OutputFormat = DEFAULT) -> None:
    """List an agent's remote functions."""
    servers = memgpt.agents.tools(memgpt.agents.find(agent_name).agent_id)
    items = ((one, [one.name, server.address, one.description]) for server in servers for one in server.functions)
    columns: Columns = ["Function", Column("Address", priority=1), Column("Description", whole=False, priority=2)]
    write(ui, shape, columns, items, "It has none; `memgpt tools add` adds those of an address.")


def remove_tools(ui: Ui, memgpt: MemGPT, agent_name: str, address: str) -> None:
    """Stop an agent from calling the functions of an address."""
    agent = memgpt.agents.find(agent_name)
    known = [server.address for server in memgpt.agents.tools(agent.agent_id)]
    if address.lower() not in known:
        raise CliError(
            f'agent "{agent.name}" has no tools from {address}; it has tools from: {", ".join(known) or "nowhere"}'
        )
    memgpt.agents.unregister_tools(agent.agent_id, address)
    ui.line(f"Agent {agent.name} may no longer call {address}.", "green")
