"""The stages around every RPC, in a fixed order.

gRPC's own interceptors cost about 3 % of a small unary call each, and have to be written four times, once per kind of
RPC. So there is a single one, `pipeline.Pipeline`, which knows the four kinds and runs *stages* around the handler,
each a module of this package. Outermost first:

================= ====================================================================================
`request_context` sets a context variable with ids, principal and deadline, for handlers, logs and outgoing calls
`access_log`      one line per RPC (health and reflection at debug level)
`rpc_metrics`     ``grpc_server_*``
`error_mapping`   converts exceptions to a status with details; a bug becomes INTERNAL
`client_identity` refuses clients whose certificate has another name, if names are configured
`load_shedding`   refuses calls beyond the limits, and new calls during a drain; health and reflection are exempt
`deadline`        limits calls that came without a deadline
validation        checks every request message against its ``buf.validate`` constraints
================= ====================================================================================

Handlers are ``async def`` (unary responses) or async generators (streams). They read requests from the iterator they
are given, and raise `ServiceError`.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message
from memgpt.config import ServerSettings

from memgpt_runtime.interceptors.access_log import AccessLog
from memgpt_runtime.interceptors.client_identity import ClientIdentity
from memgpt_runtime.interceptors.deadline import DefaultDeadline
from memgpt_runtime.interceptors.error_mapping import ErrorMapping
from memgpt_runtime.interceptors.in_flight import InFlight
from memgpt_runtime.interceptors.keep_alive import StreamKeepAlive
from memgpt_runtime.interceptors.load_shedding import LoadShedding
from memgpt_runtime.interceptors.pipeline import PipelineInterceptor
from memgpt_runtime.interceptors.request_context import ContextStage
from memgpt_runtime.interceptors.rpc import Stage
from memgpt_runtime.interceptors.rpc_metrics import RpcMetrics
from memgpt_runtime.metrics import ServerMetrics
from memgpt_runtime.validation import validate

__all__ = ["InFlight", "PipelineInterceptor", "server_interceptor"]


def server_interceptor(
    settings: ServerSettings,
    metrics: ServerMetrics,
    in_flight: InFlight,
    *,
    trust_principal: bool = False,
    deadlines: Mapping[str, float | None] | None = None,
    unlimited: frozenset[str] = frozenset(),
    keep_alive: Mapping[str, Message] | None = None,
) -> PipelineInterceptor:
    """Return the interceptor of a server, with all stages in their order.

    Args:
        settings: The server's settings.
        metrics: Counts RPCs.
        in_flight: The calls in progress.
        trust_principal: See `ServiceSpec`.
        deadlines: See `ServiceSpec`.
        unlimited: See `ServiceSpec`.
        keep_alive: See `ServiceSpec`.
    """
    stages: list[Stage] = [
        ContextStage(trust_principal=trust_principal),
        AccessLog(),
        RpcMetrics(metrics),
        ErrorMapping(in_flight),
        ClientIdentity(settings.tls_client_names),
        LoadShedding(settings.max_concurrent_calls, settings.max_concurrent_streams, unlimited, in_flight),
        DefaultDeadline(settings.default_deadline, settings.stream_deadline, deadlines or {}),
    ]
    return PipelineInterceptor(stages, validate, StreamKeepAlive(settings.keep_alive_seconds, keep_alive or {}))
