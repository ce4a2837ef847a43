"""Unary calls while a service is unavailable, of both clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from memgpt.agent.v1.agent_service_pb2 import CancelTurnRequest, CreateAgentRequest
from memgpt.client import _unary_retry, open_async_channel, open_channel

AGENT = "memgpt.agent.v1.AgentService"


class Unready(grpc.GenericRpcHandler):
    """A service whose first calls fail. gRPC itself makes one attempt, as the server tells it to.

    Attributes:
        attempts: The calls so far.
        requests: What they sent.
    """

    def __init__(self, failures: int, reason: str = "", seconds: float = 0.0) -> None:
        """Fail as often, each time after as many seconds."""
        self.attempts = 0
        self.requests: list[bytes] = []
        self._failures, self._reason, self._seconds = failures, reason, seconds

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(self._reply)

    def _reply(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.attempts += 1
        self.requests.append(request)
        if self.attempts <= self._failures:
            time.sleep(self._seconds)
            self._fail(context)
        return b""

    def _fail(self, context: grpc.ServicerContext) -> NoReturn:
        trailing: list[tuple[str, str | bytes]] = [("grpc-retry-pushback-ms", "-1")]
        if self._reason:
            status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0])
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=self._reason, domain="memgpt"))
            status.details.add().Pack(error_details_pb2.RequestInfo(request_id="req_1"))
            trailing.append(("grpc-status-details-bin", status.SerializeToString()))
        context.set_trailing_metadata(tuple(trailing))
        context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call a method of an unready service through a channel of one of the clients."""

    async def get(
        service: Unready,
        method: str = "GetAgent",
        seconds: float = 30.0,
        message: Message | bytes = b"",
        limit: float | None = 60,
    ) -> None:
        server = grpc.server(ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((service,))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            if request.param == "sync":
                with open_channel(address, retry_seconds=seconds) as channel:
                    unary: Any = channel.unary_unary(f"/{AGENT}/{method}", request_serializer=_serialized)
                    unary(message, timeout=limit)
            else:
                async with open_async_channel(address, retry_seconds=seconds) as async_channel:
                    async_unary: Any = async_channel.unary_unary(f"/{AGENT}/{method}", request_serializer=_serialized)
                    await async_unary(message, timeout=limit)
        finally:
            server.stop(None).wait()

    return get


def _serialized(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


async def test_a_repeated_mutation_has_one_request_id(get: Callable[..., Any]) -> None:
    service, request = Unready(1), CreateAgentRequest(name="Ada")
    await get(service, "CreateAgent", message=request)
    first, second = map(CreateAgentRequest.FromString, service.requests)
    assert first == second
    assert (first.name, bool(first.request_id), request.request_id) == ("Ada", True, "")


async def test_the_request_id_of_a_turn_to_cancel_is_the_callers(get: Callable[..., Any]) -> None:
    service = Unready(0)
    await get(service, "CancelTurn", message=CancelTurnRequest(agent_id="a"))
    assert CancelTurnRequest.FromString(service.requests[0]).request_id == ""


@pytest.mark.parametrize("reason", ["", "SHUTTING_DOWN", "STORE_UNAVAILABLE", "EMBEDDING_UNAVAILABLE"])
async def test_a_call_waits_for_a_service_that_is_being_replaced(get: Callable[..., Any], reason: str) -> None:
    service = Unready(2, reason)
    await get(service)
    assert service.attempts == 3


async def test_a_call_is_repeated_as_often_as_a_proxy_ends_it_while_the_service_is_at_work(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_unary_retry, "LONG_SECONDS", 0.2)
    service = Unready(5, seconds=0.3)
    await get(service, "Summarize", 0.5)
    assert service.attempts == 6


async def test_a_call_without_a_timeout_is_not_repeated_without_end(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_unary_retry, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(_unary_retry, "_MOST_SECONDS", 0.5)
    with pytest.raises(grpc.RpcError) as caught:
        await get(Unready(1000), limit=None)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("method", "reason", "seconds"),
    [("UpdateAgent", "", 30.0), ("GetAgent", "MODEL_UNAVAILABLE", 30.0), ("GetAgent", "", 0.0)],
    ids=["not repeatable", "a final reason", "no time"],
)
async def test_other_calls_fail_at_once(get: Callable[..., Any], method: str, reason: str, seconds: float) -> None:
    service = Unready(2, reason)
    with pytest.raises(grpc.RpcError) as caught:
        await get(service, method, seconds)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert service.attempts == 1


def test_a_future_is_returned_at_once() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    release = threading.Event()

    class Slow(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler[Any, Any]:
            def reply(request: bytes, context: grpc.ServicerContext) -> bytes:
                release.wait(60)
                return b""

            return grpc.unary_unary_rpc_method_handler(reply)

    server.add_generic_rpc_handlers((Slow(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with open_channel(address) as channel:
            call: Any = channel.unary_unary(f"/{AGENT}/GetAgent")
            future = call.future(b"")
            assert not future.done()
            release.set()
            assert future.result(60) == b""
    finally:
        release.set()
        server.stop(None).wait()


def test_an_attempt_that_reached_no_server_shows_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of a server whose network drops packets would renew themselves."""
    monkeypatch.setattr(_unary_retry, "LONG_SECONDS", 0.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        with open_channel(f"127.0.0.1:{silent.getsockname()[1]}", retry_seconds=0.5) as channel:
            unary: Any = channel.unary_unary(f"/{AGENT}/GetAgent")
            with pytest.raises(grpc.RpcError) as caught:
                unary(b"")
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
