"""Pages of one ranking that are asked for at the same time; what the pages hold, the tests against Milvus say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from memgpt_memory.embedding import Vectors
from memgpt_memory.passages import EmbeddingIndex
from memgpt_memory.ranking import Rankings, SearchMode
from memgpt_memory.store import Capabilities, Match, Matches
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import passages
from memgpt_memory.store.rows import RowOwner

ROWS = 1_000


class _Embedder:
    model, dimension = "model", 2

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        return np.ones((len(texts), 2), dtype=np.float32)

    async def close(self) -> None:
        pass


class _View:
    key, snapshot, total = "all", 1, ROWS
    partitions, where = ("p00",), EVERY_ROW


class _Store:
    """Rows in order of their number; the first search answers only when it may."""

    capabilities = Capabilities("test")

    def __init__(self) -> None:
        self.searches = 0
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def search(self, *_: Any, limit: int, **__: Any) -> Matches[RowOwner]:
        self.searches += 1
        if self.searches == 1:
            self.asked.set()
            await self.may_answer.wait()
        found = [Match(RowOwner(f"id-{row:04}", "somebody"), 1.0 - row / ROWS) for row in range(min(limit, ROWS))]
        return Matches(found, complete=limit > ROWS)


async def test_a_late_search_does_not_shrink_a_longer_ranking() -> None:
    store = _Store()
    rankings = Rankings(store)  # type: ignore[arg-type]
    collection = passages("model", 2, full_text=False)
    space = EmbeddingIndex(_Embedder(), collection)

    async def page(skip: int) -> Any:
        return await rankings.cut(space, collection, _View(), "query", SearchMode.DENSE, 5, skip, None)

    first = asyncio.create_task(page(0))
    await store.asked.wait()
    deep = await page(200)
    store.may_answer.set()
    assert [hit.id for hit in (await first).hits] == [f"id-{row:04}" for row in range(5)]
    assert [hit.id for hit in deep.hits] == [f"id-{row:04}" for row in range(200, 205)]
    following = deep.following(5)
    assert following is not None
    assert (following.id, following.rank) == ("id-0204", 205)


class _WordsStore(_Store):
    """Ranks by words, differently at each search: a server's statistics change whenever it flushes."""

    capabilities = Capabilities("test", full_text=True)

    def __init__(self) -> None:
        super().__init__()
        self.word_searches = 0

    async def search_words(self, *_: Any, limit: int | None, **__: Any) -> Matches[RowOwner]:
        self.word_searches += 1
        first = 100 * self.word_searches
        found = [Match(RowOwner(f"id-{row:04}", "somebody"), 1.0 + first - row) for row in range(first, first + 100)]
        return Matches(found, complete=True, total=100)


async def test_pages_that_are_asked_for_at_the_same_time_have_one_head() -> None:
    store = _WordsStore()
    rankings = Rankings(store)  # type: ignore[arg-type]
    collection = passages("model", 2, full_text=True)
    space = EmbeddingIndex(_Embedder(), collection)

    async def page() -> Any:
        return await rankings.cut(space, collection, _View(), "query", SearchMode.HYBRID, 5, 0, None)

    pages = [asyncio.create_task(page()) for _ in range(2)]
    await store.asked.wait()
    store.may_answer.set()
    first, second = [(found, found.following(5)) for found in [await one for one in pages]]
    assert [hit.id for hit in first[0].hits] == [hit.id for hit in second[0].hits]
    assert first[1] == second[1]
    assert store.word_searches == 1
