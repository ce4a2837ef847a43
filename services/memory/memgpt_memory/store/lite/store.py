"""The store on Milvus Lite.

Lite loses acknowledged rows when writers run concurrently, and reads can miss rows during its automatic flush: a lock
for each collection lets writers in one at a time and without readers. An engine whose write has failed is replaced.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import FailedPrecondition, ServiceError, Unavailable
from memgpt_runtime.ids import new_id

from memgpt_memory.store import filters
from memgpt_memory.store.batching import RefusedError
from memgpt_memory.store.expressions import render
from memgpt_memory.store.filters import Condition
from memgpt_memory.store.layout import RECORDS, Collection
from memgpt_memory.store.lite import disk, files
from memgpt_memory.store.lite.engine import VERSION, Engine, EngineError
from memgpt_memory.store.lite.index.search_index import SearchIndex
from memgpt_memory.store.lite.indexes import SearchIndexes
from memgpt_memory.store.lite.matches import matches_of
from memgpt_memory.store.lite.opening import disk_errors, open_file
from memgpt_memory.store.locks import ReadWriteLock
from memgpt_memory.store.mapping import columns_of, reader, to_columns
from memgpt_memory.store.port import Capabilities, Matches, Observe, Operation, StoreFile
from memgpt_memory.store.rows import Row, Vector
from memgpt_memory.store.threaded import MAX_KEYS, ThreadedStore

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_R = TypeVar("_R", bound=Row)

Sync = Literal["always", "interval", "never"]
"""When writes are synced: before each is acknowledged, at intervals, or when the operating system decides."""

SYNC_SECONDS = 1.0
"""Default interval between two syncs."""

FEW_DELETIONS = 20_000
"""Deletions of a collection that are kept without a look at which of them are needed."""

REOPEN_SECONDS = 1.0
"""Pause between two attempts to open the file again."""


class LiteStore(ThreadedStore):
    """See `Store`."""

    def __init__(
        self, path: Path, *, observe: Observe, sync: Sync = "always", sync_seconds: float = SYNC_SECONDS
    ) -> None:
        """Prepare; `open` opens the file.

        Args:
            path: The Lite file, a folder that may be missing.
            sync: When writes are synced to the disk, so that they survive a power cut.
            sync_seconds: The interval of ``sync="interval"``.
            observe: Called with the kind and the duration of every call.
        """
        # Lite works under the interpreter's lock: more threads would only wait for each other.
        super().__init__(
            Capabilities("milvus-lite", VERSION, full_text=True, exclusive=True), threads=4, observe=observe
        )
        self._path = path
        self._sync = sync
        self._sync_seconds = sync_seconds
        self._unsynced: set[str] = set()
        self._syncing: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._locks: dict[str, ReadWriteLock] = {}
        self._suspect = False
        self._reopening: asyncio.Task[None] | None = None
        self._compacting = asyncio.Lock()
        self._indexes = SearchIndexes(path)
        self._most_deletions: dict[str, int] = {}

    async def open(self, collections: Iterable[Collection]) -> None:
        """See `Store`."""
        self._check_engine()
        if self._engine is None:
            self._engine = await self._run(partial(open_file, self._path, durable=self._sync != "never"))
            await self._run(lambda: files.remove_snapshots(self._path))
            if self._sync == "interval":
                self._syncing = asyncio.create_task(self._sync_regularly())
        for collection in collections:
            if collection.name not in self._ready:
                await self._run(partial(self._load, collection))
                await self._change(partial(self._prepare, collection))
                self._ready[collection.name] = collection

    async def close(self) -> None:
        """See `Store`."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        async with self._no_calls(self._ready.values()):
            await asyncio.get_running_loop().run_in_executor(self._threads, self._close_file)
        self._threads.shutdown(wait=False)

    async def has(self, collection: Collection) -> bool:
        """See `Store`."""
        return await self._run(lambda: self._open_engine.has(collection.name))

    async def drop(self, collection: Collection) -> None:
        """See `Store`."""
        self._forget(collection)
        async with self._writing(collection, Operation.DROP):
            await self._change(partial(self._drop_now, collection.name))

    async def count(self, collection: Collection) -> int:
        """See `Store`."""
        async with self._reading(collection, Operation.QUERY):
            return await self._run(lambda: self._open_engine.count(collection.name))

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
        read, columns = reader(row), columns_of(row)
        found: dict[str, _R] = {}
        for start in range(0, len(ids), MAX_KEYS):
            chunk = list(ids[start : start + MAX_KEYS])
            async with self._reading(collection, Operation.GET):
                rows = await self._run(
                    lambda chunk=chunk: self._open_engine.get(  # type: ignore[misc]
                        collection.name, chunk, columns, partitions
                    )
                )
            for one in map(read, rows):
                found[one.id] = one
        return found

    async def vectors(self, collection: Collection, ids: Sequence[str], *, partition: str) -> dict[str, Vector]:
        """See `Store`. The search index has them; the rows that Lite keeps in memory do not."""
        index = await self._index(collection)
        async with self._reading(collection, Operation.GET):
            return await self._run(lambda: index.vectors(partition, ids))

    async def query(
        self,
        collection: Collection,
        where: Condition,
        row: type[_R],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> list[_R]:
        """See `Store`."""
        rest = filters.exact(where)
        holds, read = filters.for_mappings(rest), reader(row)
        columns = sorted({*columns_of(row), *filters.columns_of(rest)})
        async with self._reading(collection, Operation.QUERY):
            rows = await self._run(
                lambda: self._open_engine.query(collection.name, render(filters.broad(where)), columns, partitions)
            )
        found = {one.id: one for one in map(read, filter(holds, rows))}  # earlier versions could write a row twice
        return [found[id_] for id_ in sorted(found)]

    async def search(
        self,
        collection: Collection,
        vector: Vector,
        where: Condition,
        row: type[_R],
        *,
        partitions: Sequence[str],
        limit: int,
        score_at_most: float | None = None,
    ) -> Matches[_R]:
        """See `Store`."""
        index = await self._index(collection)
        async with self._reading(collection, Operation.SEARCH):
            return await self._run(
                lambda: matches_of(
                    self._open_engine,
                    collection,
                    row,
                    where,
                    partitions,
                    index,
                    index.search(vector, where, partitions, limit),
                )
            )

    async def search_words(
        self,
        collection: Collection,
        words: Sequence[str],
        where: Condition,
        row: type[_R],
        *,
        partitions: Sequence[str],
        limit: int | None,
    ) -> Matches[_R]:
        """See `Store`."""
        index = await self._index(collection)
        async with self._reading(collection, Operation.SEARCH_WORDS):
            return await self._run(
                lambda: matches_of(
                    self._open_engine,
                    collection,
                    row,
                    where,
                    partitions,
                    index,
                    index.search_words(words, where, partitions, limit),
                )
            )

    async def _index(self, collection: Collection) -> SearchIndex:
        """Return the search index of a collection, rebuilt if it was found to be damaged."""
        index = self._indexes.by_name.get(collection.name)
        if index is None:
            self._check_engine()
            raise reasons.store_unavailable(f"the Milvus Lite file {self._path} is not open yet; retry later")
        if index.damaged:
            async with self._writing(collection, Operation.SEARCH):
                if index.damaged:
                    await self._change(partial(self._indexes.rebuild, self._open_engine, collection))
        return index

    async def delete(
        self, collection: Collection, ids: Sequence[str], *, partition: str | None = None, unread: bool = False
    ) -> None:
        """See `Store`."""
        for start in range(0, len(ids), MAX_KEYS):
            chunk = list(ids[start : start + MAX_KEYS])
            async with self._writing(collection, Operation.DELETE):
                await self._change(partial(self._delete_now, collection, chunk, partition, durably=not unread))

    async def compact(self) -> None:
        """See `Store`."""
        async with self._compacting:
            for collection in list(self._ready.values()):
                await self._compact(collection)
            await self._run(lambda: self._open_engine.settle())

    async def size(self) -> int:
        """See `Store`."""
        return await self._run(lambda: files.size_of(self._path))

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[list[StoreFile]]:
        """See `Store`."""
        folder = self._path / files.SNAPSHOTS / new_id("backup")
        try:
            await self._run(lambda: self._open_engine.settle())
            async with self._no_calls(self._ready.values()):
                self._check_engine()
                linked = await self._run(lambda: self._open_engine.link(self._path, folder))
            yield linked
        except OSError as error:
            raise reasons.store_unavailable(
                f"the files of {self._path} cannot be linked or read; retry later"
            ) from error
        finally:
            await self._run(partial(shutil.rmtree, folder, ignore_errors=True))

    async def _compact(self, collection: Collection) -> None:
        name = collection.name
        async with self._writing(collection, Operation.COMPACT):
            flushed = await self._change(lambda: self._open_engine.flush(name))
        # Locked piece by piece, as a reader: others continue, but nothing drops the collection or reopens the file.
        async with self._reading(collection, Operation.COMPACT):
            partitions = await self._run(lambda: self._open_engine.partitions(name))
        for partition in partitions:
            async with self._reading(collection, Operation.COMPACT):
                size = self._open_engine.size_of_partition(name, partition)
                disk.check_room(self._path, disk.LAST_ROOM_BYTES + size)
                await self._change(
                    lambda partition=partition: self._open_engine.rewrite(name, partition)  # type: ignore[misc]
                )
        async with self._reading(collection, Operation.COMPACT):
            if collection.searched:  # first: an index that was behind could no longer learn of the deletions
                await self._run(partial(self._indexes.compact, collection))
            await self._change(lambda: self._open_engine.drop_deletions(name, flushed))

    async def _upsert_now(self, collection: Collection, rows: Sequence[Row], partition: str | None) -> None:
        # Records also note deletions and the ends of turns.
        room = disk.LAST_ROOM_BYTES if collection is RECORDS else disk.ROOM_BYTES
        async with self._writing(collection, Operation.UPSERT, room=room):
            await self._change(partial(self._write_now, collection, rows, partition))
        self.rows_written[collection.name] += len(rows)

    def _write_now(self, collection: Collection, rows: Sequence[Row], partition: str | None) -> None:
        self._forget_deletions(collection)
        engine, name = self._open_engine, collection.name
        engine.write(name, to_columns(collection, rows), partition)
        if collection.searched:
            self._indexes.by_name[name].put(partition or "", rows, engine.last_write(name))
        self._sync_now(name)

    def _delete_now(self, collection: Collection, ids: list[str], partition: str | None, *, durably: bool) -> None:
        self._forget_deletions(collection)
        engine, name = self._open_engine, collection.name
        engine.delete(name, ids, partition)
        if collection.searched:
            self._indexes.by_name[name].delete(partition, ids, engine.last_write(name))
        if durably:
            self._sync_now(name)

    def _forget_deletions(self, collection: Collection) -> None:
        """Forget deletions that hide nothing any more, each time that there are twice as many as were needed."""
        engine, name = self._open_engine, collection.name
        if engine.deletions(name) > self._most_deletions.get(name, FEW_DELETIONS):
            # An index of which a crash loses a part takes in later deletions again.
            through = self._indexes.by_name[name].in_files if collection.searched else engine.last_write(name)
            left = engine.forget_deletions(name, through)
            self._most_deletions[name] = max(FEW_DELETIONS, 2 * left)

    def _sync_now(self, name: str) -> None:
        """Sync a write if every write must be synced; concurrent callers share writes, and so the sync."""
        if self._sync == "always":
            self._open_engine.sync(name)
        else:
            self._unsynced.add(name)

    async def _sync_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._sync_seconds)
            await self._sync_written()

    async def _sync_written(self) -> None:
        """Sync what was written since the last sync."""
        for collection in [self._ready[name] for name in list(self._unsynced) if name in self._ready]:
            try:
                async with self._writing(collection, Operation.UPSERT, room=disk.SYNC_ROOM_BYTES):
                    self._unsynced.discard(collection.name)
                    await self._change(partial(self._open_engine.sync, collection.name))
            except ServiceError as error:
                self._unsynced.add(collection.name)
                _log.warning("lite_sync_failed", path=str(self._path), error=str(error))

    @asynccontextmanager
    async def _reading(self, collection: Collection, operation: Operation) -> AsyncIterator[None]:
        self._check_engine()
        async with self._lock(collection).read():
            self._check_engine()
            with self._timed(operation):
                yield

    @asynccontextmanager
    async def _writing(
        self, collection: Collection, operation: Operation, *, room: int = disk.LAST_ROOM_BYTES
    ) -> AsyncIterator[None]:
        self._check_engine()
        async with self._lock(collection).write():
            self._check_engine()
            disk.check_room(self._path, room)
            with self._timed(operation):
                yield

    @asynccontextmanager
    async def _no_calls(self, collections: Iterable[Collection]) -> AsyncIterator[None]:
        """Keep every call to some collections out."""
        async with AsyncExitStack() as stack:
            for collection in list(collections):
                await stack.enter_async_context(self._lock(collection).write())
            yield

    def _lock(self, collection: Collection) -> ReadWriteLock:
        return self._locks.setdefault(collection.name, ReadWriteLock())

    async def _change(self, write: Callable[[], _T]) -> _T:
        """Run a write in a thread. A failed write makes the engine unfit for any other call (see `engine`)."""

        def change() -> _T:
            try:
                return write()
            except RefusedError:
                raise
            except BaseException:
                self._suspect = True
                raise

        return await self._run(change)

    def _fail(self, error: Exception) -> NoReturn:
        if not isinstance(error, EngineError):
            raise error
        _log.warning("lite_failed", path=str(self._path), error=str(error)[:500])
        raise reasons.store_unavailable(
            f"the Milvus Lite file {self._path} could not be used; retry later", retry_after=2
        ) from error

    @property
    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise reasons.store_unavailable(f"the Milvus Lite file {self._path} is not open yet; retry later")
        return self._engine

    def _check_engine(self) -> None:
        if not self._suspect:
            return
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen())
        raise reasons.store_unavailable(
            f"a write to the Milvus Lite file {self._path} failed and the file is being reopened; retry later",
            retry_after=1,
        )

    async def _reopen(self) -> None:
        """Abandon the engine and open the file again, until that works."""
        collections = list(self._ready.values())
        while True:
            async with self._no_calls(collections):
                try:
                    await self._run(self._close_file)
                    self._engine = await self._run(partial(open_file, self._path, durable=self._sync != "never"))
                    for collection in collections:
                        await self._run(partial(self._load, collection))
                        await self._run(partial(self._prepare, collection))
                except (FailedPrecondition, Unavailable) as error:
                    _log.error("lite_reopen_failed", path=str(self._path), error=str(error))
                else:
                    self._suspect = False
                    _log.warning("lite_reopened", path=str(self._path))
                    return
            await asyncio.sleep(REOPEN_SECONDS)

    def _drop_now(self, name: str) -> None:
        self._indexes.drop(name)
        self._open_engine.drop(name)

    def _close_file(self) -> None:
        """Close the file; an engine that a failed write has made unfit is not flushed."""
        engine, self._engine = self._engine, None
        if engine is not None:
            (engine.abandon if self._suspect else engine.close)()
        self._indexes.close(keep=not self._suspect)

    def _load(self, collection: Collection) -> None:
        """Read a collection's files, if it exists; for errors, see `disk_errors`."""
        with disk_errors(self._path, collection):
            self._open_engine.load(collection)

    def _prepare(self, collection: Collection) -> None:
        """Create what is missing of a collection that was loaded, and open its search index.

        This writes and flushes: when it fails, the engine is unfit, as after any failed write.
        """
        self._open_engine.prepare(collection)
        if collection.searched:
            self._indexes.open(self._open_engine, collection)
