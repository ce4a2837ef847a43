"""Agent, Memory or client killed at every journal point of a turn, followed by the same request again.

A proxy in front of Memory holds the turn before and after every write, and the tool holds it before and after its
effect; there the process is killed with `kill -9`. ``--kills 54`` kills each at each point; by default there are nine
of these.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client import MemGPT, ServiceError
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED
from memgpt.tool.v1.tool_service_pb2 import CallToolRequest, CallToolResponse

from tests.e2e import turns
from tests.support.processes import ServiceProcess, service_environment
from tests.support.proxy import GrpcProxy, Stop, When
from tests.support.scripted_llm import ScriptedLLM
from tests.support.scripted_tool import ScriptedTool
from tests.support.waiting import wait_until

Point = tuple[str, int, When]
"""A method, which call of it, and on which side."""

POINTS: list[Point] = [
    (method, number, when)
    for method, number in [("BeginTurn", 1), *(("CommitStep", n + 1) for n in range(turns.COMMITS)), ("CallTool", 1)]
    for when in ("before", "after")
]
VICTIMS = ("agent", "memory", "client")
_STRIDE = 23

_CLIENT = """
import sys
from memgpt.agent.v1.agent_service_pb2 import SendMessageRequest
from memgpt.client import MemGPT
with MemGPT(sys.argv[1], sys.argv[1]) as memgpt:
    for _ in memgpt.agents.send(SendMessageRequest.FromString(bytes.fromhex(sys.argv[2]))):
        pass
"""


class Stage:
    """Memory behind a proxy, an Agent with a standby, and a tool."""

    def __init__(self, home: Path, llm: ScriptedLLM) -> None:
        self._home = home
        self._llm = llm
        self._stack = ExitStack()
        self.tool_stop: Stop | None = None

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.tool = stack.enter_context(ScriptedTool({"ring": self._ring}))
            self.memory = self._start_memory("0")
            stack.callback(lambda: self.memory.close())
            self.memory_address = self.memory.wait_ready()
            self.proxy = stack.enter_context(GrpcProxy(self.memory_address))
            self.agent, self._spare = self._start_agent(), self._start_agent()
            stack.callback(lambda: self.agent.close())
            stack.callback(lambda: self._spare.close())
            self.address = self.agent.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_memory(self, port: str) -> ServiceProcess:
        return ServiceProcess("memgpt_memory", self._home, MEMGPT_MEMORY_PORT=port, MEMGPT_MEMORY_LEASE_SECONDS="1")

    def _start_agent(self) -> ServiceProcess:
        return ServiceProcess(
            "memgpt_agent",
            self._home,
            MEMGPT_AGENT_MEMORY_ADDRESS=self.proxy.address,
            MEMGPT_AGENT_MODEL="scripted",
            MEMGPT_AGENT_BASE_URL=self._llm.base_url,
            MEMGPT_AGENT_MODE="tools",
            MEMGPT_AGENT_CONTEXT_WINDOW="100000",
            MEMGPT_AGENT_TOOL_ADDRESSES=self.tool.address,
        )

    def _ring(self, request: CallToolRequest) -> CallToolResponse:
        """The tool's effect; `ScriptedTool` counts it when this returns."""
        stop = self.tool_stop
        if stop is not None and stop.when == "before":
            stop.reached.set()
            stop.release.wait(300)
        return CallToolResponse(result="It rang.")

    def stop(self, point: Point) -> Stop:
        """Hold the next turn at a point."""
        method, number, when = point
        self.tool_stop = None
        if method != "CallTool":
            return self.proxy.stop(method, number, when)
        if when == "after":
            # The result of the call is what the Agent commits next.
            return self.proxy.stop("CommitStep", turns.COMMITS - 1, "before")
        self.proxy.stop("none", 1, "before")
        self.tool_stop = Stop(method, number, when)
        return self.tool_stop

    def kill(self, victim: str, client: subprocess.Popen[bytes]) -> None:
        """Kill one of them, and restart Agent or Memory."""
        if victim == "client":
            client.kill()
        elif victim == "agent":
            self.agent.kill9()
            self.agent.close()
            self.agent, self._spare = self._spare, self._start_agent()
            self.address = self.agent.wait_ready()
        else:
            self.memory.kill9()
            self.memory.close()
            self.memory = self._start_memory(self.memory_address.rsplit(":", 1)[1])
            self.memory.wait_ready()


@pytest.fixture
def stage(tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]) -> Iterator[Stage]:
    with Stage(tmp_path, scripted_llm(turns.answer)) as made:
        yield made


def send_until_done(stage: Stage, request: agent_pb.SendMessageRequest) -> list[TurnEvent]:
    """Return the durable events, sending the same request again whenever it fails."""

    def sent() -> list[TurnEvent]:
        with MemGPT(stage.address, stage.address) as client:
            return [event for event in client.agents.send(request) if event.sequence]

    return wait_until(sent, 120, ignore=ServiceError)


def start_client(stage: Stage, home: Path, request: agent_pb.SendMessageRequest) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _CLIENT, stage.address, request.SerializeToString().hex()]
    return subprocess.Popen(command, env=service_environment(home, {}), stderr=subprocess.DEVNULL)


@pytest.mark.timeout(1200)
def test_killed_at_every_journal_point(stage: Stage, tmp_path: Path, kills: int) -> None:
    cases = list(product(POINTS, VICTIMS))
    # Spread over points and victims: the stride has no factor in common with the number of cases.
    chosen = [cases[n * _STRIDE % len(cases)] for n in range(min(kills or 9, len(cases)))]
    for number, (point, victim) in enumerate(chosen):
        where = f"{victim} killed at {point}"
        print(where)  # what pytest shows of a failure
        mark = f"mark{number}"
        with MemGPT(stage.address, stage.address) as client:
            agent_id = client.agents.create(agent_pb.CreateAgentRequest()).agent_id
            client.agents.register_tools(agent_id, stage.tool.address)
        request = agent_pb.SendMessageRequest(agent_id=agent_id, request_id=mark, text=mark, skip_verify=True)
        before = set(stage.tool.keys)
        stop = stage.stop(point)
        client_process = start_client(stage, tmp_path, request)
        try:
            assert stop.reached.wait(300), where
            stage.kill(victim, client_process)
        finally:
            stop.release.set()
            client_process.kill()
            client_process.wait()
        events = send_until_done(stage, request)
        again = send_until_done(stage, request)

        assert events == again, where
        assert events[-1].done.state == TURN_STATE_COMPLETED, where
        turns.check_transcript(turns.history(stage.memory_address, agent_id), [mark])
        keys = set(stage.tool.keys) - before
        assert len(keys) == 1, where
        assert [stage.tool.done[key] for key in keys] == [1], where
        with MemGPT(stage.address, stage.address) as client:
            context = client.agents.context(agent_id)
        assert context.agent.passage_count == 1, where
        assert [block.value.count(f"saw {mark}") for block in context.blocks if block.label == "human"] == [1], where
