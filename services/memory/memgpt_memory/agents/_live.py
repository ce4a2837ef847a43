"""An agent as this process holds it: the cached state, the lock for its writes, its queue and its lease."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from dataclasses import dataclass, field

from memgpt_memory.agents._ranges import Ranges
from memgpt_memory.agents._rewinds import Rewinds
from memgpt_memory.agents._rows import AgentRow, Block, BlockRef, CurrentTurn, Link, ToolServer, TurnRow

LEASE_SECONDS = 10.0
"""How long a lease holds unless renewed, if nothing else is configured."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in an agent's queue.

    Attributes:
        key: The turn that waits.
        fingerprint: Digest of its request.
        cancelled: Whether it is not to begin any more.
        kept_for: Epoch of the lease that was given to its caller for another turn, whose holder had died: the place is
            kept while that lease holds, since the caller comes back when that turn has ended. 0 while the caller waits.
    """

    key: str
    fingerprint: bytes = b""
    cancelled: bool = False
    kept_for: int = 0


@dataclass(slots=True)
class LiveAgent:
    """An agent's cached state. Change `row` and the texts only by `Agents.commit`, under `lock`.

    Attributes:
        id: The agent.
        row: The committed row.
        blocks: Values of its blocks by label.
        system: Its instructions.
        summary: The recursive summary.
        links: Attached sources, in order.
        tools: Functions that run elsewhere, by address, in order.
        dead_notes: Numbers of deleted notes.
        rewinds: Messages that were taken back.
        lock: Held by whoever writes.
        uncertain: Rows that a failed write may have left; to be cleared away before their numbers are used again.
        stale: Whether the row must be read again: a write of it failed, and may have happened.
        queue: Turns that wait, in order of arrival.
        lease_ends: On the monotonic clock; only meaningful while a turn is running.
        turn_row: The row that was written when `row.turn` began, if it is known; that knows better how far it is.
        recent_notes: Of the last commits with notes: their stamps, and the numbers at which their notes begin.
    """

    id: str
    row: AgentRow
    blocks: dict[str, str] = field(default_factory=dict)
    system: str = ""
    summary: str = ""
    links: list[Link] = field(default_factory=list)
    tools: list[ToolServer] = field(default_factory=list)
    dead_notes: Ranges = field(default_factory=Ranges)
    rewinds: Rewinds = field(default_factory=Rewinds)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    uncertain: dict[str, list[str]] = field(default_factory=dict)
    stale: bool = False
    queue: list[Ticket] = field(default_factory=list)
    lease_ends: float = 0.0
    turn_row: TurnRow | None = None
    recent_notes: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=256))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _watchers: int = 0

    @property
    def running(self) -> CurrentTurn | None:
        """The turn that has not ended, if any."""
        turn = self.row.turn
        return turn if turn is not None and not turn.state.ended else None

    @property
    def leased(self) -> bool:
        """Whether somebody holds the lease of the running turn."""
        return self.running is not None and time.monotonic() < self.lease_ends

    @property
    def idle(self) -> bool:
        """Whether nobody waits for it, so that it may be dropped from the cache."""
        return not (self.lock.locked() or self.head() or self._watchers or self.leased or self.uncertain or self.stale)

    @property
    def note_count(self) -> int:
        """Notes that exist."""
        return self.row.next_note - self.row.dead_count

    def notes_at(self, snapshot: int) -> int:
        """The number below which notes belong to a snapshot that was taken a moment ago."""
        end = self.row.next_note
        for stamp, first in reversed(self.recent_notes):
            if stamp <= snapshot:
                break
            end = first
        return end

    @property
    def window(self) -> list[int]:
        """Sequences of the messages in the context window."""
        return [s for s in range(self.row.window_start, self.row.message_count) if s not in self.rewinds]

    def keep_lease(self, seconds: float) -> None:
        """Lets the lease hold from now on for its whole time."""
        self.lease_ends = time.monotonic() + seconds

    def head(self) -> Ticket | None:
        """Whose turn it is to be. Places that were kept for callers who did not come back in time are dropped."""
        held = self.row.epoch if time.monotonic() < self.lease_ends else -1
        self.queue[:] = [ticket for ticket in self.queue if ticket.kept_for in (0, held)]
        return self.queue[0] if self.queue else None

    def notify(self) -> None:
        """Wakes everybody that waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, within: float | None = None) -> None:
        """Returns at the next change, or when `within` seconds have passed."""
        self._watchers += 1
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._watchers -= 1

    def block(self, reference: BlockRef) -> Block:
        """A block with its value."""
        return Block(
            reference.label,
            self.blocks[reference.label],
            reference.limit,
            f"v{reference.text.version}-{reference.updated}",
            reference.updated,
            reference.read_only,
        )

    def all_blocks(self) -> list[Block]:
        """Every block, in order of creation."""
        return [self.block(reference) for reference in self.row.blocks]


def block_text_name(label: str) -> str:
    """Name under which a block's text is stored: short and plain, whatever the label."""
    return "b" + hashlib.sha256(label.encode()).hexdigest()[:10]
