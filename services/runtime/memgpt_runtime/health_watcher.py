"""A watch on the health of another service."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from memgpt_runtime.health import Readiness
from memgpt_runtime.logs import get_logger
from memgpt_runtime.reloading_channel import is_cancelled

_log = get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.2


class HealthWatcher:
    """Follows the health of a service, and sets it as a condition of this server's readiness.

    A broken watch is retried before the service counts as unreachable, because proxies end silent streams.

    ::

        async with HealthWatcher(channel, "memory", app.readiness):
            yield
    """

    def __init__(self, channel: grpc.aio.Channel, name: str, readiness: Readiness, *, service: str = "") -> None:
        """Prepare the watcher, which starts when its context is entered.

        Args:
            channel: A channel to the server.
            name: Name of the condition and of the server in messages, such as ``memory``.
            readiness: Where the condition is set.
            service: The service to watch; ``""`` for the server as a whole.
        """
        self._stub: Any = health_pb2_grpc.HealthStub(channel)
        self._name = name
        self._readiness = readiness
        self._request = health_pb2.HealthCheckRequest(service=service)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> HealthWatcher:
        self._readiness.set(self._name, f"{self._name} has not responded yet")
        self._task = asyncio.create_task(self._run(), name=f"health:{self._name}")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None  # noqa: S101 - entered before it is left
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures, pause = 0, _FIRST_PAUSE
        while True:
            try:
                async for response in self._stub.Watch(self._request):
                    failures, pause = 0, _FIRST_PAUSE
                    serving = response.status == health_pb2.HealthCheckResponse.SERVING
                    self._readiness.set(self._name, None if serving else f"{self._name} is not ready")
                self._readiness.set(self._name, f"{self._name} is shutting down")
            except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                failures += 1
                code, details = _status(error)
                _log.debug("health_watch_interrupted", server=self._name, code=code, details=details)
                if failures > 1:
                    self._readiness.set(self._name, f"{self._name} cannot be reached{_explain(details)}")
            await asyncio.sleep(pause)
            # The channel reconnects by itself; in the meantime an attempt only looks at its state.
            pause = min(_LONGEST_PAUSE, 2 * pause)


_EXPLANATIONS = {
    "Hostname Verification": "its certificate is for another host name; see memory_tls_server_name",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by a trusted authority",
    "WRONG_VERSION_NUMBER": "it does not use TLS",
    "Socket closed": "it closed the connection; it may require TLS or a client certificate",
    "Connection refused": "connection refused",
}
"""gRPC's texts when it cannot connect, and their meanings: operators have no other hint at what is wrong with TLS."""


def _status(error: grpc.aio.AioRpcError | asyncio.CancelledError) -> tuple[str, str]:
    """Return the status code and the details of a failed call."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name, error.details() or ""
    return grpc.StatusCode.CANCELLED.name, "the channel was closed"


def _explain(details: str) -> str:
    # A connection that broke says "Socket closed" as well.
    connecting = "connections to all backends failing" in details
    return next((f": {text}" for key, text in _EXPLANATIONS.items() if connecting and key in details), "")
