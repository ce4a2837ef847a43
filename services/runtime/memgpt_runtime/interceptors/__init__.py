"""The stages around every RPC, in a fixed order.

gRPC's own interceptors cost about 3 % of a small unary call each, and have to be written four times, once per kind of
RPC. So there is a single one, `pipeline.PipelineInterceptor`, which knows the four kinds and runs *stages* around the
handler, each a module of this package. Outermost first:

================= ====================================================================================
`request_context` sets a context variable with ids and deadline, for handlers, logs and outgoing calls
`rpc_spans`       a span of each RPC, while traces are on
`access_log`      one line per RPC (health and reflection at debug level)
`rpc_metrics`     ``grpc_server_*``
`audit_log`       one line per change and per refusal, in a log of its own
`error_mapping`   converts exceptions to a status with details; a bug becomes INTERNAL
`admission`       discards the request of a call that is refused by the next two stages
`client_identity` refuses clients whose certificate has another name, if names are configured
`authorization`   sets the principal; refuses callers without a credential or without the permission; ends streams whose
                  credential becomes invalid; health and reflection are exempt
`admission`       receives a single request, now that the caller is known
`load_shedding`   refuses calls beyond the limits, and new calls during a drain; health and reflection are exempt
`deadline`        limits calls that came without a deadline
validation        checks every request message against its ``buf.validate`` constraints, by the service's own checks,
                  and what the caller's key is restricted to
================= ====================================================================================

`rpc` is the call as a stage sees it. `in_flight` counts the calls in progress, for a drain. `receiving` bounds how many
messages are received at a time, and how long that may take. `keep_alive` sends messages on silent streams.

Handlers are ``async def`` (unary responses) or async generators (streams). They read requests from the iterator they
are given, and raise `ServiceError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.message import Message
from memgpt.config import ServerSettings

from memgpt_runtime import tracing
from memgpt_runtime.audit import AuditLog
from memgpt_runtime.auth.restrictions import check_request
from memgpt_runtime.context import principal
from memgpt_runtime.interceptors.access_log import AccessLog
from memgpt_runtime.interceptors.admission import Admit, DiscardRefused
from memgpt_runtime.interceptors.audit_log import Audit
from memgpt_runtime.interceptors.authorization import Authorization
from memgpt_runtime.interceptors.client_identity import ClientIdentity
from memgpt_runtime.interceptors.deadline import DefaultDeadline
from memgpt_runtime.interceptors.error_mapping import ErrorMapping
from memgpt_runtime.interceptors.in_flight import InFlight
from memgpt_runtime.interceptors.keep_alive import StreamKeepAlive
from memgpt_runtime.interceptors.load_shedding import LoadShedding
from memgpt_runtime.interceptors.pipeline import PipelineInterceptor
from memgpt_runtime.interceptors.receiving import ReceiveLimiter
from memgpt_runtime.interceptors.request_context import ContextStage
from memgpt_runtime.interceptors.rpc import Stage
from memgpt_runtime.interceptors.rpc_metrics import RpcMetrics
from memgpt_runtime.interceptors.rpc_spans import RpcSpans
from memgpt_runtime.metrics import ServerMetrics
from memgpt_runtime.validation import Check, Validator

__all__ = ["Authorization", "InFlight", "PipelineInterceptor", "server_interceptor"]


def _validation(checks: Mapping[type[Message], Check]) -> Callable[[Message], None]:
    """Return a function that checks a request, and what the caller's key is restricted to."""
    validate = Validator(checks)

    def check(request: Message) -> None:
        validate(request)
        caller = principal()
        if caller.restricted:
            check_request(request, caller)

    return check


_PATIENCE_SECONDS = 10.0
"""Time that a request may take to arrive while others wait."""

_STREAM_PATIENCE_SECONDS = 60.0
"""Time that a stream may be silent while others wait; one that works between its messages is idle for long."""

_STREAMS_PER_REQUEST = 8
"""Streams that may be received for each single request, since most of them wait."""


def server_interceptor(
    settings: ServerSettings,
    metrics: ServerMetrics,
    in_flight: InFlight,
    authorization: Authorization,
    audit: AuditLog | None = None,
    *,
    deadlines: Mapping[str, float | None] | None = None,
    unlimited: frozenset[str] = frozenset(),
    keep_alive: Mapping[str, Message] | None = None,
    checks: Mapping[type[Message], Check] | None = None,
) -> PipelineInterceptor:
    """Return the interceptor of a server, with all stages in their order.

    Args:
        settings: The server's settings.
        metrics: Counts RPCs.
        in_flight: The calls in progress.
        authorization: Knows the callers and their permissions.
        audit: Gets a line for every change and every refusal; None if it is off.
        deadlines: See `ServiceSpec`.
        unlimited: See `ServiceSpec`.
        keep_alive: See `ServiceSpec`.
        checks: See `App.add_checks`.
    """
    stages: list[Stage] = [
        ContextStage(),
        *([RpcSpans()] if tracing.enabled() else []),
        AccessLog(),
        RpcMetrics(metrics),
        Audit(audit),
        ErrorMapping(in_flight),
        DiscardRefused(),
        ClientIdentity(settings.tls_client_names),
        authorization,
        Admit(),
        LoadShedding(settings.max_concurrent_calls, settings.max_concurrent_streams, unlimited, in_flight),
        DefaultDeadline(settings.default_deadline, settings.stream_deadline, deadlines or {}),
    ]
    most = max(settings.max_receiving_bytes // settings.max_message_bytes, 1)
    return PipelineInterceptor(
        stages,
        _validation({} if checks is None else checks),  # filled later: see `App.add_checks`
        StreamKeepAlive(settings.keep_alive_seconds, keep_alive or {}),
        single_requests=ReceiveLimiter(most, _PATIENCE_SECONDS, settings.default_deadline),
        streamed_requests=ReceiveLimiter(most * _STREAMS_PER_REQUEST, _STREAM_PATIENCE_SECONDS, None),
    )
