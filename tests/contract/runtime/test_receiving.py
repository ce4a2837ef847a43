"""Calls whose request never arrives, or only in part, and streams of which too many are received at a time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt_runtime import interceptors

from tests.contract.runtime.probe import PREFIX, Probe, Running, Start
from tests.support.envoy import Envoy

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS, ACKNOWLEDGED = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name: str, value: str) -> bytes:
    """A header as a literal that is not indexed."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


async def end_of_call(port: int, method: str, body: bytes, metadata: Mapping[str, str] = MappingProxyType({})) -> int:
    """Begin a call with raw frames, send `body` and nothing more; return the kind of frame that ends its stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = {":method": "POST", ":scheme": "http", ":path": PREFIX + method, ":authority": "localhost"}
    headers |= {"te": "trailers", "content-type": "application/grpc", **metadata}
    block = b"".join(header(*pair) for pair in headers.items())
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, block))
    if body:
        writer.write(frame(DATA, 0, 1, body))
    try:
        while True:
            start = await reader.readexactly(9)
            kind, flags, stream = start[3], start[4], int.from_bytes(start[5:], "big")
            await reader.readexactly(int.from_bytes(start[:3], "big"))
            if kind == SETTINGS and not flags & ACKNOWLEDGED:
                writer.write(frame(SETTINGS, ACKNOWLEDGED, 0))
            if stream == 1 and flags & END_STREAM:
                return kind
    finally:
        writer.close()


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize(
    "body", [b"", b"\0\0", struct.pack(">BI", 0, 1000) + b"x" * 500], ids=["none", "prefix", "half"]
)
async def test_a_call_whose_request_never_arrives_ends_with_a_status(start: Start, method: str, body: bytes) -> None:
    async with start(Probe(str).add_to, default_deadline=0.05) as running, asyncio.timeout(60):
        assert await end_of_call(running.server.port, method, body) == HEADERS


async def silence() -> AsyncIterator[StringValue]:
    await asyncio.get_running_loop().create_future()
    yield StringValue()


def silent_call(running: Running, method: str, **arguments: Any) -> Any:
    """Call a method as a stream whose first message never comes."""
    call: Any = running.channel.stream_unary(PREFIX + method, request_serializer=StringValue.SerializeToString)
    return call(silence(), **arguments)


async def test_the_status_says_that_the_request_did_not_arrive(start: Start) -> None:
    async with start(Probe(str).add_to, default_deadline=0.05) as running, asyncio.timeout(60):
        with pytest.raises(grpc.aio.AioRpcError, match=r"the request did not arrive within 0\.05 s") as caught:
            await silent_call(running, "Unary")
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("method", ["Unary", "ClientStream"])
async def test_silent_calls_give_way_to_others_and_to_health_checks(
    start: Start, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(interceptors, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(interceptors, "_STREAM_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(interceptors, "_STREAMS_PER_REQUEST", 1)
    limits = {"max_receiving_bytes": 65_536, "max_message_bytes": 65_536}
    async with start(Probe(str).add_to, **limits) as running, asyncio.timeout(60):
        silent = [silent_call(running, method) for _ in range(3)]
        kind = "unary" if method == "Unary" else "client_stream"
        health = health_pb2_grpc.HealthStub(running.channel)
        while not all(call.done() for call in silent):
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
            assert await running.call(kind, "x") == ["x"]
        assert {await call.code() for call in silent} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_strangers_that_do_not_finish_their_requests_delay_no_caller_with_a_credential(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptors, "_PATIENCE_SECONDS", 3600.0)
    key = "k" * 32
    limits = {"max_receiving_bytes": 65_536, "max_message_bytes": 65_536}  # one place
    half = struct.pack(">BI", 0, 1000) + b"x" * 500
    async with start(Probe(str).add_to, credential=key, **limits) as running, asyncio.timeout(60):
        strangers = [asyncio.create_task(end_of_call(running.server.port, "Unary", half)) for _ in range(20)]
        calls = 0
        while not all(one.done() for one in strangers):
            assert await running.call("unary", "x", metadata=[("authorization", f"Bearer {key}")]) == ["x"]
            calls += 1
        assert calls > 1
        assert {await one for one in strangers} == {HEADERS}


@pytest.mark.parametrize("method", ["unary", "client_stream"])
async def test_the_caller_of_a_large_request_learns_that_it_is_refused(start: Start, method: str) -> None:
    async with start(Probe(str).add_to, credential="k" * 32) as running, asyncio.timeout(60):
        with pytest.raises(grpc.aio.AioRpcError, match="requires a credential") as caught:
            await running.call(method, "x" * 3_000_000)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_call_without_a_request_is_invalid(start: Start) -> None:
    async def nothing() -> AsyncIterator[StringValue]:
        messages: list[StringValue] = []
        for message in messages:
            yield message

    async with start(Probe(str).add_to) as running, asyncio.timeout(60):
        call: Any = running.channel.stream_unary(PREFIX + "Unary", request_serializer=StringValue.SerializeToString)
        with pytest.raises(grpc.aio.AioRpcError, match="without a request") as caught:
            await call(nothing())
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "value"), [("grpc-timeout", "0.5m"), ("x-any-bin", "!")], ids=["deadline", "binary metadata"]
)
async def test_a_malformed_header_fails_no_later_call_of_its_connection(
    start: Start, tmp_path: Path, name: str, value: str
) -> None:
    """A proxy sends the calls of all callers over one connection."""
    async with start(Probe(str).add_to) as running, asyncio.timeout(60):
        with Envoy(tmp_path, running.address) as envoy:
            async with grpc.aio.insecure_channel(envoy.address) as channel:
                unary: Any = channel.unary_unary(
                    PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString
                )
                await end_of_call(int(envoy.address.rpartition(":")[2]), "Unary", b"", {name: value})
                metadata = [("x-any-bin", b"any")]
                assert (await unary(StringValue(value="x"), timeout=60, metadata=metadata)).value == "x"
