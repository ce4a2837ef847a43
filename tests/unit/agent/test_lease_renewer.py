"""The renewal of a lease, and the requests to cancel that come with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from memgpt_agent.domain import Lease
from memgpt_agent.loop.lease_renewer import LeaseRenewer
from memgpt_agent.memory.port import CancelRequested, TurnEvent

from tests.unit.agent.fakes import FakeMemory


class SlowMemory(FakeMemory):
    """A Memory whose first renewal is on its way when the request to cancel comes, of which it knows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.told = asyncio.Event()

    async def renew_lease(self, agent_id: str, lease: Lease) -> bool:
        self.asked.set()
        await self.told.wait()
        return False

    async def cancels(self) -> AsyncGenerator[TurnEvent, None]:
        await self.asked.wait()
        yield CancelRequested()
        self.told.set()


async def test_a_request_to_cancel_outlives_a_renewal_that_began_before_it() -> None:
    memory = SlowMemory()
    renewer = LeaseRenewer(memory, "agent_1", Lease("turn_1", 1), memory.cancels(), 0.001)
    async with asyncio.timeout(60), renewer:
        await asyncio.wait((renewer.task,), timeout=5)
        assert renewer.task.done()
        assert renewer.cancelled
