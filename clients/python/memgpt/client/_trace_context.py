"""Trace context of calls: the caller's span and baggage, if the program uses OpenTelemetry.

OpenTelemetry is not a dependency: a program that imported it before it made the client sends its context, others none.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import grpc.aio


def interceptors() -> list[Any]:
    """Return the interceptor of a synchronous channel, or none."""
    return [_Interceptor()] if _traced() else []


def async_interceptors() -> list[Any]:
    """Return the interceptors of an asynchronous channel, or none."""
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()] if _traced() else []


def _traced() -> bool:
    return "opentelemetry.trace" in sys.modules


def _headers() -> list[tuple[str, str]]:
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return list(carrier.items())


class _Details(grpc.ClientCallDetails):
    """The details of a synchronous call, with the trace context in its metadata."""

    def __init__(self, details: Any) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), *_headers())
        self.credentials = details.credentials
        self.wait_for_ready = getattr(details, "wait_for_ready", None)
        self.compression = getattr(details, "compression", None)


def _async_details(details: Any) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout,
        metadata=grpc.aio.Metadata(*(details.metadata or ()), *_headers()),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


class _Interceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_Details(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(_Details(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(_Details(client_call_details), request_iterator)


# gRPC tells the kinds apart by the base class, and accepts an interceptor for one kind only.
class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_async_details(client_call_details), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_async_details(client_call_details), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_async_details(client_call_details), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_async_details(client_call_details), request_iterator)
