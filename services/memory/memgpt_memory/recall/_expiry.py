"""The end of messages and notes whose time to live has passed.

Before an agent is read, a commit hides what has expired since, as if it had been forgotten and deleted; so every read
agrees on what exists. It reads the times of rows, but not their texts, so that it is short however much expires at
once. A background task hides what nobody reads; then it subtracts the bytes of what is hidden from the agent's use and
deletes the rows, a batch at a time, so that turns continue in between. The agent's row says which bytes still count,
and rows are found by their times, so that what a failure or a crash interrupts is completed by its next pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog
from memgpt_runtime.errors import NotFound, ServiceError

from memgpt_memory.agents import AgentNotes, Agents, Expire, FreeBytes, LiveAgent, Ranges
from memgpt_memory.clock import now
from memgpt_memory.messages import Message, Role, text_size
from memgpt_memory.recall._recall import Recall
from memgpt_memory.store.filters import Between, Equals, all_of
from memgpt_memory.store.rows import AgentRowTime, RowTime
from memgpt_memory.tasks import run_to_end

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)

_HORIZON = 3_600_000_000
"""How far ahead a look at an agent's rows finds the next that expires, in microseconds."""

_PAUSE_SECONDS = 60.0
"""Pause between two passes of the background task."""

_BATCH = 200
"""Rows that are read or deleted at a time."""

_NEVER = 1 << 62

_NEAR = 64
"""Messages among which a call has its result, and a result its call."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at an agent's rows found.

    Attributes:
        lifetimes: The agent's times to live at that time.
        time: When it was, in microseconds since 1970.
        due: When something may expire next.
    """

    lifetimes: tuple[int, int]
    time: int
    due: int

    def is_due(self, time: int) -> bool:
        """Whether something may have expired by a time: also if the clock was set back since."""
        return not self.time <= time < self.due


@dataclass(frozen=True, slots=True)
class _Rows:
    """The times of an agent's rows.

    Attributes:
        of: The agent's times to live, and the ends of its messages and notes, before they were read.
        time: When they were read.
        horizon: Up to when they tell what expires.
        messages: Messages that expire up to then.
        notes: Notes that expire up to then.
    """

    of: tuple[int, ...]
    time: int
    horizon: int
    messages: list[AgentRowTime] = field(default_factory=list)
    notes: list[RowTime] = field(default_factory=list)

    @staticmethod
    def of_agent(live: LiveAgent) -> tuple[int, ...]:
        """Return what `of` is for an agent as it is now."""
        row = live.row
        return row.message_ttl, row.note_ttl, row.message_count, row.next_note


class Expiry:
    """Forgets the messages and deletes the notes whose time to live has passed."""

    def __init__(self, agents: Agents, notes: AgentNotes, recall: Recall) -> None:
        """Forget messages of `agents` and delete `notes`, both with what `recall` has indexed of them."""
        self._agents = agents
        self._notes = notes
        self._recall = recall
        self._looks: dict[str, _Look] = {}
        self._hiding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._unremoved: set[str] = set()
        self._found_all = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background task."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop the background task; the next start continues its work."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def hide(self, agents: Sequence[LiveAgent]) -> None:
        """Hide what has expired of agents, except for messages of their running turns.

        Raises:
            Unavailable: The store failed, and it is not known what has expired.
        """
        due = [live for live in agents if self._is_due(live)]
        for batch in _batches(due):
            rows = await self._read_rows(batch) if len(batch) > 1 else {}
            for live in batch:
                with suppress(NotFound):  # deleted in the meantime, which the caller finds out itself
                    await run_to_end(self._hide(live, rows.get(live.id)))

    async def remove(self, live: LiveAgent, *, any_lifetime: bool = False) -> None:
        """Delete the rows of what has expired and is hidden, in batches.

        Args:
            live: The agent.
            any_lifetime: Whether something was hidden under a time to live that may have been changed or unset since.
        """
        with suppress(NotFound):  # deleted in the meantime
            while not live.row.deleting and (live.state.unfreed_messages or live.state.unfreed_notes):
                await run_to_end(self._free_batch(live))
        repository, row = self._agents.repository, live.row
        if row.message_ttl or (any_lifetime and live.state.forgotten):
            before = now() - row.message_ttl + 1
            messages = await repository.messages.times(live.id, before)
            freed = live.state.forgotten.minus(live.state.unfreed_messages)  # others were hidden in the meantime
            for batch in _batches([one.id for one in messages if one.sequence in freed]):
                await repository.messages.delete(batch)
            await self._recall.drop_older(live, before)
        if row.note_ttl or (any_lifetime and live.state.dead_notes):
            notes = await self._note_times(live, now() - row.note_ttl + 1)
            freed = live.state.dead_notes.minus(live.state.unfreed_notes)
            for batch in _batches([one.id for one in notes if one.sequence in freed]):
                await repository.passages.delete(row.tenant, live.id, batch, unread=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._pass()
            except ServiceError as error:
                _log.info("expiry_postponed", error=str(error))
            except Exception:  # noqa: BLE001 - the next pass may succeed
                _log.exception("expiry_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await self._wake.wait()

    async def _pass(self) -> None:
        """Hide and remove what has expired of the agents whose time has come; at first of all with a time to live."""
        if not self._found_all:
            self._unremoved.update(await self._agents.with_lifetimes())
            self._found_all = True
        time = now()
        due = {agent_id for agent_id, look in self._looks.items() if look.is_due(time)}
        for agent_id in sorted(due | self._unremoved):
            unremoved = agent_id in self._unremoved
            self._unremoved.discard(agent_id)
            try:
                found = await self._agents.find_many([agent_id])
                await self.hide(found)
                for live in found:
                    await self.remove(live, any_lifetime=unremoved)
                if not found:
                    self._looks.pop(agent_id, None)
            except ServiceError as error:
                self._unremoved.add(agent_id)
                _log.info("expiry_postponed", agent_id=agent_id, error=str(error))
            except Exception:  # noqa: BLE001 - one damaged agent must not keep what others must lose
                self._unremoved.add(agent_id)
                _log.exception("expiry_failed", agent_id=agent_id)

    def _is_due(self, live: LiveAgent) -> bool:
        lifetimes = live.row.message_ttl, live.row.note_ttl
        if not any(lifetimes) or live.row.deleting:
            self._looks.pop(live.id, None)
            return False
        look = self._looks.get(live.id)
        return look is None or look.lifetimes != lifetimes or look.is_due(now())

    async def _hide(self, live: LiveAgent, rows: _Rows | None) -> None:
        # Readers at the same time wait for the first, whatever the number of rows that it looks at.
        async with self._hiding.setdefault(live.id, asyncio.Lock()):
            while self._is_due(live):
                rows = rows or (await self._read_rows([live]))[live.id]
                async with live.lock:
                    await self._agents.repository.settle(live)
                    # A failed write may have been undone, and its numbers been given again.
                    if rows.of == _Rows.of_agent(live) and not live.row.deleting:
                        await self._hide_rows(live, rows)
                        return
                rows = None

    async def _read_rows(self, agents: Sequence[LiveAgent]) -> dict[str, _Rows]:
        """Read the times of messages and notes that may expire soon; one scan covers the messages of all agents."""
        time = now()
        rows = {live.id: _Rows(_Rows.of_agent(live), time, _horizon(live, time)) for live in agents}
        ends = {live.id: rows[live.id].horizon - live.row.message_ttl for live in agents if live.row.message_ttl}
        for message in await self._agents.messages.times_of(ends):
            rows[message.agent].messages.append(message)
        for live in agents:
            if live.row.note_ttl:
                one = rows[live.id]
                one.notes.extend(await self._note_times(live, one.horizon - live.row.note_ttl))
        return rows

    async def _hide_rows(self, live: LiveAgent, rows: _Rows) -> None:
        """Hide the rows that had expired when they were read, and note when the next one expires. Hold `live.lock`."""
        row, next_message, next_note = live.row, rows.horizon, rows.horizon
        old_messages: set[int] = set()
        old_notes: set[int] = set()
        if row.message_ttl:
            old_messages, next_message = await self._expired_messages(live, rows.messages, rows.time)
        if row.note_ttl:
            dead = live.state.dead_notes
            visible = [one for one in rows.notes if one.sequence < row.next_note and one.sequence not in dead]
            old_notes, following = _split(visible, rows.time - row.note_ttl)
            next_note = following + row.note_ttl
        if old_messages or old_notes:
            await self._agents.repository.commit(live, Expire(old_messages, old_notes))
            self._unremoved.add(live.id)
            self._wake.set()
        due = min(next_message, next_note, rows.horizon)
        self._looks[live.id] = _Look((row.message_ttl, row.note_ttl), rows.time, due)

    async def _expired_messages(self, live: LiveAgent, rows: Sequence[AgentRowTime], time: int) -> tuple[set[int], int]:
        """Return the sequences of messages that expired, and when the next may expire."""
        ttl, state = live.row.message_ttl, live.state
        end = live.row.message_count if live.running is None else live.running.first_sequence
        visible = [one for one in rows if one.sequence < live.row.message_count and one.sequence not in state.forgotten]
        old, following = _split(visible, time - ttl)
        expired = {one for one in old if one < end}
        if len(expired) < len(old):
            following = -ttl  # those of the running turn expire when it ends
        return expired | await self._other_halves(live, expired), following + ttl

    async def _free_batch(self, live: LiveAgent) -> None:
        """Subtract the bytes of some of what is hidden from the agent's use."""
        async with live.lock:
            await self._agents.repository.settle(live)
            messages = live.state.unfreed_messages.first(_BATCH)
            notes = live.state.unfreed_notes.first(_BATCH)
            if live.row.deleting or not (messages or notes):
                return
            read = await self._agents.messages.read(live.id, messages) if messages else []
            freed = sum(text_size(one.text, one.function_call) for one in read)
            if notes:
                freed += await self._notes.size(live, notes)
            await self._agents.repository.commit(live, FreeBytes(messages, notes, freed))

    async def _note_times(self, live: LiveAgent, before: int) -> Sequence[RowTime]:
        condition = all_of(Equals("version", ""), Between("created", end=before))
        return await self._agents.passages.find(live.row.tenant, live.id, condition, RowTime)

    async def _other_halves(self, live: LiveAgent, expired: set[int]) -> set[int]:
        """Return the result of each call and the call of each result among messages, where only one of them expired.

        A call is near its result, so only messages near one that stays are read.
        """
        gone = live.state.forgotten.add(expired)
        kept = Ranges([(0, live.row.message_count)]).minus(gone)
        near = [(max(start - _NEAR, 0), end + _NEAR) for start, end in kept.pieces]
        edge = Ranges().union(near).minus(kept)
        halves: dict[tuple[str, str], int] = {}
        async for message in self._read(live, (one for one in sorted(expired) if one in edge)):
            for key in _calls(message):
                if halves.pop(key, None) is None:
                    halves[key] = message.sequence
        beside = Ranges().union((max(one - _NEAR, 0), one + _NEAR) for one in halves.values()).minus(gone)
        others = (one for start, end in beside.pieces for one in range(start, min(end, live.row.message_count)))
        found: set[int] = set()
        async for message in self._read(live, others):
            if any(key in halves for key in _calls(message)):
                found.add(message.sequence)
        return found

    async def _read(self, live: LiveAgent, sequences: Iterable[int]) -> AsyncIterator[Message]:
        for batch in _batches(sorted(sequences)):
            for message in await self._agents.messages.read(live.id, batch):
                yield message


def _horizon(live: LiveAgent, time: int) -> int:
    return time + min([_HORIZON, *(ttl for ttl in (live.row.message_ttl, live.row.note_ttl) if ttl)])


def _split(rows: Sequence[RowTime | AgentRowTime], last: int) -> tuple[set[int], int]:
    """Return the numbers of rows that were stored at a time or before, and the time of the first one after it."""
    old = {row.sequence for row in rows if row.created <= last}
    return old, min((row.created for row in rows if row.created > last), default=_NEVER)


def _calls(message: Message) -> Iterator[tuple[str, str]]:
    """Yield the key that a call and its result have in common, if the message is one of them."""
    if message.function_call is not None:
        yield message.turn_id, message.function_call.call_id
    elif message.role is Role.TOOL:
        yield message.turn_id, message.call_id


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
