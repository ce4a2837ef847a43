"""The end of messages and notes whose time to live has passed.

Before an agent is read, a commit hides what has expired since, as if it had been forgotten and deleted; so every read
agrees on what exists. A background task hides what nobody reads, and deletes the rows of what is hidden. It finds them
by their times, so that what a failure or a crash interrupts is completed by its next pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog
from memgpt_runtime.errors import NotFound, ServiceError

from memgpt_memory.agents import AgentNotes, Agents, Expire, LiveAgent
from memgpt_memory.clock import now
from memgpt_memory.messages import Message, Role, text_size
from memgpt_memory.recall._recall import Recall
from memgpt_memory.store.filters import Between, Equals, all_of
from memgpt_memory.store.rows import RowTime
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
        due: When something may expire next, in microseconds since 1970.
    """

    lifetimes: tuple[int, int]
    due: int


class Expiry:
    """Forgets the messages and deletes the notes whose time to live has passed."""

    def __init__(self, agents: Agents, notes: AgentNotes, recall: Recall) -> None:
        """Delete from `agents` and `notes`, and what `recall` derives from them."""
        self._agents = agents
        self._notes = notes
        self._recall = recall
        self._looks: dict[str, _Look] = {}
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

    async def hide(self, live: LiveAgent) -> None:
        """Hide what has expired of an agent, except for messages of its running turn.

        Raises:
            Unavailable: The store failed, and it is not known what has expired.
        """
        if self._is_due(live):
            with suppress(NotFound):  # deleted in the meantime, which the caller finds out itself
                await run_to_end(self._hide(live))

    async def remove(self, live: LiveAgent, *, any_lifetime: bool = False) -> None:
        """Delete the rows of what has expired and is hidden, in batches.

        Args:
            live: The agent.
            any_lifetime: Whether something was hidden under a time to live that may have been changed or unset since.
        """
        repository, row = self._agents.repository, live.row
        if row.message_ttl or (any_lifetime and live.state.forgotten):
            before = now() - row.message_ttl + 1
            messages = await repository.messages.times(live.id, before)
            for batch in _batches([one.id for one in messages if one.sequence in live.state.forgotten]):
                await repository.messages.delete(batch)
            await self._recall.drop_older(live, before)
        if row.note_ttl or (any_lifetime and live.state.dead_notes):
            notes = await self._note_times(live, now() - row.note_ttl + 1)
            for batch in _batches([one.id for one in notes if one.sequence in live.state.dead_notes]):
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
        due = {agent_id for agent_id, look in self._looks.items() if look.due <= time}
        for agent_id in sorted(due | self._unremoved):
            unremoved = agent_id in self._unremoved
            self._unremoved.discard(agent_id)
            try:
                found = await self._agents.find_many([agent_id])
                for live in found:
                    await self.hide(live)
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
        return look is None or look.lifetimes != lifetimes or look.due <= now()

    async def _hide(self, live: LiveAgent) -> None:
        async with live.lock:
            await self._agents.repository.settle(live)
            if not self._is_due(live):  # another reader was first
                return
            row, time = live.row, now()
            horizon = time + min(_HORIZON, *(ttl for ttl in (row.message_ttl, row.note_ttl) if ttl))
            messages, next_message = await self._expired_messages(live, time, horizon)
            notes, next_note = await self._expired_notes(live, time, horizon)
            if messages or notes:
                freed = sum([text_size(one.text, one.function_call) async for one in self._read(live, messages)])
                for batch in _batches(sorted(notes)):
                    freed += await self._notes.size(live, batch)
                await self._agents.repository.commit(live, Expire(messages, notes, freed))
                self._unremoved.add(live.id)
                self._wake.set()
            self._looks[live.id] = _Look((row.message_ttl, row.note_ttl), min(next_message, next_note))

    async def _expired_messages(self, live: LiveAgent, time: int, horizon: int) -> tuple[set[int], int]:
        """Return the sequences of messages that expired, and when the next may expire."""
        ttl, state = live.row.message_ttl, live.state
        if not ttl:
            return set(), horizon
        end = live.row.message_count if live.running is None else live.running.first_sequence
        rows = await self._agents.messages.times(live.id, horizon - ttl)
        visible = [one for one in rows if one.sequence < live.row.message_count and one.sequence not in state.forgotten]
        old, following = _split(visible, time - ttl)
        expired = {one for one in old if one < end}
        if len(expired) < len(old):
            following = -ttl  # those of the running turn expire when it ends
        return expired | await self._other_halves(live, expired), min(following + ttl, horizon)

    async def _expired_notes(self, live: LiveAgent, time: int, horizon: int) -> tuple[set[int], int]:
        """Return the numbers of notes that expired, and when the next may expire."""
        ttl, dead = live.row.note_ttl, live.state.dead_notes
        if not ttl:
            return set(), horizon
        rows = await self._note_times(live, horizon - ttl)
        visible = [one for one in rows if one.sequence < live.row.next_note and one.sequence not in dead]
        old, following = _split(visible, time - ttl)
        return old, min(following + ttl, horizon)

    async def _note_times(self, live: LiveAgent, before: int) -> Sequence[RowTime]:
        condition = all_of(Equals("version", ""), Between("created", end=before))
        return await self._agents.passages.find(live.row.tenant, live.id, condition, RowTime)

    async def _other_halves(self, live: LiveAgent, expired: set[int]) -> set[int]:
        """Return the result of each call and the call of each result among messages, where only one of them expired."""
        halves: dict[tuple[str, str], int] = {}
        async for message in self._read(live, expired):
            for key in _calls(message):
                if halves.pop(key, None) is None:
                    halves[key] = message.sequence
        found: set[int] = set()
        for key, sequence in halves.items():
            near = range(max(sequence - _NEAR, 0), min(sequence + _NEAR, live.row.message_count))
            others = [one for one in near if one not in expired and one not in live.state.forgotten]
            async for message in self._read(live, others):
                if key in _calls(message):
                    found.add(message.sequence)
        return found

    async def _read(self, live: LiveAgent, sequences: Iterable[int]) -> AsyncIterator[Message]:
        for batch in _batches(sorted(sequences)):
            for message in await self._agents.messages.read(live.id, batch):
                yield message


def _split(rows: Sequence[RowTime], last: int) -> tuple[set[int], int]:
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
