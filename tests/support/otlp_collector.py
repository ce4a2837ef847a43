# ruff: noqa: N802 - gRPC's names
"""A collector of traces: a real gRPC server of OpenTelemetry's trace service.

with OtlpCollector() as collector:
    ... MEMGPT_SERVER_TRACES_ENDPOINT=collector.endpoint ...
    spans = collector.wait_for(lambda spans: any(span.name == "invoke_agent" for span in spans))
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it was received.

    Attributes:
        service: The ``service.name`` of its process.
        name: Its name.
        kind: Its kind, such as ``SERVER``.
        trace_id: Id of its trace.
        span_id: Its id.
        parent_id: Id of the span above it; empty for a root.
        trace_state: Its ``tracestate``.
        attributes: Its attributes.
        failed: Whether its status is an error.
    """

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    attributes: Mapping[str, Any] = field(repr=False)
    failed: bool = False


class OtlpCollector(TraceServiceServicer):
    """Keeps what it receives.

    Attributes:
        endpoint: Its address.
        raw: The requests as bytes.
    """

    def __init__(self) -> None:
        """Start the server."""
        self.raw: list[bytes] = []
        self._spans: list[CollectedSpan] = []
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: pb.ExportTraceServiceRequest, context: object) -> pb.ExportTraceServiceResponse:
        """Keep the spans of a request."""
        spans = []
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            spans += [_span(service, span) for scope in resource.scope_spans for span in scope.spans]
        with self._changed:
            self.raw.append(request.SerializeToString())
            self._spans += spans
            self._changed.notify_all()
        return pb.ExportTraceServiceResponse()

    def wait_for(self, enough: Callable[[Sequence[CollectedSpan]], bool], seconds: float = 30.0) -> list[CollectedSpan]:
        """Return the spans so far as soon as there are enough."""
        until = time.monotonic() + seconds
        with self._changed:
            while not enough(self._spans):
                assert self._changed.wait(until - time.monotonic()), [span.name for span in self._spans]
            return list(self._spans)

    def close(self) -> None:
        """Stop the server."""
        self._server.stop(None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _span(service: str, span: Any) -> CollectedSpan:
    return CollectedSpan(
        service,
        span.name,
        type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        _values(span.attributes),
        span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
