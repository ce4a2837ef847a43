"""The in-memory form of an agent: its state, the lock for its writes, its queue and the end of its lease."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from memgpt_memory.agents._rows import AgentRow, TurnRow
from memgpt_memory.agents._state import AgentState
from memgpt_memory.agents._turn_state import RunningTurn

LEASE_SECONDS = 10.0
"""Default duration of a lease that is not renewed."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A turn that waits in an agent's queue.

    Attributes:
        key: Key of the turn's row.
        fingerprint: Digest of its request.
        cancelled: Whether it must no longer begin.
        kept_for: 0 while the caller waits. If the caller got the lease of a turn whose holder had died, the epoch of
            that lease: the waiter keeps its place until the caller has ended that turn, or it expires.
    """

    key: str
    fingerprint: bytes = b""
    cancelled: bool = False
    kept_for: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A commit that is being written, or whose outcome is not known.

    Attributes:
        messages: Keys of its messages.
        notes: Keys of its passages.
        texts: Keys of its texts.
        committing: Whether the agent's row was written too, so that the commit may have taken effect.
    """

    messages: Sequence[str]
    notes: Sequence[str]
    texts: Sequence[str]
    committing: bool = False


@dataclass(slots=True, eq=False, weakref_slot=True)
class LiveAgent:
    """An agent in the cache. Only `AgentRepository.commit`, under `lock`, replaces its state.

    Attributes:
        state: The agent as its last commit left it.
        lock: Held while writing.
        attempt: A failed commit: its rows must be deleted, or it must be found to have taken effect, before the next
            one. None if the last commit succeeded.
        queue: Turns that wait, in order of arrival.
        lease_ends: When the lease ends, on the monotonic clock; only meaningful while a turn is running.
        turn_row: The row that was written when the last turn began, if it is known.
        recent_notes: For each of the last commits with notes, its revision and the number of its first note.
    """

    state: AgentState
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    attempt: Attempt | None = None
    queue: list[Waiter] = field(default_factory=list)
    lease_ends: float = 0.0
    turn_row: TurnRow | None = None
    recent_notes: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=256))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _watchers: int = 0

    @property
    def id(self) -> str:
        """The agent's id."""
        return self.state.id

    @property
    def row(self) -> AgentRow:
        """The committed row; not to be changed."""
        return self.state.row

    @property
    def uncertain(self) -> bool:
        """Whether the agent's row must be read again, since a failed write of it may have taken effect."""
        return self.attempt is not None and self.attempt.committing

    @property
    def running(self) -> RunningTurn | None:
        """The turn that has not ended, if any."""
        turn = self.state.turn
        return turn if isinstance(turn, RunningTurn) else None

    @property
    def lease_seconds_left(self) -> float:
        """Seconds for which the lease holds; negative after its end."""
        return self.lease_ends - time.monotonic()

    @property
    def leased(self) -> bool:
        """Whether a worker holds the lease of the running turn."""
        return self.running is not None and self.lease_seconds_left > 0

    @property
    def idle(self) -> bool:
        """Whether nothing waits for it, so that it may be dropped from the cache."""
        return not (self.lock.locked() or self.head() or self._watchers or self.leased or self.attempt)

    def notes_at(self, snapshot: int) -> int:
        """Return the number below which notes belong to a snapshot that was taken a moment ago."""
        end = self.row.next_note
        for revision, first in reversed(self.recent_notes):
            if revision <= snapshot:
                break
            end = first
        return end

    def keep_lease(self, seconds: float) -> None:
        """Extend the lease to `seconds` from now."""
        self.lease_ends = time.monotonic() + seconds

    def head(self) -> Waiter | None:
        """Return the next turn, after dropping the places kept for callers that did not come back in time."""
        held = self.row.epoch if self.lease_seconds_left > 0 else -1
        self.queue[:] = [waiter for waiter in self.queue if waiter.kept_for in (0, held)]
        return self.queue[0] if self.queue else None

    def notify(self) -> None:
        """Wake all tasks that wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, within: float | None = None) -> None:
        """Return at the next change, or when `within` seconds have passed."""
        self._watchers += 1
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._watchers -= 1
