"""Reads that callers share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from memgpt_memory.shared_reads import SharedReads


class Shelf:
    """What is read, and a gate before each read ends."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.asked: list[Sequence[str]] = []
        self.opened = asyncio.Event()

    async def read(self, ids: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(ids)
        await self.opened.wait()
        return {id_: id_.upper() for id_ in ids if id_ in self.ids}


async def test_what_is_being_read_is_not_read_again() -> None:
    shelf = Shelf("a", "b", "c")
    reads = SharedReads(shelf.read)
    many = asyncio.create_task(reads.get(["a", "b", "b", "none"]))
    await asyncio.sleep(0)
    one, more = asyncio.create_task(reads.get(["b"])), asyncio.create_task(reads.get(["c", "a"]))
    await asyncio.sleep(0)
    shelf.opened.set()
    assert await many == {"a": "A", "b": "B"}
    assert (await one, await more) == ({"b": "B"}, {"c": "C", "a": "A"})
    assert shelf.asked == [["a", "b", "none"], ["c"]]
    assert await reads.get(["a"]) == {"a": "A"}
    assert shelf.asked[2:] == [["a"]]


async def test_a_read_goes_on_without_the_caller_that_began_it() -> None:
    shelf = Shelf("a")
    reads = SharedReads(shelf.read)
    first = asyncio.create_task(reads.get(["a"]))
    await asyncio.sleep(0)
    second = asyncio.create_task(reads.get(["a"]))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    shelf.opened.set()
    assert await second == {"a": "A"}
    assert len(shelf.asked) == 1


async def test_a_failure_reaches_all_that_wait_and_is_not_kept() -> None:
    failures = [OSError("first")]

    async def read(ids: Sequence[str]) -> Mapping[str, str]:
        await asyncio.sleep(0)
        if failures:
            raise failures.pop()
        return dict.fromkeys(ids, "x")

    reads = SharedReads(read)
    outcomes = await asyncio.gather(reads.get(["a"]), reads.get(["a"]), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["first", "first"]
    assert await reads.get(["a"]) == {"a": "x"}
