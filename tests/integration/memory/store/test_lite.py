"""Passages on Milvus Lite: their parameters of ranking, and when they are flushed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
from memgpt_memory.store import layout
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.lite import store as lite
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.rows import IndexedPassageRow, Key
from memgpt_runtime.errors import FailedPrecondition

PASSAGES = layout.passages("test", 4, full_text=True)
PARTITION = layout.partition_name(0)


def rows(first: int, count: int, words: str = "a text") -> list[IndexedPassageRow]:
    return [
        IndexedPassageRow(
            f"p{number}", "o", "", number, 1, 1, "", "a text", embedding=np.eye(4, dtype=np.float32)[0], words=words
        )
        for number in range(first, first + count)
    ]


def new_store(path: Path) -> LiteStore:
    return LiteStore(path, observe=lambda *_: None)


def wait_until_flushed(path: Path) -> None:
    """Waits until rows lie in a file of their own, and not in the log alone."""
    deadline = time.monotonic() + 30
    while not list(path.rglob(f"partitions/{PARTITION}/**/*.parquet")):
        assert time.monotonic() < deadline, "nothing was flushed"
        time.sleep(0.02)


async def test_lite_ranks_words_with_our_parameters(tmp_path: Path) -> None:
    """By the score of a row that says a word thrice, beside that of one that says it once."""
    store = new_store(tmp_path / "a.db")
    await store.open([PASSAGES])
    try:
        await store.upsert(PASSAGES, rows(0, 1, "a b") + rows(1, 1, "a a a"), partition=PARTITION)
        found = await store.search_words(PASSAGES, ["a"], EVERY_ROW, Key, partitions=[PARTITION], limit=2)
        scores = {match.id: match.score for match in found.found}
        k1, b = layout.BM25["bm25_k1"], layout.BM25["bm25_b"]
        ours = {
            id_: count * (k1 + 1) / (count + k1 * (1 - b + b * length / 2.5))
            for id_, count, length in (("p0", 1, 2), ("p1", 3, 3))
        }
        assert scores["p1"] / scores["p0"] == pytest.approx(ours["p1"] / ours["p0"], rel=1e-3)
    finally:
        await store.close()


async def test_added_passages_are_flushed_when_nothing_more_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite, "FLUSH_IDLE_SECONDS", 0.05)
    path = tmp_path / "a.db"
    store = new_store(path)
    await store.open([PASSAGES])
    try:
        await store.upsert(PASSAGES, (rows(0, lite.FLUSH_ROWS)), partition=PARTITION)
        await asyncio.to_thread(wait_until_flushed, path)
        assert await store.count(PASSAGES) == lite.FLUSH_ROWS
        found = await store.search_words(PASSAGES, ["text"], EVERY_ROW, Key, partitions=[PARTITION], limit=10)
        assert len(found.found) == 10
    finally:
        await store.close()


async def test_closing_does_not_wait_for_a_flush_that_is_due_later(tmp_path: Path) -> None:
    store = new_store(tmp_path / "a.db")
    await store.open([PASSAGES])
    await store.upsert(PASSAGES, (rows(0, lite.FLUSH_ROWS)), partition=PARTITION)
    async with asyncio.timeout(30):
        await store.close()


async def test_a_collection_that_a_crash_left_half_made_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a.db" / "collections" / PASSAGES.name
    folder.mkdir(parents=True)
    (folder / "schema.json.tmp").write_text('{"half')
    store = new_store(tmp_path / "a.db")
    try:
        await store.open([PASSAGES])
        await store.upsert(PASSAGES, (rows(0, 2)), partition=PARTITION)
        assert await store.count(PASSAGES) == 2
    finally:
        await store.close()


async def test_a_collection_that_a_crash_left_half_dropped_is_dropped(tmp_path: Path) -> None:
    store = new_store(tmp_path / "a.db")
    await store.open([PASSAGES])
    await store.upsert(PASSAGES, (rows(0, 2)), partition=PARTITION)
    await store.close()
    folder = tmp_path / "a.db" / "collections" / PASSAGES.name
    (folder / "schema.json").unlink()
    store = new_store(tmp_path / "a.db")
    try:
        with pytest.raises(FailedPrecondition, match="damaged"):  # nobody has said that it is to go
            await store.open([PASSAGES])
        await store.drop(PASSAGES)
        assert not folder.exists()
        await store.open([PASSAGES])
        assert await store.count(PASSAGES) == 0
    finally:
        await store.close()
