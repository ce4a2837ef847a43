"""Passages on Milvus Lite: their parameters of ranking, and when they are flushed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt_memory.store import layout, milvus
from memgpt_memory.store.milvus import Milvus
from memgpt_runtime.errors import FailedPrecondition

PASSAGES = layout.passages("test", 4, full_text=True)
PARTITION = layout.partition_name(0)


def rows(first: int, count: int) -> Iterator[dict[str, Any]]:
    for number in range(first, first + count):
        texts = {"id": f"p{number}", "owner": "o", "version": "", "head": "", "text": "a text", "words": "a text"}
        yield texts | {"sequence": number, "stamp": 1, "created": 1, "embedding": [1.0, 0.0, 0.0, 0.0]}


def wait_until_flushed(path: Path) -> None:
    """Waits until rows lie in a file of their own, and not in the log alone."""
    deadline = time.monotonic() + 30
    while not list(path.rglob(f"partitions/{PARTITION}/**/*.parquet")):
        assert time.monotonic() < deadline, "nothing was flushed"
        time.sleep(0.02)


async def test_lite_ranks_words_with_our_parameters(tmp_path: Path) -> None:
    """By the score of a row that says a word thrice, beside that of one that says it once."""
    store = Milvus(str(tmp_path / "a.db"))
    await store.open([PASSAGES])
    try:
        once, thrice = rows(0, 2)
        await store.upsert(PASSAGES, [once | {"words": "a b"}, thrice | {"words": "a a a"}], partition=PARTITION)
        found = await store.search_words(PASSAGES, ["a"], "", [], partitions=[PARTITION], limit=2)
        scores = {match.id: match.score for match in found}
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
    monkeypatch.setattr(milvus, "_FLUSH_IDLE_SECONDS", 0.05)
    path = tmp_path / "a.db"
    store = Milvus(str(path))
    await store.open([PASSAGES])
    try:
        await store.upsert(PASSAGES, list(rows(0, milvus._FLUSH_ROWS)), partition=PARTITION)
        await asyncio.to_thread(wait_until_flushed, path)
        assert await store.count(PASSAGES) == milvus._FLUSH_ROWS
        found = await store.search_words(PASSAGES, ["text"], "", ["owner"], partitions=[PARTITION], limit=10)
        assert len(found) == 10
    finally:
        await store.close()


async def test_closing_does_not_wait_for_a_flush_that_is_due_later(tmp_path: Path) -> None:
    store = Milvus(str(tmp_path / "a.db"))
    await store.open([PASSAGES])
    await store.upsert(PASSAGES, list(rows(0, milvus._FLUSH_ROWS)), partition=PARTITION)
    async with asyncio.timeout(30):
        await store.close()


async def test_a_collection_that_a_crash_left_half_made_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a.db" / "collections" / PASSAGES.name
    folder.mkdir(parents=True)
    (folder / "schema.json.tmp").write_text('{"half')
    store = Milvus(str(tmp_path / "a.db"))
    try:
        await store.open([PASSAGES])
        await store.upsert(PASSAGES, list(rows(0, 2)), partition=PARTITION)
        assert await store.count(PASSAGES) == 2
    finally:
        await store.close()


async def test_a_collection_that_a_crash_left_half_dropped_is_dropped(tmp_path: Path) -> None:
    store = Milvus(str(tmp_path / "a.db"))
    await store.open([PASSAGES])
    await store.upsert(PASSAGES, list(rows(0, 2)), partition=PARTITION)
    await store.close()
    folder = tmp_path / "a.db" / "collections" / PASSAGES.name
    (folder / "schema.json").unlink()
    store = Milvus(str(tmp_path / "a.db"))
    try:
        with pytest.raises(FailedPrecondition, match="damaged"):  # nobody has said that it is to go
            await store.open([PASSAGES])
        await store.drop(PASSAGES)
        assert not folder.exists()
        await store.open([PASSAGES])
        assert await store.count(PASSAGES) == 0
    finally:
        await store.close()
