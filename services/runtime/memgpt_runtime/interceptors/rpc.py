"""An RPC on its way through the stages, and the interface of a stage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from memgpt_runtime.context import RequestContext

INFRASTRUCTURE = "/grpc."
"""Beginning of the names of methods of health and reflection."""


@dataclass(slots=True)
class Rpc:
    """One RPC on its way through the stages.

    Attributes:
        method: Full name, ``/package.Service/Method``.
        kind: ``unary``, ``client_stream``, ``server_stream`` or ``bidi_stream``.
        known: Whether the server has this method. The name of an unknown method can be anything, so it is not used in
            metrics.
        wire: gRPC's own context.
        metadata: The text entries of the call's metadata; set by the first stage.
        request: Ids, principal, deadline; set by the first stage, its principal by `authorization`.
        receive: Receives a single request; None for nothing to receive before the handler runs.
        admitted: Whether the caller may make the call, so that its request is received.
        code: The status code at its end.
        reason: The reason of the error that ended it; empty without one.
        before_error: Called when `code` and `reason` are set, before the error is sent; None for nothing to call.
        watch: Called with every parsed request and every response; None for nothing to call.
    """

    method: str
    kind: str
    known: bool
    wire: grpc.aio.ServicerContext[Any, Any]
    metadata: Mapping[str, str] = field(init=False)
    request: RequestContext = field(init=False)
    receive: Callable[[], Awaitable[None]] | None = None
    admitted: bool = False
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    before_error: Callable[[], None] | None = None
    watch: Callable[[Message], None] | None = None

    @property
    def service(self) -> str:
        """Full name of the service."""
        return self.method[1:].rpartition("/")[0]

    @property
    def name(self) -> str:
        """Name of the method alone."""
        return self.method.rpartition("/")[2]

    @property
    def infrastructure(self) -> bool:
        """Whether it belongs to health or reflection."""
        return self.method.startswith(INFRASTRUCTURE)


Call = Callable[[], Awaitable[Any]]
"""The rest of an RPC: the stages further in, and the handler."""


class Stage(Protocol):
    """A stage around every RPC."""

    name: str

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Await `call` and return its result; its exceptions pass through."""
        ...
