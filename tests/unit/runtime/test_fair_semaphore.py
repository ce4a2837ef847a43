from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from memgpt_runtime.fair_semaphore import FairSemaphore


class Crowd:
    """Owners who enter in the order in which they are let in, and stay until they are told to go."""

    def __init__(self, places: int) -> None:
        self._semaphore = FairSemaphore(places)
        self._inside: dict[tuple[str, ...], list[AsyncExitStack]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.entered: list[str] = []

    async def come(self, *owners: str) -> None:
        self._tasks += [asyncio.create_task(self._enter(owner)) for owner in owners]
        await settled()

    async def go(self, owner: str) -> None:
        await self._inside[tuple(owner.split("/"))].pop().aclose()
        await settled()

    async def give_up(self, index: int) -> None:
        self._tasks[index].cancel()
        await settled()

    @property
    def waiting(self) -> int:
        return self._semaphore.waiting

    async def _enter(self, owner: str) -> None:
        async with AsyncExitStack() as stack:
            names = tuple(owner.split("/"))
            await stack.enter_async_context(self._semaphore.slot(*names))
            self.entered.append(owner)
            self._inside.setdefault(names, []).append(stack.pop_all())


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


async def test_many_loads_of_a_tenant_have_the_share_of_one_tenant() -> None:
    crowd = Crowd(3)
    await crowd.come(*[f"many/{load}" for load in range(9)], "few/load", "few/load", "few/load")
    assert crowd.entered == [*(f"many/{load}" for load in range(3)), "few/load"]
    await crowd.go("many/0")
    await crowd.go("many/1")
    await crowd.go("many/2")
    assert crowd.entered[4:] == ["many/3", "few/load"]
    await crowd.go("many/3")
    assert crowd.entered[6:] == ["many/4"]


async def test_loads_of_a_tenant_leave_the_extra_place_to_another_tenant() -> None:
    crowd = Crowd(2)
    await crowd.come("a/1", "a/2", "a/3")
    assert crowd.entered == ["a/1", "a/2"]
    await crowd.come("b/1", "b/2", "c/1")
    assert crowd.entered == ["a/1", "a/2", "b/1"]
    await crowd.go("a/1")
    assert crowd.entered[3:] == ["c/1"]


async def test_tenants_and_their_loads_take_turns() -> None:
    crowd = Crowd(1)
    await crowd.come("a/1", "a/1", "a/1", "a/2", "b/3", "b/3")
    assert crowd.entered == ["a/1", "b/3"]
    for owner in ("a/1", "b/3", "a/1", "b/3"):
        await crowd.go(owner)
    assert crowd.entered == ["a/1", "b/3", "a/1", "b/3", "a/2"]


async def test_who_gives_up_takes_no_place() -> None:
    crowd = Crowd(1)
    await crowd.come("a", "a", "a")
    await crowd.give_up(1)
    await crowd.go("a")
    await crowd.go("a")
    assert crowd.entered == ["a", "a"]
    await crowd.come("a")
    assert crowd.entered == ["a", "a", "a"]


async def test_a_cancelled_waiter_leaves_the_queue_and_takes_no_slot() -> None:
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
