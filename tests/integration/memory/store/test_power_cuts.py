"""Power cuts of a Milvus Lite file: acknowledged writes survive as far as the setting promises."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from memgpt_memory.store import new_store
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import RECORDS, partition_name, passages
from memgpt_memory.store.lite import store as lite_store
from memgpt_memory.store.lite.disk import LAST_ROOM_BYTES
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.rows import IndexedPassageRow, Key, RecordRow
from memgpt_runtime.errors import ResourceExhausted, Unavailable

from tests.integration.memory.faults import FakeDisk
from tests.support.power_cut import Disk

pytestmark = pytest.mark.linux("reads /proc")

PASSAGES = passages("cuts", 4, full_text=True)
HERE = partition_name(0)

Sync = Literal["always", "interval", "never"]


def record(number: int) -> RecordRow:
    return RecordRow(f"r{number}", "agent", "t", "", 1, "x" * 500)


def passage(number: int) -> IndexedPassageRow:
    vector = np.eye(4, dtype=np.float32)[0]
    return IndexedPassageRow(f"n{number}", "o", "", number, 1, 1, "", "y" * 500, embedding=vector, words="a word")


async def found(path: Path) -> tuple[set[str], set[str]]:
    store = new_store(str(path))
    await store.open([RECORDS, PASSAGES])
    try:
        records = {row.id for row in await store.query(RECORDS, EVERY_ROW, Key)}
        notes = {row.id for row in await store.query(PASSAGES, EVERY_ROW, Key)}
        searched = await store.search(
            PASSAGES, np.ones(4, np.float32), EVERY_ROW, Key, partitions=[HERE], limit=100_000
        )
        assert {match.id for match in searched.found} == notes
        return records, notes
    finally:
        await store.close()


class Life:
    """A store on a simulated disk, and its acknowledged writes."""

    def __init__(self, path: Path, seed: int, sync: Sync) -> None:
        self.path = path
        self.disk = Disk(path)
        self.random = random.Random(seed)
        self.records: set[str] = set()
        self.deleted: set[str] = set()
        self.notes: set[str] = set()
        store = new_store(str(path), sync=sync, sync_seconds=0.02)
        assert isinstance(store, LiteStore)
        self.store = store

    async def change(self, number: int) -> None:
        match self.random.randrange(8):
            case 0:
                gone = self.random.sample(sorted(self.records), min(3, len(self.records)))
                await self.store.delete(RECORDS, gone)
                self.records -= set(gone)
                self.deleted |= set(gone)
            case 1:
                await asyncio.to_thread(self.store._open_engine.flush, RECORDS.name)
            case 2:
                await self.store.compact()
            case kind if kind < 6:
                rows = [record(number * 10 + each) for each in range(self.random.randrange(1, 8))]
                await self.store.upsert(RECORDS, rows)
                self.records |= {row.id for row in rows}
            case _:
                notes = [passage(number * 10 + each) for each in range(self.random.randrange(1, 8))]
                await self.store.upsert(PASSAGES, notes, partition=HERE)
                self.notes |= {row.id for row in notes}


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_acknowledged_is_lost(
    tmp_path: Path, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite_store, "FEW_DELETIONS", 1)
    life = Life(tmp_path / "a.db", seed, "always")
    with life.disk.watched():
        await life.store.open([RECORDS, PASSAGES])
        for number in range(kills or 12):
            await life.change(number)
            left = tmp_path / f"left-{number}"
            life.disk.cut(left)
            assert await found(left) == (life.records, life.notes)
            shutil.rmtree(left)
        await life.store.close()


async def test_at_intervals_what_is_older_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(tmp_path / "a.db", 1, "interval")
    written, synced = asyncio.Event(), asyncio.Event()
    sync = life.store._sync_written

    async def sync_and_tell() -> None:
        all_written = written.is_set()
        await sync()
        if all_written:
            synced.set()

    monkeypatch.setattr(life.store, "_sync_written", sync_and_tell)
    with life.disk.watched():
        await life.store.open([RECORDS, PASSAGES])
        for number in range(10):
            await life.store.upsert(RECORDS, [record(number)])
            await life.store.upsert(PASSAGES, [passage(number)], partition=HERE)
        written.set()
        async with asyncio.timeout(60):
            await synced.wait()
        life.disk.cut(tmp_path / "left")
        assert await found(tmp_path / "left") == ({f"r{n}" for n in range(10)}, {f"n{n}" for n in range(10)})
        await life.store.close()


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(3))
async def test_at_intervals_only_what_follows_the_last_sync_is_lost(
    tmp_path: Path, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path / "a.db", seed, "interval")
    sync = life.store._sync_written
    kept: tuple[set[str], set[str]] = set(), set()
    gone: set[str] = set()
    syncs = 0

    async def note_and_sync() -> None:
        nonlocal kept, gone, syncs
        records, notes, deleted = set(life.records), set(life.notes), set(life.deleted)
        await sync()
        kept, gone, syncs = (records, notes), deleted, syncs + 1

    monkeypatch.setattr(life.store, "_sync_written", note_and_sync)
    with life.disk.watched():
        await life.store.open([RECORDS, PASSAGES])
        for number in range(kills or 12):
            await life.change(number)
            await asyncio.sleep(life.random.uniform(0, 0.05))
            left = tmp_path / f"left-{number}"
            life.disk.cut(left)
            must, forbidden = (kept[0] & life.records, kept[1]), set(gone)
            records, notes = await found(left)
            assert must[0] <= records <= life.records | life.deleted
            assert must[1] <= notes <= life.notes
            assert not records & forbidden
            shutil.rmtree(left)
        await life.store.close()
    assert syncs


async def test_what_was_written_before_the_disk_was_full_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path / "a.db", 1, "interval")
    life.store._sync_seconds = 1_000
    with life.disk.watched():
        await life.store.open([RECORDS, PASSAGES])
        await life.store.upsert(RECORDS, [record(1)])
        with monkeypatch.context() as full:
            full.setattr(os, "statvfs", lambda _: FakeDisk(f_bavail=LAST_ROOM_BYTES - 1))
            with pytest.raises(ResourceExhausted):
                await life.store.upsert(RECORDS, [record(2)])
            await life.store._sync_written()
        life.disk.cut(tmp_path / "left")
        assert await found(tmp_path / "left") == ({"r1"}, set())
        await life.store.close()


async def test_a_disk_that_does_not_respond_for_a_moment_stops_no_later_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    life = Life(tmp_path / "a.db", 1, "interval")
    life.store._sync_seconds = 1_000
    with life.disk.watched():
        await life.store.open([RECORDS, PASSAGES])
        await life.store.upsert(RECORDS, [record(1)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", stale)
            with pytest.raises(Unavailable, match="Stale file handle"):
                await life.store.upsert(RECORDS, [record(2)])
            await life.store._sync_written()
        await life.store._sync_written()
        life.disk.cut(tmp_path / "left")
        assert await found(tmp_path / "left") == ({"r1"}, set())
        await life.store.close()


@pytest.mark.parametrize("sync", ["always", "interval"])
async def test_what_a_killed_process_had_not_synced_is_synced_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync
) -> None:
    life = Life(tmp_path / "a.db", 1, "always")
    with life.disk.watched():
        await life.store.open([RECORDS])
        await life.store.upsert(RECORDS, [record(1)])
        monkeypatch.setattr(life.store._open_engine, "sync", lambda _: None)
        await life.store.upsert(RECORDS, [record(2)])
        life.store._suspect = True  # it is closed as a kill would
        await life.store.close()
        following = new_store(str(life.path), sync=sync, sync_seconds=1_000)
        await following.open([RECORDS])
        assert set(await following.get(RECORDS, ["r1", "r2"], Key)) == {"r1", "r2"}
        life.disk.cut(tmp_path / "left")
        await following.close()
    assert await found(tmp_path / "left") == ({"r1", "r2"}, set())


async def test_without_syncs_a_cut_loses_what_was_written(tmp_path: Path) -> None:
    """This shows that the other tests can detect a loss."""
    life = Life(tmp_path / "a.db", 1, "never")
    with life.disk.watched():
        await life.store.open([RECORDS, PASSAGES])
        await life.store.upsert(RECORDS, [record(1)])
        life.disk.cut(tmp_path / "left")
        assert await found(tmp_path / "left") == (set(), set())
        await life.store.close()
