"""The stage that records a span of every RPC, while traces are on."""

from __future__ import annotations

from typing import Any

import grpc

from memgpt_runtime import context, tracing
from memgpt_runtime.interceptors.rpc import Call, Rpc

_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that are a server's fault; with others the span of a server has not failed."""


class RpcSpans:
    """Records RPCs, except those of health and reflection."""

    name = "spans"

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call within its span."""
        if rpc.infrastructure or not rpc.known:
            return await call()
        with tracing.server_span(rpc.method[1:], rpc.metadata) as span:
            rpc.request = context.with_trace(rpc.request, tracing.ids())
            context.set_current(rpc.request)
            span.set({"memgpt.request_id": rpc.request.request_id})
            try:
                return await call()
            finally:
                request = rpc.request
                span.set({**tracing.rpc_status(rpc.code), "memgpt.tenant": request.principal.tenant})
                if rpc.code in _FAULTS:
                    span.fail(rpc.reason or rpc.code.name)
