"""Concurrent writes to one collection, gathered into few large ones.

Milvus takes hundreds of rows in one upsert for little more than the price of one. While an upsert is under way, rows
that arrive wait together, and the next upsert takes all of them; where several callers have rows it waits a moment for
more of them. A busy process writes few large batches instead of many small ones, and a lone caller waits for nothing.
Every caller hears of its own rows only when they are in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memgpt_runtime.errors import Reason, ResourceExhausted

Row = Mapping[str, Any]

_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.001, 0.005


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[Row]
    done: asyncio.Future[None]


class Batcher:
    """Gathers the upserts of one collection and partition.

    A failed batch fails for everyone in it: the caller's rows are then in, half in, or not in, and it must treat them
    as uncertain.

    Attributes:
        rows_waiting: Rows that wait for the next upsert.
    """

    def __init__(
        self,
        upsert: Callable[[Sequence[Row]], Awaitable[None]],
        *,
        key: str,
        max_rows: int,
        max_waiting: int,
    ) -> None:
        """Gathers calls of `upsert`.

        Args:
            upsert: Writes rows with distinct keys.
            key: Name of the primary key: two rows of one key never share a batch, so the later one wins.
            max_rows: Most rows of one upsert, unless a single call brings more.
            max_waiting: Most rows that may wait; more is RESOURCE_EXHAUSTED.
        """
        self._upsert = upsert
        self._key = key
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._waiting: list[_Waiting] = []
        self.rows_waiting = 0
        self._worker: asyncio.Task[None] | None = None

    async def write(self, rows: Sequence[Row]) -> None:
        """Writes rows and returns when they are in.

        Raises:
            ResourceExhausted: Too many rows wait already; nothing was written.
        """
        if self.rows_waiting and self.rows_waiting + len(rows) > self._max_waiting:
            raise ResourceExhausted(Reason.OVERLOADED, "Too many writes wait for Milvus; try again in a moment.")
        waiting = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.rows_waiting += len(rows)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        # A caller that is cancelled leaves its rows to be written: whoever owns them treats them as uncertain.
        await waiting.done

    async def _work(self) -> None:
        while self._waiting:
            await self._gather()
            batch = self._take()
            try:
                await self._upsert([row for waiting in batch for row in waiting.rows])
            except BaseException as error:
                for waiting in batch:
                    if not waiting.done.cancelled():
                        waiting.done.set_exception(error)
                        waiting.done.exception()  # a caller that went away must not cause a warning
                if not isinstance(error, Exception):
                    raise
            else:
                for waiting in batch:
                    if not waiting.done.cancelled():
                        waiting.done.set_result(None)

    async def _gather(self) -> None:
        """Waits while more comes, but only where several write at a time, and not for long."""
        await asyncio.sleep(0)  # whoever waited for the batch before may have more to write
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
            its_keys = {row[self._key] for row in rows}
            if batch and (count + len(rows) > self._max_rows or keys & its_keys):
                break
            batch.append(self._waiting.pop(0))
            keys |= its_keys
            count += len(rows)
        self.rows_waiting -= count
        return batch
