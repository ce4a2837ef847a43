from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from memgpt_loader.failures import FailureReason
from memgpt_loader.formats import NoteKind
from memgpt_loader.loads import leases as leases_module
from memgpt_loader.loads import lifecycle as lifecycle_module
from memgpt_loader.loads import registry as registry_module
from memgpt_loader.loads import remote as remote_module
from memgpt_loader.loads.events import FileChanged, LoadEnded
from memgpt_loader.loads.pipeline import FilePipeline
from memgpt_loader.loads.records import from_record
from memgpt_loader.loads.registry import LoadLimits, LoadRegistry
from memgpt_loader.loads.spool import Spool
from memgpt_loader.model import FileState, Load, LoadFile, LoadRecord, LoadState, Manifest, SourceRef, Wait
from memgpt_loader.parsing.extract import chunker_version
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.parsing.results import ParserResult
from memgpt_runtime.context import background
from memgpt_runtime.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from memgpt_runtime.principal import Principal

from tests.support import pdfs
from tests.support.waiting import until
from tests.unit.loader.fakes import FakeMemory

PARSER = ParserLimits(
    processes=2,
    memory_bytes=1 << 30,
    seconds=60,
    max_pages=100,
    max_chars=1_000_000,
    max_unpacked_bytes=1 << 30,
    max_tokens=300,
)
LIMITS = LoadLimits(max_file_bytes=1_000_000, seconds_per_mib=30, idle_seconds=3600)
SOURCE = SourceRef(name="papers")


class Loader:
    """An in-process Loader that can die and restart."""

    def __init__(
        self,
        spool_dir: Path,
        pool: ParserPool,
        memory: FakeMemory,
        limits: LoadLimits = LIMITS,
        *,
        retry_seconds: float = 5,
        rate_limit_seconds: float = 3600,
    ) -> None:
        self._spool = Spool(spool_dir, 10_000_000)
        self.spool = self._spool
        pipeline = FilePipeline(
            pool,
            memory,
            chunker_version(300, 0),
            retry_seconds=retry_seconds,
            rate_limit_seconds=rate_limit_seconds,
        )
        self.loads = LoadRegistry(memory, pool, pipeline, self._spool, limits)

    async def close(self) -> None:
        await self.loads.close()
        self._spool.close()

    async def kill(self, memory: FakeMemory) -> None:
        """Simulate `kill -9`: its folder stays, and nothing that it still does reaches Memory."""
        records = dict(memory.load_records)
        await self.loads.close()
        memory.load_records = records
        self._spool._lock.close()


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    pool = ParserPool(PARSER)
    yield pool
    await pool.close()


@pytest.fixture
def memory() -> FakeMemory:
    return FakeMemory()


@pytest.fixture
async def loader(tmp_path: Path, pool: ParserPool, memory: FakeMemory) -> AsyncIterator[Loader]:
    loader = Loader(tmp_path, pool, memory)
    yield loader
    await loader.close()


def manifest(name: str, data: bytes) -> Manifest:
    return Manifest(name, len(data), hashlib.sha256(data).hexdigest())


async def chunks(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for first in range(0, len(data), size):
        yield data[first : first + size]


async def load(loads: LoadRegistry, files: dict[str, bytes], request_id: str = "") -> Load:
    created = await loads.create(request_id, SOURCE, [manifest(name, data) for name, data in files.items()])
    for name, file in created.files.items():
        if file.state is FileState.AWAITING_UPLOAD:
            await loads.upload(created.load_id, name, chunks(files[name]))
    return await ended(loads, created.load_id)


async def ended(loads: LoadRegistry, load_id: str) -> Load:
    async with aclosing(loads.watch(load_id, 0)) as events:
        async for event in events:
            if isinstance(event, LoadEnded):
                return event.load
    raise AssertionError("a watch ends with the end of the load")


def states(load: Load) -> dict[str, FileState]:
    return {name: file.state for name, file in load.files.items()}


def recorded(memory: FakeMemory, load_id: str) -> dict[str, FileState]:
    return states(from_record(memory.load_records[load_id], ""))


async def test_files_become_passages(loader: Loader, memory: FakeMemory, paper: Path) -> None:
    data = await asyncio.to_thread(paper.read_bytes)
    result = await load(loader.loads, {"dir/paper.pdf": data, "notes.txt": b"A note. Another one."})
    assert result.state is LoadState.COMPLETED
    assert states(result) == {"dir/paper.pdf": FileState.LOADED, "notes.txt": FileState.LOADED}
    assert result.documents == 14
    assert result.passages == sum(map(len, memory.passages.values()))
    assert result.end_time is not None
    assert [passage.page for passage in memory.passages[result.source_id, "notes.txt"]] == [0]
    assert loader.spool.used_bytes == 0


async def test_bad_files_cost_the_others_nothing(loader: Loader) -> None:
    files = {
        "secret.pdf": pdfs.pdf(["x"], password="hunter2"),
        "bomb.pdf": pdfs.bomb(),
        "scan.pdf": pdfs.pdf([""]),
        "broken.pdf": b"%PDF-1.7 nonsense",
        "empty.pdf": b"",
        "binary.txt": b"\x00\x01\x02",
        "image.png": b"\x89PNG....",
        "large.txt": b"x" * 1_000_001,
        "good.txt": b"Good.",
    }
    result = await load(loader.loads, files)
    assert result.state is LoadState.COMPLETED
    assert {name: file.reason for name, file in result.files.items()} == {
        "secret.pdf": FailureReason.ENCRYPTED,
        "bomb.pdf": FailureReason.TOO_LARGE,
        "scan.pdf": FailureReason.NO_TEXT,
        "broken.pdf": FailureReason.BROKEN,
        "empty.pdf": FailureReason.EMPTY,
        "binary.txt": FailureReason.UNSUPPORTED,
        "image.png": FailureReason.UNSUPPORTED,
        "large.txt": FailureReason.TOO_LARGE,
        "good.txt": None,
    }
    assert all(file.message for file in result.files.values() if file.reason)
    ends = {FailureReason.EMPTY: FileState.EMPTY, FailureReason.UNSUPPORTED: FileState.SKIPPED, None: FileState.LOADED}
    assert states(result) == {name: ends.get(file.reason, FileState.FAILED) for name, file in result.files.items()}
    assert (result.documents, result.passages) == (1, 1)


async def test_a_file_that_is_emptied_holds_nothing_any_more(loader: Loader, memory: FakeMemory) -> None:
    await load(loader.loads, {"a.txt": b"One.", "b.txt": b"Two."})
    for emptied in (b"", b" \n"):
        result = await load(loader.loads, {"a.txt": emptied, "b.txt": b"Two."})
        assert states(result) == {"a.txt": FileState.EMPTY, "b.txt": FileState.UNCHANGED}
        assert memory.passages[result.source_id, "a.txt"] == []
        assert (result.documents, result.passages) == (1, 1)
    again = await loader.loads.create("", SOURCE, [manifest("a.txt", b" \n")])  # nothing is to be sent
    assert (again.state, states(again)) == (LoadState.COMPLETED, {"a.txt": FileState.EMPTY})


async def test_a_skipped_or_failed_file_leaves_what_was_there(loader: Loader, memory: FakeMemory) -> None:
    await load(loader.loads, {"a.txt": b"One.", "b.txt": b"Two."})
    result = await load(loader.loads, {"a.txt": b"\x89PNG....", "b.txt": b"%PDF-1.7 nonsense"})
    assert states(result) == {"a.txt": FileState.SKIPPED, "b.txt": FileState.FAILED}
    assert [len(passages) for passages in memory.passages.values()] == [1, 1]


async def test_a_note_is_told_with_the_file(loader: Loader) -> None:
    result = await load(loader.loads, {"a.pdf": pdfs.pdf(["text", pdfs.PICTURE])})
    assert states(result) == {"a.pdf": FileState.LOADED}
    (note,) = result.files["a.pdf"].notes
    assert (note.kind, note.count, note.where) == (NoteKind.SCANNED_PAGE, 1, "page 2")


async def test_loading_again_writes_nothing(loader: Loader, memory: FakeMemory) -> None:
    files = {"a.txt": b"One.", "b.txt": b"Two."}
    await load(loader.loads, files)
    again = await load(loader.loads, files | {"b.txt": b"Two, changed."})
    assert states(again) == {"a.txt": FileState.UNCHANGED, "b.txt": FileState.LOADED}
    assert again.documents == 2
    assert memory.stores == 3
    once_more = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    assert once_more.state is LoadState.COMPLETED


async def test_other_tags_take_effect_without_the_bytes(loader: Loader, memory: FakeMemory) -> None:
    files = [manifest("a.txt", b"One."), manifest("b.txt", b"Two.")]

    async def create(tags: tuple[str, ...] | None) -> Load:
        created = await loader.loads.create("", SOURCE, files, tags=tags)
        for name, file in created.files.items():
            if file.state is FileState.AWAITING_UPLOAD:
                await loader.loads.upload(created.load_id, name, chunks({"a.txt": b"One.", "b.txt": b"Two."}[name]))
        return await ended(loader.loads, created.load_id)

    async def tags() -> list[tuple[str, ...]]:
        return [file.tags for file in (await memory.visible_files("source_papers")).values()]

    await create(("x", "y"))
    assert await tags() == [("x", "y")] * 2
    assert set(states(await create(None)).values()) == {FileState.UNCHANGED}
    assert await tags() == [("x", "y")] * 2  # nothing said, nothing changed
    assert (memory.stores, set(states(await create(("z",))).values())) == (2, {FileState.LOADED})
    assert (memory.stores, await tags()) == (2, [("z",)] * 2)
    files[0] = manifest("a.txt", b"One!")
    await create_changed(loader, files)
    assert await tags() == [("z",)] * 2  # a changed file keeps them
    files[0] = manifest("a.txt", b"One.")
    await create(())
    assert await tags() == [()] * 2


async def create_changed(loader: Loader, files: list[Manifest]) -> None:
    created = await loader.loads.create("", SOURCE, files)
    await loader.loads.upload(created.load_id, "a.txt", chunks(b"One!"))
    await ended(loader.loads, created.load_id)


async def test_the_same_request_is_the_same_load(loader: Loader) -> None:
    first = await loader.loads.create("r1", SOURCE, [manifest("a.txt", b"One.")])
    assert (await loader.loads.create("r1", SOURCE, [manifest("a.txt", b"One.")])).load_id == first.load_id
    with pytest.raises(InvalidArgument) as error:
        await loader.loads.create("r1", SOURCE, [manifest("a.txt", b"Two.")])
    assert error.value.reason == Reason.REQUEST_ID_REUSED
    both = await asyncio.gather(*(loader.loads.create("r2", SOURCE, [manifest("a.txt", b"One.")]) for _ in range(2)))
    assert both[0].load_id == both[1].load_id


async def test_a_name_twice(loader: Loader) -> None:
    with pytest.raises(InvalidArgument) as error:
        await loader.loads.create("", SOURCE, [manifest("a", b"1"), manifest("b", b"1"), manifest("a", b"2")])
    assert [violation.field for violation in error.value.violations] == ["files[2].name"]


async def test_a_loader_that_died_is_taken_up_by_the_next(tmp_path: Path, pool: ParserPool, memory: FakeMemory) -> None:
    files = {"a.txt": b"One.", "b.txt": b"Two."}
    first = Loader(tmp_path, pool, memory)
    created = await first.loads.create("r", SOURCE, [manifest(name, data) for name, data in files.items()])
    await first.loads.upload(created.load_id, "a.txt", chunks(files["a.txt"]))
    last = 0
    async with aclosing(first.loads.watch(created.load_id, 0)) as events:
        async for event in events:
            last = event.sequence
            if isinstance(event, FileChanged) and event.file.state is FileState.LOADED:
                break
    memory.gate.clear()
    await first.loads.upload(created.load_id, "b.txt", chunks(files["b.txt"]))
    await first.close()

    memory.gate.set()
    second = Loader(tmp_path, pool, memory)
    read = await second.loads.get(created.load_id)
    assert (read.state, states(read)["a.txt"]) == (LoadState.INTERRUPTED, FileState.LOADED)
    again = await second.loads.create("r", SOURCE, [manifest(name, data) for name, data in files.items()])
    assert (again.load_id, again.state) == (created.load_id, LoadState.RUNNING)
    assert states(again) == {"a.txt": FileState.LOADED, "b.txt": FileState.AWAITING_UPLOAD}
    await second.loads.upload(created.load_id, "b.txt", chunks(files["b.txt"]))
    events_after = [event async for event in second.loads.watch(created.load_id, last)]
    assert all(event.sequence > last for event in events_after)
    assert isinstance(events_after[-1], LoadEnded)
    assert (await second.loads.get(created.load_id)).documents == 2
    await second.close()


async def test_who_sent_a_file_to_a_loader_that_was_killed_hears_that_it_is_wanted_again(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory
) -> None:
    first = Loader(tmp_path, pool, memory)
    created = await first.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    memory.gate.clear()
    await first.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    last = (await anext(first.loads.watch(created.load_id, 0))).sequence
    assert first.spool.used_bytes  # it is being worked on, and no other Loader knows
    await first.kill(memory)
    memory.gate.set()
    second = Loader(tmp_path, pool, memory)
    async with aclosing(second.loads.watch(created.load_id, last)) as events:
        async with asyncio.timeout(60):
            event = await anext(events)
    assert isinstance(event, FileChanged)
    assert event.file.state is FileState.AWAITING_UPLOAD
    await second.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    assert (await ended(second.loads, created.load_id)).passages == 1
    await second.close()


async def test_reading_a_load_leaves_it_where_it_is_worked_on(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(lifecycle_module, "SAVE_SECONDS", 0.01)
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    manifests = [manifest("a.txt", b"One."), manifest("b.txt", b"Two.")]
    created = await one.loads.create("r", SOURCE, manifests)
    load_id = created.load_id
    assert (await other.loads.get(load_id)).state is LoadState.RUNNING
    assert [each.state for each in (await other.loads.list("", 10, ""))[0]] == [LoadState.RUNNING]
    assert (await other.loads.create("r", SOURCE, manifests)).load_id == load_id
    following = asyncio.create_task(ended(other.loads, load_id))
    for name, data in (("a.txt", b"One."), ("b.txt", b"Two.")):
        await one.loads.upload(load_id, name, chunks(data))
    assert states(await following) == {"a.txt": FileState.LOADED, "b.txt": FileState.LOADED}
    await one.close()
    await other.close()


async def test_any_loader_accepts_any_upload(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(registry_module, "_UPKEEP_SECONDS", 0.01)
    monkeypatch.setattr(lifecycle_module, "SAVE_SECONDS", 0.01)
    loaders = [Loader(tmp_path, pool, memory) for _ in range(3)]
    files = {f"{n}.txt": f"File {n}.".encode() for n in range(12)} | {"bad.pdf": b"%PDF-1.7 nonsense", "gone.txt": b"x"}
    manifests = [manifest(name, data) for name, data in files.items()]
    created = await loaders[0].loads.create("r", SOURCE, manifests, tags=("x",))
    watches = [asyncio.create_task(ended(each.loads, created.load_id)) for each in loaders]
    uploads = [
        loaders[number % 3].loads.upload(created.load_id, name, chunks(data))
        for number, (name, data) in enumerate(files.items())
        if name != "gone.txt"
    ]
    withdrawal = loaders[1].loads.withdraw(created.load_id, "gone.txt", "the file was deleted")
    async with asyncio.timeout(60):
        await asyncio.gather(withdrawal, *uploads)
        results = await asyncio.gather(*watches)
    assert results[0].state is LoadState.COMPLETED
    assert {name: file.state for name, file in results[0].files.items() if file.state is not FileState.LOADED} == {
        "bad.pdf": FileState.FAILED,
        "gone.txt": FileState.FAILED,
    }
    assert results[0].files["gone.txt"].message == "the file was deleted"
    assert [states(each) for each in results] == [states(results[0])] * 3
    assert {file.tags for file in (await memory.visible_files("source_papers")).values()} == {("x",)}
    assert [each.spool.used_bytes for each in loaders] == [0, 0, 0]
    assert sum(each.loads.stats.passages_stored for each in loaders) == 12
    assert all(each.loads.stats.passages_stored for each in loaders)
    for each in loaders:
        await each.close()


async def test_what_another_loader_loaded_outlives_the_one_that_coordinates(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory
) -> None:
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    created = await one.loads.create("r", SOURCE, [manifest("a.txt", b"One."), manifest("b.txt", b"Two.")])
    last = (await one.loads.get(created.load_id)).sequence
    result = await other.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    assert (result.state, result.passages) == (FileState.LOADED, 1)  # it waits for the end
    await one.kill(memory)
    events = other.loads.watch(created.load_id, last)
    first = await anext(events)
    assert isinstance(first, FileChanged)
    assert (first.file.manifest.name, first.file.state) == ("a.txt", FileState.LOADED)
    await other.loads.upload(created.load_id, "b.txt", chunks(b"Two."))
    assert [type(event) async for event in events][-1] is LoadEnded
    assert memory.stores == 2
    await other.close()


async def test_a_load_is_cancelled_at_any_loader(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(registry_module, "_UPKEEP_SECONDS", 0.01)
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    created = await one.loads.create("", SOURCE, [manifest("a.txt", b"One."), manifest("b.txt", b"Two.")])
    await other.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    async with asyncio.timeout(60):
        cancelled = await other.loads.cancel(created.load_id)
    assert cancelled.state is LoadState.CANCELLED
    assert states(cancelled) == {"a.txt": FileState.LOADED, "b.txt": FileState.CANCELLED}
    assert states(await one.loads.get(created.load_id)) == states(cancelled)
    for loader in (one, other):
        with pytest.raises(FailedPrecondition):
            await loader.loads.upload(created.load_id, "b.txt", chunks(b"Two."))
    await one.close()
    await other.close()


async def test_a_file_that_waits_at_another_loader_is_cancelled_with_its_load(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (registry_module, remote_module):
        monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(registry_module, "_UPKEEP_SECONDS", 0.01)
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    memory.failures = [limited(600)]
    created = await one.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    upload = asyncio.create_task(other.loads.upload(created.load_id, "a.txt", chunks(b"One.")))
    async with asyncio.timeout(60):
        await until(lambda: memory.stores)
        assert (await one.loads.cancel(created.load_id)).state is LoadState.CANCELLED
        await asyncio.wait({upload})
    assert memory.stores == 1
    assert other.spool.used_bytes == 0
    await one.close()
    await other.close()


async def test_an_abandoned_load_can_be_resumed_by_another_loader(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_UPKEEP_SECONDS", 0.01)
    monkeypatch.setattr(registry_module, "LEASE_SECONDS", 0.0)
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    created = await one.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    async with asyncio.timeout(60):
        memory.recorded.clear()
        while (await other.loads.get(created.load_id)).state is not LoadState.INTERRUPTED:
            await memory.recorded.wait()
            memory.recorded.clear()
    await one.loads.close()
    monkeypatch.setattr(registry_module, "LEASE_SECONDS", 60.0)  # or the other one, too, lets it go between two calls
    await other.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    assert (await ended(other.loads, created.load_id)).state is LoadState.COMPLETED
    await one.close()
    await other.close()


async def test_a_load_that_is_not_resumed_ends_after_a_day(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Loader(tmp_path, pool, memory)
    created = await first.loads.create("r", SOURCE, [manifest(f"{n}.txt", b"x.") for n in range(2)])
    await first.loads.upload(created.load_id, "0.txt", chunks(b"x."))
    await until(lambda: recorded(memory, created.load_id)["0.txt"] is FileState.LOADED)
    await first.close()
    second = Loader(tmp_path, pool, memory)
    assert (await second.loads.get(created.load_id)).state is LoadState.INTERRUPTED
    record = memory.load_records[created.load_id]
    a_day_ago = record.update_time - dt.timedelta(hours=24)
    memory.load_records[created.load_id] = replace(record, update_time=a_day_ago)
    (listed,), _ = await second.loads.list("", 10, "")
    assert (listed.state, listed.end_time) == (LoadState.CANCELLED, record.update_time)
    assert states(listed) == {"0.txt": FileState.LOADED, "1.txt": FileState.CANCELLED}
    assert states(await ended(second.loads, created.load_id)) == states(listed)
    with pytest.raises(FailedPrecondition, match="has ended"):
        await second.loads.upload(created.load_id, "1.txt", chunks(b"x."))
    await second.close()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_lease_ends_although_the_clock_is_set(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, hours: int
) -> None:
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    created = await one.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    assert (await other.loads.get(created.load_id)).state is LoadState.RUNNING
    record = memory.load_records[created.load_id]
    moved = record.update_time + dt.timedelta(hours=hours)
    memory.load_records[created.load_id] = replace(record, update_time=moved)
    assert (await other.loads.get(created.load_id)).state is LoadState.INTERRUPTED
    await one.close()
    await other.close()


async def test_a_load_whose_end_takes_long_holds_up_no_other(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_UPKEEP_SECONDS", 0.01)
    monkeypatch.setattr(registry_module, "RENEW_SECONDS", 0.0)
    loader = Loader(tmp_path, pool, memory)
    one, other = [await loader.loads.create("", SOURCE, [manifest(f"{n}.txt", b"x.")]) for n in range(2)]
    async with loader.loads._live[one.load_id].lock:
        written = memory.load_records[other.load_id].etag
        await until(lambda: memory.load_records[other.load_id].etag != written)
    await loader.close()


async def test_who_was_believed_dead_stops_when_another_has_taken_the_load_up(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_module, "SAVE_SECONDS", 0.01)
    monkeypatch.setattr(registry_module, "_UPKEEP_SECONDS", 1000)  # it notices with its own write
    one, other = Loader(tmp_path, pool, memory), Loader(tmp_path, pool, memory)
    created = await one.loads.create("", SOURCE, [manifest("a.txt", b"One."), manifest("b.txt", b"Two.")])
    load_id = created.load_id
    following = asyncio.create_task(ended(one.loads, load_id))
    with monkeypatch.context() as patched:
        patched.setattr(leases_module, "LEASE_SECONDS", 0.0)
        await other.loads.upload(load_id, "a.txt", chunks(b"One."))
    await one.loads.upload(load_id, "b.txt", chunks(b"Two."))
    with pytest.raises(Unavailable) as error:
        await following
    assert error.value.reason == Reason.LOAD_HELD_ELSEWHERE
    following = asyncio.create_task(ended(one.loads, load_id))  # from now on from the record
    await other.loads.upload(load_id, "b.txt", chunks(b"Two."))
    assert states(await following) == {"a.txt": FileState.LOADED, "b.txt": FileState.UNCHANGED}
    await one.close()
    await other.close()


async def test_a_load_that_ended_is_remembered(tmp_path: Path, pool: ParserPool, memory: FakeMemory) -> None:
    first = Loader(tmp_path, pool, memory)
    result = await load(first.loads, {"a.txt": b"One.", "b.pdf": b"%PDF-1.7"})
    await first.close()
    second = Loader(tmp_path, pool, memory)
    found = await second.loads.get(result.load_id)
    assert found == result
    events = [event async for event in second.loads.watch(result.load_id, 0)]
    assert [type(event) for event in events] == [FileChanged, FileChanged, LoadEnded]
    events = [event async for event in second.loads.watch(result.load_id, result.sequence)]
    assert [type(event) for event in events] == [LoadEnded]
    await second.close()


async def test_events_are_numbered_and_resume(loader: Loader) -> None:
    result = await load(loader.loads, {"a.pdf": pdfs.pdf([f"Page {n}." for n in range(5)]), "b.txt": b"B."})
    events = [event async for event in loader.loads.watch(result.load_id, 0)]
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    later = [event async for event in loader.loads.watch(result.load_id, sequences[0])]
    assert [event.sequence for event in later] == sequences[1:]


async def test_progress_while_a_file_is_read(loader: Loader, memory: FakeMemory, paper: Path) -> None:
    data = await asyncio.to_thread(paper.read_bytes)
    created = await loader.loads.create("", SOURCE, [manifest("paper.pdf", data)])
    seen: list[LoadFile] = []

    async def follow() -> None:
        async for event in loader.loads.watch(created.load_id, 0):
            if isinstance(event, FileChanged):
                seen.append(event.file)

    follower = asyncio.create_task(follow())
    await loader.loads.upload(created.load_id, "paper.pdf", chunks(data))
    await follower
    documents = [file.documents for file in seen if file.state is FileState.PROCESSING]
    assert len(set(documents)) > 3
    assert documents == sorted(documents)
    assert (seen[0].state, seen[-1].state, seen[-1].documents) == (FileState.AWAITING_UPLOAD, FileState.LOADED, 13)


async def test_uploads_that_are_not_wanted(loader: Loader) -> None:
    result = await load(loader.loads, {"a.txt": b"One.", "b.pdf": b"%PDF-1.7"})
    assert (await loader.loads.upload(result.load_id, "a.txt", chunks(b"One."))).state is FileState.LOADED
    again = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    assert (await loader.loads.upload(again.load_id, "a.txt", chunks(b"One."))).state is FileState.UNCHANGED
    with pytest.raises(FailedPrecondition) as error:
        await loader.loads.upload(result.load_id, "b.pdf", chunks(b"%PDF-1.7"))
    assert error.value.reason == Reason.UPLOAD_NOT_EXPECTED
    with pytest.raises(NotFound, match="manifest"):
        await loader.loads.upload(result.load_id, "c.txt", chunks(b""))
    with pytest.raises(NotFound):
        await loader.loads.upload("load_unknown", "a.txt", chunks(b""))


async def test_other_bytes_may_be_sent_again_right(loader: Loader) -> None:
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"Right.")])
    with pytest.raises(InvalidArgument):
        await loader.loads.upload(created.load_id, "a.txt", chunks(b"Wrong!"))
    assert created.files["a.txt"].state is FileState.AWAITING_UPLOAD
    assert loader.spool.used_bytes == 0
    await loader.loads.upload(created.load_id, "a.txt", chunks(b"Right."))
    assert states(await ended(loader.loads, created.load_id)) == {"a.txt": FileState.LOADED}


@pytest.mark.parametrize("drips", [False, True])
async def test_an_upload_that_stalls(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, skip_time: Callable[[float], None], drips: bool
) -> None:
    limits = LoadLimits(max_file_bytes=1_000_000, seconds_per_mib=30 if drips else 0.2, idle_seconds=3600)
    loader = Loader(tmp_path, pool, memory, limits)
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"x" * 1_000_000)])

    async def stalled() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            if drips:
                skip_time(0.1)
                await asyncio.sleep(0)
            else:
                await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded, match="upload the file again"):
        await loader.loads.upload(created.load_id, "a.txt", stalled())
    assert loader.spool.used_bytes == 0
    await loader.close()


async def test_every_mib_of_an_upload_has_its_own_time(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, skip_time: Callable[[float], None]
) -> None:
    data = b"Word. " * 1_000_000
    limits = LoadLimits(max_file_bytes=10_000_000, seconds_per_mib=60, idle_seconds=3600)
    loader = Loader(tmp_path, pool, memory, limits)
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", data)])

    async def steady() -> AsyncIterator[bytes]:
        async for chunk in chunks(data):
            skip_time(2)  # 32 seconds for each MiB
            yield chunk

    await loader.loads.upload(created.load_id, "a.txt", steady())
    await loader.loads.cancel(created.load_id)
    await loader.close()


async def test_a_parser_that_cannot_be_started_for_a_moment(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\nmv '{tmp_path}/python.next' '{interpreter}'\nexit 1\n")
    following = tmp_path / "python.next"
    following.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    for script in (interpreter, following):
        script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    result = await load(loader.loads, {"a.txt": b"One."})
    assert states(result) == {"a.txt": FileState.LOADED}


@pytest.mark.parametrize("interpreter", ["/bin/false", "/nowhere/python"])
async def test_a_parser_that_cannot_be_started_at_all(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch, interpreter: str
) -> None:
    loader = Loader(tmp_path, pool, memory, retry_seconds=0.6)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", interpreter)
        file = (await load(loader.loads, {"a.txt": b"One."})).files["a.txt"]
    assert (file.state, file.reason) == (FileState.FAILED, FailureReason.UNAVAILABLE)
    assert "cannot start a parser" in file.message
    assert states(await load(loader.loads, {"a.txt": b"One."})) == {"a.txt": FileState.LOADED}
    await loader.close()


async def test_memory_away_for_a_moment(loader: Loader, memory: FakeMemory) -> None:
    memory.failures = [Unavailable(Reason.SERVICE_UNAVAILABLE, "gone")]
    result = await load(loader.loads, {"a.txt": b"One."})
    assert states(result) == {"a.txt": FileState.LOADED}
    assert memory.stores == 2


async def test_a_file_whose_call_was_cut_by_a_closed_channel_fails(loader: Loader, memory: FakeMemory) -> None:
    memory.failures = [asyncio.CancelledError()]
    async with asyncio.timeout(60):
        result = await load(loader.loads, {"a.txt": b"One.", "b.txt": b"Two."})
    assert sorted(states(result).values()) == sorted([FileState.FAILED, FileState.LOADED])


async def test_memory_is_not_asked_before_the_time_that_it_names(loader: Loader, memory: FakeMemory) -> None:
    # It lies beyond the patience; without it the file would be tried again at once, and loaded.
    memory.failures = [ResourceExhausted(Reason.OVERLOADED, "too many writes wait", retry_after=60)]
    result = await load(loader.loads, {"a.txt": b"A note."})
    assert states(result) == {"a.txt": FileState.FAILED}
    assert result.files["a.txt"].reason is FailureReason.UNAVAILABLE
    assert memory.stores == 1


def limited(seconds: float, **metadata: str) -> ResourceExhausted:
    message = "the embedding endpoint http://llm/v1 is rate limiting requests; retry later: 429"
    return ResourceExhausted(Reason.MODEL_RATE_LIMITED, message, metadata=metadata, retry_after=seconds)


async def waiting(loads: LoadRegistry, load_id: str, count: int = 1) -> dict[str, Wait]:
    """Return the waits of files by name, once so many files wait at the same time."""
    found: dict[str, Wait] = {}
    async with aclosing(loads.watch(load_id, 0)) as events:
        async for event in events:
            assert isinstance(event, FileChanged)
            found.pop(event.file.manifest.name, None)
            if event.file.wait is not None:
                found[event.file.manifest.name] = event.file.wait
            if len(found) == count:
                return found
    raise AssertionError("a watch ends with the end of the load")


async def test_a_rate_limit_is_waited_for_longer_than_an_outage(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory
) -> None:
    loader = Loader(tmp_path, pool, memory, retry_seconds=0)
    memory.failures = [limited(0.6)]
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    await loader.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    told = await waiting(loader.loads, created.load_id)
    assert told["a.txt"].message == "the embedding endpoint http://llm/v1 is rate limiting requests"
    result = await ended(loader.loads, created.load_id)
    assert states(result) == {"a.txt": FileState.LOADED}
    assert result.files["a.txt"].wait is None
    assert memory.stores == 2
    await loader.close()


async def test_all_files_of_a_load_wait_for_a_rate_limit_and_are_cancelled_at_once(
    tmp_path: Path, memory: FakeMemory
) -> None:
    one = ParserPool(replace(PARSER, processes=1))
    loader = Loader(tmp_path, one, memory)
    memory.failures = [limited(600)]
    names = [f"{number}.txt" for number in range(5)]
    created = await loader.loads.create("", SOURCE, [manifest(name, name.encode()) for name in names])
    await loader.loads.upload(created.load_id, names[0], chunks(names[0].encode()))
    await waiting(loader.loads, created.load_id)
    for name in names[1:]:
        await loader.loads.upload(created.load_id, name, chunks(name.encode()))
    told = await waiting(loader.loads, created.load_id, len(names))
    assert all(wait.seconds > 0 for wait in told.values())
    assert memory.stores == 1, "refused calls count toward the limit, too"
    async with asyncio.timeout(30):
        result = await loader.loads.cancel(created.load_id)
    assert set(states(result).values()) == {FileState.CANCELLED}
    assert loader.spool.used_bytes == 0
    await loader.close()
    await one.close()


async def test_a_file_that_waits_to_be_finished_again_is_cancelled_at_once(loader: Loader, memory: FakeMemory) -> None:
    memory.finish_failures = [limited(600)]
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    await loader.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    await waiting(loader.loads, created.load_id)
    async with asyncio.timeout(30):
        assert states(await loader.loads.cancel(created.load_id)) == {"a.txt": FileState.CANCELLED}


async def test_a_file_does_not_wait_once_its_load_is_being_cancelled(loader: Loader, memory: FakeMemory) -> None:
    memory.finish_failures = [limited(600)]
    memory.gate.clear()
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    await loader.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    await memory.storing.wait()
    async with asyncio.timeout(30):
        cancelling = asyncio.create_task(loader.loads.cancel(created.load_id))
        await asyncio.sleep(0)
        memory.gate.set()
        assert states(await cancelling) == {"a.txt": FileState.CANCELLED}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (limited(3 * 24 * 3600), "Load it again in 72 h."),
        (limited(1, account="spent"), "Load it again when that is fixed."),
    ],
)
async def test_a_limit_that_does_not_pass_soon_is_reported(
    loader: Loader, memory: FakeMemory, error: ResourceExhausted, says: str
) -> None:
    memory.failures = [error]
    result = await load(loader.loads, {"a.txt": b"One.", "b.txt": b"Two."})
    failed = [file for file in result.files.values() if file.state is FileState.FAILED]
    assert [file.reason for file in failed] == [FailureReason.UNAVAILABLE]
    assert failed[0].message.endswith(says)
    assert memory.stores == 2, "the other file is tried on its own"


async def test_a_load_that_waits_for_a_rate_limit_outlives_its_loader(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory
) -> None:
    first = Loader(tmp_path, pool, memory)
    memory.failures = [limited(600)]
    created = await first.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    await first.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    await waiting(first.loads, created.load_id)
    async with asyncio.timeout(30):
        await first.close()
    second = Loader(tmp_path, pool, memory)
    following = asyncio.create_task(ended(second.loads, created.load_id))
    await second.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    assert states(await following) == {"a.txt": FileState.LOADED}
    await second.close()


async def test_memory_refuses(loader: Loader, memory: FakeMemory) -> None:
    memory.failures = [FailedPrecondition(Reason.EMBEDDING_MISMATCH, "loaded with another model, minilm")]
    result = await load(loader.loads, {"a.txt": b"One.", "b.txt": b"Two."})
    failed = [file for file in result.files.values() if file.state is FileState.FAILED]
    assert [file.reason for file in failed] == [FailureReason.UNAVAILABLE]
    assert "minilm" in failed[0].message


async def test_the_end_waits_until_it_is_remembered(loader: Loader, memory: FakeMemory) -> None:
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    memory.record_failures = [Unavailable(Reason.SERVICE_UNAVAILABLE, "gone")]
    await loader.loads.upload(created.load_id, "a.txt", chunks(b"One."))
    await ended(loader.loads, created.load_id)
    assert not memory.record_failures
    assert memory.load_records[created.load_id].state


async def test_cancelling(loader: Loader, memory: FakeMemory) -> None:
    files = {"done.txt": b"One.", "bomb.pdf": pdfs.bomb(), "never.txt": b"Three."}
    created = await loader.loads.create("", SOURCE, [manifest(name, data) for name, data in files.items()])
    memory.gate.clear()
    await loader.loads.upload(created.load_id, "done.txt", chunks(files["done.txt"]))
    await memory.storing.wait()  # past the point of no return
    cancelling = asyncio.create_task(loader.loads.cancel(created.load_id))
    await asyncio.sleep(0)
    memory.gate.set()
    result = await cancelling
    assert result.state is LoadState.CANCELLED
    assert states(result)["done.txt"] is FileState.LOADED
    assert states(result)["never.txt"] is FileState.CANCELLED
    assert (await loader.loads.cancel(created.load_id)).end_time == result.end_time
    assert (await ended(loader.loads, created.load_id)).state is LoadState.CANCELLED
    with pytest.raises(FailedPrecondition):
        await loader.loads.upload(created.load_id, "never.txt", chunks(files["never.txt"]))


async def test_cancelling_breaks_off_what_is_being_read(loader: Loader) -> None:
    data = pdfs.pdf([f"Page {n}." for n in range(100)])
    created = await loader.loads.create("", SOURCE, [manifest("a.pdf", data)])
    await loader.loads.upload(created.load_id, "a.pdf", chunks(data))
    result = await loader.loads.cancel(created.load_id)
    assert states(result) == {"a.pdf": FileState.CANCELLED}
    assert loader.spool.used_bytes == 0


async def test_a_load_whose_client_is_gone_for_good(tmp_path: Path, pool: ParserPool, memory: FakeMemory) -> None:
    loader = Loader(tmp_path, pool, memory, LoadLimits(max_file_bytes=100, seconds_per_mib=1, idle_seconds=0.02))
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    assert (await ended(loader.loads, created.load_id)).state is LoadState.CANCELLED
    await loader.close()


async def test_tenants_share_the_parsers(loader: Loader, pool: ParserPool, monkeypatch: pytest.MonkeyPatch) -> None:
    parse, owners = pool.parse, list[tuple[str, ...]]()

    def note(path: Path, name: str, *owner: str) -> AsyncGenerator[ParserResult]:
        owners.append(owner)
        return parse(path, name, *owner)

    monkeypatch.setattr(pool, "parse", note)
    with background("call", principal=Principal("acme")):
        done = await load(loader.loads, {"a.txt": b"text"})
    assert owners == [("acme", done.load_id)]


async def test_tenants_do_not_see_each_other(loader: Loader) -> None:
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    with background("test", principal=Principal("other")), pytest.raises(NotFound):
        await loader.loads.get(created.load_id)


async def test_listing(loader: Loader) -> None:
    made = [await load(loader.loads, {f"{n}.txt": b"x."}) for n in range(3)]
    first, token = await loader.loads.list("", 2, "")
    second, end = await loader.loads.list("", 2, token)
    assert [each.load_id for each in first + second] == [each.load_id for each in reversed(made)]
    assert end == ""


async def test_a_record_that_cannot_be_read_does_not_hide_the_others(loader: Loader, memory: FakeMemory) -> None:
    made = await load(loader.loads, {"a.txt": b"x."})
    await memory.put_record(LoadRecord("load-later", "source", "", b"of a later version", ""))
    found, _ = await loader.loads.list("", 10, "")
    assert [each.load_id for each in found] == [made.load_id]
    for call in (
        loader.loads.get("load-later"),
        loader.loads.cancel("load-later"),
        loader.loads.upload("load-later", "a.txt", chunks(b"x.")),
        anext(loader.loads.watch("load-later", 0)),
    ):
        with pytest.raises(FailedPrecondition, match="cannot be read") as caught:
            await call
        assert caught.value.metadata == {"resource": "load", "state": "UNREADABLE"}


async def test_followers_are_sent_away_when_the_process_stops(loader: Loader) -> None:
    created = await loader.loads.create("", SOURCE, [manifest("a.txt", b"One.")])
    events = loader.loads.watch(created.load_id, 0)
    assert isinstance(await anext(events), FileChanged)
    loader.loads.stop_watches()
    with pytest.raises(Unavailable):
        await anext(events)


async def test_a_sync_drops_what_is_not_among_the_files(loader: Loader, memory: FakeMemory) -> None:
    await load(loader.loads, {"a.txt": b"One.", "b.txt": b"Two.", "c.txt": b"Three."})
    manifests = [manifest("a.txt", b"One."), manifest("b.txt", b"%PDF-1.7 nonsense")]
    created = await loader.loads.create("", SOURCE, manifests, sync=True)
    assert "c.txt" in await memory.visible_files(created.source_id)  # until the rest has ended
    await loader.loads.upload(created.load_id, "b.txt", chunks(b"%PDF-1.7 nonsense"))
    result = await ended(loader.loads, created.load_id)
    assert (result.state, result.removed) == (LoadState.COMPLETED, 1)
    assert set(await memory.visible_files(created.source_id)) == {"a.txt", "b.txt"}
    at_once = await loader.loads.create("", SOURCE, manifests[:1], sync=True)
    assert (at_once.state, at_once.removed) == (LoadState.COMPLETED, 1)
    assert set(await memory.visible_files(created.source_id)) == {"a.txt"}


async def test_a_sync_that_is_cancelled_drops_nothing(loader: Loader, memory: FakeMemory) -> None:
    await load(loader.loads, {"a.txt": b"One."})
    created = await loader.loads.create("", SOURCE, [manifest("b.txt", b"Two.")], sync=True)
    assert (await loader.loads.cancel(created.load_id)).removed == 0
    assert set(await memory.visible_files(created.source_id)) == {"a.txt"}


async def test_a_sync_has_not_ended_while_the_other_files_cannot_be_removed(
    loader: Loader, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable(Reason.STORE_UNAVAILABLE, "gone")

    await load(loader.loads, {"a.txt": b"One."})
    created = await loader.loads.create("", SOURCE, [manifest("b.txt", b"Two.")], sync=True)
    monkeypatch.setattr(lifecycle_module, "_END_SECONDS", 0.1)
    with monkeypatch.context() as outage:
        outage.setattr(memory, "delete_file", fail)
        await loader.loads.upload(created.load_id, "b.txt", chunks(b"Two."))
        for _ in range(2):  # the second one takes the load up again
            with pytest.raises(Unavailable, match="gone"):
                await ended(loader.loads, created.load_id)
    result = await ended(loader.loads, created.load_id)
    assert (result.state, result.removed) == (LoadState.COMPLETED, 1)
    assert set(await memory.visible_files(created.source_id)) == {"b.txt"}


async def test_a_sync_whose_loader_stops_before_it_has_removed_the_other_files_is_taken_over_at_once(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    removing = asyncio.Event()

    async def hang(*_: object) -> None:
        removing.set()
        await asyncio.Event().wait()

    first = Loader(tmp_path, pool, memory)
    await load(first.loads, {"a.txt": b"One."})
    created = await first.loads.create("", SOURCE, [manifest("b.txt", b"Two.")], sync=True)
    with monkeypatch.context() as outage:
        outage.setattr(memory, "delete_file", hang)
        await first.loads.upload(created.load_id, "b.txt", chunks(b"Two."))
        await removing.wait()
        await first.close()
    second = Loader(tmp_path / "elsewhere", pool, memory)
    assert (await second.loads.get(created.load_id)).state is LoadState.INTERRUPTED
    result = await ended(second.loads, created.load_id)
    assert (result.state, result.removed) == (LoadState.COMPLETED, 1)
    await second.close()


async def test_how_far_a_load_is_outlives_the_process(
    tmp_path: Path, pool: ParserPool, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_module, "SAVE_SECONDS", 0.01)
    files = {"bad.pdf": b"%PDF-1.7 nonsense", "never.txt": b"Two."}
    first = Loader(tmp_path, pool, memory)
    created = await first.loads.create("", SOURCE, [manifest(name, data) for name, data in files.items()])
    await first.loads.upload(created.load_id, "bad.pdf", chunks(files["bad.pdf"]))
    await until(lambda: recorded(memory, created.load_id)["bad.pdf"] is FileState.FAILED)
    await first.close()
    second = Loader(tmp_path, pool, memory)
    found = await second.loads.get(created.load_id)
    assert states(found) == {"bad.pdf": FileState.FAILED, "never.txt": FileState.AWAITING_UPLOAD}
    assert found.files["bad.pdf"].reason is FailureReason.BROKEN
    await second.close()


async def test_a_small_load_ends_during_a_huge_one(loader: Loader, memory: FakeMemory) -> None:
    huge = {f"{n}.pdf": pdfs.pdf_of_pages(f"Page {n} {m}." for m in range(90)) for n in range(8)}
    created = await loader.loads.create("", SOURCE, [manifest(name, data) for name, data in huge.items()])
    memory.gate.clear()  # the huge load's files never finish
    for name, data in huge.items():
        await loader.loads.upload(created.load_id, name, chunks(data))
    await memory.storing.wait()
    memory.open_to = "small"
    small = await loader.loads.create("", SourceRef(name="small"), [manifest("a.txt", b"One.")])
    await loader.loads.upload(small.load_id, "a.txt", chunks(b"One."))
    assert states(await ended(loader.loads, small.load_id)) == {"a.txt": FileState.LOADED}
    assert FileState.LOADED not in states(created).values()
    memory.gate.set()
    assert set(states(await ended(loader.loads, created.load_id)).values()) == {FileState.LOADED}
