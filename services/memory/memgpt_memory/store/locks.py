"""A lock for many readers or one writer, served in order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class ReadWriteLock:
    """A lock for many readers or one writer. Waiters are served in order, so that neither side starves."""

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Hold the lock together with other readers."""
        await self._acquire(writer=False)
        try:
            yield
        finally:
            self._readers -= 1
            self._admit()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        """Hold the lock alone."""
        await self._acquire(writer=True)
        try:
            yield
        finally:
            self._writing = False
            self._admit()

    async def _acquire(self, *, writer: bool) -> None:
        if not self._waiting and self._free(writer):
            self._take(writer)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((writer, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted at the moment of the cancellation
                if writer:
                    self._writing = False
                else:
                    self._readers -= 1
            else:
                with suppress(ValueError):  # passed over by a lock that was released since
                    self._waiting.remove((writer, turn))
            self._admit()
            raise

    def _free(self, writer: bool) -> bool:
        return not self._writing and not (writer and self._readers)

    def _take(self, writer: bool) -> None:
        if writer:
            self._writing = True
        else:
            self._readers += 1

    def _admit(self) -> None:
        while self._waiting and self._free(self._waiting[0][0]):
            writer, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._take(writer)
                turn.set_result(None)
