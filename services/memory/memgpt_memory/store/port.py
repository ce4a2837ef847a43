"""The store as the domain sees it: typed rows in fixed collections, read by key, by condition, and by search.

Milvus Lite (`lite`) and a Milvus server (`server`) are the adapters. An adapter passes the suite in
``tests/integration/memory/store``, whatever it is built on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from memgpt_memory.store.filters import Condition
from memgpt_memory.store.layout import Collection
from memgpt_memory.store.rows import Row, Vector

R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The properties and abilities of the backend.

    Attributes:
        backend: ``milvus-lite`` or ``milvus``.
        version: Its version.
        full_text: Whether it ranks by words (BM25).
        range_search: Whether `Store.search` can begin at a score.
        exclusive: Whether the backend itself keeps a second process from the same store.
        parallel_scans: How many reads of whole partitions are worth doing at a time.
    """

    backend: str
    version: str = "unknown"
    full_text: bool = False
    range_search: bool = False
    exclusive: bool = False
    parallel_scans: int = 1


@dataclass(frozen=True, slots=True)
class Match(Generic[R_co]):
    """A row that a search found, and its score; higher is better."""

    row: R_co
    score: float

    @property
    def id(self) -> str:
        """The row's key."""
        return self.row.id


@dataclass(frozen=True, slots=True)
class Matches(Generic[R_co]):
    """The results of a search, best first.

    Attributes:
        found: The rows.
        complete: Whether no other row matches.
        total: How many rows match in all, if the backend knows.
    """

    found: list[Match[R_co]]
    complete: bool
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file of a snapshot.

    Attributes:
        name: Its path within the store, with slashes.
        path: Where it can be read.
        size: How many of its bytes belong to the snapshot: a log may have grown since.
    """

    name: str
    path: Path
    size: int


class Operation(Enum):
    """The kinds of calls whose times are measured."""

    GET = "get"
    QUERY = "query"
    SEARCH = "search"
    SEARCH_WORDS = "search_words"
    UPSERT = "upsert"
    DELETE = "delete"
    COMPACT = "compact"
    DROP = "drop"


Observe = Callable[[Operation, float], None]
"""Called with the kind and the duration in seconds of every call."""


class Store(Protocol):
    """The collections of one store.

    Every call raises `Unavailable` when the backend cannot be reached or does not respond in time. A write that failed
    this way may have been applied in part or as a whole.

    Attributes:
        rows_written: Rows written so far, by collection.
    """

    rows_written: Counter[str]

    @property
    def capabilities(self) -> Capabilities:
        """The properties and abilities of the backend; known after the first `open`."""
        ...

    @property
    def rows_waiting(self) -> int:
        """Rows that wait for a write in progress."""
        ...

    async def open(self, collections: Iterable[Collection]) -> None:
        """Connect, create missing collections, and load all of them. May be called again after a failure.

        Raises:
            FailedPrecondition: The store is in use by another process, or cannot be used.
        """
        ...

    async def close(self) -> None:
        """Wait for running calls and close the connection."""
        ...

    async def ping(self) -> None:
        """Return if every open collection can be read."""
        ...

    def is_open(self, collection: Collection) -> bool:
        """Return whether a collection was opened and not dropped since."""
        ...

    async def has(self, collection: Collection) -> bool:
        """Return whether a collection exists."""
        ...

    async def drop(self, collection: Collection) -> None:
        """Drop a collection with all its rows; a missing one is not an error. Nothing may use it any more."""
        ...

    async def count(self, collection: Collection) -> int:
        """Return the number of rows of a collection."""
        ...

    async def upsert(self, collection: Collection, rows: Sequence[Row], *, partition: str | None = None) -> None:
        """Write whole rows under their keys; return when they are stored. Concurrent calls share writes.

        Raises:
            ResourceExhausted: Too many rows are waiting; nothing was written.
            ValueError: Two rows have the same key.
        """
        ...

    async def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        row: type[R],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> dict[str, R]:
        """Return rows by key; missing keys are not in the result.

        Args:
            collection: Where to read.
            ids: The keys.
            row: The class of the rows, which names the columns to read.
            partitions: Where to look; everywhere if empty.
            strong: Whether rows deleted as `unread` must be missing too, which may take 0.2 s.
        """
        ...

    async def vectors(self, collection: Collection, ids: Sequence[str], *, partition: str) -> dict[str, Vector]:
        """Return the vectors of rows by key; missing keys are not in the result."""
        ...

    async def query(
        self,
        collection: Collection,
        where: Condition,
        row: type[R],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> list[R]:
        """Return every row for which a condition holds, in order of the key; for the rest see `get`."""
        ...

    async def search(
        self,
        collection: Collection,
        vector: Vector,
        where: Condition,
        row: type[R],
        *,
        partitions: Sequence[str],
        limit: int,
        score_at_most: float | None = None,
    ) -> Matches[R]:
        """Find the rows whose vectors have the greatest inner product with `vector`, best first.

        Scores are exact. Which of several rows with the lowest score are among the result is not specified.

        Args:
            collection: Where to search.
            vector: The query.
            where: A condition that every row found meets.
            row: The class of the rows.
            partitions: Where to look.
            limit: How many rows to look at; fewer are returned if `where` has an exact part.
            score_at_most: Leave out rows with better scores. Needs `Capabilities.range_search`.
        """
        ...

    async def search_words(
        self,
        collection: Collection,
        words: Sequence[str],
        where: Condition,
        row: type[R],
        *,
        partitions: Sequence[str],
        limit: int | None,
    ) -> Matches[R]:
        """Find the rows that share words with the query, best first by BM25; scores are positive.

        Args:
            collection: Where to search. Needs `Capabilities.full_text`.
            words: The query's words.
            where: A condition that every row found meets.
            row: The class of the rows.
            partitions: Where to look.
            limit: How many rows to look at; None for every match, in any order.
        """
        ...

    async def delete(
        self, collection: Collection, ids: Sequence[str], *, partition: str | None = None, unread: bool = False
    ) -> None:
        """Delete rows by key; missing ones are not an error.

        Args:
            collection: Where to delete.
            ids: The keys.
            partition: Where the rows are, if that is known.
            unread: Nothing reads these rows any more, so a read that still finds them does no harm.
        """
        ...

    async def compact(self) -> None:
        """Rewrite the files without what was deleted or replaced; reads and writes continue.

        Raises:
            ResourceExhausted: The disk has no room for the new files.
        """
        ...

    async def size(self) -> int:
        """Return the bytes of the store's files; 0 if the backend does not say."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[list[StoreFile]]:
        """Return the store's files as of one instant; they do not change until the end.

        Raises:
            FailedPrecondition: The backend is backed up by tools of its own.
        """
        ...
