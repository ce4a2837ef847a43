"""Repeats unary calls for longer than gRPC does, which makes at most five attempts within a few seconds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from memgpt.client._ids import new_request_id
from memgpt.client._retry import RetryPolicy
from memgpt.client.errors import ServiceError, Unavailable, from_rpc_error
from memgpt.common.v1.reasons import Reason

RETRY_SECONDS = 30.0
"""Seconds for which a call is repeated while its service is unavailable."""

_MOST_SECONDS = 600.0
"""Seconds after which a call without a timeout is not repeated, even if the service is at work."""

LONG_SECONDS = 10.0
"""Seconds after which an attempt that breaks shows that the service was at work: proxies end calls after 15 s or more,
and the next attempt joins the work or waits for its end."""

_UNCONNECTED = re.compile("connections to all backends failing|failed to connect to all addresses")
"""What gRPC says of a call that reached no server, which takes 20 s if the network drops packets."""

_NAMES_AN_EARLIER_REQUEST = "/CancelTurn"


def _identified(method: str, request: Any) -> Any:
    """Return a mutation that lacks a request id as a copy with a new one, so that it can be repeated."""
    fields = request.DESCRIPTOR.fields_by_name if isinstance(request, Message) else {}
    if "request_id" not in fields or request.request_id or method.endswith(_NAMES_AN_EARLIER_REQUEST):
        return request
    identified = type(request)()
    identified.CopyFrom(request)
    identified.request_id = new_request_id()
    return identified


class _Attempts:
    """The attempts of one call, within its deadline."""

    def __init__(self, seconds: float, timeout: float | None) -> None:
        self._policy = RetryPolicy(seconds)
        self._limited = timeout is not None
        self._began = time.monotonic()
        self._deadline = self._began + (_MOST_SECONDS if timeout is None else timeout)

    def pause(self, error: Any) -> float | None:
        """Return the seconds to wait before the next attempt; None if `error` is final."""
        if not isinstance(error, grpc.RpcError):
            return None  # of the caller's own token supplier
        failure = from_rpc_error(error)
        if time.monotonic() - self._began > LONG_SECONDS and not _UNCONNECTED.search(str(error.details())):
            self._policy.renew()
        # The Agent has called an unavailable model several times itself.
        if not isinstance(failure, Unavailable) or failure.reason == Reason.MODEL_UNAVAILABLE:
            return None
        try:
            pause = self._policy.pause(failure)
        except ServiceError:
            return None
        return None if pause >= self._deadline - time.monotonic() else pause

    def begin(self) -> float | None:
        """Begin the next attempt, and return the seconds left for it; None for no limit."""
        self._began = time.monotonic()
        return max(0.0, self._deadline - self._began) if self._limited else None


class RetryInterceptor(grpc.UnaryUnaryClientInterceptor):
    """Repeats the calls of a synchronous channel while a service is unavailable."""

    def __init__(self, methods: Collection[str], seconds: float) -> None:
        """Keep the full names of the methods that may be repeated, and how long they are."""
        self._methods, self._seconds = methods, seconds

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call, and repeat it if that can help."""
        details = client_call_details
        if details.method not in self._methods:
            return continuation(details, request)
        request = _identified(details.method, request)
        attempts = _Attempts(self._seconds, details.timeout)
        while True:
            outcome = continuation(details._replace(timeout=attempts.begin()), request)
            if not outcome.done():
                return outcome  # of `future`, whose caller does not wait
            error = outcome.exception()
            pause = None if error is None else attempts.pause(error)
            if pause is None:
                return outcome
            time.sleep(pause)


class AsyncRetryInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Repeats the calls of an asynchronous channel while a service is unavailable."""

    def __init__(self, methods: Collection[str], seconds: float) -> None:
        """Keep the full names of the methods that may be repeated, and how long they are."""
        self._methods, self._seconds = methods, seconds

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call, and repeat it if that can help."""
        details = client_call_details
        method = _text(details.method)
        if method not in self._methods:
            return await continuation(details, request)
        request = _identified(method, request)
        attempts = _Attempts(self._seconds, details.timeout)
        while True:
            call = await continuation(details._replace(timeout=attempts.begin()), request)
            try:
                await call
            except grpc.RpcError as error:
                pause = attempts.pause(error)
            else:
                return call
            if pause is None:
                return call
            await asyncio.sleep(pause)


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method
