"""The store's order of commits.

Every write of passages, and every change of what an agent can search, has a revision: a number that only grows, across
restarts too (rows keep it as `stamp`). A search is pinned to a snapshot: the last revision that was given out when it
began, once nothing up to it is still being written for the owners that the search reads. It waits for those owners
only, so that a slow write of one agent does not hide the fresh memories of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from memgpt_runtime import clock


def now() -> int:
    """Return the time in microseconds since 1970."""
    return clock.microseconds()


class Clock:
    """Gives out revisions, and tracks which of them are still being written.

    Attributes:
        last: The last revision that was given out.
        limit: Up to where revisions follow the time of day, which may be set forward; beyond it they grow by one.
    """

    def __init__(self, last: int = 0) -> None:
        """Start after a revision that was given out before."""
        self.last = self.limit = max(last, now())
        self._writing: dict[str, dict[int, asyncio.Event]] = {}

    @contextmanager
    def write(self, owner: str) -> Iterator[int]:
        """Give out a revision for a write of `owner` that lasts until the block ends."""
        self.last = revision = max(self.last + 1, min(now(), self.limit))
        done = self._writing.setdefault(owner, {})[revision] = asyncio.Event()
        try:
            yield revision
        finally:
            done.set()
            del self._writing[owner][revision]
            if not self._writing[owner]:
                del self._writing[owner]

    async def snapshot(self, owners: Collection[str]) -> int:
        """Return the last revision, once every write of `owners` up to it has ended."""
        pinned = self.last
        while True:
            pending = [
                done
                for owner in owners
                for revision, done in self._writing.get(owner, {}).items()
                if revision <= pinned
            ]
            if not pending:
                return pinned
            for done in pending:
                await done.wait()
