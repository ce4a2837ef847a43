"""A semaphore that shares its slots fairly between owners: work of one does not wait for a flood of another."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class FairSemaphore:
    """Limits concurrent holders to `slots`, plus one extra slot for an outermost owner that holds none.

    The next slot goes to the waiting owner with the fewest slots; among equals, to the one that was served longest ago.
    An owner may be part of another one, such as a load of a tenant: then tenants share the slots, and loads those of
    their tenant.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._total = 0
        # Of an owner, and of all that are part of it.
        self._held: Counter[tuple[str, ...]] = Counter()
        self._waiters: OrderedDict[tuple[str, ...], deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Number of waiters."""
        return sum(map(len, list(self._waiters.values())))

    @asynccontextmanager
    async def slot(self, *owner: str) -> AsyncIterator[None]:
        """Wait for a slot and hold it inside the context.

        Args:
            owner: Its name, after those of the owners that it is part of.
        """
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
                self._total -= 1
                self._held.subtract(_with_outer(owner))
                self._held += Counter()  # drop owners without slots
            self._grant()

    def _leave(self, owner: tuple[str, ...], waiter: asyncio.Future[None]) -> None:
        """Drop a waiter that was cancelled, which must not take its owner's turn."""
        queue = self._waiters.get(owner, deque())
        with suppress(ValueError):
            queue.remove(waiter)
        if not queue:
            self._waiters.pop(owner, None)

    def _grant(self) -> None:
        while (owner := self._next_owner()) is not None:
            granted = self._waiters[owner].popleft()
            self._put_last(owner)
            if not granted.done():  # otherwise it was cancelled a moment ago
                self._total += 1
                self._held.update(_with_outer(owner))
                granted.set_result(None)

    def _put_last(self, owner: tuple[str, ...]) -> None:
        """Note that an owner is served: put all of its outermost owner after others, and itself after these."""
        for each in [one for one in self._waiters if one[0] == owner[0] and one != owner]:
            self._waiters.move_to_end(each)
        self._waiters.move_to_end(owner)
        if not self._waiters[owner]:
            del self._waiters[owner]

    def _next_owner(self) -> tuple[str, ...] | None:
        if not self._waiters:
            return None
        owners, depth = list(self._waiters), 0
        while len(owners) > 1:
            depth += 1
            chosen = min((each[:depth] for each in owners), key=lambda each: self._held[each])  # the first among equals
            owners = [each for each in owners if each[:depth] == chosen]
        owner = owners[0]
        limit = self._slots if self._held[owner[:1]] else self._slots + 1
        return owner if self._total < limit else None


def _with_outer(owner: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the owners that one is part of, outermost first, and itself."""
    return [owner[: depth + 1] for depth in range(len(owner))]
