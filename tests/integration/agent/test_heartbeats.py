"""Timed heartbeats over two real replicas of the Agent, which are killed while they come."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat, HeartbeatLimits
from memgpt.memory.v1 import (
    agent_pb2,
    agent_state_service_pb2,
    heartbeat_pb2,
    recall_memory_service_pb2,
    turn_pb2,
)
from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceStub
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub

from tests.integration.agent.conftest import Agents
from tests.integration.agent.test_agent_service import create, scripted
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Completion, Request, ScriptedLLM, call
from tests.support.waiting import wait_until


def answer(request: Request) -> Completion:
    return call("send_message", message=f"Done at {len(request.messages)}.")


@contextmanager
def replica(agents: Agents, llm: ScriptedLLM) -> Iterator[ServiceProcess]:
    settings = {**scripted(llm, "tools"), "MEMGPT_AGENT_HEARTBEAT_POLL_SECONDS": "0.2"}
    with agents.start(**settings, MEMGPT_AGENT_CONTEXT_WINDOW="200000") as process:
        yield process


def timestamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def woken(agents: Agents, agent_id: str) -> Counter[str]:
    """Return how often the agent got each heartbeat, by reason."""
    with grpc.insecure_channel(agents.memory_address) as channel:
        stub = RecallMemoryServiceStub(channel)
        asked = recall_memory_service_pb2.ListMessagesRequest(agent_id=agent_id, page_size=1000)
        texts = [message.text for message in stub.ListMessages(asked).messages]
    return Counter(text.split("reason-")[1].split(" ")[0] for text in texts if "reason-" in text)


def test_none_is_missed_and_none_runs_twice_whatever_dies(agents: Agents, kills: int) -> None:
    kills, chance = kills or 5, random.Random(7)
    with ScriptedLLM(answer) as llm, replica(agents, llm) as steady, replica(agents, llm) as first:
        address = steady.wait_ready()
        first.wait_ready()
        with grpc.insecure_channel(address) as channel:
            stub = AgentServiceStub(channel)
            agent_id = create(stub).agent_id
            limits = HeartbeatLimits(max_turns_per_day=86_400)
            stub.SetHeartbeatLimits(pb.SetHeartbeatLimitsRequest(agent_id=agent_id, limits=limits))
        victims = [steady, first]
        wanted: set[str] = set()
        for number in range(kills):
            # Both live while it is set, one dies around the time at which it comes.
            live = victims[1 - number % 2]
            with grpc.insecure_channel(live.wait_ready()) as channel:
                reason = f"{number}-{uuid4().hex[:6]}"
                wanted.add(reason)
                beat = Heartbeat(at=timestamp(time.time() + 0.3), reason=f"reason-{reason} now.")
                AgentServiceStub(channel).SetHeartbeat(pb.SetHeartbeatRequest(agent_id=agent_id, heartbeat=beat))
            time.sleep(chance.uniform(0.2, 0.7))  # the time of the kill is random
            victims[number % 2].kill9()
            victims[number % 2] = agents.start(
                **scripted(llm, "tools"),
                MEMGPT_AGENT_HEARTBEAT_POLL_SECONDS="0.2",
                MEMGPT_AGENT_CONTEXT_WINDOW="200000",
            )
            victims[number % 2].wait_ready()
        try:
            wait_until(lambda: set(woken(agents, agent_id)) == wanted)
            with grpc.insecure_channel(victims[0].wait_ready()) as channel:
                stub = AgentServiceStub(channel)
                wait_until(lambda: not stub.ListHeartbeats(pb.ListHeartbeatsRequest(agent_id=agent_id)).heartbeats)
                turns = stub.ListTurns(pb.ListTurnsRequest(agent_id=agent_id, page_size=1000)).turns
            assert set(woken(agents, agent_id).values()) == {1}
            assert [turn.state for turn in turns] == [turn_pb2.TURN_STATE_COMPLETED] * kills
        finally:
            for process in victims:
                process.close()


def test_a_plan_that_is_unreadable_stops_no_other_agent(agents: Agents) -> None:
    of_a_later_release = heartbeat_pb2.Heartbeats(plan='{"heartbeats": [{"moon": "full"}]}')
    with (
        ScriptedLLM(answer) as llm,
        replica(agents, llm) as process,
        grpc.insecure_channel(process.wait_ready()) as channel,
        grpc.insecure_channel(agents.memory_address) as memory,
    ):
        stub = AgentServiceStub(channel)
        broken, woken_id = create(stub).agent_id, create(stub).agent_id
        put = agent_state_service_pb2.PutHeartbeatsRequest(agent_id=broken, heartbeats=of_a_later_release)
        AgentStateServiceStub(memory).PutHeartbeats(put)
        beat = Heartbeat(at=timestamp(time.time() + 0.1), reason="reason-one now.")
        stub.SetHeartbeat(pb.SetHeartbeatRequest(agent_id=woken_id, heartbeat=beat))
        wait_until(lambda: woken(agents, woken_id) == {"one": 1})
        requests = {
            "ListHeartbeats": pb.ListHeartbeatsRequest(agent_id=broken),
            "CancelHeartbeat": pb.CancelHeartbeatRequest(agent_id=broken, heartbeat_id="one"),
            "GetContext": pb.GetContextRequest(agent_id=broken),
            "Summarize": pb.SummarizeRequest(agent_id=broken),
        }
        for method, request in requests.items():
            with pytest.raises(grpc.RpcError) as caught:
                getattr(stub, method)(request)
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION, method
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.SendMessage(pb.SendMessageRequest(agent_id=broken, text="Hello")))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_set_list_limit_and_cancel(stub: AgentServiceStub) -> None:
    agent: agent_pb2.Agent = create(stub)

    def put(heartbeat: Heartbeat, request_id: str = "") -> Heartbeat:
        request = pb.SetHeartbeatRequest(agent_id=agent.agent_id, heartbeat=heartbeat, request_id=request_id)
        return stub.SetHeartbeat(request).heartbeat

    def listed() -> pb.ListHeartbeatsResponse:
        return stub.ListHeartbeats(pb.ListHeartbeatsRequest(agent_id=agent.agent_id))

    assert (len(listed().heartbeats), listed().limits.max_turns_per_day) == (0, 24)
    hourly = put(Heartbeat(interval=Duration(seconds=3600), reason="Look."), "once")
    assert put(Heartbeat(interval=Duration(seconds=3600), reason="Look."), "once") == hourly
    morning = put(Heartbeat(cron="0 9 * * 1-5"))
    assert 0 < hourly.next_time.seconds - time.time() <= 3600
    assert [one.heartbeat_id for one in listed().heartbeats] == [hourly.heartbeat_id, morning.heartbeat_id]
    limits = HeartbeatLimits(self_scheduled=True, max_tokens_per_day=5000)
    request = pb.SetHeartbeatLimitsRequest(agent_id=agent.agent_id, limits=limits)
    assert stub.SetHeartbeatLimits(request).limits.max_turns_per_day == 24
    assert listed().limits.self_scheduled
    for _ in range(2):
        stub.CancelHeartbeat(pb.CancelHeartbeatRequest(agent_id=agent.agent_id, heartbeat_id=hourly.heartbeat_id))
    assert [one.heartbeat_id for one in listed().heartbeats] == [morning.heartbeat_id]


@pytest.mark.parametrize(
    "bad",
    [
        Heartbeat(cron="sometimes"),
        Heartbeat(cron="0 0 30 2 *"),
        Heartbeat(interval=Duration(nanos=1)),
        Heartbeat(interval=Duration(seconds=-5)),
        Heartbeat(at=timestamp(time.time() + 400 * 86400)),
        Heartbeat(reason="no time"),
        Heartbeat(cron="* * * * *", reason="x" * 501),
    ],
)
def test_a_heartbeat_that_is_none(stub: AgentServiceStub, bad: Heartbeat) -> None:
    agent_id = create(stub).agent_id
    with pytest.raises(grpc.RpcError) as caught:
        stub.SetHeartbeat(pb.SetHeartbeatRequest(agent_id=agent_id, heartbeat=bad))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_agent_that_is_none(stub: AgentServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ListHeartbeats(pb.ListHeartbeatsRequest(agent_id="agent_nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
