"""Fixtures: a real Memory and a real Agent as processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub

from tests.support.processes import ServiceProcess


@dataclass
class Agents:
    """A running Agent and its Memory."""

    home: Path
    memory: ServiceProcess
    memory_address: str

    def start(self, **settings: str) -> ServiceProcess:
        """Start an Agent with the given settings."""
        return ServiceProcess("memgpt_agent", self.home, MEMGPT_AGENT_MEMORY_ADDRESS=self.memory_address, **settings)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    """Memory for the module; the turns of a killed Agent are taken over after two seconds."""
    home = tmp_path_factory.mktemp("agent")
    settings = {"MEMGPT_MEMORY_URI": str(home / "milvus.db"), "MEMGPT_MEMORY_LEASE_SECONDS": "2"}
    with ServiceProcess("memgpt_memory", home, **settings) as memory:
        yield Agents(home, memory, memory.wait_ready())


@pytest.fixture(scope="module")
def stub(agents: Agents) -> Iterator[AgentServiceStub]:
    """An Agent with the offline model."""
    with agents.start() as process, grpc.insecure_channel(process.wait_ready()) as channel:
        yield AgentServiceStub(channel)
