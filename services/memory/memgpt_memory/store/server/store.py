"""The store on a Milvus server; the only module that connects to one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import grpc
import numpy as np
import structlog
from memgpt_runtime import reasons
from pymilvus import MilvusClient
from pymilvus.client.ts_utils import get_collection_ts
from pymilvus.exceptions import MilvusException

from memgpt_memory.store import filters
from memgpt_memory.store.batching import RefusedError
from memgpt_memory.store.expressions import after_key, joined
from memgpt_memory.store.filters import Between, Condition, all_of
from memgpt_memory.store.layout import (
    SPARSE,
    Collection,
)
from memgpt_memory.store.mapping import Columns, columns_of, reader, to_columns
from memgpt_memory.store.port import Capabilities, Match, Matches, Observe, Operation, StoreFile
from memgpt_memory.store.rows import EmbeddedRow, Row, Vector
from memgpt_memory.store.server.collections import prepare
from memgpt_memory.store.server.consistency import Consistency
from memgpt_memory.store.server.reads import ReadRequest
from memgpt_memory.store.threaded import MAX_KEYS, ThreadedStore

_log = structlog.get_logger(__name__)
_R = TypeVar("_R", bound=Row)

WINDOW = 16_384
"""Maximum number of rows that one query or search returns."""

_FULL_TEXT_SINCE = (2, 5)
_INVALID_CODES = range(1100, 1200)
"""Codes of Milvus for requests that are invalid, whenever they are sent."""

_LEAST_SCORE = -2.0
"""A score below the inner product of any two unit vectors."""


class ServerStore(ThreadedStore):
    """See `Store`."""

    def __init__(self, uri: str, *, token: str, timeout: float, observe: Observe) -> None:
        """Connect with `open`.

        Args:
            uri: URI of the server, which may end in the name of a database.
            token: ``user:password`` or an API key.
            timeout: Seconds that a call may take.
            observe: Called with the kind and the duration of every call.
        """
        super().__init__(Capabilities("milvus", range_search=True, parallel_scans=8), threads=32, observe=observe)
        self._uri = uri
        self._token = token
        self._timeout = timeout
        self._client: MilvusClient | None = None
        self._consistency = Consistency(self._time_of_last_write)

    async def open(self, collections: Iterable[Collection]) -> None:
        """See `Store`."""
        if self._client is None:
            self._client, self.capabilities = await self._run(self._connect)
        for collection in collections:
            if collection.name not in self._ready:
                await self._run(lambda one=collection: self._prepare(one))  # type: ignore[misc]
                self._ready[collection.name] = collection

    async def close(self) -> None:
        """See `Store`."""
        client, self._client = self._client, None
        if client is not None:
            await self._run(client.close)
        self._threads.shutdown(wait=False)

    async def has(self, collection: Collection) -> bool:
        """See `Store`."""
        return bool(await self._run(lambda: self._connected.has_collection(collection.name, timeout=self._timeout)))

    async def drop(self, collection: Collection) -> None:
        """See `Store`."""
        self._forget(collection)

        def drop() -> None:
            if self._connected.has_collection(collection.name, timeout=self._timeout):
                self._connected.drop_collection(collection.name, timeout=max(self._timeout, 30.0))

        with self._timed(Operation.DROP):
            await self._run(drop)
        self._consistency.forget(collection.name)

    async def count(self, collection: Collection) -> int:
        """See `Store`."""
        rows = await self._read(Operation.QUERY, collection, "", ["count(*)"], (), strong=True)
        return int(str(rows[0]["count(*)"]))

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
        read = reader(row)
        found: dict[str, _R] = {}
        for start in range(0, len(ids), MAX_KEYS):
            chunk = list(ids[start : start + MAX_KEYS])
            with self._timed(Operation.GET):
                rows = await self._run(
                    lambda chunk=chunk: self._connected.get(  # type: ignore[misc]
                        collection.name,
                        chunk,
                        output_fields=list(columns_of(row)),
                        timeout=self._timeout,
                        partition_names=list(partitions) or None,
                        **self._consistency.for_read(collection.name, strong=strong),
                    )
                )
            for one in map(read, rows):
                found[one.id] = one
        return found

    async def vectors(self, collection: Collection, ids: Sequence[str], *, partition: str) -> dict[str, Vector]:
        """See `Store`."""
        rows = await self.get(collection, ids, EmbeddedRow, partitions=[partition])
        return {id_: np.asarray(row.embedding, np.float32) for id_, row in rows.items()}

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
        asked = ReadRequest(collection, where, row)
        rows: list[_R] = []
        last = ""
        while True:
            # The server returns rows in order of the key when there is a limit.
            bound = joined(asked.filter, after_key(last))
            chunk = await self._read(
                Operation.QUERY, collection, bound, asked.columns, partitions, strong=strong, limit=asked.read_rows
            )
            rows += [asked.read(one) for one in chunk if asked.holds(one)]
            if len(chunk) < asked.read_rows:
                return sorted(rows, key=lambda one: one.id)
            last = max(str(one[collection.key]) for one in chunk)

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
        """See `Store`. One search returns one window; the next one begins at the last score, whose ties come again."""
        asked = ReadRequest(collection, where, row)
        query: list[float] = vector.tolist()
        window = min(limit, WINDOW)
        known: dict[str, Mapping[str, Any]] = {}
        while True:
            within = (
                {} if score_at_most is None else {"radius": _LEAST_SCORE, "range_filter": _just_above(score_at_most)}
            )
            with self._timed(Operation.SEARCH):
                hits = await self._run(
                    lambda within=within: self._search(  # type: ignore[misc]
                        collection, query, asked, partitions, window, {"metric_type": "IP", "params": within}
                    )
                )
            fresh = {hit["id"]: hit for hit in hits if hit["id"] not in known}
            known |= fresh
            complete = len(hits) < window
            if complete or len(known) >= limit:
                return Matches([asked.match(hit) for hit in known.values() if asked.holds(hit["entity"])], complete)
            if not fresh:
                raise reasons.wrong_state(
                    f"more than {WINDOW:,} passages have the same score; narrow the search by a filter",
                    resource="search",
                    state="TOO_MANY_EQUAL_SCORES",
                )
            score_at_most = float(hits[-1]["distance"])

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
        if not words:
            return Matches([], complete=True, total=0)
        if limit is None:
            return await self._every_match(collection, words, where, row, partitions)
        asked = ReadRequest(collection, where, row)
        window = min(limit, WINDOW)
        hits = await self._search_words(collection, words, asked, partitions, window)
        # A full window is not continued: a server has no way to do that.
        return Matches([asked.match(hit) for hit in hits if asked.holds(hit["entity"])], len(hits) < limit)

    async def delete(
        self, collection: Collection, ids: Sequence[str], *, partition: str | None = None, unread: bool = False
    ) -> None:
        """See `Store`."""
        try:
            for start in range(0, len(ids), MAX_KEYS):
                chunk = list(ids[start : start + MAX_KEYS])
                with self._timed(Operation.DELETE):
                    await self._run(
                        lambda chunk=chunk: self._connected.delete(  # type: ignore[misc]
                            collection.name, ids=chunk, timeout=self._timeout, partition_name=partition
                        )
                    )
        finally:
            if ids and not unread:
                self._consistency.lose_time(collection.name)

    async def compact(self) -> None:
        """See `Store`. The server decides when it compacts and when it removes old files."""
        for collection in list(self._ready.values()):
            with self._timed(Operation.COMPACT):
                await self._run(lambda one=collection: self._compact(one.name))  # type: ignore[misc]

    async def size(self) -> int:
        """See `Store`."""
        return 0

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[list[StoreFile]]:
        """See `Store`."""
        raise reasons.wrong_state(
            "backups are for Milvus Lite only; for a Milvus server stop Memory and use milvus-backup "
            "(https://github.com/zilliztech/milvus-backup)",
            resource="store",
            state="SERVER",
        )
        yield []

    async def _upsert_now(self, collection: Collection, rows: Sequence[Row], partition: str | None) -> None:
        begun = self._consistency.begin_write(collection.name)
        try:
            with self._timed(Operation.UPSERT):
                await self._run(lambda: self._write_now(collection, rows, partition or ""))
        except BaseException:
            self._consistency.lose_time(collection.name)
            raise
        self.rows_written[collection.name] += len(rows)
        self._consistency.end_write(collection.name, begun)

    def _write_now(self, collection: Collection, rows: Sequence[Row], partition: str) -> None:
        columns = to_columns(collection, rows)
        self._connected.upsert(collection.name, columns, timeout=self._timeout, partition_name=partition)

    async def _read(
        self,
        operation: Operation,
        collection: Collection,
        condition: str,
        columns: Sequence[str],
        partitions: Sequence[str],
        *,
        strong: bool,
        limit: int | None = None,
    ) -> list[Columns]:
        with self._timed(operation):
            rows: list[Columns] = await self._run(
                lambda: self._connected.query(
                    collection.name,
                    filter=condition,
                    output_fields=list(columns),
                    timeout=self._timeout,
                    partition_names=list(partitions) or None,
                    **({} if limit is None else {"limit": limit}),
                    **self._consistency.for_read(collection.name, strong=strong),
                )
            )
        return rows

    async def _search_words(
        self,
        collection: Collection,
        words: Sequence[str],
        asked: ReadRequest[_R],
        partitions: Sequence[str],
        limit: int,
    ) -> list[Mapping[str, Any]]:
        text = " ".join(words)
        parameters = {"metric_type": "BM25", "params": {}}
        with self._timed(Operation.SEARCH_WORDS):
            return await self._run(
                lambda: self._search(collection, text, asked, partitions, limit, parameters, column=SPARSE)
            )

    async def _every_match(
        self,
        collection: Collection,
        words: Sequence[str],
        where: Condition,
        row: type[_R],
        partitions: Sequence[str],
    ) -> Matches[_R]:
        """Find every match, beyond one window too: in pieces of `Collection.ordered_by`, each small enough."""
        column = collection.ordered_by
        found: list[Match[_R]] = []
        pieces: list[Between] = [Between(column)]
        while pieces:
            piece = pieces.pop()
            bounds = piece if (piece.start, piece.end) != (None, None) else filters.EVERY_ROW
            asked = ReadRequest(collection, all_of(where, bounds), row, column)
            hits = await self._search_words(collection, words, asked, partitions, WINDOW)
            if len(hits) < WINDOW:
                found += [asked.match(hit) for hit in hits if asked.holds(hit["entity"])]
            else:
                pieces += _halves(piece, sorted(int(hit["entity"][column]) for hit in hits))
        return Matches(found, complete=True, total=len(found))

    def _search(
        self,
        collection: Collection,
        query: list[float] | str,
        asked: ReadRequest[_R],
        partitions: Sequence[str],
        limit: int,
        parameters: Mapping[str, object],
        *,
        column: str = "",
    ) -> list[Mapping[str, Any]]:
        answer = self._connected.search(
            collection.name,
            [query],
            filter=asked.filter,
            limit=limit,
            output_fields=asked.columns,
            search_params=parameters,
            timeout=self._timeout,
            partition_names=list(partitions),
            anns_field=column or collection.vector,
            **self._consistency.for_read(collection.name, strong=False),
        )
        return list(answer[0])

    def _compact(self, name: str) -> None:
        self._connected.flush(name, timeout=max(self._timeout, 60.0))
        self._connected.compact(name, timeout=self._timeout)

    @property
    def _connected(self) -> MilvusClient:
        if self._client is None:
            raise reasons.store_unavailable(f"not connected to Milvus at {self._uri} yet; retry later")
        return self._client

    def _connect(self) -> tuple[MilvusClient, Capabilities]:
        """Connect, and find out what the server can do: neither is kept without the other."""
        options = channel_options(self._uri)
        client = MilvusClient(uri=self._uri, token=self._token, timeout=self._timeout, grpc_options=options)
        try:
            version = str(client.get_server_version(timeout=self._timeout))
        except BaseException:
            client.close()
            raise
        number = version_number(version)
        self._consistency.of_version(number)
        # A build without a number in its version is newer than the releases without full text.
        full_text = number is None or number >= _FULL_TEXT_SINCE
        _log.info("store_capabilities_detected", backend="milvus", version=version, full_text=full_text)
        return client, Capabilities("milvus", version, full_text=full_text, range_search=True, parallel_scans=8)

    def _time_of_last_write(self, name: str) -> int:
        """Return the server's time of this process's last upsert of a collection, which pymilvus keeps."""
        uri = urlsplit(self._uri)
        return int(get_collection_ts(name, f"{uri.hostname}:{uri.port}", uri.path.strip("/")))

    def _fail(self, error: Exception) -> NoReturn:
        if not isinstance(error, MilvusException | grpc.RpcError):
            raise error
        if _is_refusal(error):
            _log.error("milvus_refused", uri=self._uri, error=str(error)[:500])
            raise RefusedError("Milvus refused a request because of its content") from error
        _log.warning("milvus_failed", uri=self._uri, error=str(error)[:500])
        raise reasons.store_unavailable(
            f"Milvus at {self._uri} is unreachable or did not respond; retry later", retry_after=2
        ) from error

    def _prepare(self, collection: Collection) -> None:
        prepare(self._connected, collection, self._timeout)


def channel_options(uri: str) -> dict[str, int]:
    """Return gRPC's arguments for the channel to Milvus, beside those of pymilvus."""
    options = {
        # A Milvus that hangs is noticed, and one that comes back or moves is found: see `memgpt_runtime.channel`.
        "grpc.http2.ping_timeout_ms": 10_000,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.min_reconnect_backoff_ms": 20_000,
        "grpc.max_reconnect_backoff_ms": 2_000,
        "grpc.dns_min_time_between_resolutions_ms": 1_000,
    }
    if urlsplit(uri).scheme != "https":
        # http_proxy in the environment is meant for the Internet, where nobody calls Milvus in plaintext.
        options["grpc.enable_http_proxy"] = 0
    return options


def version_number(version: str) -> tuple[int, int] | None:
    """Return major and minor of a server's version, such as ``v2.3.5`` or ``pkg/v2.6.13``; None without a number."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _just_above(score: float) -> float:
    """The next score that a server can compute: a range search may add up a row's products in another order."""
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))


def _is_refusal(error: MilvusException | grpc.RpcError) -> bool:
    """Return whether the same request will fail again."""
    if isinstance(error, MilvusException):
        text = str(error)
        return error.code in _INVALID_CODES or "maxOutputSize" in text or "exceed the limit size" in text
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def _halves(piece: Between, values: Sequence[int]) -> list[Between]:
    """Divide a piece of a column in two, by some values that it has.

    Raises:
        FailedPrecondition: They are all the same.
    """
    middle = values[len(values) // 2]
    if middle == values[0]:
        middle += 1
    if middle > values[-1]:
        raise reasons.wrong_state(
            f"more than {WINDOW:,} passages were stored at one instant; narrow the search by a filter",
            resource="list",
            state="TOO_MANY_EQUAL_TIMES",
        )
    return [Between(piece.column, piece.start, middle), Between(piece.column, middle, piece.end)]
