from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from memgpt_runtime.fair_semaphore import FairSemaphore


class Crowd:
    """Owners who enter in the order in which they are let in, and stay until they are told to go."""

    def __init__(self, places: int) -> None:
        self._semaphore = FairSemaphore(places)
        self._inside: dict[str, list[AsyncExitStack]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.entered: list[str] = []

    async def come(self, *owners: str) -> None:
        self._tasks += [asyncio.create_task(self._enter(owner)) for owner in owners]
        await settled()

    async def go(self, owner: str) -> None:
        await self._inside[owner].pop().aclose()
        await settled()

    async def give_up(self, index: int) -> None:
        self._tasks[index].cancel()
        await settled()

    @property
    def waiting(self) -> int:
        return self._semaphore.waiting

    async def _enter(self, owner: str) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._semaphore.slot(owner))
            self.entered.append(owner)
            self._inside.setdefault(owner, []).append(stack.pop_all())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_small_load_does_not_wait_for_a_huge_one() -> None:
    crowd = Crowd(2)
    await crowd.come(*["huge"] * 5)
    assert crowd.entered == ["huge"] * 2
    await crowd.come("small")
    assert crowd.entered == ["huge", "huge", "small"]
    await crowd.come("small", "other")  # the one place beyond the number is taken
    assert len(crowd.entered) == 3
    await crowd.go("small")
    assert crowd.entered[3:] == ["small"] or crowd.entered[3:] == ["other"]


async def test_loads_take_turns() -> None:
    crowd = Crowd(1)
    await crowd.come("a", "a", "a", "b", "b")
    assert crowd.entered == ["a", "b"]
    for owner in ("a", "b", "a", "b"):
        await crowd.go(owner)
    assert crowd.entered == ["a", "b", "a", "b", "a"]


async def test_who_gives_up_takes_no_place() -> None:
    crowd = Crowd(1)
    await crowd.come("a", "a", "a")
    await crowd.give_up(1)
    await crowd.go("a")
    await crowd.go("a")
    assert crowd.entered == ["a", "a"]
    await crowd.come("a")
    assert crowd.entered == ["a", "a", "a"]


async def test_who_gives_up_waits_no_longer_and_takes_nobodys_turn() -> None:
    crowd = Crowd(1)
    await crowd.come("a", "b", "c", "d", "c")  # a is in, and b at the extra place
    assert crowd.entered == ["a", "b"]
    assert crowd.waiting == 3
    await crowd.give_up(2)
    assert crowd.waiting == 2
    await crowd.give_up(3)
    await crowd.give_up(4)
    assert crowd.waiting == 0
    await crowd.come("e", "c")
    await crowd.go("a")
    await crowd.go("b")
    assert crowd.entered == ["a", "b", "e", "c"]
