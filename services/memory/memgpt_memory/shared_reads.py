"""Reads by id that concurrent callers share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SharedReads(Generic[_T]):
    """Reads by id into a cache: what is being read is not read a second time, but waited for.

    So nobody can change or delete something, and drop it from the cache, before an older read of it has ended.
    """

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Mapping[str, _T]]]) -> None:
        """Read with `read`, which returns what exists, by id."""
        self._read = read
        self._reading: dict[str, asyncio.Task[Mapping[str, _T]]] = {}

    async def get(self, ids: Sequence[str]) -> dict[str, _T]:
        """Return what exists, by id. A read goes on if its caller is cancelled: others may wait for it."""
        fresh = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._reading]
        if fresh:
            task = asyncio.create_task(self._run(fresh))
            self._reading.update(dict.fromkeys(fresh, task))
            task.add_done_callback(lambda _: self._end(fresh))
        waiting = [asyncio.shield(task) for task in dict.fromkeys(self._reading[id_] for id_ in ids)]
        found: dict[str, _T] = {}
        for read in await asyncio.gather(*waiting):
            found |= read
        return {id_: found[id_] for id_ in ids if id_ in found}

    async def _run(self, ids: Sequence[str]) -> Mapping[str, _T]:
        return await self._read(ids)

    def _end(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            del self._reading[id_]
