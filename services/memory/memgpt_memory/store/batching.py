"""Concurrent writes to one collection, gathered into few large ones.

Milvus takes hundreds of rows in one upsert for little more than the price of one. While an upsert is in progress,
arriving rows wait together, and the next upsert takes all of them. Where several callers have rows, it waits a moment
for more. A busy process writes few large batches instead of many small ones, and a lone caller does not wait. Each
caller returns when its own rows are stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from memgpt_runtime import reasons

from memgpt_memory.store.rows import Row

_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.001, 0.005


class RefusedError(Exception):
    """The backend refused a request because of its content; nothing was changed, and retrying does not help."""


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[Row]
    done: asyncio.Future[None]

    def fail(self, error: BaseException) -> None:
        if not self.done.cancelled():
            self.done.set_exception(error)
            self.done.exception()  # a cancelled caller must not cause a warning

    def succeed(self) -> None:
        if not self.done.cancelled():
            self.done.set_result(None)


class Batcher:
    """Gathers the upserts of one collection and partition.

    A failed batch fails for every caller in it: each caller's rows may be stored in whole, in part, or not at all. A
    batch that was refused for its content is written again caller by caller, so that only the caller of the bad row
    fails.

    Attributes:
        rows_waiting: Rows that wait for the next upsert.
    """

    def __init__(self, upsert: Callable[[Sequence[Row]], Awaitable[None]], *, max_rows: int, max_waiting: int) -> None:
        """Gather calls of `upsert`.

        Args:
            upsert: Writes rows with distinct keys. Two rows with one key never share a batch, so the later one wins.
            max_rows: Maximum number of rows of one upsert, unless a single call brings more.
            max_waiting: Maximum number of rows that may wait.
        """
        self._upsert = upsert
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._waiting: list[_Waiting] = []
        self.rows_waiting = 0
        self._worker: asyncio.Task[None] | None = None

    async def write(self, rows: Sequence[Row]) -> None:
        """Write rows and return when they are stored.

        Raises:
            ResourceExhausted: Too many rows are waiting; nothing was written.
        """
        if self.rows_waiting and self.rows_waiting + len(rows) > self._max_waiting:
            raise reasons.overloaded("too many writes are waiting for Milvus; retry later", limit=self._max_waiting)
        waiting = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.rows_waiting += len(rows)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        # A cancelled caller leaves its rows to be written: their owner treats them as uncertain.
        await waiting.done

    async def _work(self) -> None:
        while self._waiting:
            await self._gather()
            batch = self._take()
            try:
                await self._write(batch)
            except BaseException as error:
                for waiting in batch:
                    waiting.fail(error)
                if not isinstance(error, Exception):
                    raise
            else:
                for waiting in batch:
                    waiting.succeed()

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            await self._upsert([row for waiting in batch for row in waiting.rows])
        except RefusedError:
            if len(batch) == 1:
                raise
            for waiting in list(batch):
                try:
                    await self._upsert(waiting.rows)
                except RefusedError as error:
                    waiting.fail(error)
                    batch.remove(waiting)

    async def _gather(self) -> None:
        """Wait while more rows arrive, but only where several callers write, and not for long."""
        await asyncio.sleep(0)  # callers of the previous batch may have more to write
        end, callers = time.monotonic() + _LONGEST_WAIT_SECONDS, 1
        while callers < len(self._waiting) and self.rows_waiting < self._max_rows and time.monotonic() < end:
            callers = len(self._waiting)
            await asyncio.sleep(_WAIT_SECONDS)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        keys: set[str] = set()
        count = 0
        while self._waiting:
            rows = self._waiting[0].rows
            its_keys = {row.id for row in rows}
            if batch and (count + len(rows) > self._max_rows or keys & its_keys):
                break
            batch.append(self._waiting.pop(0))
            keys |= its_keys
            count += len(rows)
        self.rows_waiting -= count
        return batch
