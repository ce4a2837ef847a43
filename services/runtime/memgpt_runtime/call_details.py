"""Metadata of every outgoing call, such as the current call's request id and principal; a timeout; and its span."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from memgpt_runtime import context, tracing
from memgpt_runtime.auth.service_keys import ServiceKeys
from memgpt_runtime.tracing import Span


def client_interceptors(
    timeout: float | None, *, internal: bool, service_keys: ServiceKeys | None = None
) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors of a channel.

    Args:
        timeout: Seconds for unary calls that have no timeout of their own; None for no limit. Streams have none.
        internal: Whether the server is one of the suite's, which also gets the principal of the call.
        service_keys: The keys of the services, the first of which is sent; None to send none.
    """
    arguments = (timeout, internal, service_keys)
    return [_UnaryUnary(*arguments), _UnaryStream(*arguments), _StreamUnary(*arguments), _StreamStream(*arguments)]


class _Interceptor:
    """Adds metadata and timeout to the details of a call, and records its span."""

    def __init__(self, timeout: float | None, internal: bool, service_keys: ServiceKeys | None) -> None:
        self._timeout = timeout
        self._internal = internal
        self._service_keys = service_keys

    async def run(
        self, continuation: Callable[..., Any], details: grpc.aio.ClientCallDetails, request: Any, *, streaming: bool
    ) -> Any:
        span = tracing.client_span(_text(details.method).removeprefix("/")) if tracing.enabled() else tracing.NO_SPAN
        try:
            call = await continuation(self.details(details, span, streaming=streaming), request)
        except BaseException as error:
            span.fail(type(error).__name__)
            span.end()
            raise
        if span.recording:
            call.add_done_callback(lambda done: _end_soon(span, done))
        return call

    def details(
        self, details: grpc.aio.ClientCallDetails, span: Span, *, streaming: bool
    ) -> grpc.aio.ClientCallDetails:
        own = None if streaming else self._timeout
        timeout = context.remaining(details.timeout if details.timeout is not None else own)
        given: Iterable[tuple[str, Any]] = tuple(details.metadata or ())
        names = {key for key, _ in given}
        added = [
            (key, value)
            for key, value in tracing.outgoing_metadata(span, internal=self._internal).items()
            if key not in names
        ]
        key = self._service_keys.sent() if self._service_keys is not None else None
        if key is not None:
            added.append(("authorization", f"Bearer {key}"))
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=timeout,
            metadata=grpc.aio.Metadata(*given, *added),
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


_ending: set[asyncio.Task[None]] = set()


def _end_soon(span: Span, call: grpc.aio.Call) -> None:
    # The status of a call that is done is known, but only a coroutine returns it.
    task = asyncio.ensure_future(_end(span, call))
    _ending.add(task)
    task.add_done_callback(_ending.discard)


async def _end(span: Span, call: grpc.aio.Call) -> None:
    code = await call.code()
    span.set(tracing.rpc_status(code))
    if code is not grpc.StatusCode.OK:
        span.fail(code.name)
    span.end()


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method


# gRPC tells the kinds apart by the base class, and accepts an interceptor for one kind only.
class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self.run(continuation, client_call_details, request, streaming=False)


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self.run(continuation, client_call_details, request, streaming=True)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await self.run(continuation, client_call_details, request_iterator, streaming=True)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await self.run(continuation, client_call_details, request_iterator, streaming=True)
