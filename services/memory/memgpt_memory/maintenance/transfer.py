"""Export and import of agents, whole, as streams of pieces.

An export is of one instant: messages and notes never change, and the counters that were read at its beginning say how
many of them belong to it. An import writes them under a new agent's numbers while the agent's row is marked as deleted;
the last write replaces that row by the final one. So a crash leaves the same state as an interrupted deletion, and the
next start removes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice

from memgpt_runtime import reasons
from memgpt_runtime.errors import Aborted, InvalidArgument

from memgpt_memory.agents import (
    MAX_ATTACHMENTS,
    MAX_BLOCKS,
    AgentRow,
    Agents,
    AgentState,
    Attachment,
    Block,
    BlockAttachments,
    CoreMemory,
    CreateAgent,
    LiveAgent,
    Rewind,
    Rewinds,
    SharedRef,
    ToolServer,
    with_server,
)
from memgpt_memory.blocks import BlockEdit
from memgpt_memory.clock import Clock, now
from memgpt_memory.messages import Message, Messages, NewMessage, message_rows
from memgpt_memory.passages import Passage, Passages, fits, note_id, note_row, passage_of, texts_of
from memgpt_memory.quotas import Quotas, Reservation
from memgpt_memory.sources import Sources
from memgpt_memory.store.rows import MessageRow

FORMAT_VERSION = 2
READ_VERSIONS = (1, 2)
"""Formats that an import reads; 1 has neither tools nor heartbeats."""

_MESSAGES = 32
_MESSAGE_BYTES = 4 << 20
_NOTES = 128
"""Notes that are read or written at a time."""

_REWINDS = 20_000
"""Rewinds in a piece, which then has at most 2 MiB."""

_MAX_REWINDS = 100_000
"""Rewinds of an import."""


@dataclass(frozen=True, slots=True)
class ExportedWindow:
    """The context window: messages from `start` on, and a summary of those before.

    Of many rewinds, further windows have the others.
    """

    start: int
    summary: str
    rewinds: Sequence[Rewind] = ()


@dataclass(frozen=True, slots=True)
class ExportedHeartbeats:
    """The timed heartbeats, as the Agent service wrote them."""

    plan: str


@dataclass(frozen=True, slots=True)
class ExportTotals:
    """The last piece of an export: how many pieces of each kind it has."""

    blocks: int = 0
    messages: int = 0
    notes: int = 0
    tool_servers: int = 0
    heartbeats: int = 0

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks, {self.messages} messages, {self.notes} notes, {self.tool_servers} addresses of"
            f" tools and {self.heartbeats} pieces of heartbeats"
        )


Piece = Block | ToolServer | ExportedHeartbeats | ExportedWindow | Message | Passage | ExportTotals


@dataclass(frozen=True, slots=True)
class Settings:
    """An imported agent apart from its memory.

    Attributes:
        row: Its row.
        system: Its instructions.
        description: Its description.
        source_names: The names of its sources.
        shared_blocks: Ids of shared blocks by label, in place of the blocks in the stream.
    """

    row: AgentRow
    system: str
    description: str
    source_names: Sequence[str]
    shared_blocks: Mapping[str, str] = field(default_factory=dict)


class Transfers:
    """Exports and imports agents."""

    def __init__(
        self,
        agents: Agents,
        core_memory: CoreMemory,
        sources: Sources,
        messages: Messages,
        passages: Passages,
        clock: Clock,
        quotas: Quotas,
        block_attachments: BlockAttachments,
    ) -> None:
        """Work on the given parts of one store."""
        self._agents = agents
        self._core_memory = core_memory
        self._block_attachments = block_attachments
        self._sources = sources
        self._messages = messages
        self._passages = passages
        self._clock = clock
        self._quotas = quotas

    async def export(self, live: LiveAgent) -> AsyncIterator[AgentState | Piece]:
        """Yield the agent as of this instant, then its pieces in the order in which an import takes them.

        Raises:
            Aborted: The agent was deleted in the meantime.
            FailedPrecondition: Messages are missing: the store is damaged.
        """
        agent = await self._agents.repository.read_state(live)
        if agent.row.deleting:
            raise _is_being_deleted()
        yield agent
        blocks = await self._core_memory.list(agent)
        for block in blocks:
            yield block
        for server in agent.tools:
            yield server
        if agent.heartbeats:
            yield ExportedHeartbeats(agent.heartbeats)
        for window in _exported_windows(agent):
            yield window
        for start in range(0, agent.row.message_count, _MESSAGES):
            end = min(start + _MESSAGES, agent.row.message_count)
            numbers = [number for number in range(start, end) if number not in agent.forgotten]
            found = await self._messages.read(agent.id, numbers)
            if (
                len(found) < len(numbers)
                and not live.row.deleting
                and len(live.state.forgotten) == len(agent.forgotten)
            ):
                raise reasons.wrong_state(
                    "the store is damaged: messages of the agent are missing; repair it (`memgpt-memory repair`)",
                    resource="store",
                    state="DAMAGED",
                )
            # Those that were forgotten since the export began are missing, and shift the numbers of all that follow.
            if len(found) < len(numbers):
                raise reasons.write_conflict(
                    "the agent is being deleted, or messages were forgotten during the export; start it again",
                    resource="agent",
                )
            for message in found:
                yield _renumbered(agent, message)
        notes = 0
        wanted = (number for number in range(agent.row.next_note) if number not in agent.dead_notes)
        while piece := list(islice(wanted, _NOTES)):
            ids = [note_id(agent.id, number) for number in piece]
            rows = await self._passages.read(agent.row.tenant, {agent.id: ids})
            for id_ in ids:
                if id_ in rows:  # otherwise it was deleted in the meantime
                    notes += 1
                    yield passage_of(rows[id_])
        if live.row.deleting:
            raise _is_being_deleted()
        yield ExportTotals(len(blocks), agent.message_count, notes, len(agent.tools), int(bool(agent.heartbeats)))

    async def take(
        self, agent_id: str, settings: Settings, pieces: AsyncIterator[Piece]
    ) -> tuple[LiveAgent, list[str]]:
        """Create an agent from pieces; return it with the names of the sources that do not exist here.

        Raises:
            AlreadyExists: The name is taken.
            InvalidArgument: A piece is out of order or too long, or the stream is incomplete. Nothing is kept.
            NotFound: There is no such shared block. Nothing is kept.
            ResourceExhausted: The tenant would exceed a quota. Nothing is kept.
        """
        missing = []
        links: list[Attachment] = []
        for block_id in settings.shared_blocks.values():
            await self._block_attachments.check(settings.row.tenant, block_id)
        for name in dict.fromkeys(settings.source_names):
            source = await self._sources.find_by_name(settings.row.tenant, name)
            if source is None:
                missing.append(name)
            elif len(links) < MAX_ATTACHMENTS:
                with self._clock.write(agent_id) as stamp:
                    links.append(Attachment(source_id=source.id, stamp=stamp, attached=now()))
        async with self._agents.importing(agent_id, settings.row) as existing:
            if existing is not None:
                return existing, missing
            async with self._quotas.reserve(settings.row.tenant, agents=1) as room:
                return await self._take(agent_id, settings, links, pieces, room), missing

    async def _take(
        self,
        agent_id: str,
        settings: Settings,
        links: Sequence[Attachment],
        pieces: AsyncIterator[Piece],
        room: Reservation,
    ) -> LiveAgent:
        taking = _Import(
            agent_id,
            settings.row.tenant,
            self._messages,
            self._passages,
            self._clock,
            room,
            _labels=frozenset(settings.shared_blocks),
        )
        await taking.all(pieces)
        row = settings.row.model_copy(
            update={
                "message_count": taking.messages,
                "window_start": taking.window.start if taking.window else 0,
                "next_note": taking.notes,
                "text_bytes": taking.bytes,
            }
        )
        content = CreateAgent(
            system=settings.system,
            description=settings.description,
            summary=taking.window.summary if taking.window else "",
            links=links,
            rewinds=Rewinds(taking.rewinds),
            blocks=taking.blocks,
            shared=[SharedRef(label=label, block_id=settings.shared_blocks[label]) for label in taking.shared],
            tools=taking.tools,
            heartbeats=taking.heartbeats,
        )
        return await self._agents.complete(agent_id, row, content)


@dataclass(slots=True)
class _Import:
    """An import in progress.

    Attributes:
        messages: Number of messages received.
        notes: Number of notes written.
        bytes: Bytes of messages and notes received.
        shared: Labels of the blocks in whose place the agent gets shared ones.
        tools: Functions that run elsewhere.
        heartbeats: The timed heartbeats; empty for none.
        rewinds: Messages that were taken back.
    """

    _agent_id: str
    _tenant: str
    _to_messages: Messages
    _to_passages: Passages
    _clock: Clock
    _room: Reservation
    _labels: Set[str] = frozenset()
    blocks: list[BlockEdit] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    tools: list[ToolServer] = field(default_factory=list)
    heartbeats: str = ""
    window: ExportedWindow | None = None
    rewinds: list[Rewind] = field(default_factory=list)
    messages: int = 0
    notes: int = 0
    bytes: int = 0
    _came: int = 0
    _held_messages: list[MessageRow] = field(default_factory=list)
    _held_bytes: int = 0
    _held_notes: list[Passage] = field(default_factory=list)

    async def all(self, pieces: AsyncIterator[Piece]) -> None:
        ended = False
        async for piece in pieces:
            if ended:
                raise _out_of_order("nothing comes after the end")
            match piece:
                case Block():
                    self._take_block(piece)
                case ToolServer():
                    self._take_tools(piece)
                case ExportedHeartbeats():
                    self._take_heartbeats(piece)
                case ExportedWindow():
                    self._take_window(piece)
                case Message():
                    await self._take_message(piece)
                case Passage():
                    await self._take_note(piece)
                case ExportTotals():
                    await self._write_messages()
                    await self._write_notes()
                    self._check(piece)
                    ended = True
        if not ended:
            raise reasons.invalid_field("the stream ended without its end piece; nothing was imported", field="piece")

    def _take_block(self, block: Block) -> None:
        if self.window is not None or self.tools or self.heartbeats:
            raise _out_of_order("blocks come first")
        taken = [*(other.label for other in self.blocks), *self.shared]
        if len(taken) == MAX_BLOCKS or block.label in taken:
            raise reasons.invalid_field(
                f"block labels must be unique, and there may be at most {MAX_BLOCKS}", field="piece.block"
            )
        if block.label in self._labels:
            self.shared.append(block.label)
            return
        self.blocks.append(
            BlockEdit(
                block.label,
                block.value,
                limit=block.limit,
                read_only=block.read_only,
                description=block.description,
            )
        )

    def _take_tools(self, server: ToolServer) -> None:
        if self.window is not None or self.heartbeats:
            raise _out_of_order("tools come after the blocks")
        if any(other.address == server.address for other in self.tools):
            raise reasons.invalid_field("addresses of tools must be unique", field="piece.tool_server.address")
        self.tools = with_server(self.tools, server)

    def _take_heartbeats(self, heartbeats: ExportedHeartbeats) -> None:
        if self.window is not None or self.heartbeats:
            raise _out_of_order("the heartbeats come once, before the window")
        self.heartbeats = heartbeats.plan

    def _take_window(self, window: ExportedWindow) -> None:
        if self.window is None:
            self.window = window
        elif (window.start, window.summary) != (self.window.start, "") or self.messages or self._came:
            raise _out_of_order("there is one window, after the blocks")
        for rewind in window.rewinds:
            reached = self.rewinds[-1].end if self.rewinds else 0
            if not reached <= rewind.first < rewind.end:
                raise reasons.invalid_field(
                    "rewinds must be in order and must not overlap", field="piece.window.rewinds"
                )
            self.rewinds.append(rewind)
        if len(self.rewinds) > _MAX_REWINDS:
            raise reasons.invalid_field(f"an agent has at most {_MAX_REWINDS:,} rewinds", field="piece.window.rewinds")

    async def _take_message(self, message: Message) -> None:
        if self.window is None or self._came:
            raise _out_of_order("messages come between the window and the notes")
        if message.sequence != self.messages:
            raise reasons.invalid_field(
                f"message {message.sequence} is not the next message; send {self.messages}",
                field="piece.message.sequence",
            )
        new = NewMessage(
            message.role, message.text, message.function_call, message.call_id, message.usage, message.replaces
        )
        rows = message_rows(self._agent_id, self.messages, message.created or now(), message.turn_id, message.step, new)
        self.messages += 1
        self._reserve(bytes=new.size)
        self._held_messages += rows
        self._held_bytes += sum(len(row.text) for row in rows)
        if len(self._held_messages) >= _MESSAGES or self._held_bytes >= _MESSAGE_BYTES:
            await self._write_messages()

    async def _take_note(self, note: Passage) -> None:
        if self.window is None:
            raise _out_of_order("notes come after the window")
        self._came += 1
        texts = [note.text] if fits(note.text) else await texts_of([note.text])
        self._reserve(passages=len(texts), bytes=sum(len(text.encode()) for text in texts))
        self._held_notes += [Passage("", text, note.created or now(), tags=note.tags) for text in texts]
        if len(self._held_notes) >= _NOTES:
            await self._write_notes()

    def _reserve(self, *, passages: int = 0, bytes: int = 0) -> None:  # noqa: A002 - the name of the quota
        self._room.add(passages=passages, bytes=bytes)
        self.bytes += bytes

    async def _write_messages(self) -> None:
        rows, self._held_messages, self._held_bytes = self._held_messages, [], 0
        await self._to_messages.write(rows)

    async def _write_notes(self) -> None:
        notes, self._held_notes = self._held_notes, []
        if not notes:
            return
        embedded = await self._to_passages.embed([note.text for note in notes])
        with self._clock.write(self._agent_id) as stamp:
            rows = [
                note_row(self._agent_id, number, note.text, note.tags, stamp=stamp, created=note.created)
                for number, note in enumerate(notes, self.notes)
            ]
            await self._to_passages.write_rows(self._tenant, self._agent_id, rows, embedded)
        self.notes += len(notes)

    def _check(self, counts: ExportTotals) -> None:
        blocks, heartbeats = len(self.blocks) + len(self.shared), int(bool(self.heartbeats))
        came = ExportTotals(blocks, self.messages, self._came, len(self.tools), heartbeats)
        if missing := set(self._labels).difference(self.shared):
            raise reasons.invalid_field(
                f'shared_blocks names block "{min(missing)}", which the stream does not have', field="shared_blocks"
            )
        if self.window is None or self.window.start > self.messages:
            raise reasons.invalid_field(
                "a window is required, and it must begin within the messages", field="piece.window"
            )
        if self.rewinds and self.rewinds[-1].end > self.messages:
            raise reasons.invalid_field("rewinds must lie within the messages", field="piece.window.rewinds")
        if counts != came:
            raise reasons.upload_mismatch(
                f"the end declares {counts}, but {came} were received; nothing was imported",
                field="piece.end",
                file=self._agent_id,
            )


def _is_being_deleted() -> Aborted:
    return reasons.write_conflict("the agent is being deleted and can no longer be exported", resource="agent")


def _out_of_order(rule: str) -> InvalidArgument:
    return reasons.invalid_field(f"piece out of order: {rule}; nothing was imported", field="piece")


def _exported_windows(agent: AgentState) -> Iterator[ExportedWindow]:
    """Yield the content of the window in pieces, with the numbers that the messages have in an export."""
    rewinds = [
        replace(rewind, first=_number(agent, rewind.first), end=_number(agent, rewind.end)) for rewind in agent.rewinds
    ]
    start = _number(agent, agent.row.window_start)
    kept = [one for one in rewinds if one.first < one.end]
    yield ExportedWindow(start, agent.summary, kept[:_REWINDS])
    for place in range(_REWINDS, len(kept), _REWINDS):
        yield ExportedWindow(start, "", kept[place : place + _REWINDS])


def _renumbered(agent: AgentState, message: Message) -> Message:
    """Return a message with its number in an export, which has no gaps where messages were forgotten."""
    if not agent.forgotten:
        return message
    replaces = message.replaces
    if replaces is not None:
        replaces = None if replaces in agent.forgotten else _number(agent, replaces)
    return replace(message, sequence=_number(agent, message.sequence), replaces=replaces)


def _number(agent: AgentState, sequence: int) -> int:
    return sequence - agent.forgotten.below(sequence)
