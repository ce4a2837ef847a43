"""A turn through broken streams, of both clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.agent.v1.event_pb2 import Delta, ModelCalled, TurnEvent
from memgpt.client import AsyncMemGPT, MemGPT, ServiceError, Unavailable
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED

from tests.unit.client.flaky_agent import STARTED, Break, FlakyAgent, Script, done, said

Code = grpc.StatusCode

Run = Callable[..., Any]


def run_sync(agent: FlakyAgent, seconds: float, met: list[ServiceError]) -> list[TurnEvent]:
    with MemGPT(agent.address, agent.address, turn_seconds=seconds) as memgpt:
        turn = memgpt.agents.send(SendMessageRequest(agent_id="a", text="Hello."), met.append)
        events = list(turn)
        assert (turn.turn_id, turn.state) == ("turn_1", TURN_STATE_COMPLETED)
        return events


async def run_async(agent: FlakyAgent, seconds: float, met: list[ServiceError]) -> list[TurnEvent]:
    async with AsyncMemGPT(agent.address, agent.address, turn_seconds=seconds) as memgpt:
        turn = memgpt.agents.send(SendMessageRequest(agent_id="a", text="Hello."), met.append)
        events = [event async for event in turn]
        assert (turn.turn_id, turn.state) == ("turn_1", TURN_STATE_COMPLETED)
        return events


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Sends a message with one of the clients and returns the events."""

    async def run(agent: FlakyAgent, seconds: float = 30.0, met: list[ServiceError] | None = None) -> list[TurnEvent]:
        met = [] if met is None else met
        return run_sync(agent, seconds, met) if request.param == "sync" else await run_async(agent, seconds, met)

    return run


@pytest.mark.parametrize(
    "broken",
    [
        Break(Code.UNAVAILABLE),
        Break(Code.INTERNAL),
        Break(Code.UNKNOWN),
        Break(Code.CANCELLED),
        Break(Code.DEADLINE_EXCEEDED),
        Break(Code.UNAVAILABLE, "SHUTTING_DOWN"),
        Break(Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
        Break(Code.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        Break(Code.RESOURCE_EXHAUSTED, "OVERLOADED"),
        None,
    ],
    ids=str,
)
async def test_a_broken_transport_is_resumed(run: Run, broken: Break | None) -> None:
    first: Script = [STARTED, said("One.", 1), *([broken] if broken else [])]
    second = [STARTED, said("Two.", 2), done(3)]
    met: list[ServiceError] = []
    with FlakyAgent(first, second) as agent:
        events = await run(agent, met=met)
    assert [event.sequence for event in events if event.sequence] == [1, 2, 3]
    first_request, second_request = agent.asked
    assert first_request.request_id == second_request.request_id != ""
    assert (first_request.after_sequence, second_request.after_sequence) == (0, 1)
    assert len(met) == 1


@pytest.mark.parametrize(
    "told",
    [
        Break(Code.UNAVAILABLE, "MODEL_UNAVAILABLE"),
        Break(Code.FAILED_PRECONDITION, "MODEL_UNUSABLE"),
        Break(Code.INTERNAL, "INTERNAL"),
        Break(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        Break(Code.UNAUTHENTICATED),
        Break(Code.RESOURCE_EXHAUSTED),
        Break(Code.UNIMPLEMENTED),
    ],
    ids=str,
)
async def test_an_answer_of_the_service_is_not_repeated(run: Run, told: Break) -> None:
    with FlakyAgent([STARTED, told]) as agent, pytest.raises(ServiceError) as caught:
        await run(agent)
    assert len(agent.asked) == 1
    if told.reason:
        assert (caught.value.reason, caught.value.request_id) == (told.reason, "req_1")
        assert isinstance(caught.value.reason, Reason)


async def test_an_agent_that_only_starts_turns_is_given_up(run: Run) -> None:
    called = TurnEvent(model_call=ModelCalled(prompt_tokens=9))
    broken: Script = [STARTED, called, Break(Code.UNAVAILABLE, "SERVICE_UNAVAILABLE")]
    with FlakyAgent(*[broken] * 50) as agent, pytest.raises(Unavailable, match="told so"):
        await run(agent, 0.8)
    assert 2 <= len(agent.asked) < 6


async def test_a_turn_that_moves_on_is_resumed_as_often_as_it_breaks(run: Run) -> None:
    piece = TurnEvent(delta=Delta(text="x"))
    scripts: list[Script] = [[STARTED, piece, said("x", number), Break(Code.UNAVAILABLE)] for number in range(1, 9)]
    with FlakyAgent(*scripts, [STARTED, done(9)]) as agent:
        events = await run(agent, 0.8)
    assert [event.sequence for event in events if event.sequence] == list(range(1, 10))


async def test_an_unreachable_server_is_reported_soon(run: Run) -> None:
    agent = FlakyAgent()  # which does not listen
    with pytest.raises(Unavailable) as caught:
        await run(agent, 0.5)
    assert caught.value.reason == Reason.SERVICE_UNAVAILABLE
    assert caught.value.request_id is None


def test_everyday_calls_need_no_messages() -> None:
    with FlakyAgent([STARTED, said("Hi.", 1), done(2)]) as server, MemGPT(server.address, server.address) as memgpt:
        agent = memgpt.agents.create("Ada")
        assert (agent.name, repr(agent)) == ("Ada", "<Agent 'Ada' a>")
        assert agent.ask("Hello") == "Hi."
        assert [each.agent_id for each in memgpt.agents.list()] == [f"a{number}" for number in range(6)]
        pages = memgpt.agents.list()
        assert [each.agent_id for each in pages.first(3)] == ["a0", "a1", "a2"]
        assert next(pages.pages()).response.total_size == 6


async def test_the_asynchronous_client_has_the_same_surface() -> None:
    with FlakyAgent([STARTED, said("Hi.", 1), done(2)]) as server:
        async with AsyncMemGPT(server.address, server.address) as memgpt:
            agent = await memgpt.agents.create("Ada")
            assert await agent.ask("Hello") == "Hi."
            assert [each.agent_id async for each in memgpt.agents.list()] == [f"a{number}" for number in range(6)]


def test_a_request_creates_as_many_agents_as_it_is_given() -> None:
    request = CreateAgentRequest(name="Ada")
    with FlakyAgent() as server, MemGPT(server.address, server.address) as memgpt:
        memgpt.agents.create(request)
        memgpt.agents.create(request)
    assert request == CreateAgentRequest(name="Ada")
    first, second = (asked.request_id for asked in server.asked)
    assert first != second


def test_grpc_repeats_a_call_that_is_safe_to_repeat() -> None:
    with FlakyAgent([Break(Code.UNAVAILABLE)], ()) as server, MemGPT(server.address, server.address) as memgpt:
        assert memgpt.agents.get("a").name == "Ada"
    assert len(server.asked) == 2


def test_leaving_a_turn_cancels_its_stream_only() -> None:
    with FlakyAgent([STARTED, said("Hi.", 1), done(2)]) as server, MemGPT(server.address, server.address) as memgpt:
        turn = memgpt.agents.send(SendMessageRequest(agent_id="a", text="Hello."))
        for event in turn:
            if event.sequence:
                break
        turn.close()
        assert turn.sequence == 1
        assert list(turn) == []
