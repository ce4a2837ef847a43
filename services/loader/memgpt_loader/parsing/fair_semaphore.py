"""Whose file is parsed next: loads take turns, so that a small one does not wait for the end of a huge one."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets so many in at a time, and one more if it is of an owner who has none in.

    Among those who wait, the owner with the fewest in comes next; among equals, the one who has waited longest since.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._inside: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, list(self._waiting.values())))

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Waits for a place, and holds it."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        self._give()
        try:
            await place
            yield
        finally:
            if place.done() and not place.cancelled():
                self._inside[owner] -= 1
                self._inside += Counter()  # forgets owners who have none in
            self._give()

    def _give(self) -> None:
        while (owner := self._next()) is not None:
            queue = self._waiting[owner]
            place = queue.popleft()
            if queue:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]
            if not place.done():  # else it has been given up
                self._inside[owner] += 1
                place.set_result(None)

    def _next(self) -> str | None:
        if not self._waiting:
            return None
        owner = min(self._waiting, key=lambda each: self._inside[each])  # the first of equals
        most = self._places if self._inside[owner] else self._places + 1
        return owner if self._inside.total() < most else None
