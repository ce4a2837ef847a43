"""Storage of agents; the only module that writes them.

A commit first writes rows under numbers and versions that are not read yet, and then the agent's row, which makes all
of them visible. Rows beyond the counters in the agent's row are ignored, so a crash at any instant leaves the agent as
it was before or after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import ServiceError

from memgpt_memory.agents._commands import (
    Command,
    CreateAgent,
    DeleteAgent,
    DeleteBlock,
    DetachBlock,
    InsertNotes,
    notes_of,
    shared_blocks_of,
)
from memgpt_memory.agents._decide import decide
from memgpt_memory.agents._draft import Transition
from memgpt_memory.agents._errors import unknown_agent
from memgpt_memory.agents._live_agent import Attempt, LiveAgent
from memgpt_memory.agents._rows import AgentRow, Block
from memgpt_memory.agents._state import TEXT_FIELDS, AgentState, block_text_name, text_references, used_text_ids
from memgpt_memory.blocks import SharedBlock, SharedBlocks
from memgpt_memory.clock import Clock, now
from memgpt_memory.messages import Message, Messages, message_rows, stored
from memgpt_memory.passages import EmbeddedTexts, Passage, Passages, note_id, texts_of
from memgpt_memory.quotas import Amounts, Quotas
from memgpt_memory.records import MissingTextError, Record, Records, ids_of
from memgpt_memory.store.rows import MessageRow
from memgpt_memory.tasks import all_to_end, run_to_end

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The result of a commit.

    Attributes:
        changed: Whether there was anything to change.
    """

    changed: bool = False
    messages: Sequence[Message] = ()
    blocks: Sequence[Block] = ()
    passages: Sequence[Passage] = ()


class AgentRepository:
    """Changes agents, and reads them as their last commit left them."""

    def __init__(
        self,
        records: Records,
        messages: Messages,
        passages: Passages,
        shared: SharedBlocks,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        """Write into the given parts of one store."""
        self.shared = shared
        self.messages = messages
        self.passages = passages
        self._records = records
        self._clock = clock
        self._quotas = quotas
        self._background: set[asyncio.Task[None]] = set()

    async def execute(self, live: LiveAgent, command: Command) -> CommitResult:
        """Take the agent's lock and commit a command; see `commit`."""
        async with live.lock:
            return await self.commit(live, command)

    async def commit(self, live: LiveAgent, command: Command) -> CommitResult:
        """Commit a command atomically. Hold `live.lock`.

        The commit runs to its end even if the caller is cancelled.

        Raises:
            NotFound: The agent has been deleted in the meantime.
            ServiceError: What `decide` raises; nothing was written.
            Unavailable: The store failed; the change has taken effect as a whole or not at all.
        """
        await self.settle(live)
        check_exists(live)
        named = shared_blocks_of(command, live.row)
        if not named:
            return await run_to_end(self._commit(live, command, {}))
        async with self.shared.locked(named) as shared:
            if isinstance(command, DetachBlock | DeleteBlock):
                await self.shared.settle(block for block in shared.values() if block.writer == live.id)
            return await run_to_end(self._commit(live, command, shared))

    async def delete(self, live: LiveAgent, prepare: Callable[[], AbstractAsyncContextManager[DeleteAgent]]) -> None:
        """Take the agent's lock and commit its deletion; the rows stay until they are purged.

        Args:
            live: The agent.
            prepare: Makes the command under locks that all agents share. They are taken last: who holds them waits for
                no other.

        Raises:
            NotFound: The agent has been deleted in the meantime.
            Unavailable: The store failed; the change has taken effect as a whole or not at all.
        """
        async with live.lock:
            await self.settle(live)
            check_exists(live)
            async with self.shared.locked(reference.block_id for reference in live.row.shared) as shared:
                await self.shared.settle(block for block in shared.values() if block.writer == live.id)
                async with prepare() as command:
                    await run_to_end(self._commit(live, command, shared))

    async def settle(self, live: LiveAgent) -> None:
        """Settle a failed write: find out whether it took effect, and delete what it left behind.

        Hold `live.lock`, and call it before reading the state to decide on a change.

        Raises:
            Unavailable: The store does not respond, or the write could not be undone yet.
        """
        await self.find_outcome(live)
        if live.attempt is not None:
            await self._undo(live.state, live.attempt)
            live.attempt = None

    async def find_outcome(self, live: LiveAgent) -> None:
        """Find out whether a failed write took effect, before reading the state. Hold `live.lock`.

        What the write left behind stays, which no read sees: a disk that is full can be read.

        Raises:
            Unavailable: The store does not respond.
        """
        if not live.lock.locked():
            raise RuntimeError("the agent's lock is not held")
        if live.attempt is not None and live.attempt.committing:
            await self._read_again(live)
            live.attempt = replace(live.attempt, committing=False)
            live.notify()

    async def _read_again(self, live: LiveAgent) -> None:
        fresh = await self.read(live.id)
        if fresh is not None:
            former, live.state = live.row.amounts, fresh
            self._note(live, former)
        elif live.row.message_count:
            raise unknown_agent(live.id)

    async def _undo(self, state: AgentState, attempt: Attempt) -> None:
        """Delete the rows of a commit that did not happen."""
        row, used = state.row, used_text_ids(state)
        messages = [id_ for id_ in attempt.messages if _number(id_, state.id, "m") >= row.message_count]
        notes = [id_ for id_ in attempt.notes if _number(id_, state.id, "n") >= row.next_note]
        texts = [id_ for id_ in attempt.texts if id_ not in used]
        await self.messages.delete(messages)
        await self.passages.delete(row.tenant, state.id, notes)
        await self._records.delete(texts)
        left = (await self.passages.read(row.tenant, {state.id: notes})) if notes else {}
        if left or (texts and await self._records.get_many(texts)):
            raise reasons.store_unavailable("the store has not yet undone a failed write; retry", retry_after=2)

    async def read(self, agent_id: str) -> AgentState | None:
        """Read an agent's rows; None if there is no such agent."""
        return (await self.read_many([agent_id])).get(agent_id)

    async def read_many(self, agent_ids: Sequence[str]) -> dict[str, AgentState]:
        """Read the rows of agents; missing ones are not in the result. One that is being deleted may lack its texts."""
        try:
            return await self._read_many(agent_ids)
        except MissingTextError:
            return await self._read_many(agent_ids)  # a deletion may have begun after its row was read

    async def _read_many(self, agent_ids: Sequence[str]) -> dict[str, AgentState]:
        records = (await self._records.get_many(agent_ids)).values()
        rows = {record.id: AgentRow.model_validate_json(record.body) for record in records if record.kind == "agent"}
        whole = {id_: text_references(row) for id_, row in rows.items() if not row.deleting}
        texts = await self._records.read_texts_of_many(whole)
        return {
            id_: _state(id_, row, texts[id_]) if id_ in texts else AgentState(id_, row) for id_, row in rows.items()
        }

    async def read_state(self, live: LiveAgent) -> AgentState:
        """Return the agent as of one instant; after a failed write, first find out whether it took effect."""
        async with live.lock:
            await self.find_outcome(live)
            return live.state

    async def sweep(self, live: LiveAgent) -> None:
        """Delete unused rows that a failure or a crash left behind. Hold `live.lock`."""
        await self.settle(live)
        row, used = live.row, used_text_ids(live.state)
        texts = ids_of(await self._records.find("text", parent=live.id))
        await self._records.delete([id_ for id_ in texts if id_ not in used])
        notes = await self.passages.ids(row.tenant, live.id)
        numbers = {id_: _number(id_, live.id, "n") for id_ in notes}
        dead = live.state.dead_notes.minus(live.state.unfreed_notes)
        gone = [id_ for id_, number in numbers.items() if number >= row.next_note or number in dead]
        await self.passages.delete(row.tenant, live.id, gone, unread=True)
        await self.messages.delete_from(live.id, row.message_count)
        await self.messages.delete_sequences(live.id, live.state.forgotten.minus(live.state.unfreed_messages).pieces)

    async def tidy(self, work: Awaitable[object]) -> None:
        """Run a cleanup of invisible rows; a failure only costs space until their owner is deleted."""
        try:
            await work
        except ServiceError as error:
            _log.info("agent_cleanup_failed", error=str(error))

    async def close(self) -> None:
        """Wait for background work."""
        if self._background:
            await asyncio.wait(self._background)

    async def _commit(self, live: LiveAgent, command: Command, shared: Mapping[str, SharedBlock]) -> CommitResult:
        notes = notes_of(command)
        transition = decide(live.state, command, await texts_of(notes) if notes else (), now(), shared)
        if transition is None:
            return CommitResult()
        first_message, first_note = live.row.message_count, live.row.next_note
        messages = _message_rows(live.id, first_message, transition)
        async with self._room(live, command, transition):
            embedded = await self.passages.embed(transition.passages) if transition.passages else None
            with self._clock.write(live.id) if transition.reorders else nullcontext(0) as revision:
                try:
                    await self._write(live, transition, messages, embedded, revision)
                except BaseException:
                    self.shared.doubt(transition.shared)
                    raise
                former = None if isinstance(command, CreateAgent) else live.row.amounts
                live.state = transition.state
                self.shared.written(transition.shared)
                self._note(live, former)
                if embedded is not None:
                    live.recent_notes.append((revision, first_note))
        live.notify()
        if transition.superseded:
            self._later(self._records.delete(transition.superseded, unread=True))
        return _result(transition, first_message, first_note)

    def _room(self, live: LiveAgent, command: Command, transition: Transition) -> AbstractAsyncContextManager[object]:
        """Reserve room for notes, which may be many; the notes of a step belong to a turn that has begun."""
        if not isinstance(command, InsertNotes):
            return nullcontext()
        size = (transition.state.row.text_bytes or 0) - (live.row.text_bytes or 0)
        return self._quotas.reserve(live.row.tenant, passages=len(transition.passages), bytes=size)

    def _note(self, live: LiveAgent, former: Amounts | None) -> None:
        self._quotas.note(live.row.tenant, live.id, former, None if live.row.deleting else live.row.amounts)

    async def _write(
        self,
        live: LiveAgent,
        transition: Transition,
        messages: Sequence[MessageRow],
        embedded: EmbeddedTexts | None,
        revision: int,
    ) -> None:
        """Write a transition's rows, and then the agent's. `live.attempt` stays set if that fails."""
        first_note, row = live.row.next_note, transition.state.row
        attempt = live.attempt = Attempt(
            messages=ids_of(messages),
            notes=[note_id(live.id, first_note + offset) for offset in range(len(transition.passages))],
            # A failed write of a shared block leaves texts that the block's next write or a sweep removes.
            texts=ids_of(one for one in transition.records if one.kind == "text" and one.parent == live.id),
        )
        writes: list[Awaitable[object]] = []
        if messages:
            writes.append(self.messages.write(messages))
        if transition.records:
            writes.append(self._records.put(*transition.records))
        if embedded is not None:
            tags, time = transition.tags, transition.time
            writes.append(
                self.passages.write_notes(
                    row.tenant, live.id, first_note, embedded, tags=tags, stamp=revision, created=time
                )
            )
        await all_to_end(*writes)
        body = row.model_dump_json(exclude_defaults=True)
        live.attempt = replace(attempt, committing=True)
        await self._records.put(*transition.beside, Record(live.id, "agent", row.tenant, "", row.created, body))
        live.attempt = None

    def _later(self, work: Awaitable[object]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self.tidy(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def has_mark(records: Records, agent_id: str, block_id: str, mark: int) -> bool:
    """Whether the row of an agent has a mark for a shared block; see `blocks.SharedBlocks`."""
    record = await records.get(agent_id)
    if record is None or record.kind != "agent":
        return False
    row = AgentRow.model_validate_json(record.body)
    return any(one.block_id == block_id and one.mark == mark for one in row.shared)


def check_exists(live: LiveAgent) -> None:
    """Reject a deleted agent. Check again once the lock is held: nothing may be written after a deletion.

    Raises:
        NotFound: The agent has been deleted.
    """
    if live.row.deleting:
        raise unknown_agent(live.id)


def _state(agent_id: str, row: AgentRow, texts: Mapping[str, str]) -> AgentState:
    return AgentState(
        agent_id,
        row,
        blocks={reference.label: texts[block_text_name(reference.label)] for reference in row.blocks},
        **{field: text.parse(texts[text.stored_name]) for field, text in TEXT_FIELDS.items()},
    )


def _message_rows(agent_id: str, first: int, transition: Transition) -> list[MessageRow]:
    return [
        row
        for offset, new in enumerate(transition.messages)
        for row in message_rows(agent_id, first + offset, transition.time, transition.turn_id, transition.step, new)
    ]


def _result(transition: Transition, first_message: int, first_note: int) -> CommitResult:
    state, time = transition.state, transition.time
    return CommitResult(
        changed=True,
        messages=[
            stored(state.id, first_message + offset, time, transition.turn_id, transition.step, new)
            for offset, new in enumerate(transition.messages)
        ],
        blocks=transition.touched,
        passages=[
            Passage(note_id(state.id, first_note + offset), text, time, state.id, tags=tuple(transition.tags))
            for offset, text in enumerate(transition.passages)
        ],
    )


def _number(id_: str, owner: str, kind: str) -> int:
    return int(id_.removeprefix(f"{owner}-{kind}").split("-")[0])
