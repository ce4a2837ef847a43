"""Spans of this process, recorded by OpenTelemetry; without `enable`, nothing is recorded or imported.

Names and attributes follow the semantic conventions for RPCs, databases and generative AI. Contents, such as prompts
and answers, are recorded only if they are enabled, and messages of errors never.

OpenTelemetry is an optional dependency, so `context` parses and passes trace context on while traces are off; while
they are on, OpenTelemetry's propagators do.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, Self, TypeVar

import grpc

from memgpt_runtime import context
from memgpt_runtime.errors import ServiceError

Kind = Literal["internal", "server", "client"]
Value = str | bool | int | float
Attributes = Mapping[str, Value | None]
"""Attributes by name; those that are None or empty are left out."""

T = TypeVar("T")

_BAGGAGE = "baggage"


class Span:
    """A span that is not recorded. As a context manager it is the current one, and ends with its block.

    Attributes:
        recording: Whether it is recorded.
    """

    recording = False

    def set(self, attributes: Attributes) -> None:
        """Set attributes."""

    def set_contents(self, contents: Callable[[], Attributes]) -> None:
        """Set attributes with contents of users; `contents` is called only if they are enabled."""

    def fail(self, kind: str) -> None:
        """Mark the span as failed.

        Args:
            kind: The reason or class of the error, of which there are few.
        """

    def end(self) -> None:
        """End the span, if it was not used as a context manager."""

    def metadata(self) -> dict[str, str]:
        """Return the headers that make the spans of a called server children of this one."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        return None


NO_SPAN = Span()


class _RecordedSpan(Span):
    """A span of OpenTelemetry."""

    recording = True

    def __init__(self, span: Any, recorder: Recorder, *, errors: bool) -> None:
        """Wrap a span; `errors` says whether an exception that ends its block is its failure."""
        self._span = span
        self._errors = errors
        self._recorder = recorder
        self._token: Any = None

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(_given(attributes))

    def set_contents(self, contents: Callable[[], Attributes]) -> None:
        if self._recorder.contents:
            self.set(contents())

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(self._recorder.error_status)

    def end(self) -> None:
        self._span.end()

    def metadata(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        self._recorder.propagate.inject(carrier, self._recorder.trace.set_span_in_context(self._span))
        return carrier

    def __enter__(self) -> Self:
        self._token = self._recorder.otel_context.attach(self._recorder.trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._errors:
            self.fail(str(error.reason) if isinstance(error, ServiceError) else type(error).__name__)
        self._recorder.otel_context.detach(self._token)
        self._span.end()


class Recorder:
    """OpenTelemetry, as far as it is used here.

    Attributes:
        contents: Whether contents are recorded.
        trace: The module of its spans.
        propagate: The module of its propagators.
        otel_context: The module of its context.
        error_status: The status of a failed span.
    """

    def __init__(self, tracer: Any, *, contents: bool) -> None:
        """Import what is used; `tracer` creates the spans."""
        from opentelemetry import context as otel_context
        from opentelemetry import propagate, trace

        self._tracer = tracer
        self.contents = contents
        self.trace, self.propagate, self.otel_context = trace, propagate, otel_context
        self.error_status = trace.StatusCode.ERROR
        self._kinds = {"internal": trace.SpanKind.INTERNAL, "server": trace.SpanKind.SERVER}
        self._kinds["client"] = trace.SpanKind.CLIENT

    def start(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """Start a span below the current one."""
        span = self._tracer.start_span(name, None, self._kinds[kind], _given(attributes))
        # A received call fails by its status: an exception is often the answer to a caller's mistake.
        return _RecordedSpan(span, self, errors=kind != "server")

    def adopt(self, headers: Mapping[str, str]) -> None:
        """Make the trace context and the baggage of a caller the current ones, for the rest of this task."""
        self.otel_context.attach(self.propagate.extract(headers))

    def ids(self) -> tuple[str, str, str] | None:
        """Return trace id, span id and flags of the current span; None without one."""
        found = self.trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return f"{found.trace_id:032x}", f"{found.span_id:016x}", f"{found.trace_flags:02x}"

    def inject(self) -> dict[str, str]:
        """Return the headers of the current span, and its baggage."""
        carrier: dict[str, str] = {}
        self.propagate.inject(carrier)
        return carrier


_recorder: Recorder | None = None


def enable(recorder: Recorder | None) -> None:
    """Record the spans of this process from now on; None to stop."""
    global _recorder
    _recorder = recorder


def enabled() -> bool:
    """Whether spans are recorded."""
    return _recorder is not None


def span(name: str, attributes: Attributes, kind: Kind = "internal") -> Span:
    """Return a span below the current one, to be used as a context manager or ended."""
    return NO_SPAN if _recorder is None else _recorder.start(name, kind, attributes)


def server_span(method: str, headers: Mapping[str, str]) -> Span:
    """Return the span of a received call, below the caller's one."""
    if _recorder is None:
        return NO_SPAN
    _recorder.adopt(headers)
    return _recorder.start(method, "server", _rpc(method))


def client_span(method: str) -> Span:
    """Return the span of a call to a server; none outside of a trace, where a service polls another."""
    if _recorder is None or _recorder.ids() is None:
        return NO_SPAN
    return _recorder.start(method, "client", _rpc(method))


def _rpc(method: str) -> Attributes:
    # The stable names of OpenTelemetry's conventions, and two former ones that dashboards still look for.
    service = method.rpartition("/")[0]
    return {"rpc.system.name": "grpc", "rpc.method": method, "rpc.system": "grpc", "rpc.service": service}


def rpc_status(code: grpc.StatusCode) -> Attributes:
    """Return the attributes of a call's status, under the stable and the former name."""
    return {"rpc.response.status_code": code.name, "rpc.grpc.status_code": code.value[0]}


def exemplar() -> dict[str, str] | None:
    """Return the ids of the current span, as a histogram's exemplar; None if it is not recorded."""
    found = ids()
    if found is None or not int(found[2], 16) & 1:
        return None
    return {"trace_id": found[0], "span_id": found[1]}


def ids() -> tuple[str, str, str] | None:
    """Return trace id, span id and flags of the current span; None if there is none."""
    return None if _recorder is None else _recorder.ids()


def outgoing_metadata(span: Span = NO_SPAN, *, internal: bool) -> dict[str, str]:
    """Return the metadata of an outgoing call: request id and trace, and for the suite's own services also the rest.

    Args:
        span: The call's own span.
        internal: Whether the server is one of the suite's. Others get neither the principal nor the baggage.
    """
    metadata = dict(context.outgoing_metadata())
    if _recorder is not None:
        metadata.update(span.metadata() or _recorder.inject())
    if not internal:
        metadata.pop(context.PRINCIPAL_KEY, None)
        metadata.pop(_BAGGAGE, None)
    return metadata


def bind(call: Callable[[], T]) -> Callable[[], T]:
    """Return a call that, in another thread, has the current span of this one."""
    return call if _recorder is None else partial(contextvars.copy_context().run, call)


def _given(attributes: Attributes) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None and value != ""}
