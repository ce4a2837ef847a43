"""Two Agents and Memory killed at random, and clients that go away, under agents at work: nothing is lost, nothing
happens twice, nothing changes its order.

``--kills 300 --clients 8`` is the long run, of a quarter of an hour or so.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED
from memgpt.tool.v1.tool_service_pb2 import CallToolResponse

from tests.e2e import turns
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import ScriptedLLM
from tests.support.scripted_tool import ScriptedTool
from tests.support.threads import running


class Service:
    """A service that can be killed and restarts at its address."""

    def __init__(self, module: str, home: Path, **settings: str) -> None:
        self._module, self._home, self._settings = module, home, settings
        self._process = ServiceProcess(module, home, **settings)
        self.address = self._process.wait_ready()
        self._settings[f"{module.upper()}_PORT"] = self.address.rsplit(":", 1)[1]

    def kill(self) -> None:
        """Kill it and wait until it has restarted."""
        self._process.kill9()
        self._process.close()
        self._process = ServiceProcess(self._module, self._home, **self._settings)
        self._process.wait_ready()

    def close(self) -> None:
        self._process.close()


@dataclass
class Client:
    """Sends messages to its own agent, each after the previous turn has ended.

    Attributes:
        agent_id: The agent.
        addresses: The replicas, asked in turn.
        marks: The sent texts in order; each is also the request's id.
        gone: Set to make the client leave the stream it follows.
        failures: Unexpected results.
    """

    agent_id: str
    addresses: list[str]
    marks: list[str] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            mark = f"{self.agent_id[-6:]}x{len(self.marks)}"
            self.marks.append(mark)
            self._turn(mark)

    def _turn(self, mark: str) -> None:
        request = agent_pb.SendMessageRequest(agent_id=self.agent_id, request_id=mark, text=mark, skip_verify=True)
        attempt = 0
        while not self._followed(request, self.addresses[attempt % len(self.addresses)]):
            attempt += 1
            if attempt > 2000:
                self.failures.append(f"{mark} never ended")
                return
            threading.Event().wait(0.1)

    def _followed(self, request: agent_pb.SendMessageRequest, address: str) -> bool:
        """Follow the turn from the last known event; return whether it has ended."""
        with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            stream = AgentServiceStub(channel).SendMessage(request)
            try:
                for response in stream:
                    event = response.event
                    if event.sequence and event.sequence != request.after_sequence + 1:
                        self.failures.append(f"{request.text}: {event.sequence} after {request.after_sequence}")
                    request.after_sequence = max(request.after_sequence, event.sequence)
                    if event.HasField("done"):
                        if event.done.state != TURN_STATE_COMPLETED:
                            self.failures.append(f"{request.text}: {event.done}")
                        return True
                    if self.gone.is_set():
                        self.gone.clear()
                        return False
            except grpc.RpcError as error:
                # Only errors after which a retry can succeed.
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.ABORTED,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    self.failures.append(f"{request.text}: {error.code()} {error.details()}")
            finally:
                stream.cancel()
        return False


@contextmanager
def working(clients: list[Client]) -> Iterator[None]:
    stop = threading.Event()
    with running([partial(client.work, stop) for client in clients], 600):
        try:
            yield
        finally:
            stop.set()


@pytest.mark.timeout(0)
def test_killed_at_random(tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM], kills: int, clients: int) -> None:
    luck = random.Random()
    llm = scripted_llm(turns.answer)
    with ExitStack() as stack:
        tool = stack.enter_context(ScriptedTool({"ring": lambda _: CallToolResponse(result="It rang.")}))
        memory = Service("memgpt_memory", tmp_path, MEMGPT_MEMORY_LEASE_SECONDS="4")
        stack.callback(memory.close)
        services = [memory]
        for _ in range(2):
            services.append(
                Service(
                    "memgpt_agent",
                    tmp_path,
                    MEMGPT_AGENT_MEMORY_ADDRESS=memory.address,
                    MEMGPT_AGENT_MODEL="scripted",
                    MEMGPT_AGENT_BASE_URL=llm.base_url,
                    MEMGPT_AGENT_MODE="tools",
                    MEMGPT_AGENT_CONTEXT_WINDOW="32768",
                    MEMGPT_AGENT_TOOL_ADDRESSES=tool.address,
                )
            )
            stack.callback(services[-1].close)
        addresses = [service.address for service in services[1:]]
        workers = []
        for number in range(clients):
            with grpc.insecure_channel(addresses[0]) as channel:
                stub = AgentServiceStub(channel)
                agent_id = stub.CreateAgent(agent_pb.CreateAgentRequest(core_memory_limit=20_000)).agent.agent_id
                stub.RegisterTools(agent_pb.RegisterToolsRequest(agent_id=agent_id, address=tool.address))
            workers.append(Client(agent_id, addresses[number % 2 :] + addresses[: number % 2]))
        done: Counter[str] = Counter()
        with working(workers):
            for _ in range(kills or 4):
                threading.Event().wait(luck.uniform(0.0, 1.0))
                victim = luck.choice([*services, None])
                if victim is None:
                    luck.choice(workers).gone.set()
                    done["client"] += 1
                else:
                    victim.kill()
                    done["memory" if victim is memory else "agent"] += 1
        print(f"kills: {dict(done)}, turns: {sum(len(worker.marks) for worker in workers)}")
        assert [failure for worker in workers for failure in worker.failures] == []
        keys: set[str] = set()
        for worker in workers:
            messages = turns.history(memory.address, worker.agent_id)
            turns.check_transcript(messages, worker.marks)
            keys |= {f"{m.turn_id}-{m.step}" for m in messages if m.function_call.name == "ring"}
            with grpc.insecure_channel(addresses[0]) as channel:
                request = agent_pb.GetContextRequest(agent_id=worker.agent_id)
                context = AgentServiceStub(channel).GetContext(request)
            assert context.agent.passage_count == len(worker.marks), "each note once"
            human = next(block.value for block in context.blocks if block.label == "human")
            assert [line for line in human.splitlines() if line.startswith("saw ")] == [
                f"saw {mark}" for mark in worker.marks
            ]
        assert set(tool.keys) == keys, "called under the key of its step, and no other"
        assert len(keys) == sum(len(worker.marks) for worker in workers)
