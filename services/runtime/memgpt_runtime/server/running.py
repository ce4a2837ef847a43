"""A running server, and its drain."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc
from memgpt.config import ServerSettings

from memgpt_runtime.health import Readiness
from memgpt_runtime.interceptors.in_flight import InFlight
from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)

_REFUSE_SECONDS = 0.2
_LONGEST_REFUSAL_SECONDS = 1.0
"""Maximum time for which new calls are refused before connections are closed; it ends when none come for a moment.
gRPC silently cancels calls that arrive during the close; a client refused with UNAVAILABLE waits before its retry."""


@dataclass
class Server:
    """A running server.

    Attributes:
        port: The port it listens on.
        readiness: Whether it is ready, and why not.
        in_flight: The calls in progress.
    """

    port: int
    readiness: Readiness
    in_flight: InFlight
    _grpc: grpc.aio.Server
    _settings: ServerSettings
    _stopping: asyncio.Event

    async def drain(self, cause: str, *, pause: float = 0.0, hurry: asyncio.Event | None = None) -> None:
        """Stop gracefully: not ready, a pause, no new calls, a grace period for the calls in progress.

        Args:
            cause: Why the server stops, for the log.
            pause: Seconds during which calls are still accepted.
            hurry: Ends pause and grace period when it is set.
        """
        hurry = hurry or asyncio.Event()
        _log.info("draining", cause=cause, calls=len(self.in_flight))
        self.readiness.drain()
        self._stopping.set()
        await _sleep_unless(hurry, pause)
        if len(self.in_flight) or pause:
            await self._refuse_new(hurry)
        # gRPC's own grace period is longer: ours ends the calls with a status that tells clients to retry.
        stopped = asyncio.create_task(self._grpc.stop(self._settings.drain_grace + 2))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((stopped, hurried), timeout=self._settings.drain_grace, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopped.done():
            _log.warning("calls_cancelled_by_drain", calls=len(self.in_flight))
            self.in_flight.expire()
        await stopped
        _log.info("stopped")

    async def _refuse_new(self, hurry: asyncio.Event) -> None:
        self.in_flight.refuse_new()
        until = time.monotonic() + _LONGEST_REFUSAL_SECONDS
        refused = -1
        while refused != self.in_flight.refused and time.monotonic() < until and not hurry.is_set():
            refused = self.in_flight.refused
            await _sleep_unless(hurry, _REFUSE_SECONDS)


async def _sleep_unless(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
