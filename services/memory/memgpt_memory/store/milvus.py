"""Milvus Lite or a Milvus server behind one small asynchronous surface; the only module that imports pymilvus.

What differs between the two is kept here: Lite needs a lock around writes, since concurrent writers lose acknowledged
rows and reads can miss rows during its automatic flush; a server needs a consistency level. There a read waits until
the server knows everything up to a time. Strong ones wait for the present, 0.2 s; Session ones for this process's last
upsert of the collection. One that this process has not written to is read as of its first write to any: what was there
before is of the processes before it. After a write whose time is not known (one that failed, or a delete, which Milvus
2.3 answers without it) reads are Strong until the next upsert.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import grpc
import structlog
from memgpt_runtime.errors import FailedPrecondition, Reason, ServiceError, Unavailable
from memgpt_runtime.ids import new_id

from memgpt_memory.store import files, lite
from memgpt_memory.store.batching import Batcher
from memgpt_memory.store.filters import all_of
from memgpt_memory.store.layout import BM25, PARTITIONS, RECORDS, SPARSE, WORDS, Collection, FieldType, partition_name
from memgpt_memory.store.locks import ReadWriteLock
from memgpt_memory.tasks import run_to_end

# Read when Lite and Arrow are imported. Unflushed rows of Lite are slow to search: a small memtable is flushed early.
# Arrow's own allocator keeps what each thread has freed: the system's does with less.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(4 << 20))
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import pymilvus
from pymilvus import MilvusClient
from pymilvus.client.ts_utils import get_collection_ts
from pymilvus.exceptions import MilvusException

if TYPE_CHECKING:
    from memgpt_memory.store.batching import Row

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

SERVER_WINDOW = 16_384
"""Most rows that one query or search of a Milvus server answers."""

_READ_CHUNK = 8_192
_MAX_BATCH_ROWS = 512
_MAX_WAITING_ROWS = 20_000
_REOPEN_SECONDS = 1.0
_FLUSH_ROWS = 64

_DAMAGE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
"""What the system says of files that are not as they should be; the first is that of a library, not of the system."""

_FLUSH_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the backend is and can do.

    Attributes:
        backend: ``milvus-lite`` or ``milvus``.
        version: Its version.
        full_text: Whether it can rank by words (BM25): Lite, and servers from 2.5 on.
    """

    backend: str
    version: str
    full_text: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A row that a search found.

    Attributes:
        id: Its primary key.
        score: Inner product with the query; higher is better.
        row: The columns asked for.
    """

    id: str
    score: float
    row: Mapping[str, Any]


class Operation(Enum):
    """What Milvus is called for, as its times are told apart."""

    GET = "get"
    QUERY = "query"
    SEARCH = "search"
    SEARCH_WORDS = "search_words"
    UPSERT = "upsert"
    DELETE = "delete"
    FLUSH = "flush"
    COMPACT = "compact"
    DROP = "drop"


class Milvus:
    """The collections of one store.

    Every call raises `Unavailable` when the backend cannot be reached or does not answer in time. A write that failed
    so may have happened, in part or whole.

    Attributes:
        lite: Whether it is Milvus Lite.
        capabilities: What the backend is and can do, once it is open.
        rows_written: Rows written so far, by collection.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str = "",
        timeout: float = 10.0,
        took: Callable[[Operation, float], None] = lambda *_: None,
    ) -> None:
        """Prepares; `open` connects.

        Args:
            uri: A path ending in ``.db`` for Milvus Lite, or the URI of a server.
            token: ``user:password`` or an API key of a server.
            timeout: Seconds that a call may take.
            took: Takes the seconds of every call.
        """
        self.lite = "://" not in uri
        self._uri = uri
        self._file = Path(uri).expanduser()
        self._token = token
        self._timeout = timeout
        self._took = took
        self.rows_written: Counter[str] = Counter()
        self._client: MilvusClient | None = None
        self._engine: lite.Engine | None = None
        # Lite works under the interpreter's lock: more threads would only wait for each other.
        self._threads = ThreadPoolExecutor(max_workers=4 if self.lite else 32, thread_name_prefix="milvus")
        self._locks: dict[str, ReadWriteLock] = {}
        self._suspect = False
        self._reopening: asyncio.Task[None] | None = None
        self._compacting = asyncio.Lock()
        self._batchers: dict[tuple[str, str | None], Batcher] = {}
        self._began = 0
        self._written: set[str] = set()
        self._untimed: Counter[str] = Counter()
        self._ready: dict[str, Collection] = {}
        self._unflushed: Counter[str] = Counter()
        self._flushes: dict[str, asyncio.TimerHandle] = {}
        self._flushing: set[asyncio.Task[None]] = set()
        self.capabilities = Capabilities("milvus-lite" if self.lite else "milvus", "unknown")

    async def open(self, collections: Iterable[Collection]) -> None:
        """Connects, makes what is missing, and loads every collection. May be called again after a failure.

        Raises:
            FailedPrecondition: The Lite file is held by another process, or cannot be used.
            Unavailable: The server does not answer.
        """
        if self._client is None:
            self._client = await self._run(self._connect)
            if self.lite:  # left by a crash in the middle of a backup
                await self._run(partial(shutil.rmtree, ignore_errors=True), self._file / files.BACKUPS)
            version = await self._run(self._version)
            full_text = self.lite or _number(version) >= (2, 5)
            self.capabilities = Capabilities(self.capabilities.backend, version, full_text)
        for collection in collections:
            if collection.name not in self._ready:
                await self._run(self._prepare, collection)
                self._ready[collection.name] = collection

    async def close(self) -> None:
        """Waits for what runs, and closes the connection."""
        while self._flushes:
            self._flushes.popitem()[1].cancel()
        await asyncio.gather(*self._flushing, return_exceptions=True)
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._threads, self._disconnect)
        self._threads.shutdown(wait=False)

    async def ping(self) -> None:
        """Returns when every collection can be read: a server that comes back answers long before it has loaded them.

        Raises:
            Unavailable: One cannot.
        """
        for collection in list(self._ready.values()):
            try:
                await self.get(collection, ["ping"], [])
            except Unavailable:
                if collection.name in self._ready:  # else it was dropped meanwhile
                    raise

    @property
    def rows_waiting(self) -> int:
        """Rows that wait for a write that is under way."""
        return sum(batcher.rows_waiting for batcher in list(self._batchers.values()))

    def is_open(self, collection: Collection) -> bool:
        """Whether a collection has been opened here, and not been dropped since."""
        return collection.name in self._ready

    async def has(self, collection: Collection) -> bool:
        """Whether a collection has been made."""
        return bool(await self._run(lambda: self._connected.has_collection(collection.name, timeout=self._timeout)))

    async def drop(self, collection: Collection) -> None:
        """Drops a collection with all its rows; one that is absent is no error. Nobody may use it any more."""
        self._ready.pop(collection.name, None)
        async with self._writing(collection, Operation.DROP):
            await self._run(self._change, lambda: self._drop_now(collection.name))
        self._written.discard(collection.name)
        for key in [key for key in self._batchers if key[0] == collection.name]:
            del self._batchers[key]

    async def count(self, collection: Collection) -> int:
        """How many rows a collection has."""
        async with self._reading(collection, Operation.QUERY):
            rows = await self._run(
                lambda: self._connected.query(
                    collection.name,
                    filter="",
                    output_fields=["count(*)"],
                    timeout=self._timeout,
                    **self._consistency(collection, strong=True),
                )
            )
        return int(rows[0]["count(*)"])

    async def upsert(self, collection: Collection, rows: Sequence[Row], *, partition: str | None = None) -> None:
        """Writes whole rows under their keys; returns when they are in. Concurrent calls share upserts.

        Raises:
            ResourceExhausted: Too many rows wait already; nothing was written.
        """
        if not rows:
            return
        batcher = self._batchers.get((collection.name, partition))
        if batcher is None:

            async def write(batch: Sequence[Row]) -> None:
                await self._upsert_now(collection, batch, partition)

            batcher = self._batchers[collection.name, partition] = Batcher(
                write, key=collection.key, max_rows=_MAX_BATCH_ROWS, max_waiting=_MAX_WAITING_ROWS
            )
        await batcher.write(rows)

    async def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        fields: Sequence[str],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> dict[str, Mapping[str, Any]]:
        """Reads rows by key; absent ones are absent from the answer.

        Args:
            collection: Where.
            ids: The keys.
            fields: Columns to answer.
            partitions: Where to look; everywhere if empty.
            strong: Whether rows deleted as `unread` must be absent too: 0.2 s on a server.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(ids), 1_000):
            chunk = list(ids[start : start + 1_000])
            async with self._reading(collection, Operation.GET):
                rows = await self._run(
                    lambda chunk=chunk: self._connected.get(
                        collection.name,
                        chunk,
                        output_fields=[collection.key, *fields],
                        timeout=self._timeout,
                        partition_names=list(partitions) or None,
                        **self._consistency(collection, strong=strong),
                    )
                )
            found.update((row[collection.key], row) for row in rows)
        return found

    async def query(
        self,
        collection: Collection,
        condition: str,
        fields: Sequence[str],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> list[Mapping[str, Any]]:
        """Reads every row for which `condition` holds, in order of the key; for `strong`, see `get`."""
        rows: list[Mapping[str, Any]] = []
        last = ""
        while True:
            # A server answers in order of the key when it has a limit; Lite has no window and is asked for all at once.
            bound = all_of(condition, f'{collection.key} > "{last}"' if last else "")
            limit: dict[str, Any] = {} if self.lite else {"limit": _READ_CHUNK}
            async with self._reading(collection, Operation.QUERY):
                chunk = await self._run(
                    lambda bound=bound, limit=limit: self._connected.query(
                        collection.name,
                        filter=bound,
                        output_fields=[collection.key, *fields],
                        timeout=self._timeout,
                        partition_names=list(partitions) or None,
                        **limit,
                        **self._consistency(collection, strong=strong),
                    )
                )
            rows.extend(chunk)
            if self.lite or len(chunk) < _READ_CHUNK:
                break
            last = max(row[collection.key] for row in chunk)
        return sorted(rows, key=lambda row: str(row[collection.key]))

    async def search(
        self,
        collection: Collection,
        vector: Sequence[float],
        condition: str,
        fields: Sequence[str],
        *,
        partitions: Sequence[str],
        limit: int,
        score_at_most: float | None = None,
    ) -> list[Match]:
        """Finds the rows whose vectors have the greatest inner product with `vector`, best first.

        Args:
            collection: Where to look.
            vector: The query.
            condition: A filter.
            fields: Columns to answer.
            partitions: Where to look.
            limit: Most rows; on a server at most `SERVER_WINDOW`.
            score_at_most: Leave out better rows (a server's range search over FLAT; not on Lite).
        """
        parameters: dict[str, Any] = {"metric_type": "IP", "params": {}}
        if score_at_most is not None:
            parameters["params"] = {"radius": -2.0, "range_filter": score_at_most}
        async with self._reading(collection, Operation.SEARCH):
            answer = await self._run(
                lambda: self._connected.search(
                    collection.name,
                    [vector],
                    filter=condition,
                    limit=limit,
                    output_fields=list(fields),
                    search_params=parameters,
                    timeout=self._timeout,
                    partition_names=list(partitions),
                    anns_field=collection.vector,
                    **self._consistency(collection),
                )
            )
        return [Match(hit[collection.key], float(hit["distance"]), hit["entity"]) for hit in answer[0]]

    async def search_words(
        self,
        collection: Collection,
        words: Sequence[str],
        condition: str,
        fields: Sequence[str],
        *,
        partitions: Sequence[str],
        limit: int,
    ) -> list[Match]:
        """Finds the rows that share words with the query, best first by BM25; the score is positive on every backend.

        Args:
            collection: Where to look; it must have full text.
            words: The query's words.
            condition: A filter.
            fields: Columns to answer.
            partitions: Where to look.
            limit: Most rows; on a server at most `SERVER_WINDOW`.
        """
        if not words:
            return []
        async with self._reading(collection, Operation.SEARCH_WORDS):
            answer = await self._run(
                lambda: self._connected.search(
                    collection.name,
                    [" ".join(words)],
                    filter=condition,
                    limit=limit if self.lite else min(limit, SERVER_WINDOW),
                    output_fields=list(fields),
                    search_params={"metric_type": "BM25", "params": {}},
                    timeout=self._timeout,
                    partition_names=list(partitions),
                    anns_field=SPARSE,
                    **self._consistency(collection),
                )
            )
        # Lite gives BM25 as a distance, less than zero.
        return [Match(hit[collection.key], abs(float(hit["distance"])), hit["entity"]) for hit in answer[0]]

    async def delete(
        self, collection: Collection, ids: Sequence[str], *, partition: str | None = None, unread: bool = False
    ) -> None:
        """Deletes rows by key; absent ones are no error.

        Args:
            collection: Where.
            ids: The keys.
            partition: Where the rows lie, if that is known.
            unread: Nobody reads these rows any more, so a read that still finds them does no harm.
        """
        try:
            for start in range(0, len(ids), 1_000):
                chunk = list(ids[start : start + 1_000])
                async with self._writing(collection, Operation.DELETE):
                    await self._run(
                        self._change,
                        lambda chunk=chunk: self._connected.delete(
                            collection.name, ids=chunk, timeout=self._timeout, partition_name=partition
                        ),
                    )
        finally:
            if ids and not unread:
                self._note_untimed(collection)

    async def compact(self) -> None:
        """Writes the files anew without what was deleted or replaced; others read and write meanwhile.

        A server flushes, and is asked to compact: when it does, and when its old files go, is its own business.

        Raises:
            ResourceExhausted: The disk has no room for the new files.
        """
        async with self._compacting:
            for collection in list(self._ready.values()):
                await (self._compact_lite(collection) if self.lite else self._compact_server(collection))
            if self.lite:
                await self._run(files.settle, self._open_engine)

    async def _compact_lite(self, collection: Collection) -> None:
        name = collection.name
        async with self._writing(collection, Operation.COMPACT):
            flushed = await self._run(self._change, lambda: files.flush(self._open_engine, name))
        # Locked piece by piece, as a reader: others go on, but nobody drops the collection or opens the file again.
        async with self._reading(collection, Operation.COMPACT):
            partitions = await self._run(files.partitions, self._open_engine, name)
        for partition in partitions:
            async with self._reading(collection, Operation.COMPACT):
                size = files.size_of_partition(self._open_engine, name, partition)
                lite.check_room(self._file, adding=False, extra=size)
                await self._run(self._change, lambda one=partition: files.rewrite(self._open_engine, name, one))
        async with self._reading(collection, Operation.COMPACT):
            await self._run(self._change, lambda: files.drop_deletions(self._open_engine, name, flushed))

    async def _compact_server(self, collection: Collection) -> None:
        name = collection.name
        with self._timed(Operation.COMPACT):
            await self._run(lambda: self._connected.flush(name, timeout=max(self._timeout, 60.0)))
            await self._run(lambda: self._connected.compact(name, timeout=self._timeout))

    async def size(self) -> int:
        """Bytes of the store's files; 0 on a server, where nobody tells."""
        return await self._run(files.size_of, self._file) if self.lite else 0

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[list[files.LinkedFile]]:
        """The files of Lite as of one instant, between two writes; they stay as they are until the end.

        Raises:
            FailedPrecondition: It is a server.
        """
        if not self.lite:
            raise FailedPrecondition(
                Reason.WRONG_STATE,
                "The store is on a Milvus server, and this backup is for Milvus Lite: stop Memory, and use "
                "milvus-backup (https://github.com/zilliztech/milvus-backup).",
            )
        folder = self._file / files.BACKUPS / new_id("backup")
        try:
            await self._run(files.settle, self._open_engine)
            async with AsyncExitStack() as stack:
                for collection in list(self._ready.values()):
                    await stack.enter_async_context(self._lock(collection).write())
                self._check_engine()
                linked = await self._run(files.link, self._open_engine, self._file, folder)
            yield linked
        except OSError as error:
            raise Unavailable(
                Reason.STORE_UNAVAILABLE, f"The files of {self._file} cannot be linked or read; try again."
            ) from error
        finally:
            await self._run(partial(shutil.rmtree, ignore_errors=True), folder)

    @property
    def _connected(self) -> MilvusClient:
        if self._client is None:
            raise Unavailable(
                Reason.STORE_UNAVAILABLE, f"Milvus at {self._uri} is not connected yet; try again in a moment."
            )
        return self._client

    @property
    def _open_engine(self) -> lite.Engine:
        self._check_engine()
        assert self._engine is not None  # noqa: S101 - a Lite store that is open
        return self._engine

    def _disconnect(self) -> None:
        """Closes the connection; of an engine that a failed write has made unfit, nothing is flushed."""
        client, self._client = self._client, None
        engine, self._engine = self._engine, None
        if client is not None:
            client.close()
        if engine is not None:
            (engine.abandon if self._suspect else engine.close)()

    async def _upsert_now(self, collection: Collection, rows: Sequence[Row], partition: str | None) -> None:
        untimed = self._untimed[collection.name]
        try:
            async with self._writing(collection, Operation.UPSERT, adding=collection is not RECORDS):
                await self._run(self._change, lambda: self._write_now(collection.name, list(rows), partition or ""))
        except BaseException:
            self._note_untimed(collection)
            raise
        self.rows_written[collection.name] += len(rows)
        if self._untimed[collection.name] == untimed:  # else its time may be before that of the other write
            self._written.add(collection.name)
        if self.lite and collection.partitioned:
            self._flush_when_idle(collection, len(rows))

    def _note_untimed(self, collection: Collection) -> None:
        """Notes a write whose time is not known: a delete, or one that failed, and may have happened."""
        self._untimed[collection.name] += 1
        self._written.discard(collection.name)

    def _write_now(self, name: str, rows: list[Row], partition: str) -> None:
        if self._engine is not None:
            self._engine.write(name, rows, partition)
        else:
            self._connected.upsert(name, rows, timeout=self._timeout, partition_name=partition)
            self._began = self._began or self._time_of_last_write(name)

    def _time_of_last_write(self, name: str) -> int:
        """The server's time of this process's last upsert of a collection, as pymilvus keeps it for Session reads."""
        uri = urlsplit(self._uri)
        return int(get_collection_ts(name, f"{uri.hostname}:{uri.port}", uri.path.strip("/")))

    def _flush_when_idle(self, collection: Collection, rows: int) -> None:
        """Has Lite flush what was added, once nothing more comes: until then every search indexes those rows anew."""
        name = collection.name
        self._unflushed[name] += rows
        if name in self._flushes:
            self._flushes.pop(name).cancel()
        if self._unflushed[name] >= _FLUSH_ROWS:
            loop = asyncio.get_running_loop()
            self._flushes[name] = loop.call_later(_FLUSH_IDLE_SECONDS, self._begin_flush, collection)

    def _begin_flush(self, collection: Collection) -> None:
        self._flushes.pop(collection.name, None)
        task = asyncio.create_task(self._flush(collection))
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    async def _flush(self, collection: Collection) -> None:
        try:
            async with self._writing(collection, Operation.FLUSH):
                if collection.name not in self._ready:  # dropped meanwhile
                    return
                self._unflushed[collection.name] = 0
                await self._run(self._change, lambda: self._connected.flush(collection.name, timeout=self._timeout))
        except ServiceError as error:
            _log.warning("lite_not_flushed", uri=self._uri, error=str(error))

    @asynccontextmanager
    async def _reading(self, collection: Collection, operation: Operation) -> AsyncIterator[None]:
        if not self.lite:
            with self._timed(operation):
                yield
            return
        self._check_engine()
        async with self._lock(collection).read():
            self._check_engine()
            with self._timed(operation):
                yield

    @asynccontextmanager
    async def _writing(
        self, collection: Collection, operation: Operation, *, adding: bool = False
    ) -> AsyncIterator[None]:
        if not self.lite:
            with self._timed(operation):
                yield
            return
        self._check_engine()
        async with self._lock(collection).write():
            self._check_engine()
            lite.check_room(self._file, adding=adding)
            with self._timed(operation):
                yield

    @contextmanager
    def _timed(self, operation: Operation) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._took(operation, time.perf_counter() - begin)

    def _lock(self, collection: Collection) -> ReadWriteLock:
        return self._locks.setdefault(collection.name, ReadWriteLock())

    def _consistency(self, collection: Collection, *, strong: bool = False) -> dict[str, Any]:
        if self.lite:
            return {}
        if not strong:
            if collection.name in self._written:
                return {"consistency_level": "Session"}
            if self._began and not self._untimed[collection.name]:
                return {"consistency_level": "Customized", "guarantee_timestamp": self._began}
        return {"consistency_level": "Strong"}

    async def _run(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """Runs a blocking call in a thread, to its end even when the caller goes away: locks must outlive the call."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        try:
            return await run_to_end(running)
        except (MilvusException, grpc.RpcError, lite.EngineError) as error:
            _log.warning("milvus_failed", uri=self._uri, error=str(error)[:500])
            raise Unavailable(
                Reason.STORE_UNAVAILABLE,
                f"Milvus at {self._uri} cannot be reached or did not answer; try again.",
                retry_after=2,
            ) from error

    def _change(self, write: Callable[[], _T]) -> _T:
        """Runs a blocking write. One that fails makes an engine of Lite unfit for any other call (see `lite`)."""
        try:
            return write()
        except BaseException:
            self._suspect = self.lite
            raise

    def _check_engine(self) -> None:
        if not self._suspect:
            return
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen())
        raise Unavailable(
            Reason.STORE_UNAVAILABLE,
            f"A write to the Milvus Lite file {self._file} failed; it is being opened again: try again in a moment.",
            retry_after=1,
        )

    async def _reopen(self) -> None:
        """Throws the engine of Lite away and opens the file again, until that works."""
        collections = list(self._ready.values())
        while True:
            async with AsyncExitStack() as stack:
                for collection in collections:
                    await stack.enter_async_context(self._lock(collection).write())
                try:
                    await self._run(self._disconnect)
                    self._client = await self._run(self._connect)
                    for collection in collections:
                        await self._run(self._prepare, collection)
                except (FailedPrecondition, Unavailable) as error:
                    _log.error("lite_not_reopened", uri=self._uri, error=str(error))
                else:
                    self._suspect = False
                    _log.warning("lite_reopened", uri=self._uri)
                    return
            await asyncio.sleep(_REOPEN_SECONDS)

    def _connect(self) -> MilvusClient:
        if not self.lite:
            return MilvusClient(uri=self._uri, token=self._token, timeout=self._timeout)
        path = self._file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One that is open already is left from a try that failed behind it: its lock is ours.
            held = self._engine is None and lite.is_held(path)
            if not held:
                self._engine = self._engine or lite.Engine(path)
                return MilvusClient(uri=self._engine.address, channel=self._engine.channel)
        except Exception as error:  # Lite raises its own errors, and those of whatever reads its files.
            raise FailedPrecondition(
                Reason.WRONG_STATE,
                f"The Milvus Lite file {path} cannot be opened ({type(error).__name__}). Check that its folder can be "
                "written to and that it was made by Milvus Lite, or set another file (memory.uri).",
            ) from error
        raise FailedPrecondition(
            Reason.IN_USE,
            f"The Milvus Lite file {path} is held by another process. Stop that one, or set another file "
            "(memory.uri), or "
            "use a Milvus server for both.",
        )

    def _version(self) -> str:
        if self.lite:
            from importlib.metadata import version

            return version("milvus-lite")
        return str(self._connected.get_server_version(timeout=self._timeout))

    def _drop_now(self, name: str) -> None:
        if self._connected.has_collection(name, timeout=self._timeout):
            self._connected.drop_collection(name, timeout=max(self._timeout, 30.0))
        elif self._engine is not None:
            self._engine.clear(name)

    def _check_readable(self, name: str) -> None:
        """Tells files that are damaged, which no second try mends, from a disk that refuses something for now.

        Raises:
            FailedPrecondition: They are damaged.
            Unavailable: The disk refuses something.
        """
        assert self._engine is not None  # noqa: S101 - connected
        try:
            self._engine.load(name)
        except Exception as error:  # Lite raises its own errors, and those of whatever reads its files.
            if not isinstance(error, OSError) or error.errno in _DAMAGE:
                raise FailedPrecondition(
                    Reason.WRONG_STATE,
                    f"The Milvus Lite file {self._file} is damaged: its collection {name} cannot be read "
                    f"({type(error).__name__}). Put a backup in its place (`memgpt-memory restore`), or set another "
                    "file (memory.uri).",
                ) from error
            raise Unavailable(
                Reason.STORE_UNAVAILABLE,
                f"The disk of the Milvus Lite file {self._file} refuses to be read or written ({error.strerror}); it "
                "is tried again.",
            ) from error

    def _prepare(self, collection: Collection) -> None:
        client = self._connected
        if self.lite:
            self._check_readable(collection.name)
        if not client.has_collection(collection.name, timeout=self._timeout):
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            for field in collection.fields:
                match field.type:
                    case FieldType.TEXT:
                        schema.add_field(
                            field.name,
                            pymilvus.DataType.VARCHAR,
                            is_primary=field.name == collection.key,
                            max_length=field.size,
                        )
                    case FieldType.WORDS:
                        # The words come with spaces between them (see `words`): the plainest analyzer does.
                        analyzer = {"tokenizer": "standard"}
                        schema.add_field(
                            field.name,
                            pymilvus.DataType.VARCHAR,
                            max_length=field.size,
                            enable_analyzer=True,
                            analyzer_params=analyzer,
                        )
                    case FieldType.SPARSE:
                        schema.add_field(field.name, pymilvus.DataType.SPARSE_FLOAT_VECTOR)
                    case FieldType.INTEGER:
                        schema.add_field(field.name, pymilvus.DataType.INT64)
                    case FieldType.VECTOR:
                        schema.add_field(field.name, pymilvus.DataType.FLOAT_VECTOR, dim=field.size)
            if collection.full_text:
                schema.add_function(
                    pymilvus.Function(
                        name="bm25",
                        input_field_names=[WORDS],
                        output_field_names=[SPARSE],
                        function_type=pymilvus.FunctionType.BM25,
                    )
                )
            options = {} if self.lite else {"num_shards": 1}
            client.create_collection(collection.name, schema=schema, timeout=max(self._timeout, 30.0), **options)
        # What follows the first call is looked at one by one: a crash may have come in between.
        # FLAT is exact and keeps ties in order; approximate indices give duplicates and gaps between pages.
        self._prepare_index(collection, collection.vector, index_type="FLAT", metric_type="IP")
        if collection.full_text:
            # Lite takes parameters as JSON only, which pymilvus no longer makes of them.
            params = {"params": json.dumps(BM25)} if self.lite else BM25
            self._prepare_index(
                collection, SPARSE, index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=params
            )
        if collection.partitioned:
            existing = set(client.list_partitions(collection.name, timeout=self._timeout))
            for slot in range(PARTITIONS):
                if partition_name(slot) not in existing:
                    client.create_partition(collection.name, partition_name(slot), timeout=self._timeout)
        client.load_collection(collection.name, timeout=max(self._timeout, 120.0))

    def _prepare_index(self, collection: Collection, field: str, **kind: Any) -> None:
        if not self._connected.list_indexes(collection.name, field_name=field):
            index = self._connected.prepare_index_params()
            index.add_index(field, **kind)
            self._connected.create_index(collection.name, index, timeout=max(self._timeout, 30.0))


def _number(version: str) -> tuple[int, int]:
    """Major and minor of a server's version, such as ``v2.3.5``; (0, 0) for what is none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
