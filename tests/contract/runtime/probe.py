"""A small service on the runtime, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from memgpt.config import ServiceSection
from memgpt_runtime import context
from memgpt_runtime.server import App, Server

PREFIX = "/memgpt.test.v1.ProbeService/"


KINDS = ["unary", "client_stream", "server_stream", "bidi_stream"]


class Probe:
    """Handlers of all four kinds of RPC, which call `behavior` with the request's text."""

    def __init__(self, behavior: Callable[[str], Any]) -> None:
        self.behavior = behavior
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.requests: list[context.RequestContext] = []

    async def _do(self, text: str) -> StringValue:
        request = context.current()
        assert request is not None
        self.requests.append(request)
        result = self.behavior(text)
        if asyncio.iscoroutine(result):
            result = await result
        return result if isinstance(result, StringValue) else StringValue(value=str(result))

    async def wait(self) -> str:
        self.entered.set()
        try:
            await self.release.wait()
        finally:
            self.ended.set()
        return "released"

    async def unary(self, request: StringValue, _context: object) -> StringValue:
        return await self._do(request.value)

    async def client_stream(self, requests: AsyncIterator[StringValue], _context: object) -> StringValue:
        return await self._do("".join([request.value async for request in requests]))

    async def server_stream(self, request: StringValue, _context: object) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        yield await self._do(request.value)

    async def bidi_stream(self, requests: AsyncIterator[StringValue], _context: object) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield await self._do(request.value)

    def add_to(self, target: Any) -> None:
        codec: dict[str, Any] = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        handlers: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, **codec),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream, **codec),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream, **codec),
            "BidiStream": grpc.stream_stream_rpc_method_handler(self.bidi_stream, **codec),
        }
        target.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("memgpt.test.v1.ProbeService", handlers),)
        )


class Running:
    """A running server and a channel to it."""

    def __init__(self, running: Server, channel: grpc.aio.Channel, app: App[ServiceSection]) -> None:
        self.server = running
        self.channel = channel
        self.app = app
        self.address = f"127.0.0.1:{running.port}"

    def unary(self, text: str, method: str = "Unary", **arguments: Any) -> Any:
        return self.channel.unary_unary(
            PREFIX + method, request_serializer=_write, response_deserializer=StringValue.FromString
        )(StringValue(value=text), **arguments)

    def client_stream(self, texts: list[str], **arguments: Any) -> Any:
        return self.channel.stream_unary(
            PREFIX + "ClientStream", request_serializer=_write, response_deserializer=StringValue.FromString
        )(iter([StringValue(value=text) for text in texts]), **arguments)

    def server_stream(self, text: str, **arguments: Any) -> Any:
        return self.channel.unary_stream(
            PREFIX + "ServerStream", request_serializer=_write, response_deserializer=StringValue.FromString
        )(StringValue(value=text), **arguments)

    def bidi_stream(self, texts: list[str], **arguments: Any) -> Any:
        return self.channel.stream_stream(
            PREFIX + "BidiStream", request_serializer=_write, response_deserializer=StringValue.FromString
        )(iter([StringValue(value=text) for text in texts]), **arguments)

    async def call(self, kind: str, text: str, **arguments: Any) -> list[str]:
        """Call the given kind of RPC; return the texts of the responses."""
        if kind == "unary":
            return [(await self.unary(text, **arguments)).value]
        if kind == "client_stream":
            return [(await self.client_stream([text], **arguments)).value]
        call = (
            self.server_stream(text, **arguments) if kind == "server_stream" else self.bidi_stream([text], **arguments)
        )
        return [answer.value async for answer in call]


def _write(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data


Start = Callable[..., AbstractAsyncContextManager[Running]]
