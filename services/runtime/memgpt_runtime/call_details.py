"""Metadata of every outgoing call, such as the current call's request id and principal; and a timeout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from memgpt_runtime import context
from memgpt_runtime.auth.service_keys import ServiceKeys


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
    """Adds metadata and timeout to the details of a call."""

    def __init__(self, timeout: float | None, internal: bool, service_keys: ServiceKeys | None) -> None:
        self._timeout = timeout
        self._internal = internal
        self._service_keys = service_keys

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


# gRPC tells the kinds apart by the base class, and accepts an interceptor for one kind only.
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
