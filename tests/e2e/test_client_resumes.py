"""The Python client resumes a turn whose Agent is stopped or killed, directly and behind a proxy."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client import AsyncMemGPT, MemGPT
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED

from tests.support.envoy import Envoy
from tests.support.ports import free_ports
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Hang, ScriptedLLM, call

Llm = Callable[..., ScriptedLLM]


class Replicas:
    """Agents that share one Memory, each at a stable address.

    Attributes:
        agents: The processes.
        target: Where clients find them.
    """

    def __init__(self, home: Path, llm: ScriptedLLM, stack: ExitStack, count: int, *, proxied: bool) -> None:
        self._settings = {
            "MEMGPT_AGENT_MODEL": "scripted",
            "MEMGPT_AGENT_BASE_URL": llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
            "MEMGPT_SERVER_DRAIN_PAUSE": "0.1",
            "MEMGPT_SERVER_DRAIN_GRACE": "0.3",
        }
        self._stack, self._home = stack, home
        memory = stack.enter_context(ServiceProcess("memgpt_memory", home, MEMGPT_MEMORY_LEASE_SECONDS="2"))
        self._memory_address = memory.wait_ready()
        self._ports = free_ports(count)
        self.agents = [self._started(place) for place in range(count)]
        addresses = [f"127.0.0.1:{port}" for port in self._ports]
        if proxied:
            self.target = stack.enter_context(Envoy(home, *addresses)).address
        else:
            self.target = f"ipv4:{','.join(addresses)}"

    def _started(self, place: int) -> ServiceProcess:
        agent = self._stack.enter_context(
            ServiceProcess(
                "memgpt_agent",
                self._home,
                MEMGPT_AGENT_MEMORY_ADDRESS=self._memory_address,
                **{**self._settings, "MEMGPT_AGENT_PORT": str(self._ports[place])},
            )
        )
        agent.wait_ready()
        return agent

    def end(self, how: str) -> None:
        """Replace one Agent after the other, as in a rolling update."""
        for place, agent in enumerate(self.agents):
            if how == "kill":
                agent.kill9()
            else:
                agent.send(signal.SIGTERM)
            agent.wait()
            self.agents[place] = self._started(place)


@pytest.fixture(params=["direct", "proxied"])
def proxied(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "proxied")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("count", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("how", ["drain", "kill"])
def test_the_turn_goes_on(
    tmp_path: Path, scripted_llm: Llm, stack: ExitStack, proxied: bool, how: str, count: int
) -> None:
    search = call("archival_memory_search", query="Brussels", request_heartbeat=True)
    llm = scripted_llm([search, Hang(), call("send_message", message="In Brussels.")])
    replicas = Replicas(tmp_path, llm, stack, count, proxied=proxied)
    with MemGPT(replicas.target) as memgpt:
        agent = memgpt.agents.create("Ada")
        request = agent_pb.SendMessageRequest(agent_id=agent.agent_id, text="Where do I live?", skip_verify=True)
        turn = memgpt.agents.send(request)
        seen: list[TurnEvent] = []
        reader = threading.Thread(target=lambda: seen.extend(turn))
        reader.start()
        llm.wait_for_requests(2)
        replicas.end(how)
        reader.join(60)
    assert not reader.is_alive()
    durable = [event for event in seen if event.sequence]
    assert [event.sequence for event in durable] == list(range(1, len(durable) + 1))
    assert [event.message.text for event in durable if event.HasField("message")] == ["In Brussels."]
    assert turn.state == TURN_STATE_COMPLETED


async def test_the_asynchronous_client_goes_on_as_well(tmp_path: Path, scripted_llm: Llm, stack: ExitStack) -> None:
    llm = scripted_llm([Hang(), call("send_message", message="Here.")])
    replicas = await asyncio.to_thread(Replicas, tmp_path, llm, stack, 1, proxied=False)
    async with AsyncMemGPT(replicas.target) as memgpt:
        agent = await memgpt.agents.create("Ada")
        reply = asyncio.create_task(agent.ask("Are you there?"))
        await asyncio.to_thread(llm.wait_for_requests, 1)
        await asyncio.to_thread(replicas.end, "drain")
        assert await asyncio.wait_for(reply, 60) == "Here."
