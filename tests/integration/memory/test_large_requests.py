"""Requests that are far too large: they cost a bounded amount of memory, which is given back."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt.memory.v1 import agent_state_service_pb2 as state

from tests.integration.memory.client import INVALID, refused
from tests.support.processes import ServiceProcess, open_channel

pytestmark = pytest.mark.linux("reads /proc")

NAME_BYTES = 31 << 20
CALLERS = 24
GET_AGENT = "/memgpt.memory.v1.AgentStateService/GetAgent"


def megabytes(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{what}:\s+(\d+) kB", status)[0]) / 1024


async def refused_calls(address: str, request: bytes) -> None:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        call: Any = channel.unary_unary(GET_AGENT)
        for _ in range(2):
            with refused(INVALID):
                await call(request, timeout=300)


async def test_the_memory_of_large_requests_is_bounded_and_given_back(tmp_path: Path) -> None:
    request = state.GetAgentRequest(name="x" * NAME_BYTES).SerializeToString()
    with ServiceProcess("memgpt_memory", tmp_path) as process:
        address = await asyncio.to_thread(process.wait_ready)
        before = megabytes(process.popen.pid, "VmRSS")
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(refused_calls(address, request))
        assert megabytes(process.popen.pid, "VmRSS") - before < 200
        assert megabytes(process.popen.pid, "VmHWM") - before < CALLERS * 62
        async with open_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=60)).status == 1
