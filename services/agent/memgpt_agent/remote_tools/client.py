"""Tools over gRPC: any server of ``memgpt.tool.v1.ToolService`` whose address the operator allows."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import grpc
import structlog
from memgpt.tool.v1 import tool_service_pb2 as pb
from memgpt.tool.v1.tool_service_pb2_grpc import ToolServiceStub
from memgpt_runtime import errors, reasons
from memgpt_runtime.channel import open_channel

from memgpt_agent.domain import Tool
from memgpt_agent.remote_tools import description
from memgpt_agent.remote_tools.addresses import AllowedAddresses, normal
from memgpt_agent.remote_tools.port import ToolCall, ToolResult

if TYPE_CHECKING:  # it exists in the stubs only
    from memgpt.tool.v1.tool_service_pb2_grpc import ToolServiceAsyncStub

_log = structlog.get_logger(__name__)

MAX_BYTES = 1 << 20
"""Largest arguments and largest result of a call."""

_FRAME_BYTES = 64 * 1024
_MAX_CHANNELS = 64
_LIST_TIMEOUT = 10.0
_MAX_TEXT = 1000
_SERVICE = "/memgpt.tool.v1.ToolService"

# A server's messages with these codes are meant for the caller; others come from gRPC or an exception.
_TELLING = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNIMPLEMENTED,
    )
)


class ToolClient:
    """Lists and calls the functions of remote tools.

    Attributes:
        allowed: The addresses that may be called.
    """

    def __init__(
        self, allowed: AllowedAddresses, timeout: float, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        """Prepare to reach tools.

        Args:
            allowed: The addresses that may be called.
            timeout: Seconds that a call may take.
            credentials: For the addresses that are called over TLS; None for gRPC's default.
        """
        self.allowed = allowed
        self._timeout = timeout
        self._credentials = credentials or grpc.ssl_channel_credentials()
        self._channels: OrderedDict[str, grpc.aio.Channel] = OrderedDict()

    async def list(self, address: str) -> tuple[str, tuple[Tool, ...]]:
        """Return the functions at an address, checked, and the address in the form to store.

        Raises:
            InvalidArgument: It is not an address.
            PermissionDenied: The operator does not allow it.
            Unavailable: No server responds there.
            FailedPrecondition: A listed function cannot be used.
        """
        try:
            address = normal(address)
        except ValueError as error:
            raise reasons.invalid_field(str(error), field="address") from error
        tls = self.allowed.tls(address)
        if tls is None:
            raise reasons.not_permitted(
                f"the address {address} is not allowed; the operator can add it to agent.tool_addresses"
                " (MEMGPT_AGENT_TOOL_ADDRESSES)",
                permission="tools.register",
                address=address,
            )
        # A separate channel, so that an unusable server does not keep a connection.
        async with self._open(address, tls=tls) as channel:
            stub: ToolServiceAsyncStub = ToolServiceStub(channel)
            try:
                answer = await stub.ListTools(pb.ListToolsRequest(), timeout=_LIST_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                _log.info("tool_list_failed", address=address, code=error.code().name, details=error.details())
                raise _not_listed(address, error.code()) from error
        return address, _usable(address, answer)

    async def call(self, call: ToolCall) -> ToolResult:
        """Make a call; a failure is a result too."""
        name, address = call.tool.name, call.tool.address
        tls = self.allowed.tls(address)
        if tls is None:
            return ToolResult(False, f"{name} can no longer be called: its address is not allowed.")
        if len(call.arguments.encode()) > MAX_BYTES:
            return ToolResult(False, f"The arguments of {name} are larger than {MAX_BYTES:,} bytes. Make them shorter.")
        stub: ToolServiceAsyncStub = ToolServiceStub(await self._channel(address, tls=tls))
        request = pb.CallToolRequest(
            name=name,
            arguments=call.arguments,
            idempotency_key=call.key,
            agent_id=call.agent_id,
            turn_id=call.turn_id,
            step=call.step,
        )
        try:
            response = await stub.CallTool(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            _log.info(
                "tool_failed", tool=name, address=address, key=call.key, code=error.code().name, details=error.details()
            )
            return ToolResult(False, self._failure(name, error))
        match response.WhichOneof("outcome"):
            case "result":
                return ToolResult(True, response.result)
            case "error":
                return ToolResult(False, response.error)
            case _:
                return ToolResult(False, f"{name} returned neither a result nor an error.")

    async def close(self) -> None:
        """Close the connections."""
        while self._channels:
            await self._channels.popitem()[1].close()

    def _failure(self, name: str, error: grpc.aio.AioRpcError) -> str:
        match error.code():
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return (
                    f"{name} gave no answer within {self._timeout:g} s. It may have taken effect; check before you"
                    " call it again."
                )
            case grpc.StatusCode.UNAVAILABLE:
                # Also if the connection broke during the call.
                return (
                    f"{name} cannot be reached now. If the call had begun, it may have taken effect: check before you"
                    " call it again, or continue without it."
                )
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return f"{name} is overloaded, or its result is larger than {MAX_BYTES:,} bytes."
            case code if code in _TELLING and error.details():
                return f"{name} failed: {(error.details() or '')[:_MAX_TEXT]}"
            case _:
                return f"{name} failed without giving a reason."

    async def _channel(self, address: str, *, tls: bool) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = self._open(address, tls=tls)
        self._channels.move_to_end(address)
        if len(self._channels) > _MAX_CHANNELS:
            _, oldest = self._channels.popitem(last=False)
            await oldest.close(grace=self._timeout)
        return channel

    def _open(self, address: str, *, tls: bool) -> grpc.aio.Channel:
        return open_channel(
            f"dns:///{address}",
            credentials=self._credentials if tls else None,
            timeout=self._timeout,
            max_message_bytes=MAX_BYTES + _FRAME_BYTES,
            repeatable=[_SERVICE.removeprefix("/")],
            internal=False,
        )


def _not_listed(address: str, code: grpc.StatusCode) -> errors.ServiceError:
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return reasons.tool_unavailable(
            f"no response from {address}; check that the tool server runs there, and whether it uses TLS (tls://"
            " in agent.tool_addresses)",
            address=address,
        )
    what = (
        "does not serve memgpt.tool.v1.ToolService"
        if code is grpc.StatusCode.UNIMPLEMENTED
        else f"fails to list its functions ({code.name})"
    )
    return reasons.tool_unusable(f"the server at {address} {what}", address=address)


def _usable(address: str, answer: pb.ListToolsResponse) -> tuple[Tool, ...]:
    try:
        if not 0 < len(answer.tools) <= description.MAX_FUNCTIONS:
            raise description.UnusableToolError(
                f"1 to {description.MAX_FUNCTIONS} functions are allowed, not {len(answer.tools)}"
            )
        found: dict[str, Tool] = {}
        for one in answer.tools:
            if one.name in found:
                raise description.UnusableToolError(f'there are two functions called "{one.name}"')
            found[one.name] = description.describe(one.name, one.description, one.parameters, address)
        return tuple(found.values())
    except description.UnusableToolError as error:
        raise reasons.tool_unusable(f"the functions of {address} cannot be used: {error}", address=address) from None
