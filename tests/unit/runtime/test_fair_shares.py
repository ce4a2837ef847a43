"""Fair shares of concurrent calls, and fair waiting, under floods."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from memgpt_runtime.fair_semaphore import FairSemaphore
from memgpt_runtime.fair_shares import FairShares

TENANTS = ["a", "b", "c", "d"]


def test_a_single_tenant_may_hold_every_place() -> None:
    shares = FairShares(8)
    assert [shares.take("a") for _ in range(9)] == [True] * 8 + [False]
    shares.give_back("a")
    assert shares.take("a")


def test_a_tenant_gets_places_while_another_floods() -> None:
    shares = FairShares(8)
    while shares.take("a"):
        pass
    assert [shares.take("b") for _ in range(3)] == [True, True, False]  # a quarter is kept for others
    for _ in range(4):
        shares.give_back("a")
        assert not shares.take("a")  # until it is back at its share
        shares.take("b")
    assert [shares.take("b"), shares.take("b")] == [False, False]  # which is that of both


@given(st.integers(1, 40), st.lists(st.tuples(st.sampled_from(TENANTS), st.booleans()), max_size=300))
def test_shares_hold_in_any_order_of_calls(limit: int, calls: list[tuple[str, bool]]) -> None:
    shares, held = FairShares(limit), Counter[str]()
    for tenant, ends in calls:
        if ends:
            if held[tenant]:
                held[tenant] -= 1
                shares.give_back(tenant)
            continue
        active = {other for other in TENANTS if held[other]} | {tenant}
        before = held.total()
        taken = shares.take(tenant)
        if before < limit:
            assert taken
        if taken and before >= limit:
            assert held[tenant] < limit / len(active)
        if not taken:
            assert held[tenant] >= limit // len(active) or before >= limit + limit / 4
        held[tenant] += taken
        assert shares.held == held.total() <= limit + -(-limit // 4)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 50), min_size=20, max_size=80),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 50)), min_size=1, max_size=10),
)
def test_a_flood_delays_others_by_its_slots_and_not_by_its_length(
    slots: int, flood: list[int], others: list[tuple[int, int]]
) -> None:
    """One tenant's calls all come at once, another's come one by one, on a clock that jumps from event to event.

    When a call of the second tenant comes while it has no other, it starts at once, however long the flood is.
    """

    async def run() -> None:
        semaphore, clock = FairSemaphore(slots), _Clock()
        delays: list[int] = []

        async def call(tenant: str, work: int) -> None:
            came = clock.now
            async with semaphore.slot(tenant):
                if tenant == "quiet":
                    delays.append(clock.now - came)
                await clock.sleep(work)

        async def quiet() -> None:
            for pause, work in others:
                await clock.sleep(pause)
                await call("quiet", work)

        tasks = [asyncio.create_task(call("flood", work)) for work in flood]
        tasks.append(asyncio.create_task(quiet()))
        await clock.run(tasks)
        assert delays == [0] * len(others)

    asyncio.run(run())


class _Clock:
    """A clock that jumps to the next time for which a task sleeps once all tasks wait."""

    def __init__(self) -> None:
        self.now = 0
        self._sleeping: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    async def sleep(self, ticks: int) -> None:
        self._count += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self.now + ticks, self._count, woken))
        await woken

    async def run(self, tasks: list[asyncio.Task[None]]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleeping:
                self.now, _, woken = heapq.heappop(self._sleeping)
                woken.set_result(None)
        for task in tasks:
            task.result()
