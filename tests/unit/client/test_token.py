"""Tokens of the Python client: where they are sent, how they are supplied, and which ones cannot be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client import AsyncMemGPT, CredentialsError, MemGPT, Tls, is_local
from memgpt.client.channel import open_async_channel, open_channel
from memgpt.loader.v1.load_pb2 import FileManifest

from tests.unit.client.flaky_agent import STARTED, Break, FlakyAgent, done, said

KEY = "mgpt_01jd2z6y3x8q4m7k9s5t0v1w2b_secret"
HELLO = agent_pb.SendMessageRequest(agent_id="agent_1", text="Hi")
EXPIRED = Break(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_EXPIRED")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the tokens that fake Agents receive."""
    found: list[str] = []
    kinds = ("SendMessage", "ResumeTurn", "GetAgent", "ListAgents", "CreateAgent")

    def recording(method: Any) -> Any:
        def call(self: FlakyAgent, request: Any, context: grpc.ServicerContext) -> Any:
            found.extend(str(value) for name, value in context.invocation_metadata() if name == "authorization")
            return method(self, request, context)

        return call

    for name in kinds:
        monkeypatch.setattr(FlakyAgent, name, recording(getattr(FlakyAgent, name)))
    return found


def test_a_key_is_sent_with_every_kind_of_call(seen: list[str]) -> None:
    with FlakyAgent([STARTED, said("Hello.", 1), done(2)]) as agent, MemGPT(agent.address, token=KEY) as client:
        assert client.agents.send(HELLO).reply() == "Hello."
        client.agents.list().all()
    assert len(seen) > 1
    assert set(seen) == {f"Bearer {KEY}"}


async def test_the_asynchronous_client_takes_a_coroutine_function(seen: list[str]) -> None:
    count = 0

    async def supply() -> str:
        nonlocal count
        count += 1
        return f"token{count}"

    with FlakyAgent([STARTED, said("Hello.", 1), done(2)]) as agent:
        async with AsyncMemGPT(agent.address, token=supply) as client:
            assert await client.agents.send(HELLO).reply() == "Hello."
            await client.agents.list().all()
    assert seen[0] == "Bearer token1"
    assert seen[1] == "Bearer token2"


def test_a_turn_goes_on_with_the_next_token_when_one_expires(seen: list[str]) -> None:
    tokens = iter(["first", "second"])
    with (
        FlakyAgent([STARTED, said("One.", 1), EXPIRED], [STARTED, said("Two.", 2), done(3)]) as agent,
        MemGPT(agent.address, token=lambda: next(tokens)) as client,
    ):
        assert client.agents.send(HELLO).reply() == "One.\nTwo."
    assert seen == ["Bearer first", "Bearer second"]


def test_a_token_that_is_refused_at_once_is_not_sent_again(seen: list[str]) -> None:
    from memgpt.client import Unauthenticated

    with (
        FlakyAgent([STARTED, EXPIRED], [EXPIRED]) as agent,
        MemGPT(agent.address, token="fixed") as client,
        pytest.raises(Unauthenticated) as caught,
    ):
        client.agents.send(HELLO).reply()
    assert caught.value.reason == "CREDENTIAL_EXPIRED"
    assert len(seen) == 2


def test_the_error_of_a_supplier_reaches_the_caller() -> None:
    def supply() -> str:
        raise RuntimeError("the provider is down")

    with FlakyAgent() as agent, MemGPT(agent.address, token=supply) as client:
        with pytest.raises(RuntimeError, match="the provider is down"):
            client.agents.list().all()
        with pytest.raises(RuntimeError, match="the provider is down"):
            client.agents.send(HELLO).reply()


def test_uploads_have_the_token_too() -> None:
    received: list[str] = []

    class Loader(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            received.extend(
                str(value) for key, value in handler_call_details.invocation_metadata if key == "authorization"
            )
            return None

    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([Loader()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with MemGPT(address, address, token=KEY) as client:
            from memgpt.client import Unimplemented

            with pytest.raises(Unimplemented):
                client.loads.upload("load_1", "a.txt", Path(__file__))
            with pytest.raises(Unimplemented):
                client.loads.create("s", [FileManifest(name="a.txt", size=1, sha256="0" * 64)])
    finally:
        server.stop(0)
    assert received == [f"Bearer {KEY}"] * 2


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "localhost:50051",
        "localhost",
        "[::1]:50051",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:/run/memgpt.sock",
    ],
)
def test_a_local_address_needs_no_tls(address: str) -> None:
    assert is_local(address)
    open_channel(address, token=KEY).close()


@pytest.mark.parametrize(
    "address",
    [
        "agent.example.org:50051",
        "127.example.org:50051",
        "localhost.example.org:50051",
        "10.0.0.1:50051",
        "0.0.0.0:50051",
        "[::]:50051",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "dns://8.8.8.8/localhost:50051",
        "xds:///localhost",
        "",
    ],
)
async def test_a_token_is_not_sent_in_plaintext_to_another_machine(address: str) -> None:
    for connect in (open_channel, open_async_channel):
        with pytest.raises(CredentialsError, match="without TLS") as caught:
            connect(address, token=KEY)
        assert KEY not in str(caught.value)
    open_channel(address).close()
    open_channel(address, token=KEY, allow_plaintext=True).close()
    open_channel(address, Tls(), KEY).close()


@pytest.mark.parametrize("token", ["", " ", "two words", "new\nline", "größe", "x" * 20_000, "\x00"])
def test_a_token_that_cannot_be_sent_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        MemGPT(token=token)
    assert not token.strip() or token not in str(caught.value)


def test_white_space_around_a_key_is_dropped(seen: list[str]) -> None:
    with FlakyAgent() as agent, MemGPT(agent.address, token=f"{KEY}\n") as client:
        client.agents.list().all()
    assert set(seen) == {f"Bearer {KEY}"}
