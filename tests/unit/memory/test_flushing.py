"""Milvus Lite flushes added passages once nothing more comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt_memory.store import layout, milvus
from memgpt_memory.store.milvus import Milvus

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
