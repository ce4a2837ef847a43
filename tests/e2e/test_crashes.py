"""Processes killed at the worst moment: acknowledged work is kept, and nothing happens twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client import MemGPT, ServiceError
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceStub
from memgpt.memory.v1.message_pb2 import ROLE_USER, Message, NewMessage
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED
from memgpt.tool.v1 import tool_service_pb2 as tool_pb

from tests.support.scripted_llm import Hang, Reply, Request, ScriptedLLM, Status, Stream, call, chunk
from tests.support.scripted_tool import ScriptedTool
from tests.support.suite import Suite


def _model(llm: ScriptedLLM) -> dict[str, str]:
    return {
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
        "MEMGPT_MEMORY_LEASE_SECONDS": "2",
    }


def _history(suite: Suite, agent_id: str) -> list[Message]:
    with grpc.insecure_channel(suite.memory_address) as channel:
        stub = RecallMemoryServiceStub(channel)
        answer = stub.ListMessages(recall_pb.ListMessagesRequest(agent_id=agent_id, page_size=1000))
        return list(reversed(answer.messages))


def _send(client: MemGPT, request: agent_pb.SendMessageRequest) -> list[TurnEvent]:
    return list(client.agents.send(request))


@pytest.mark.parametrize("crash", ["kill -9", "SIGTERM"])
def test_an_agent_dies_between_the_search_and_the_answer(
    tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM], crash: str
) -> None:
    search = call("archival_memory_search", query="Brussels", request_heartbeat=True)
    llm = scripted_llm([search, Hang(), call("send_message", message="You live in Brussels.")])
    with Suite(tmp_path, **_model(llm)) as suite:
        with suite.client(turn_seconds=1.0) as client:
            agent_id = client.agents.create(agent_pb.CreateAgentRequest(name="A")).agent_id
            request = agent_pb.SendMessageRequest(
                agent_id=agent_id, request_id="request-1", text="Where do I live?", skip_verify=True
            )
            seen: list[TurnEvent] = []
            broken = threading.Event()

            def read() -> None:
                try:
                    seen.extend(client.agents.send(request))
                except ServiceError:
                    broken.set()

            reader = threading.Thread(target=read)
            reader.start()
            llm.wait_for_requests(2)
            if crash == "kill -9":
                suite.agent.kill9()
            else:
                suite.agent.terminate()
            reader.join(60)
            assert broken.is_set(), seen
        before = _history(suite, agent_id)

        suite.start_agent(**_model(llm))
        with suite.client() as client:
            events = _send(client, request)
            again = _send(client, request)

    durable = [event for event in events if event.sequence]
    assert [event.sequence for event in durable] == list(range(1, len(durable) + 1))
    assert events[-1].done.state == TURN_STATE_COMPLETED
    assert [event.message.text for event in events if event.HasField("message")] == ["You live in Brussels."]
    assert [event for event in again if event.sequence] == durable
    assert llm.unused == 0

    assert before[-1].role == ROLE_USER, "the search and the heartbeat that follows it were committed"


def test_recall_holds_each_message_once_after_a_crash(tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]) -> None:
    search = call("archival_memory_search", query="Brussels", request_heartbeat=True)
    insert = call("archival_memory_insert", content="The user lives in Brussels.", request_heartbeat=True)
    llm = scripted_llm([insert, search, Hang(), call("send_message", message="Brussels.")])
    with Suite(tmp_path, **_model(llm)) as suite:
        with suite.client(turn_seconds=1.0) as client:
            agent = client.agents.create(agent_pb.CreateAgentRequest(name="A"))
            request = agent_pb.SendMessageRequest(
                agent_id=agent.agent_id, request_id="request-1", text="I live in Brussels.", skip_verify=True
            )

            def read() -> None:
                with pytest.raises(ServiceError):
                    _send(client, request)

            reader = threading.Thread(target=read)
            reader.start()
            llm.wait_for_requests(3)
            suite.agent.kill9()
            reader.join(60)
        suite.start_agent(**_model(llm))
        with suite.client() as client:
            _send(client, request)
            history = _history(suite, agent.agent_id)
            assert client.agents.get(agent.agent_id).passage_count == 1

    assert [message.sequence for message in history] == list(range(len(history)))
    calls = [message.function_call.name for message in history if message.HasField("function_call")]
    counted = Counter(calls[1:])  # the first one is the boot sequence's greeting
    assert counted == {"archival_memory_insert": 1, "archival_memory_search": 1, "send_message": 1}
    said = [json.loads(message.text) for message in history if message.role == ROLE_USER]
    assert [one["message"] for one in said if one["type"] == "user_message"] == ["I live in Brussels."]


SIGNED = {"extra_content": {"google": {"thought_signature": "abc+/="}}}
BLOCKS = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "e1", "id": "r", "index": 0}]}
REASONED = {"reasoning_content": "They want to know who is there; I ping — 猫."}


@pytest.mark.parametrize(
    ("beside", "within", "words"),
    [
        ({}, SIGNED, "Function call is missing a thought_signature in functionCall parts."),
        (BLOCKS, {}, "reasoning_details must be preserved: a thought_signature is missing"),
        (REASONED, {}, "The `reasoning_content` in the thinking mode must be passed back to the API."),
    ],
    ids=["signature", "blocks", "reasoning"],
)
def test_what_an_endpoint_wants_back_with_a_call_outlives_the_agent(
    tmp_path: Path,
    scripted_llm: Callable[..., ScriptedLLM],
    beside: dict[str, Any],
    within: dict[str, Any],
    words: str,
) -> None:
    """The Agent is killed after the model's call and before its result; another one ends the turn."""
    called, release = threading.Event(), threading.Event()

    def ping(_: tool_pb.CallToolRequest) -> tool_pb.CallToolResponse:
        called.set()
        release.wait(60)
        return tool_pb.CallToolResponse(result="pong")

    name = next(iter(beside | within))

    def vendor(request: Request) -> Reply:
        """Demand the data with every call, as it was if the call is the endpoint's own."""
        messages = [m for m in request.messages if m.get("tool_calls")]
        pings = [m for m in messages if m["tool_calls"][0]["function"]["name"] == "ping"]
        if any(name not in m and name not in m["tool_calls"][0] for m in (pings if beside is BLOCKS else messages)):
            return Status(400, words)
        if not pings:
            made = {"index": 0, "id": "x", "function": {"name": "ping", "arguments": '{"request_heartbeat": true}'}}
            return Stream((chunk(**beside), chunk("tool_calls", tool_calls=[made | within])))
        if not all((beside | within).items() <= (m | m["tool_calls"][0]).items() for m in pings):
            return Status(400, "the signature is not valid")
        return call("send_message", message="Pong.")

    llm = scripted_llm(vendor)
    settings = {**_model(llm), "MEMGPT_AGENT_TOOL_ADDRESSES": "127.0.0.1:*"}
    with Suite(tmp_path, **settings) as suite, ScriptedTool({"ping": ping}) as tool:
        with suite.client(turn_seconds=1.0) as client:
            agent_id = client.agents.create(agent_pb.CreateAgentRequest(name="A")).agent_id
            client.agents.register_tools(agent_id, tool.address)
            request = agent_pb.SendMessageRequest(
                agent_id=agent_id, request_id="request-1", text="Ping.", skip_verify=True
            )

            def read() -> None:
                with pytest.raises(ServiceError):
                    _send(client, request)

            reader = threading.Thread(target=read)
            reader.start()
            assert called.wait(60)
            suite.agent.kill9()
            release.set()
            reader.join(60)
        suite.start_agent(**settings)
        before = len(llm.requests)
        with suite.client() as client:
            events = _send(client, request)
    assert [event.message.text for event in events if event.HasField("message")] == ["Pong."]
    assert list(tool.done.values()) == [1]
    sent = [m for m in llm.requests[-1].messages if m.get("tool_calls")]
    assert (beside | within).items() <= (sent[-1] | sent[-1]["tool_calls"][0]).items(), "unchanged"
    assert len(llm.requests) - before <= 2, "one refusal at most, from which the new Agent learns"
    if beside is not REASONED:
        first = [m for m in llm.requests[before].messages if m.get("tool_calls")]
        assert name not in json.dumps(first), "not sent where it is not demanded"


def test_memory_restarts_under_a_running_agent(tmp_path: Path) -> None:
    with Suite(tmp_path) as suite, suite.client() as client:
        agent = client.agents.create(agent_pb.CreateAgentRequest(name="A"))
        first = agent_pb.SendMessageRequest(agent_id=agent.agent_id, request_id="one", text="My name is Ada.")
        assert _send(client, first)[-1].done.state == TURN_STATE_COMPLETED
        history = _history(suite, agent.agent_id)

        suite.memory.kill9()
        with suite.client(turn_seconds=1.0) as hasty, pytest.raises(ServiceError) as caught:
            hasty.agents.get(agent.agent_id)
        assert "the Memory service (agent.memory_address) cannot be reached" in caught.value.message

        suite.restart_memory()
        assert _history(suite, agent.agent_id) == history
        second = agent_pb.SendMessageRequest(agent_id=agent.agent_id, request_id="two", text="What is my name?")
        assert _send(client, second)[-1].done.state == TURN_STATE_COMPLETED


def test_a_turn_whose_holder_died_is_finished_by_the_next(
    tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    """After a lease is taken from Memory and abandoned, the next message waits for it, then finishes that turn."""
    llm = scripted_llm([call("send_message", message="First."), call("send_message", message="Second.")])
    with Suite(tmp_path, **_model(llm)) as suite, suite.client() as client:
        agent = client.agents.create(agent_pb.CreateAgentRequest(name="A"))
        with grpc.insecure_channel(suite.memory_address) as channel:
            begun = AgentStateServiceStub(channel).BeginTurn(
                state_pb.BeginTurnRequest(
                    agent_id=agent.agent_id,
                    request_id="abandoned",
                    input=[
                        NewMessage(role=ROLE_USER, text='{"type": "user_message", "message": "One", "time": "now"}')
                    ],
                )
            )
            assert next(iter(begun)).granted.HasField("lease")
        events = _send(
            client,
            agent_pb.SendMessageRequest(agent_id=agent.agent_id, request_id="next", text="Two", skip_verify=True),
        )
        assert [event.message.text for event in events if event.HasField("message")] == ["Second."]
        replay = list(client.agents.resume(agent.agent_id, "abandoned"))
        assert [event.message.text for event in replay if event.HasField("message")] == ["First."]
        assert replay[-1].done.state == TURN_STATE_COMPLETED
