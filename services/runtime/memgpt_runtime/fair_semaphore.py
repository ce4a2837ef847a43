"""A semaphore that shares its slots fairly between owners: work of one does not wait for a flood of another."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class FairSemaphore:
    """Limits concurrent holders to `slots`, plus one extra slot for an owner that holds none.

    The next slot goes to the waiting owner with the fewest slots; among equals, to the one that was served longest ago.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._held: Counter[str] = Counter()
        self._waiters: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Number of waiters."""
        return sum(map(len, list(self._waiters.values())))

    @asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it inside the context."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(owner, deque()).append(granted)
        self._grant()
        try:
            await granted
            yield
        finally:
            if granted.cancelled():
                self._leave(owner, granted)
            else:
                self._held[owner] -= 1
                self._held += Counter()  # drop owners without slots
            self._grant()

    def _leave(self, owner: str, waiter: asyncio.Future[None]) -> None:
        """Drop a waiter that was cancelled, which must not take its owner's turn."""
        queue = self._waiters.get(owner, deque())
        with suppress(ValueError):
            queue.remove(waiter)
        if not queue:
            self._waiters.pop(owner, None)

    def _grant(self) -> None:
        while (owner := self._next_owner()) is not None:
            queue = self._waiters[owner]
            granted = queue.popleft()
            if queue:
                self._waiters.move_to_end(owner)
            else:
                del self._waiters[owner]
            if not granted.done():  # otherwise it was cancelled a moment ago
                self._held[owner] += 1
                granted.set_result(None)

    def _next_owner(self) -> str | None:
        if not self._waiters:
            return None
        owner = min(self._waiters, key=lambda each: self._held[each])  # the first among equals
        limit = self._slots if self._held[owner] else self._slots + 1
        return owner if self._held.total() < limit else None
