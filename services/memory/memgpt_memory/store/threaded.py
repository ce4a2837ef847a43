"""The common part of adapters over a blocking client: threads, batches of writes, times, open collections."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from memgpt_runtime import tracing
from memgpt_runtime.errors import Unavailable

from memgpt_memory.store.batching import Batcher
from memgpt_memory.store.layout import Collection
from memgpt_memory.store.mapping import check_distinct
from memgpt_memory.store.port import Capabilities, Observe, Operation
from memgpt_memory.store.rows import Key, Row
from memgpt_memory.tasks import run_to_end

_T = TypeVar("_T")
_R = TypeVar("_R", bound=Row)

MAX_KEYS = 1_000
"""Maximum number of keys of one call."""

_ATTRIBUTES = {each: {"db.system.name": "milvus", "db.operation.name": each.value} for each in Operation}
"""Attributes of the spans of calls."""

_MAX_BATCH_ROWS = 512
_MAX_WAITING_ROWS = 20_000


class ThreadedStore(ABC):
    """Base of the adapters for Milvus.

    Attributes:
        capabilities: What the backend is and can do.
        rows_written: Rows written so far, by collection.
    """

    def __init__(self, capabilities: Capabilities, *, threads: int, observe: Observe) -> None:
        """Prepare threads.

        Args:
            capabilities: What is known of the backend before it is open.
            threads: How many calls may run at a time.
            observe: Called with the kind and the duration of every call.
        """
        self.capabilities = capabilities
        self.rows_written: Counter[str] = Counter()
        self._observe = observe
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="milvus")
        self._batchers: dict[tuple[str, str | None], Batcher] = {}
        self._ready: dict[str, Collection] = {}

    @property
    def rows_waiting(self) -> int:
        """See `Store`."""
        return sum(batcher.rows_waiting for batcher in list(self._batchers.values()))

    def is_open(self, collection: Collection) -> bool:
        """See `Store`."""
        return collection.name in self._ready

    async def ping(self) -> None:
        """See `Store`. A server that comes back responds long before it has loaded its collections."""
        for collection in list(self._ready.values()):
            try:
                await self.get(collection, ["ping"], Key)
            except Unavailable:
                if collection.name in self._ready:  # else it was dropped in the meantime
                    raise

    async def upsert(self, collection: Collection, rows: Sequence[Row], *, partition: str | None = None) -> None:
        """See `Store`."""
        if not rows:
            return
        check_distinct(rows)
        batcher = self._batchers.get((collection.name, partition))
        if batcher is None:

            async def write(batch: Sequence[Row]) -> None:
                await self._upsert_now(collection, batch, partition)

            batcher = self._batchers[collection.name, partition] = Batcher(
                write, max_rows=_MAX_BATCH_ROWS, max_waiting=_MAX_WAITING_ROWS
            )
        await batcher.write(rows)

    @abstractmethod
    async def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        row: type[_R],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> dict[str, _R]:
        """See `Store`."""

    @abstractmethod
    async def _upsert_now(self, collection: Collection, rows: Sequence[Row], partition: str | None) -> None:
        """Write a batch.

        Raises:
            RefusedError: Its content was refused, and nothing was written.
        """

    @abstractmethod
    def _fail(self, error: Exception) -> NoReturn:
        """Raise the service error that corresponds to an error of the backend, or the error itself if there is none."""

    def _forget(self, collection: Collection) -> None:
        """Drop what is kept for a collection that is being dropped."""
        self._ready.pop(collection.name, None)
        for key in [key for key in self._batchers if key[0] == collection.name]:
            del self._batchers[key]

    @contextmanager
    def _timed(self, operation: Operation) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            with tracing.span(f"milvus {operation.value}", _ATTRIBUTES[operation], "client"):
                yield
        finally:
            self._observe(operation, time.perf_counter() - begin)

    async def _run(self, call: Callable[[], _T]) -> _T:
        """Run a blocking call in a thread, to its end even if the caller is cancelled: locks must outlive the call."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, call)
        try:
            return await run_to_end(running)
        except Exception as error:  # noqa: BLE001 - raised again, perhaps as another
            self._fail(error)
