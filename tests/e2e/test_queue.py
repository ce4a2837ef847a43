"""Two replicas of the Agent and many clients on one agent: one turn at a time, in order of arrival, none starved."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.memory.v1 import turn_pb2
from memgpt.memory.v1.message_pb2 import ROLE_USER

from tests.e2e import turns
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Completion, Reply, Request, ScriptedLLM, call

CLIENTS = 16


class Replicas:
    """Memory and two Agents."""

    def __init__(self, home: Path, stack: ExitStack, llm: ScriptedLLM) -> None:
        memory = stack.enter_context(ServiceProcess("memgpt_memory", home))
        self.memory_address = memory.wait_ready()
        settings = {
            "MEMGPT_AGENT_MEMORY_ADDRESS": self.memory_address,
            "MEMGPT_AGENT_MODEL": "scripted",
            "MEMGPT_AGENT_BASE_URL": llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": "100000",
        }
        agents = [stack.enter_context(ServiceProcess("memgpt_agent", home, **settings)) for _ in range(2)]
        channels = [stack.enter_context(grpc.insecure_channel(agent.wait_ready())) for agent in agents]
        self.stubs = [AgentServiceStub(channel) for channel in channels]


def test_sixteen_clients_on_one_agent(tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]) -> None:
    gate, asked = threading.Event(), threading.Event()
    under_way, most = 0, 0
    lock = threading.Lock()

    def answer(request: Request) -> Reply:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        asked.set()
        gate.wait(120)
        with lock:
            under_way -= 1
        shown = [one for m in request.messages if m["role"] == "user" for one in turns.envelopes(m["content"])]
        said = [one["message"] for one in shown if one.get("type") == "user_message"]
        return call("send_message", message=f"to {said[-1]}")

    with ExitStack() as stack:
        replicas = Replicas(tmp_path, stack, scripted_llm(answer))
        agent_id = replicas.stubs[0].CreateAgent(pb.CreateAgentRequest()).agent.agent_id
        places: list[int] = []
        spoken: dict[int, list[str]] = {}

        def send(number: int, arrived: threading.Event) -> None:
            request = pb.SendMessageRequest(
                agent_id=agent_id, text=f"c{number}", request_id=f"c{number}", skip_verify=True
            )
            events: list[TurnEvent] = []
            for response in replicas.stubs[number % 2].SendMessage(request):
                if response.event.HasField("started"):
                    continue
                events.append(response.event)
                if len(events) == 1 and events[0].HasField("queued"):
                    places.append(events[0].queued.ahead)
                    arrived.set()
            spoken[number] = [event.message.text for event in events if event.HasField("message")]

        threads = []
        for number in range(CLIENTS):
            arrived = asked if number == 0 else threading.Event()
            threads.append(threading.Thread(target=send, args=(number, arrived)))
            threads[-1].start()
            assert arrived.wait(60), f"client {number} never got a place"
        gate.set()
        for thread in threads:
            thread.join(120)
        said = [json.loads(m.text) for m in turns.history(replicas.memory_address, agent_id)[3:] if m.role == ROLE_USER]
    assert places == list(range(1, CLIENTS))
    assert most == 1, "strictly one turn at a time"
    assert [one["message"] for one in said] == [f"c{number}" for number in range(CLIENTS)]
    assert spoken == {number: [f"to c{number}"] for number in range(CLIENTS)}


def test_a_turn_is_followed_and_cancelled_at_any_replica(
    tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    search = call("archival_memory_search", query="tea", request_heartbeat=True)
    llm = scripted_llm([search, Completion("I think", hang_after=1)])
    with ExitStack() as stack:
        here, there = Replicas(tmp_path, stack, llm).stubs
        agent_id = here.CreateAgent(pb.CreateAgentRequest()).agent.agent_id
        request = pb.SendMessageRequest(agent_id=agent_id, text="Tea?", request_id="tea", skip_verify=True)
        stream = here.SendMessage(request)
        seen = [next(r.event for r in stream if r.event.sequence) for _ in range(3)]
        resume = pb.ResumeTurnRequest(agent_id=agent_id, request_id="tea", after_sequence=seen[1].sequence)
        followed = there.ResumeTurn(resume)
        assert next(r.event for r in followed if r.event.sequence) == seen[2]
        llm.wait_for_requests(2)
        stream.cancel()
        there.CancelTurn(pb.CancelTurnRequest(agent_id=agent_id, request_id="tea"))
        rest = [response.event for response in followed if response.event.sequence]
        resumed = here.ResumeTurn(pb.ResumeTurnRequest(agent_id=agent_id, request_id="tea"))
        whole = [response.event for response in resumed if response.event.sequence]
    assert rest[-1].done.state == turn_pb2.TURN_STATE_CANCELLED
    assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))
    assert whole == [*seen, *rest]
