"""Specifics of Milvus Lite: its files, and the search index."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memgpt_memory.store import layout
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import RECORDS
from memgpt_memory.store.lite import store as lite_store
from memgpt_memory.store.lite.checksums import CHECKSUM, manifest_checksum
from memgpt_memory.store.lite.engine import Engine
from memgpt_memory.store.lite.files import INDEXES
from memgpt_memory.store.lite.index.search_index import SearchIndex
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.rows import IndexedPassageRow, Key, RecordRow, RowNumber
from memgpt_memory.store.server.store import ServerStore
from memgpt_runtime.errors import FailedPrecondition, Unavailable
from milvus_lite.server_manager import server_manager_instance

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


async def test_a_store_of_an_earlier_version_is_searched(tmp_path: Path) -> None:
    """One with Lite's own indexes and sparse vectors, as its server makes them for pymilvus."""
    path = tmp_path / "a.db"
    former = ServerStore(str(path), token="", timeout=30.0, observe=lambda *_: None)
    await former.open([RECORDS, PASSAGES])
    await former.upsert(PASSAGES, rows(0, 100), partition=PARTITION)
    await former._run(lambda: former._connected.flush(PASSAGES.name))
    await former.upsert(PASSAGES, rows(100, 20), partition=PARTITION)
    await former.close()
    server_manager_instance.release_all()
    assert list(path.rglob("*.idx"))
    async with opened(path) as store:
        await check(store, 120)
        await store.upsert(PASSAGES, rows(120, 5), partition=PARTITION)
        await check(store, 125)
        await store.compact()
        await check(store, 125)
        assert not list(path.rglob("*.idx"))
    async with opened(path) as store:
        await check(store, 125)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[LiteStore]:
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    try:
        yield store
    finally:
        await store.close()


async def check(store: LiteStore, count: int) -> None:
    """Assert that a search finds exactly the rows from 0 on."""
    query = np.array([1, 0, 0, 0], dtype=np.float32)
    found = await store.search(PASSAGES, query, EVERY_ROW, RowNumber, partitions=[PARTITION], limit=1_000)
    assert sorted(match.row.sequence for match in found.found) == list(range(count))
    assert found.total == count
    by_words = await store.search_words(PASSAGES, ["text"], EVERY_ROW, Key, partitions=[PARTITION], limit=None)
    assert by_words.total == len({match.id for match in by_words.found}) == count


def remove_index(path: Path) -> None:
    shutil.rmtree(path / INDEXES)


def damage_index(path: Path) -> None:
    for file in (path / INDEXES).rglob("*.arrays"):
        file.write_bytes(file.read_bytes()[:200])


def garble_manifest(path: Path) -> None:
    for file in (path / INDEXES).rglob("manifest.json"):
        file.write_text("[1")


def claim_more(path: Path) -> None:
    """The index of a later state than that of the rows, as after a power cut."""
    for file in (path / INDEXES).rglob("manifest.json"):
        manifest = json.loads(file.read_text())
        manifest["covered"] += 1_000
        manifest[CHECKSUM] = manifest_checksum(manifest)
        file.write_text(json.dumps(manifest))


def alter_manifest(path: Path) -> None:
    """Name another partition in it, as one flipped bit may."""
    for file in (path / INDEXES).rglob("manifest.json"):
        file.write_text(file.read_text().replace(PARTITION, layout.partition_name(1)))


@pytest.mark.parametrize("harm", [remove_index, damage_index, garble_manifest, alter_manifest, claim_more])
async def test_an_index_that_cannot_be_used_is_made_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 300), partition=PARTITION)
        await store.upsert(PASSAGES, rows(290, 20), partition=PARTITION)
        await store.delete(PASSAGES, ["p309", "p308"], partition=PARTITION)
    harm(path)
    async with opened(path) as store:
        await check(store, 308)
        await store.upsert(PASSAGES, rows(308, 1), partition=PARTITION)
        await check(store, 309)


async def test_a_bit_that_was_flipped_in_an_index_is_noticed_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 300), partition=PARTITION)
    (file,) = (path / INDEXES / PASSAGES.name).glob("*.arrays")
    data = bytearray(file.read_bytes())
    data[-2_000] ^= 4
    file.write_bytes(data)
    async with opened(path) as store:
        index = store._indexes.by_name[PASSAGES.name]
        await asyncio.to_thread(index._background.submit(lambda: None).result)
        assert index.damaged
        await check(store, 300)
        assert not index.damaged


@pytest.mark.parametrize("written", ["before", "after"])
async def test_an_index_takes_in_what_a_crash_kept_from_it(tmp_path: Path, written: str) -> None:
    """This holds whether the index files contain some of the rows or none."""
    path = tmp_path / "a.db"
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(PASSAGES, rows(0, 100), partition=PARTITION)
    if written == "before":
        store._indexes.by_name[PASSAGES.name].checkpoint()
    await store.upsert(PASSAGES, rows(90, 20), partition=PARTITION)
    store._open_engine.flush(PASSAGES.name)
    await store.delete(PASSAGES, ["p109", "p5"], partition=PARTITION)
    await store.upsert(PASSAGES, rows(5, 1), partition=PARTITION)
    store._open_engine.abandon()
    async with opened(path) as later:
        await check(later, 109)
    await asyncio.to_thread(store._indexes.by_name[PASSAGES.name].close, keep=False)
    store._engine = None
    store._indexes.by_name.clear()
    await store.close()


@asynccontextmanager
async def crashed(store: LiteStore) -> AsyncIterator[None]:
    """Leaves the files of an open store as a crash would; the process's own resources are returned at the end."""
    store._open_engine.abandon()
    try:
        yield
    finally:
        for index in store._indexes.by_name.values():
            await asyncio.to_thread(index.close, keep=False)
        store._engine = None
        store._indexes.by_name.clear()
        await store.close()


async def until_reopened(store: LiteStore) -> None:
    """Opens a store again, once a failed engine was replaced."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await store.open([RECORDS, PASSAGES])
            except Unavailable:
                assert store._reopening is not None
                await store._reopening


def full_disk(*_: object, **__: object) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def failing_flush(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No flush can write its files, until this is undone."""
    with monkeypatch.context() as patch:
        patch.setattr("milvus_lite.engine.flush.write_data_file", full_disk)
        yield patch


async def test_a_flush_that_fails_at_start_loses_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "a.db"
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
    async with crashed(store):
        later = new_store(path)
        try:
            failing = request.getfixturevalue("failing_flush")
            with pytest.raises(Unavailable):
                await later.open([RECORDS, PASSAGES])
            failing.undo()
            await until_reopened(later)
            await check(later, 20)
            assert await later.count(PASSAGES) == 20
        finally:
            await later.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Lite drops a log without closing it
async def test_a_flush_that_fails_while_an_index_is_rebuilt_loses_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
        store._indexes.by_name[PASSAGES.name]._damaged.set()
        failing = request.getfixturevalue("failing_flush")
        with pytest.raises(Unavailable):
            await check(store, 20)
        failing.undo()
        await until_reopened(store)
        await check(store, 20)
        await store.upsert(PASSAGES, rows(20, 1), partition=PARTITION)
    async with opened(path) as store:
        await check(store, 21)
        assert await store.count(PASSAGES) == 21


async def test_an_index_that_cannot_be_written_at_start_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
    remove_index(path)
    before = threads_of_indexes()
    store = new_store(path)
    try:
        with monkeypatch.context() as full:
            full.setattr("memgpt_memory.store.lite.index.segment.write_arrays", full_disk)
            with pytest.raises(Unavailable, match="No space left"):
                await store.open([RECORDS, PASSAGES])
        assert threads_of_indexes() == before
        await until_reopened(store)
        await check(store, 20)
    finally:
        await store.close()


def threads_of_indexes() -> int:
    return sum(thread.name.startswith("search-index") for thread in threading.enumerate())


async def test_a_crash_before_the_index_is_compacted_brings_no_deleted_row_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.delete(PASSAGES, [f"p{number}" for number in range(10, 20)], partition=PARTITION)
    monkeypatch.setattr(store._indexes.by_name[PASSAGES.name], "compact", full_disk)
    with pytest.raises(Unavailable, match="No space left"):
        await store.compact()
    monkeypatch.setattr(SearchIndex, "count", lambda _: 10, raising=False)  # the comparison at start is not needed here
    async with crashed(store), opened(path) as later:
        await check(later, 10)


async def test_an_index_that_cannot_be_compacted_fails_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "a.db") as store:
        await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
        store._indexes.by_name[PASSAGES.name].checkpoint()
        await store.delete(PASSAGES, ["p0"], partition=PARTITION)
        with monkeypatch.context() as full:
            full.setattr("memgpt_memory.store.lite.index.segment.write_arrays", full_disk)
            with pytest.raises(Unavailable, match="No space left"):
                await store.compact()
            await store.upsert(PASSAGES, rows(20, 5), partition=PARTITION)
            await store.delete(PASSAGES, ["p1"], partition=PARTITION)
            assert await store.count(PASSAGES) == 23
        await store.compact()
        found = await store.search(
            PASSAGES, np.eye(4, dtype=np.float32)[0], EVERY_ROW, Key, partitions=[PARTITION], limit=100
        )
        assert {match.id for match in found.found} == {f"p{number}" for number in range(2, 25)}


async def test_deletions_that_lite_has_forgotten_are_still_taken_into_the_index(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(100, 20), partition=PARTITION)
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.delete(PASSAGES, [f"p{number}" for number in range(100, 120)], partition=PARTITION)
    for number in range(6):
        await store.upsert(PASSAGES, rows(number * 10, 10), partition=PARTITION)
        store._open_engine.flush(PASSAGES.name)
    await asyncio.to_thread(store._open_engine.settle)
    async with crashed(store), opened(path) as later:
        await check(later, 60)


async def test_deletions_that_the_files_of_an_index_lack_are_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite_store, "FEW_DELETIONS", 1)
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 30), partition=PARTITION)
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.delete(PASSAGES, [f"p{number}" for number in range(20, 30)], partition=PARTITION)
    store._open_engine.flush(PASSAGES.name)
    store._open_engine.rewrite(PASSAGES.name, PARTITION)  # no file has the rows now
    await store.upsert(PASSAGES, rows(0, 10), partition=PARTITION)
    assert store._open_engine.deletions(PASSAGES.name) == 10
    async with crashed(store):
        monkeypatch.setattr(SearchIndex, "clear", lambda _: pytest.fail("the whole index was built again"))
        async with opened(path) as later:
            await check(later, 20)
            await later.upsert(PASSAGES, rows(0, 10), partition=PARTITION)
            assert later._open_engine.deletions(PASSAGES.name) == 0


async def test_no_file_is_replaced_while_an_index_takes_in_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush before that gives Lite's background work something to merge, and merged files are removed."""
    path = tmp_path / "a.db"
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(PASSAGES, rows(0, 10), partition=PARTITION)
    async with crashed(store):
        later = new_store(path)
        fill, excluded = SearchIndex.fill, []

        def try_lock() -> bool:
            lock = later._open_engine._database.get_collection(PASSAGES.name)._maintenance_lock
            free: bool = lock.acquire(blocking=False)
            if free:
                lock.release()
            return free

        def watched(index: SearchIndex, *arguments: Any) -> None:
            with ThreadPoolExecutor(1) as other:
                excluded.append(not other.submit(try_lock).result())
            fill(index, *arguments)

        monkeypatch.setattr(SearchIndex, "fill", watched)
        await later.open([RECORDS, PASSAGES])
        await check(later, 10)
        await later.close()
    assert excluded
    assert all(excluded)


async def test_a_deletion_that_only_the_index_kept_over_a_power_cut_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = LiteStore(path, observe=lambda *_: None, sync="interval", sync_seconds=1_000)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
    index = store._indexes.by_name[PASSAGES.name]
    await asyncio.to_thread(index.checkpoint)
    await store.delete(PASSAGES, ["p3", "p4"], partition=PARTITION)
    assert index.count() == 18  # which puts the deletion into the flags
    with index._lock:
        index._write_manifest()
    async with crashed(store):
        for log in contents(path, "wal_delta*.arrow"):
            log.unlink()
        async with opened(path) as later:
            await check(later, 20)


async def test_a_store_is_closed_after_the_writes_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store(tmp_path / "a.db")
    await store.open([RECORDS, PASSAGES])
    writing, resumed, events = threading.Event(), threading.Event(), []
    write, close = Engine.write, Engine.close

    def slow(engine: Engine, *arguments: Any) -> None:
        writing.set()
        assert resumed.wait(60)
        write(engine, *arguments)
        events.append("written")

    def noted(engine: Engine) -> None:
        events.append("closed")
        close(engine)

    monkeypatch.setattr(Engine, "write", slow)
    monkeypatch.setattr(Engine, "close", noted)
    upsert = asyncio.create_task(store.upsert(RECORDS, records(0, 1)))
    assert await asyncio.to_thread(writing.wait, 30)
    closing = asyncio.create_task(store.close())
    await asyncio.wait([closing], timeout=0.2)  # enough to close the file, if nothing keeps it open
    resumed.set()
    await asyncio.gather(upsert, closing)
    assert events == ["written", "closed"]


@pytest.mark.linux("reads /proc")
async def test_removals_of_an_index_keep_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
        await asyncio.to_thread(store._indexes.by_name[PASSAGES.name].checkpoint)
        await store.delete(PASSAGES, ["p19"], partition=PARTITION)
    async with opened(path) as store:
        await check(store, 19)
        (part,) = (part for parts in store._indexes.by_name[PASSAGES.name]._parts.values() for part in parts)
        assert part.flags_file
        links = await asyncio.to_thread(open_files)
        assert any(part.file in link for link in links)
        assert not any(part.flags_file in link for link in links)


def open_files() -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return found


async def flush_and_crash_before_its_log_is_removed(path: Path) -> None:
    store = new_store(path)
    await store.open([RECORDS, PASSAGES])
    await store.upsert(RECORDS, records(0, 20))
    await store.upsert(PASSAGES, rows(0, 20), partition=PARTITION)
    logs = contents(path, "*.arrow")
    for collection in (RECORDS, PASSAGES):
        store._open_engine.flush(collection.name)
    async with crashed(store):
        for log, content in logs.items():
            log.write_bytes(content)


def contents(path: Path, pattern: str) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob(pattern)}


def records(first: int, count: int) -> list[RecordRow]:
    return [RecordRow(f"r{number}", "agent", "t", "", 1, "") for number in range(first, first + count)]


async def test_a_log_that_a_crash_left_after_its_flush_repeats_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await flush_and_crash_before_its_log_is_removed(path)
    async with opened(path) as store:
        await check(store, 20)
        assert await store.count(PASSAGES) == await store.count(RECORDS) == 20
        assert len(await store.query(RECORDS, EVERY_ROW, Key)) == 20
        await store.delete(PASSAGES, [f"p{number}" for number in range(20)], partition=PARTITION)
        await check(store, 0)


async def test_rows_that_an_earlier_version_repeated_are_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    await flush_and_crash_before_its_log_is_removed(path)
    with monkeypatch.context() as earlier:
        earlier.setattr(Engine, "_remove_flushed_logs", lambda *_: None)
        async with opened(path) as store:
            await store.upsert(RECORDS, records(20, 5))
            await store.upsert(PASSAGES, rows(20, 5), partition=PARTITION)
    remove_index(path)
    async with opened(path) as store:
        assert [row.id for row in await store.query(RECORDS, EVERY_ROW, Key)] == sorted(f"r{n}" for n in range(25))
        await check(store, 25)
        assert await store.count(PASSAGES) == await store.count(RECORDS) == 25


async def test_nothing_of_an_erased_row_is_left_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        secret = [replace(row, id=f"canary-{row.sequence}", text="a canary") for row in rows(0, 50)]
        await store.upsert(PASSAGES, [*secret, *rows(50, 50)], partition=PARTITION)
        store._indexes.by_name[PASSAGES.name].checkpoint()
        await store.delete(PASSAGES, [row.id for row in secret], partition=PARTITION)
        await store.compact()
        await store.compact()
        for file in path.rglob("*"):
            assert not file.is_file() or b"canary" not in file.read_bytes(), file
