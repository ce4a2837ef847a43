"""Renewal of a lease while a turn runs under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import structlog
from memgpt_runtime import errors

from memgpt_agent.domain import Lease
from memgpt_agent.memory.port import Memory, TurnEvent

_log = structlog.get_logger(__name__)


class LeaseRenewer:
    """Renews a lease in the background. Its task ends when the turn must be cancelled, or the lease is lost.

    A request to cancel arrives at once on the stream of the grant, or with the next renewal if that stream breaks.
    """

    def __init__(
        self, memory: Memory, agent_id: str, lease: Lease, events: AsyncGenerator[TurnEvent, None], seconds: float
    ) -> None:
        """Prepare to renew ``lease`` every ``seconds`` while the context manager is open.

        ``events`` are the events that follow the grant; they are closed on exit.
        """
        self.cancelled = False
        self.lost = False
        self._memory = memory
        self._agent_id = agent_id
        self._lease = lease
        self._events = events
        self._seconds = seconds
        self.task: asyncio.Task[None]

    async def __aenter__(self) -> LeaseRenewer:
        self.task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self._events.aclose()

    async def _keep(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            while not (self.cancelled or self.lost):
                if watch.done():
                    await asyncio.sleep(self._seconds)
                else:
                    await asyncio.wait((watch,), timeout=self._seconds)
                    if watch.done():
                        # The turn must be cancelled, or it has just ended and its last commit's response is on its way.
                        continue
                await self._renew()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            async for _ in self._events:
                self.cancelled = True
        except errors.ServiceError as error:
            _log.info("lease_watch_failed", turn_id=self._lease.turn_id, reason=error.reason)

    async def _renew(self) -> None:
        try:
            # Never reset: the event stream may ask to cancel while this call runs.
            if await self._memory.renew_lease(self._agent_id, self._lease):
                self.cancelled = True
        except errors.Aborted:
            self.lost = True
        except errors.ServiceError as error:
            # Memory may be restarting. The lease holds for a while, and a commit under a lost lease is refused.
            _log.info("lease_renewal_failed", turn_id=self._lease.turn_id, reason=error.reason)
