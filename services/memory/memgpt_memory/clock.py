"""The store's order of commits.

Every write of a passage carries a stamp: a number that only grows, across restarts too. A search is pinned to a
snapshot, the last stamp given out when it began, once nothing at or below it is still being written for the owners
that it reads. Waiting for just those owners keeps a slow write of one agent from hiding the fresh memories of another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager


def now() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1_000


class Clock:
    """Gives out stamps, microseconds of the clock where that grows, and knows which are still being written."""

    def __init__(self, last: int = 0) -> None:
        """Start after a stamp that was given out before."""
        self.last = max(last, now())
        self._writing: dict[str, dict[int, asyncio.Event]] = {}

    @contextmanager
    def write(self, owner: str) -> Iterator[int]:
        """Give a stamp for a write of `owner`, which is under way until the block ends."""
        self.last = stamp = max(self.last + 1, now())
        done = self._writing.setdefault(owner, {})[stamp] = asyncio.Event()
        try:
            yield stamp
        finally:
            done.set()
            del self._writing[owner][stamp]
            if not self._writing[owner]:
                del self._writing[owner]

    async def snapshot(self, owners: Collection[str]) -> int:
        """The last stamp, once every write of `owners` at or below it has ended."""
        pinned = self.last
        while True:
            pending = [
                done for owner in owners for stamp, done in self._writing.get(owner, {}).items() if stamp <= pinned
            ]
            if not pending:
                return pinned
            for done in pending:
                await done.wait()
