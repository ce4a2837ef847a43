"""The stage that counts and times RPCs."""

from __future__ import annotations

import time
from typing import Any

import grpc

from memgpt_runtime import tracing
from memgpt_runtime.interceptors.rpc import Call, Rpc
from memgpt_runtime.metrics import ServerMetrics

# Dashboards expect the names that the Go implementation uses.
_CODES = {code: "".join(part.capitalize() for part in code.name.split("_")) for code in grpc.StatusCode}
_CODES[grpc.StatusCode.OK] = "OK"
_CODES[grpc.StatusCode.CANCELLED] = "Canceled"


class RpcMetrics:
    """Counts the start of every RPC, and its end by status."""

    name = "metrics"

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Count and time the call."""
        service, method = (rpc.service, rpc.name) if rpc.known else ("unknown", "unknown")
        self._metrics.started(rpc.kind, service, method)
        began = time.perf_counter()
        try:
            return await call()
        finally:
            seconds = time.perf_counter() - began
            self._metrics.handled(rpc.kind, service, method, _CODES[rpc.code], seconds, tracing.exemplar())
