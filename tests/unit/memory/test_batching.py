"""Batches of writes: which writes share one, which do not, and how failures are handled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from memgpt_memory.store.batching import Batcher
from memgpt_memory.store.rows import Key, Row
from memgpt_runtime.errors import ResourceExhausted


class Store:
    """Notes every upsert; `gate` holds them up, `error` makes them fail."""

    def __init__(self, max_rows: int = 100, max_waiting: int = 1_000) -> None:
        self.upserts: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.error: Exception | None = None
        self.batcher = Batcher(self.upsert, max_rows=max_rows, max_waiting=max_waiting)

    async def upsert(self, rows: Sequence[Row]) -> None:
        self.upserts.append([row.id for row in rows])
        self.begun.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def write(self, *ids: str, after: int = 0) -> None:
        """Writes rows, as a call does that the event loop must turn so many times for."""
        for _ in range(after):
            await asyncio.sleep(0)
        await self.batcher.write([Key(id_) for id_ in ids])


async def test_calls_of_one_moment_share_an_upsert():
    store = Store()
    await asyncio.gather(*(store.write(str(number)) for number in range(4)))
    assert store.upserts == [["0", "1", "2", "3"]]


async def test_a_single_call_does_not_wait_for_others():
    store = Store()
    late = asyncio.create_task(store.write("late", after=10))
    await store.write("early")
    assert store.upserts == [["early"]]
    await late
    assert store.upserts == [["early"], ["late"]]


async def test_a_batch_of_several_writers_waits_briefly_for_more():
    store = Store()
    await asyncio.gather(store.write("0"), store.write("1"), store.write("late", after=3))
    assert store.upserts == [["0", "1", "late"]]


async def test_a_batch_does_not_wait_while_writers_keep_coming():
    store = Store(max_rows=1_000_000, max_waiting=1_000_000)
    written: list[asyncio.Task[None]] = []
    while not store.begun.is_set():
        written += [asyncio.create_task(store.write(str(len(written))))]
        await asyncio.sleep(0)
    await asyncio.gather(*written)


async def test_what_comes_during_an_upsert_shares_the_next():
    store = Store()
    store.gate.clear()
    first = asyncio.create_task(store.write("0"))
    await store.begun.wait()
    others = [asyncio.create_task(store.write(str(number))) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(first, *others)
    assert store.upserts == [["0"], ["1", "2", "3"]]


async def test_rows_of_one_key_never_share_an_upsert():
    store = Store()
    await asyncio.gather(store.write("a", "b"), store.write("c"), store.write("b"), store.write("d"))
    assert store.upserts == [["a", "b", "c"], ["b", "d"]]


async def test_an_upsert_has_a_size():
    store = Store(max_rows=3)
    await asyncio.gather(store.write("a", "b"), store.write("c", "d"), store.write("e"), store.write(*"fghij"))
    assert store.upserts == [["a", "b"], ["c", "d", "e"], list("fghij")]


async def test_too_many_rows_are_refused_and_not_written():
    store = Store(max_waiting=2)
    store.gate.clear()
    writing = [asyncio.create_task(store.write("a"))]
    await store.begun.wait()
    writing.append(asyncio.create_task(store.write("b", "c")))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await store.write("d")
    store.gate.set()
    await asyncio.gather(*writing)
    assert store.upserts == [["a"], ["b", "c"]]


async def test_a_failure_is_returned_to_every_caller_of_the_batch_alone():
    store = Store()
    store.error = OSError("gone")
    results = await asyncio.gather(store.write("a"), store.write("b"), return_exceptions=True)
    assert [type(one) for one in results] == [OSError, OSError]
    store.error = None
    await store.write("c")
    assert store.upserts == [["a", "b"], ["c"]]


async def test_the_rows_of_a_call_that_goes_away_are_written():
    store = Store()
    store.gate.clear()
    leaving = asyncio.create_task(store.write("a"))
    await store.begun.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    store.gate.set()
    await store.write("b")
    assert store.upserts == [["a"], ["b"]]
