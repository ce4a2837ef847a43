"""The only gRPC interceptor: it handles the four kinds of RPC, and runs the stages around every handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from memgpt_runtime import reasons
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.interceptors.admission import discard
from memgpt_runtime.interceptors.keep_alive import StreamKeepAlive
from memgpt_runtime.interceptors.receiving import LARGE_BYTES, ReceiveLimiter, ReceiveSlot, return_memory
from memgpt_runtime.interceptors.rpc import INFRASTRUCTURE, Call, Rpc, Stage

_DISCARD_SECONDS = 1.0

Validate = Callable[[Message], None]
"""Raises `InvalidArgument` when a request breaks a constraint."""


class PipelineInterceptor(grpc.aio.ServerInterceptor):
    """Runs the stages around every RPC, whatever its kind."""

    def __init__(
        self,
        stages: Sequence[Stage],
        validate: Validate,
        keep_alive: StreamKeepAlive | None = None,
        *,
        single_requests: ReceiveLimiter,
        streamed_requests: ReceiveLimiter,
    ) -> None:
        self._stages = stages
        self._single_requests = single_requests
        self._streamed_requests = streamed_requests
        self._validate = validate
        self._keep_alive = keep_alive or StreamKeepAlive(1, {})
        # Wrapping a handler takes longer than calling it; a server has few methods.
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    @property
    def order(self) -> list[str]:
        """Names of the stages, outermost first."""
        return [*(stage.name for stage in self._stages), "validate"]

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the wrapped handler of a method, or one that ends with UNIMPLEMENTED."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler: Any = await continuation(handler_call_details)
            if handler is None:
                return self._unknown(method)
            receiving = self._streamed_requests if handler.request_streaming else self._single_requests
            wrapped = self._wrapped[method] = _WrappedMethod(
                method, handler, self.run, self._validate, self._keep_alive, receiving
            ).handler()
        return wrapped

    async def run(self, rpc: Rpc, call: Call) -> Any:
        """Run a call within the stages."""
        for stage in reversed(self._stages):
            call = partial(stage.around, rpc, call)
        return await call()

    def _unknown(self, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        # The kind is unknown; a handler for streams in both directions can refuse any.
        async def refuse(_requests: object, grpc_context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async def call() -> None:
                raise reasons.not_implemented(f"unknown method {method[:200]}", method=method)

            await self.run(Rpc(method, "unary", known=False, wire=grpc_context), call)

        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(refuse)
        return handler


class _WrappedMethod:
    """A method's handler within the stages.

    It takes bytes and returns bytes, so that a message that cannot be parsed is the caller's error, and one that cannot
    be serialized is a bug; gRPC itself would end both with UNKNOWN. It reads a single request itself as it does a
    stream of them, since gRPC would wait for it indefinitely. It writes streams itself instead of yielding them, so
    that a deadline or a drain ends them inside the stages.
    """

    def __init__(
        self,
        method: str,
        handler: Any,
        run: Callable[[Rpc, Call], Awaitable[Any]],
        validate: Validate,
        keep_alive: StreamKeepAlive,
        receiving: ReceiveLimiter,
    ) -> None:
        self._method = method
        self._handler = handler
        self._run = run
        self._validate = validate
        self._keep_alive = keep_alive
        self._receiving = None if method.startswith(INFRASTRUCTURE) else receiving
        self._kind, self._behavior = {
            (False, False): ("unary", handler.unary_unary),
            (True, False): ("client_stream", handler.stream_unary),
            (False, True): ("server_stream", handler.unary_stream),
            (True, True): ("bidi_stream", handler.stream_stream),
        }[bool(handler.request_streaming), bool(handler.response_streaming)]

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler for gRPC."""
        wrapped: grpc.RpcMethodHandler[Any, Any] = (
            grpc.stream_stream_rpc_method_handler(self._serve_stream)
            if self._handler.response_streaming
            else grpc.stream_unary_rpc_method_handler(self._serve_unary)
        )
        return wrapped

    async def _serve_unary(self, _requests: object, grpc_context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async def call(argument: Any) -> bytes:
            try:
                return self._serialize(await self._behavior(argument, grpc_context), rpc)
            except ServiceError:
                if self._handler.request_streaming:
                    await _discard(grpc_context)
                raise

        rpc = Rpc(self._method, self._kind, known=True, wire=grpc_context)
        response: bytes = await self._serve(rpc, call)
        return response

    async def _serve_stream(self, _requests: object, grpc_context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async def call(argument: Any) -> None:
            responses: AsyncGenerator[Any] = self._behavior(argument, grpc_context)
            responses = self._keep_alive.fill(self._method, responses)
            async with aclosing(responses):
                async for response in responses:
                    await grpc_context.write(self._serialize(response, rpc))

        rpc = Rpc(self._method, self._kind, known=True, wire=grpc_context)
        await self._serve(rpc, call)

    async def _serve(self, rpc: Rpc, call: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._handler.request_streaming:
            return await self._run(rpc, lambda: call(self._parse_all(rpc)))
        received: list[_Received] = []

        async def receive() -> None:
            received.append(await self._receive(rpc))

        async def call_with_request() -> Any:
            return await call(self._parse(received.pop(), rpc))

        rpc.receive = receive
        try:
            return await self._run(rpc, call_with_request)
        finally:
            for one in received:  # a call may be refused before its request is parsed
                one.release()

    async def _receive(self, rpc: Rpc) -> _Received:
        if self._receiving is None:
            return _Received(await rpc.wire.read(), None)
        return _Received(*await self._receiving.receive(rpc.wire.read))

    def _parse(self, received: _Received, rpc: Rpc) -> Any:
        large = False
        try:
            if received.raw is grpc.aio.EOF:
                raise reasons.invalid_field("the call ended without a request", field="")
            large = len(received.raw) >= LARGE_BYTES
            return self._parse_valid(received.raw, rpc)
        finally:
            received.release()
            if large:
                asyncio.get_running_loop().call_soon(return_memory)

    def _parse_valid(self, raw: bytes, rpc: Rpc) -> Any:
        parse = self._handler.request_deserializer
        try:
            message = parse(raw) if parse else raw
        except DecodeError:
            raise reasons.invalid_field("the request is not a message of this method's type", field="") from None
        if isinstance(message, Message):
            if rpc.watch is not None:
                rpc.watch(message)
            self._validate(message)
        return message

    async def _parse_all(self, rpc: Rpc) -> AsyncIterator[Any]:
        while (received := await self._receive(rpc)).raw is not grpc.aio.EOF:
            yield self._parse(received, rpc)
        received.release()

    def _serialize(self, message: Any, rpc: Rpc) -> bytes:
        if rpc.watch is not None and isinstance(message, Message):
            rpc.watch(message)
        serialize = self._handler.response_serializer
        raw: bytes = serialize(message) if serialize else message
        return raw


class _Received:
    """A message that has been received, and its place among those that are."""

    __slots__ = ("_slot", "raw")

    def __init__(self, raw: Any, slot: ReceiveSlot | None) -> None:
        self.raw = raw
        self._slot = slot

    def release(self) -> None:
        """Let the next message be received, and forget the bytes of this one."""
        self.raw = b""
        if self._slot is not None:
            self._slot.release()


async def _discard(grpc_context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Read for a moment what a client still sends, since a client that is sending loses the status (`LOST_ANSWER`).

    Nothing else is delayed: such a client cannot get a response before it has sent everything.
    """
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            await discard(grpc_context)
    except (TimeoutError, grpc.aio.BaseError):
        pass
