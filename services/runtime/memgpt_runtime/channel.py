"""Channels to the suite's services, and the health of what is behind them.

What a channel adds to every call: the current call's request id, trace and principal; and a timeout, which is what
remains of the current call's time and no more than the channel's own limit.

**Who retries.** One layer: the channel, for the methods its owner names as repeatable, on UNAVAILABLE, up to 4 attempts
within the call's timeout. Every client library below (Milvus's, the models') has its own retries switched off; every
caller above hands UNAVAILABLE on, with its RetryInfo. Besides, gRPC itself repeats calls that provably never left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from memgpt_runtime import context
from memgpt_runtime.config import Config, MemoryClientSection
from memgpt_runtime.health import Readiness
from memgpt_runtime.logs import get_logger
from memgpt_runtime.tls import memory_credentials

_log = get_logger(__name__)

M = TypeVar("M", bound=MemoryClientSection)

DEFAULT_TIMEOUT = 60.0
"""Seconds for a unary call to which nothing else sets a limit."""


class _Interceptor:
    """Adds metadata and timeout to the details of a call."""

    def __init__(self, timeout: float | None, *, internal: bool) -> None:
        self._timeout = timeout
        self._internal = internal

    def details(self, details: grpc.aio.ClientCallDetails, *, streaming: bool) -> grpc.aio.ClientCallDetails:
        own = None if streaming else self._timeout
        timeout = context.remaining(details.timeout if details.timeout is not None else own)
        given: Iterable[tuple[str, Any]] = tuple(details.metadata or ())
        names = {key for key, _ in given}
        added = [
            (key, value)
            for key, value in context.outgoing_metadata()
            if key not in names and (self._internal or key != context.PRINCIPAL_KEY)
        ]
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=timeout,
            metadata=grpc.aio.Metadata(*given, *added),
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


# gRPC tells the kinds apart by the base class, and takes an interceptor for one kind only.
class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self.details(client_call_details, streaming=False), request)


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self.details(client_call_details, streaming=True), request)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await continuation(self.details(client_call_details, streaming=True), request_iterator)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await continuation(self.details(client_call_details, streaming=True), request_iterator)


def service_config(repeatable: Iterable[str]) -> str:
    """GRPC's service config that retries the named methods on UNAVAILABLE.

    Args:
        repeatable: Full names: ``/package.Service/Method``, or ``/package.Service`` for all its methods. Only methods
            that may run twice: reads, and writes that are idempotent by their ids.
    """
    names = []
    for method in repeatable:
        service, _, name = method.removeprefix("/").partition("/")
        names.append({"service": service, "method": name} if name else {"service": service})
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    # While many calls fail, retrying would only add to the load: below half of the tokens there are none.
    throttling = {"maxTokens": 20, "tokenRatio": 0.5}
    config = {"methodConfig": [{"name": names, "retryPolicy": policy}], "retryThrottling": throttling} if names else {}
    return json.dumps(config)


def open_channel(
    target: str,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    max_message_bytes: int = 4 * 1024 * 1024,
    repeatable: Iterable[str] = (),
    internal: bool = True,
) -> grpc.aio.Channel:
    """Opens a channel; inside the event loop that uses it. It connects at the first call, and again whenever needed.

    Args:
        target: ``host:port``, or any name gRPC resolves; ``dns:///name:port`` spreads calls over all its addresses.
        credentials: See `memgpt_runtime.tls.channel_credentials`; None for plaintext.
        timeout: Seconds for unary calls that have no timeout of their own; None for no limit. Streams have none.
        max_message_bytes: Largest message received or sent.
        repeatable: Methods that are retried, see `service_config`.
        internal: Whether the server is one of the suite's, and is told on whose behalf it is called.
    """
    options: Sequence[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A peer that vanished is noticed within 30 s; the suite's servers permit a ping every 10 s.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A service that comes back is found again within 2 s, not after gRPC's 2 min.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.service_config", service_config(repeatable)),
        ("grpc.service_config_disable_resolution", 1),
    ]
    interceptors: list[Any] = [
        _UnaryUnary(timeout, internal=internal),
        _UnaryStream(timeout, internal=internal),
        _StreamUnary(timeout, internal=internal),
        _StreamStream(timeout, internal=internal),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def open_memory_channel(config: Config[M], repeatable: Iterable[str]) -> grpc.aio.Channel:
    """Opens a service's channel to Memory, as its section says.

    Args:
        config: The service's settings.
        repeatable: Methods that are retried, see `service_config`.

    Raises:
        ConfigError: A file of ``memory_tls_*`` cannot be used.
    """
    return open_channel(
        config.service.memory_address,
        credentials=memory_credentials(config.service, config.name),
        max_message_bytes=config.server.max_message_bytes,
        repeatable=repeatable,
    )


class HealthWatcher:
    """Follows the health of a service, and states it as a condition of one's own readiness.

    ::

        async with HealthWatcher(channel, "memory", app.readiness):
            yield
    """

    def __init__(self, channel: grpc.aio.Channel, name: str, readiness: Readiness, *, service: str = "") -> None:
        """Sets the watcher up; entering it starts it.

        Args:
            channel: A channel to the server.
            name: Name of the condition and of the server in messages, such as ``memory``.
            readiness: Where the condition is stated.
            service: The service to watch; ``""`` for the server as a whole.
        """
        self._stub: Any = health_pb2_grpc.HealthStub(channel)
        self._name = name
        self._readiness = readiness
        self._request = health_pb2.HealthCheckRequest(service=service)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> HealthWatcher:
        self._readiness.set(self._name, f"{self._name} has not answered yet")
        self._task = asyncio.create_task(self._run(), name=f"health:{self._name}")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None  # noqa: S101 - entered before it is left; for the type checker
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = 0.1
        while True:
            try:
                async for response in self._stub.Watch(self._request):
                    pause = 0.1
                    serving = response.status == health_pb2.HealthCheckResponse.SERVING
                    self._readiness.set(self._name, None if serving else f"{self._name} is not ready")
                self._readiness.set(self._name, f"{self._name} is stopping")
            except grpc.aio.AioRpcError as error:
                _log.debug("health watch broke", server=self._name, code=error.code().name, details=error.details())
                self._readiness.set(self._name, f"{self._name} cannot be reached{_why(error.details() or '')}")
            await asyncio.sleep(pause)
            # The channel connects anew by itself; until then an attempt costs no more than a look at its state.
            pause = min(0.2, pause * 2)


_REASONS = {
    "Hostname Verification": "its certificate is for another name than the address's",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of the authority that is trusted here",
    "WRONG_VERSION_NUMBER": "it speaks no TLS",
    "Socket closed": "it hangs up, as servers do that want TLS, or a certificate",
    "Connection refused": "connection refused",
}
"""What gRPC says when it cannot connect, and what that means: nothing else tells an operator what is wrong with TLS."""


def _why(details: str) -> str:
    # A connection that broke says "Socket closed" as well.
    connecting = "connections to all backends failing" in details
    return next((f": {meaning}" for text, meaning in _REASONS.items() if connecting and text in details), "")
