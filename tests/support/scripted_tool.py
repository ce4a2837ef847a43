# ruff: noqa: N802 - gRPC's names
"""A scripted tool server that records its calls.

with ScriptedTool({"roll": lambda request: CallToolResponse(result="six")}) as tool:
    register(tool.address)
    ...
    assert tool.keys == ["turn_...-1"]
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from memgpt.tool.v1 import tool_service_pb2 as pb
from memgpt.tool.v1.tool_service_pb2_grpc import ToolServiceServicer, add_ToolServiceServicer_to_server

Answer = Callable[[pb.CallToolRequest], pb.CallToolResponse]
"""Handles a call. A raised `RefusalError` becomes a status."""


class RefusalError(Exception):
    """An error that ends the call with a status."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.code = code


class ScriptedTool(ToolServiceServicer):
    """Serves functions without arguments unless `tools` says otherwise.

    Attributes:
        address: Address that it listens on.
        calls: Requests in order, including repeated ones.
        metadata: Metadata of the calls.
        done: Number of effects by key; only the first call of a key has one.
        tools: The tools that it lists.
    """

    def __init__(
        self,
        functions: Mapping[str, Answer],
        tools: list[pb.Tool] | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """Start the server."""
        self.calls: list[pb.CallToolRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.done: dict[str, int] = {}
        self.tools = [pb.Tool(name=name, description=f"Does {name}.") for name in functions] if tools is None else tools
        self._functions = functions
        self._answers: dict[str, pb.CallToolResponse] = {}
        self._lock = threading.Lock()
        # No SO_REUSEPORT, with which two servers could share a port and its calls.
        self._server = grpc.server(ThreadPoolExecutor(32), options=(("grpc.so_reuseport", 0),))
        add_ToolServiceServicer_to_server(self, self._server)
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    @property
    def keys(self) -> list[str]:
        """Keys of the calls in order."""
        return [call.idempotency_key for call in self.calls]

    def ListTools(self, request: pb.ListToolsRequest, context: grpc.ServicerContext) -> pb.ListToolsResponse:
        return pb.ListToolsResponse(tools=self.tools)

    def CallTool(self, request: pb.CallToolRequest, context: grpc.ServicerContext) -> pb.CallToolResponse:
        key = request.idempotency_key
        with self._lock:
            self.calls.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            if key in self._answers:
                return self._answers[key]
        try:
            answer = self._functions[request.name](request)
        except RefusalError as refusal:
            context.abort(refusal.code, str(refusal))
        with self._lock:
            self.done[key] = self.done.get(key, 0) + 1
            return self._answers.setdefault(key, answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()


def result(text: str) -> Answer:
    """Return a function that answers every call with a text."""
    return lambda _: pb.CallToolResponse(result=text)
