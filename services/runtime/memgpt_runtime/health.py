"""Health by service name, and the readiness from which it is derived.

A server is *live* as long as it responds; it is *ready* when every named condition holds: Milvus responds (Memory),
Memory is healthy (Agent, Loader). `grpc.health.v1` reports readiness, SERVING or NOT_SERVING, for ``""`` (the server as
a whole) and for every service; for the name ``liveness`` it reports SERVING as long as the server responds, so that an
outage of Milvus or Memory does not restart other services.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from memgpt_runtime import reasons
from memgpt_runtime.broadcast import Broadcast
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Returns if the condition holds, raises if it does not."""

LIVENESS = "liveness"
"""Service name of the health check that does not depend on other services."""

READY_INTERVAL = 5.0
"""Seconds between two checks of a condition that holds."""
UNREADY_INTERVAL = 0.25
"""Seconds between two checks of a condition that does not hold."""
CHECK_TIMEOUT = 5.0
"""Seconds after which a check has failed."""
_TOLERATED_TIMEOUTS = 1
"""Timeouts in a row of a condition that held, before it counts as failed: one slow response is not an outage."""


class Readiness:
    """Whether the server is ready: all named conditions must hold.

    Without conditions it is ready. Changes set `change`.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = Broadcast()
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether every condition holds and the server is not stopping."""
        return not self._draining and all(reason is None for reason in self._reasons.values())

    @property
    def draining(self) -> bool:
        """Whether the server is stopping. It never becomes ready again."""
        return self._draining

    @property
    def reasons(self) -> dict[str, str]:
        """The conditions that do not hold, each with the reason."""
        return {name: reason for name, reason in self._reasons.items() if reason is not None}

    def set(self, name: str, reason: str | None) -> None:
        """Set a condition: None if it holds, else the reason why it does not."""
        if name in self._reasons and self._reasons[name] == reason:
            return
        self._reasons[name] = reason
        if reason is None:
            _log.info("condition_met", condition=name)
        else:
            _log.warning("not_ready", condition=name, reason=reason)
        self._changed.notify()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Keep the server not ready inside the context, and permanently if the context fails."""
        self._reasons["start"] = "starting"
        yield
        del self._reasons["start"]
        self._changed.notify()

    def watch(self, name: str, check: Check) -> None:
        """Run a check periodically, and set the condition accordingly; it does not hold until the first success.

        Every 5 s while it holds, every 0.25 s while it does not. A check that takes over 5 s has failed, but a
        condition that held survives one such timeout.

        Args:
            name: Name of the condition, such as ``milvus``.
            check: Its exceptions are logged, a `ServiceError` by its message, others by their class.
        """
        self.set(name, "starting")
        self._tasks.append(asyncio.create_task(self._run(name, check), name=f"readiness:{name}"))

    async def _run(self, name: str, check: Check) -> None:
        timeouts = 0
        while True:
            try:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    await check()
            except ServiceError as error:
                self.set(name, error.message)
            except TimeoutError:
                timeouts += 1
                if timeouts > _TOLERATED_TIMEOUTS or self._reasons[name]:
                    self.set(name, f"no response within {CHECK_TIMEOUT:g} s")
            except Exception as error:  # noqa: BLE001 - whatever a check raises means that the condition does not hold
                self.set(name, type(error).__name__)
                _log.debug("readiness_check_failed", condition=name, exc_info=True)
            else:
                timeouts = 0
                self.set(name, None)
            await asyncio.sleep(UNREADY_INTERVAL if self._reasons[name] or timeouts else READY_INTERVAL)

    def drain(self) -> None:
        """Make the server permanently not ready, and stop the checks. Idempotent."""
        self._draining = True
        for task in self._tasks:
            task.cancel()
        self._changed.notify()

    async def close(self) -> None:
        """Drain, and wait for the checks to end."""
        self.drain()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def change(self) -> asyncio.Event:
        """An event that is set at the next change. Get it before reading the state, so that no change is missed."""
        return self._changed.next

    async def wait_ready(self) -> None:
        """Return when the server is ready; never, if it drains before that."""
        while not self.ready:
            await self.change.wait()


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # an untyped base
    """`grpc.health.v1.Health` on top of a `Readiness`.

    Unlike grpcio's own servicer, its watches end when the server drains, so that they do not delay the drain, and a
    slow watcher does not delay others.
    """

    def __init__(self, readiness: Readiness, services: Iterable[str]) -> None:
        self._readiness = readiness
        self._services = {"", LIVENESS, *services}

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if service == LIVENESS or self._readiness.ready:
            return health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse.NOT_SERVING

    async def Check(  # noqa: N802 - the name is gRPC's
        self, request: health_pb2.HealthCheckRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Return the status now. NOT_FOUND for an unknown service."""
        if request.service not in self._services:
            raise reasons.service_not_found(f'unknown service "{request.service[:200]}"', service=request.service[:200])
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(  # noqa: N802 - the name is gRPC's
        self, request: health_pb2.HealthCheckRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the status now and at every change; ends when the server drains."""
        last = None
        while True:
            # Read at one instant: a change during the write is seen in the next round.
            change, draining = self._readiness.change, self._readiness.draining
            status = self._status(request.service)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            if draining:
                return
            await change.wait()
