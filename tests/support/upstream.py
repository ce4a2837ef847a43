"""A gRPC server that accepts any unary call, records it, and answers as it is told."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Upstream(grpc.GenericRpcHandler):
    """Answers with empty messages, or with the next of `failures`. A context manager.

    Attributes:
        address: Address that it listens on.
        calls: Methods and metadata of the calls so far.
        failures: Status codes of the next calls.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str | bytes]]] = []
        self.failures: deque[grpc.StatusCode] = deque()
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(16), handlers=[self], options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def serve(self, *, healthy: bool) -> None:
        """Set what its health check reports."""
        states = health_pb2.HealthCheckResponse
        self._health.set("", states.SERVING if healthy else states.NOT_SERVING)

    @property
    def methods(self) -> list[str]:
        """The names of the methods called so far."""
        return [method.rpartition("/")[2] for method, _ in self.calls]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        method: str = handler_call_details.method
        if method.startswith("/grpc.health"):
            return None

        def handle(_request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append((method, dict(context.invocation_metadata())))
            if self.failures:
                context.abort(self.failures.popleft(), "told so")
            return b""

        return grpc.unary_unary_rpc_method_handler(handle)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()
