"""The current call: its ids, its tenant, its remaining time.

The server sets it in the RPC's own task, so it reaches handlers and the tasks that they start, and no other RPC. It
does not depend on gRPC, so that domain code may use it. W3C trace context is parsed here, since OpenTelemetry, whose
propagators `tracing` uses while traces are on, is an optional dependency.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from memgpt_runtime.ids import new_id
from memgpt_runtime.principal import DEFAULT_TENANT, Principal

AUTHORIZATION_KEY = "authorization"
REQUEST_ID_KEY = "x-request-id"
TRACEPARENT_KEY = "traceparent"
TRACESTATE_KEY = "tracestate"
BAGGAGE_KEY = "baggage"
PRINCIPAL_KEY = "x-memgpt-principal"
"""Internal metadata key: a service sends another one the principal of a call. Refused from all other callers."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header; version ff and ids of zeros are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")

_MAX_TRACESTATE = 512
_MAX_BAGGAGE = 8192
"""Characters, as in https://www.w3.org/TR/baggage/#limits."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The current call.

    Attributes:
        method: Full name such as ``/memgpt.agent.v1.AgentService/GetAgent``; outside a call, a name for the work.
        request_id: The caller's ``x-request-id``, or one created here.
        trace_id: 32 hexadecimal digits, from ``traceparent`` or created here.
        span_id: 16 hexadecimal digits, this call's own.
        trace_flags: 2 hexadecimal digits, passed on unchanged.
        trace_state: The caller's ``tracestate``, passed on unchanged.
        baggage: The caller's ``baggage``, passed on unchanged.
        principal: The principal of the call.
        peer: The caller's address, as gRPC writes it.
        deadline: When the call must end, on the clock of `time.monotonic`; None for no deadline.
    """

    method: str
    request_id: str
    trace_id: str
    span_id: str
    trace_flags: str = "00"
    trace_state: str = ""
    baggage: str = ""
    principal: Principal = field(default_factory=Principal)
    peer: str = ""
    deadline: float | None = None

    def remaining(self) -> float | None:
        """Return the seconds left, never negative; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_current: ContextVar[RequestContext | None] = ContextVar("memgpt_request", default=None)


def current() -> RequestContext | None:
    """Return the current call, or None."""
    return _current.get()


def set_current(request: RequestContext) -> None:
    """Set the current call for the rest of this task. For the server; others use `background`."""
    _current.set(request)


def make_request(
    method: str,
    metadata: Mapping[str, str] | None = None,
    *,
    principal: Principal | None = None,
    peer: str = "",
    timeout: float | None = None,
) -> RequestContext:
    """Create a context from a call's metadata.

    Args:
        method: Full name of the method.
        metadata: Text entries of the invocation metadata. An ``x-request-id`` or ``traceparent`` that is malformed is
            replaced, not refused.
        principal: The principal of the call; None for the default tenant.
        peer: The caller's address.
        timeout: Seconds that it may take; None for no limit.
    """
    entries = metadata or {}
    request_id = entries.get(REQUEST_ID_KEY, "")
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = new_id("req", scope=entries.get(AUTHORIZATION_KEY, ""))  # the tenant is not known yet
    trace = _TRACEPARENT.fullmatch(entries.get(TRACEPARENT_KEY, ""))
    return RequestContext(
        method=method,
        request_id=request_id,
        trace_id=trace[1] if trace else os.urandom(16).hex(),
        span_id=os.urandom(8).hex(),
        trace_flags=trace[3] if trace else "00",
        trace_state=_bounded(entries.get(TRACESTATE_KEY, ""), _MAX_TRACESTATE) if trace else "",
        baggage=_bounded(entries.get(BAGGAGE_KEY, ""), _MAX_BAGGAGE),
        principal=principal or Principal(),
        peer=peer,
        deadline=None if timeout is None else time.monotonic() + timeout,
    )


def _bounded(text: str, most: int) -> str:
    return text if len(text) <= most else ""


def with_trace(request: RequestContext, ids: tuple[str, str, str] | None) -> RequestContext:
    """Return the same call with the trace id, span id and flags of its span."""
    if ids is None:
        return request
    trace_id, span_id, flags = ids
    return replace(request, trace_id=trace_id, span_id=span_id, trace_flags=flags)


def with_principal(request: RequestContext, principal: Principal) -> RequestContext:
    """Return the same call on behalf of another principal."""
    return replace(request, principal=principal)


def with_timeout(request: RequestContext, timeout: float | None) -> RequestContext:
    """Return the same call with another deadline: `timeout` seconds from now, or none."""
    return replace(request, deadline=None if timeout is None else time.monotonic() + timeout)


@contextmanager
def background(
    method: str, *, principal: Principal | None = None, timeout: float | None = None
) -> Iterator[RequestContext]:
    """Run work that outlives its call, or has none, in a context of its own.

    The ids and the principal of the call that started it are kept, its deadline is not.

    Args:
        method: Name for logs, such as ``turn`` or ``load``.
        principal: The principal of the work; by default the current call's.
        timeout: Seconds that it may take; None for no limit.
    """
    outer = _current.get()
    request = make_request(method, principal=principal or (outer.principal if outer else None), timeout=timeout)
    if outer is not None:
        request = replace(
            request,
            request_id=outer.request_id,
            trace_id=outer.trace_id,
            trace_flags=outer.trace_flags,
            trace_state=outer.trace_state,
            baggage=outer.baggage,
            peer=outer.peer,
        )
    token = _current.set(request)
    try:
        yield request
    finally:
        _current.reset(token)


def principal() -> Principal:
    """Return the principal of the current call; outside of one, the services' own."""
    request = _current.get()
    return request.principal if request else Principal()


def tenant() -> str:
    """Return the tenant of the current call; ``default`` outside of one."""
    request = _current.get()
    return request.principal.tenant if request else DEFAULT_TENANT


def remaining(limit: float | None = None) -> float | None:
    """Return the timeout for a downstream call: the remaining time of the current call, but at most `limit`.

    Args:
        limit: Seconds; None for no further limit.

    Returns:
        Seconds, never negative; None when neither the current call nor `limit` bounds it.
    """
    request = _current.get()
    left = request.remaining() if request else None
    if left is None:
        return limit
    return left if limit is None else min(left, limit)


def outgoing_metadata() -> list[tuple[str, str]]:
    """Return the metadata for a downstream call: request id, trace, baggage, principal; empty outside of a call."""
    request = _current.get()
    if request is None:
        return []
    metadata = [
        (REQUEST_ID_KEY, request.request_id),
        (TRACEPARENT_KEY, f"00-{request.trace_id}-{request.span_id}-{request.trace_flags}"),
        (TRACESTATE_KEY, request.trace_state),
        (BAGGAGE_KEY, request.baggage),
        (PRINCIPAL_KEY, request.principal.encode()),
    ]
    return [(key, value) for key, value in metadata if value]
