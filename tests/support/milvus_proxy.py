"""A proxy in front of a Milvus server that answers as other versions of Milvus do.

with MilvusProxy(server_address) as proxy:
    proxy.version = "pkg/v2.6.13"
    proxy.refuse("Upsert", 1100, "invalid parameter", when=lambda request: len(request.fields_data) > 3)
    ...  # a store whose uri is proxy.uri
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests.support.proxy import Abort, GrpcProxy

_MESSAGES: dict[str, tuple[Any, Any]] = {
    "Upsert": (milvus_pb2.UpsertRequest, milvus_pb2.MutationResult),
    "Delete": (milvus_pb2.DeleteRequest, milvus_pb2.MutationResult),
    "Query": (milvus_pb2.QueryRequest, milvus_pb2.QueryResults),
    "Search": (milvus_pb2.SearchRequest, milvus_pb2.SearchResults),
    "DescribeIndex": (milvus_pb2.DescribeIndexRequest, milvus_pb2.DescribeIndexResponse),
    "LoadCollection": (milvus_pb2.LoadCollectionRequest, common_pb2.Status),
}
"""Requests and responses by method; a `Status` is its own response."""

Condition = Callable[[Any], bool]


@dataclass
class _Rule:
    method: str
    left: int
    when: Condition
    response: bytes | Abort


class MilvusProxy(GrpcProxy):
    """Forwards calls to Milvus, except for those that a test has it answer.

    Attributes:
        version: The version that it reports; empty for the server's own.
        max_request_bytes: Size beyond which it refuses a request as the proxy of Milvus does, by gRPC.
        requests: The requests of the methods in `_MESSAGES`, in order, by method.
    """

    def __init__(self, target: str) -> None:
        """Start the proxy for the server at `target`, which is an address without a scheme."""
        self.version = ""
        self.max_request_bytes = 64 << 20
        self.requests: dict[str, list[Any]] = {method: [] for method in _MESSAGES}
        self._rules: list[_Rule] = []
        super().__init__(target)

    @property
    def uri(self) -> str:
        """URI for clients."""
        return f"http://{self.address}"

    def refuse(
        self, method: str, code: int, reason: str, *, when: Condition = lambda _: True, times: int = 1 << 30
    ) -> None:
        """Answer calls with a status of Milvus."""
        status = common_pb2.Status(code=code, reason=reason, error_code=common_pb2.UnexpectedError)
        kind = _MESSAGES[method][1]
        response = status if kind is common_pb2.Status else kind(status=status)
        self._rules.append(_Rule(method, times, when, response.SerializeToString()))

    def fail(self, method: str, code: grpc.StatusCode, details: str, *, times: int = 1 << 30) -> None:
        """Let calls fail at the transport."""
        self._rules.append(_Rule(method, times, lambda _: True, Abort(code, details)))

    def allow_all(self) -> None:
        """Forward all calls again."""
        self._rules.clear()

    def answer(self, method: str, request: bytes) -> bytes | Abort | None:
        """See `GrpcProxy.answer`."""
        if len(request) > self.max_request_bytes:
            text = f"grpc: received message larger than max ({len(request)} vs. {self.max_request_bytes})"
            return Abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        parsed = None
        if method in _MESSAGES:
            parsed = _MESSAGES[method][0].FromString(request)
            self.requests[method].append(parsed)
        for rule in self._rules:
            if rule.method == method and rule.left and rule.when(parsed):
                rule.left -= 1
                return rule.response
        if method == "GetVersion" and self.version:
            return bytes(milvus_pb2.GetVersionResponse(version=self.version).SerializeToString())
        return None
