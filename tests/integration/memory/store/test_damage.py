"""Files of a Milvus Lite store that are removed, cut off or altered: it is reported, or does no harm."""

from __future__ import annotations

import asyncio
import errno
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import RECORDS, partition_name, passages
from memgpt_memory.store.lite.repair import mend
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.rows import IndexedPassageRow, PassageRow, RecordRow, RowOwner
from memgpt_runtime.errors import FailedPrecondition

PASSAGES = passages("damage", 4, full_text=True)
HERE = partition_name(0)

Content = tuple[list[RecordRow], list[PassageRow], list[tuple[str, float]]]


def new_store(path: Path) -> LiteStore:
    return LiteStore(path, observe=lambda *_: None)


def records(first: int, last: int) -> list[RecordRow]:
    return [
        RecordRow(f"r{number}", "agent", "t", "", number, f"body of {number} " * 9) for number in range(first, last)
    ]


def notes(first: int, last: int) -> list[IndexedPassageRow]:
    vectors = np.random.default_rng(first).normal(size=(last - first, 4)).astype(np.float32)
    return [
        IndexedPassageRow(f"n{n}", "o", "", n, n, n, "", f"text {n}", embedding=vector, words=f"text {n}")
        for n, vector in enumerate(vectors, first)
    ]


async def content(store: LiteStore) -> Content:
    await store.open([RECORDS, PASSAGES])
    # Until its files are verified in the background, a search may meet a flipped bit of the index.
    await asyncio.to_thread(store._indexes.by_name[PASSAGES.name]._background.submit(lambda: None).result)
    found = await store.search(PASSAGES, np.ones(4, np.float32), EVERY_ROW, RowOwner, partitions=[HERE], limit=1_000)
    return (
        await store.query(RECORDS, EVERY_ROW, RecordRow),
        await store.query(PASSAGES, EVERY_ROW, PassageRow),
        [(match.id, match.score) for match in found.found],
    )


def harms(path: Path, samples: int) -> Iterator[bytes | None]:
    """What a file may become."""
    whole = path.read_bytes()
    source = random.Random(path.name)
    yield None
    for place in (0, *(source.randrange(max(len(whole), 1)) for _ in range(samples // 4))):
        yield whole[:place]
    for _ in range(samples if whole else 0):
        place, altered = source.randrange(len(whole)), bytearray(whole)
        altered[place] ^= 1 << source.randrange(8)
        yield bytes(altered)


@pytest.mark.timeout(1_800)
async def test_no_damage_is_silent(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "whole.db"
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    for first in (0, 40):
        await store.upsert(RECORDS, records(first, first + 40))
        await store.upsert(PASSAGES, notes(first, first + 40), partition=HERE)
        await store.delete(RECORDS, [f"r{first + 3}"])
        for collection in (RECORDS, PASSAGES):
            store._open_engine.flush(collection.name)
    await store.upsert(RECORDS, records(90, 95))  # only in the log
    await store.upsert(PASSAGES, notes(90, 95), partition=HERE)
    await store.delete(RECORDS, ["r91"])
    expected = await content(store)
    store._indexes.by_name[PASSAGES.name].checkpoint()
    store._open_engine.settle()
    copy = tmp_path / "copy.db"
    files = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file() and file.name != "LOCK")
    assert len(files) > 8
    silent: list[str] = []
    reported = 0
    for file in files:
        for number, harm in enumerate(harms(path / file, kills or 2)):
            shutil.copytree(path, copy)
            (copy / file).unlink()
            if harm is not None:
                (copy / file).write_bytes(harm)
            damaged = new_store(copy)
            try:
                if await content(damaged) != expected:
                    silent.append(f"{file} {number}")
            except FailedPrecondition as error:
                reported += "is damaged" in error.message
            finally:
                await damaged.close()
                shutil.rmtree(copy)
    await store.close()
    assert not silent
    assert reported > len(files)


async def test_damage_is_reported_again_at_every_start(tmp_path: Path) -> None:
    path, copy = tmp_path / "whole.db", tmp_path / "copy.db"
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(RECORDS, records(0, 5))
    await store.upsert(PASSAGES, notes(0, 5), partition=HERE)
    shutil.copytree(path, copy)  # as a crash leaves it: in logs
    await store.close()
    log = next(copy.glob(f"collections/{PASSAGES.name}/wal/*data*"))
    log.write_bytes(log.read_bytes()[:100])
    for _ in range(3):
        damaged = new_store(copy)
        with pytest.raises(FailedPrecondition, match="is damaged"):
            await damaged.open([RECORDS, PASSAGES])
        await damaged.close()


def altered_footers(folder: Path, old: bytes, new: bytes) -> int:
    """Alter the footers of all files of rows below a folder; return how many were altered."""
    altered = 0
    for file in folder.rglob("data_*.parquet"):
        pages, found, footer = file.read_bytes().rpartition(b"MGFT")
        assert found
        file.write_bytes(pages + found + footer.replace(old, new))
        altered += old in footer
    return altered


async def flushed(path: Path) -> None:
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(RECORDS, records(0, 5))
    await store.close()


async def test_an_altered_column_name_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await flushed(path)
    assert altered_footers(path, b"body", b"bodx") == 1
    damaged = new_store(path)
    with pytest.raises(FailedPrecondition, match=r"is damaged.*the footer of .* has been altered"):
        await damaged.open([RECORDS, PASSAGES])
    await damaged.close()


@pytest.mark.parametrize(("old", "new", "left"), [(b"body", b"bodx", 0), (b"parquet-cpp", b"parquet-cpq", 5)])
async def test_a_repair_keeps_a_file_with_an_altered_footer_if_its_columns_are_right(
    tmp_path: Path, old: bytes, new: bytes, left: int
) -> None:
    path = tmp_path / "a.db"
    await flushed(path)
    assert altered_footers(path, old, new) == 1
    (loss,) = mend(path)
    assert ("its footer, which was written again; 5 rows are kept" if left else "all of its rows") in loss
    assert mend(path) == []
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    assert await store.count(RECORDS) == left
    await store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Lite drops a log without closing it
async def test_a_log_that_a_full_disk_kept_at_the_end_is_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.db"
    store = new_store(path)
    await store.open([RECORDS])
    await store.upsert(RECORDS, records(0, 5))
    await store.upsert(RECORDS, records(5, 10))
    with monkeypatch.context() as full:
        full.setattr("milvus_lite.engine.flush.write_data_file", full_disk)
        await store.close()
    log = next(path.glob(f"collections/{RECORDS.name}/wal/*data*"))
    log.write_bytes(log.read_bytes()[:-200])
    store = new_store(path)
    with pytest.raises(FailedPrecondition, match="is damaged"):
        await store.open([RECORDS])
    await store.close()
