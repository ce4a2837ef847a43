"""An in-memory store: the third adapter, for tests of code that is built on a store."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import numpy as np
from memgpt_memory.store import Capabilities, Match, Matches, StoreFile
from memgpt_memory.store.filters import Condition, for_rows
from memgpt_memory.store.layout import BM25, Collection
from memgpt_memory.store.mapping import check_distinct, columns_of
from memgpt_memory.store.rows import EmbeddedRow, IndexedMessageRow, IndexedPassageRow, Row, Vector

_R = TypeVar("_R", bound=Row)
_Rows = dict[str, tuple[Row, str]]


class MemoryStore:
    """Implements `memgpt_memory.store.Store` in memory."""

    capabilities = Capabilities("memory", "1", full_text=True, range_search=True, exclusive=True)
    rows_waiting = 0

    def __init__(self) -> None:
        self.rows_written: Counter[str] = Counter()
        self._collections: dict[str, _Rows] = {}

    async def open(self, collections: Iterable[Collection]) -> None:
        for collection in collections:
            self._collections.setdefault(collection.name, {})

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    def is_open(self, collection: Collection) -> bool:
        return collection.name in self._collections

    async def has(self, collection: Collection) -> bool:
        return collection.name in self._collections

    async def drop(self, collection: Collection) -> None:
        self._collections.pop(collection.name, None)

    async def count(self, collection: Collection) -> int:
        return len(self._collections[collection.name])

    async def upsert(self, collection: Collection, rows: Sequence[Row], *, partition: str | None = None) -> None:
        check_distinct(rows)
        self._collections[collection.name].update({row.id: (row, partition or "") for row in rows})
        self.rows_written[collection.name] += len(rows)

    async def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        row: type[_R],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> dict[str, _R]:
        found = {each.id: each for each in self._rows(collection, partitions)}
        read = _reader(row)
        return {id_: read(found[id_]) for id_ in ids if id_ in found}

    async def vectors(self, collection: Collection, ids: Sequence[str], *, partition: str) -> dict[str, Vector]:
        found = await self.get(collection, ids, EmbeddedRow, partitions=[partition])
        return {id_: np.asarray(row.embedding, np.float32) for id_, row in found.items()}

    async def query(
        self,
        collection: Collection,
        where: Condition,
        row: type[_R],
        *,
        partitions: Sequence[str] = (),
        strong: bool = False,
    ) -> list[_R]:
        found = filter(for_rows(where), self._rows(collection, partitions))
        return sorted(map(_reader(row), found), key=lambda each: each.id)

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
        read, holds = _reader(row), for_rows(where)
        found = [
            Match(read(each), float(np.dot(each.embedding, vector)))
            for each in self._searched(collection, partitions)
            if holds(each)
        ]
        return _best([one for one in found if score_at_most is None or one.score <= score_at_most], limit)

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
        read, holds = _reader(row), for_rows(where)
        texts = {each.id: Counter(each.words.split()) for each in self._searched(collection, partitions)}
        score = _bm25(list(texts.values()), words)
        scored = [(each, score(texts[each.id])) for each in self._searched(collection, partitions) if holds(each)]
        found = [Match(read(each), of_it) for each, of_it in scored if of_it > 0]
        return _best(found, len(found) if limit is None else limit)

    async def delete(
        self, collection: Collection, ids: Sequence[str], *, partition: str | None = None, unread: bool = False
    ) -> None:
        for id_ in ids:
            self._collections[collection.name].pop(id_, None)

    async def compact(self) -> None:
        pass

    async def size(self) -> int:
        return 0

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[list[StoreFile]]:
        yield []

    def _rows(self, collection: Collection, partitions: Sequence[str]) -> Iterator[Row]:
        for row, partition in self._collections[collection.name].values():
            if not partitions or partition in partitions:
                yield row

    def _searched(
        self, collection: Collection, partitions: Sequence[str]
    ) -> Iterator[IndexedPassageRow | IndexedMessageRow]:
        for row in self._rows(collection, partitions):
            assert isinstance(row, IndexedPassageRow | IndexedMessageRow)
            yield row


def _reader(row: type[_R]) -> Callable[[Row], _R]:
    names = columns_of(row)
    return lambda each: row(*(getattr(each, name) for name in names))


def _best(found: list[Match[_R]], limit: int) -> Matches[_R]:
    found.sort(key=lambda one: (-one.score, one.id))
    return Matches(found[:limit], complete=len(found) <= limit, total=len(found))


def _bm25(texts: Sequence[Counter[str]], words: Sequence[str]) -> Callable[[Counter[str]], float]:
    k1, b = BM25["bm25_k1"], BM25["bm25_b"]
    mean = sum(text.total() for text in texts) / max(len(texts), 1)
    weights = {}
    for word in words:
        having = sum(word in text for text in texts)
        weights[word] = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))

    def score(text: Counter[str]) -> float:
        length = k1 * (1 - b + b * text.total() / mean) if mean else k1
        return sum(
            weight * text[word] * (k1 + 1) / (text[word] + length) for word, weight in weights.items() if text[word]
        )

    return score
