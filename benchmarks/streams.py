"""A thousand concurrent turns over two Agents: size and latency of a stream, and what reaches its limit first.

All turns wait for the model at the same time; the sizes of the services with and without them give the size of one.
Then the model writes to all of them at rising paces, a piece being about one token, until pieces arrive late or a
process uses a whole processor. At the end all turns finish at once, which Memory has to store.

The notes say how much of a processor each process uses, and the machine as a whole: other work may leave it less.

The model is scripted and has a process of its own. Each piece contains the time at which it was written; its latency
ends when the client has it. A Python process can use one processor.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.client import new_request_id
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED

from benchmarks.common import Options, Table, megabytes, new_store, processor_ms, say, scratch
from benchmarks.paced_model import PacedModel
from tests.support.processes import ServiceProcess

if TYPE_CHECKING:
    from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceAsyncStub

TURNS = 1_000
AGENTS = 2
CONNECTIONS = 8
"""Connections of the clients to each Agent."""

AT_A_TIME = 32
"""Agents created, and turns started, at a time."""

PACES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pieces per second of each stream, one phase after the other."""

PHASE = 10.0
"""Seconds of a phase."""

LATE = 1_000.0
"""Milliseconds after which a piece is late: with more than one in a hundred late, the pace is too high."""

BUSY = 0.9
"""Share of a processor from which a process counts as the limit."""

_PATIENCE = 180.0
_MACHINE = f"the machine, which has {os.cpu_count()}"
_STAMP = re.compile(r"(\d+\.\d{3}) ")


async def run(options: Options) -> Table:
    """Measure a thousand turns; 100 with ``--quick``."""
    turns = TURNS // 10 if options.quick else TURNS
    table = Table(f"streams: {turns:,} concurrent turns over {AGENTS} Agents")
    with scratch() as home, PacedModel() as model:
        settings = {
            "MEMGPT_MEMORY_URI": new_store(options, home / "streams"),
            "MEMGPT_MEMORY_QUOTA_CONCURRENT_TURNS": "0",  # a tenant has 256 by default
            "MEMGPT_AGENT_MODEL": "scripted",
            "MEMGPT_AGENT_BASE_URL": model.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": "8192",
            "MEMGPT_AGENT_MODEL_TIMEOUT": "600",
        }
        with ExitStack() as stack:
            memory = stack.enter_context(ServiceProcess("memgpt_memory", home, **settings))
            settings["MEMGPT_AGENT_MEMORY_ADDRESS"] = memory.wait_ready(120)
            agents = [stack.enter_context(ServiceProcess("memgpt_agent", home, **settings)) for _ in range(AGENTS)]
            addresses = [each.wait_ready(120) for each in agents]
            pids = {"memory": memory.popen.pid, "clients": os.getpid(), "model": model.pid}
            pids |= {f"agent {number}": each.popen.pid for number, each in enumerate(agents, 1)}
            async with _channels(addresses) as channels:
                await _measure(table, model, _Load(channels, turns), pids, 3.0 if options.quick else PHASE)
    return table


@asynccontextmanager
async def _channels(addresses: Sequence[str]) -> AsyncIterator[list[grpc.aio.Channel]]:
    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options))
            for _ in range(CONNECTIONS)
            for address in addresses
        ]


@dataclass
class _Load:
    """The clients: a turn for each of their agents.

    Attributes:
        latencies: Milliseconds that pieces took, since the last `clear`.
        started: Milliseconds from the request of each turn to its first event.
        ended: Times at which turns ended.
        resumed: How often a stream broke and was resumed.
    """

    channels: Sequence[grpc.aio.Channel]
    turns: int
    latencies: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    resumed: int = 0

    async def create(self) -> list[str]:
        """Create the agents."""
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(number: int) -> str:
            async with gate:
                created = await self._stub(number).CreateAgent(CreateAgentRequest(), timeout=_PATIENCE)
                return str(created.agent.agent_id)

        return await asyncio.gather(*map(one, range(self.turns)))

    async def start(self, agents: Sequence[str]) -> list[asyncio.Task[None]]:
        """Start a turn of each agent, and return once all have started."""
        gate = asyncio.Semaphore(AT_A_TIME)
        started = [asyncio.Event() for _ in agents]
        turns = [
            asyncio.create_task(self._turn(number, agent, gate, began))
            for number, (agent, began) in enumerate(zip(agents, started, strict=True))
        ]
        waiting = asyncio.gather(*(each.wait() for each in started))
        failed = asyncio.gather(*turns)
        await asyncio.wait((waiting, failed), timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            failed.result()
        return turns

    async def _turn(self, number: int, agent: str, gate: asyncio.Semaphore, started: asyncio.Event) -> None:
        request = SendMessageRequest(agent_id=agent, text="Hello", request_id=new_request_id(), stream_deltas=True)
        state = None
        await gate.acquire()
        begun = time.monotonic()
        while state is None:
            rest = ""
            try:
                async for response in self._stub(number).SendMessage(request, timeout=2 * _PATIENCE):
                    event = response.event
                    if not started.is_set():
                        started.set()
                        gate.release()
                        self.started.append(1_000 * (time.monotonic() - begun))
                    if event.HasField("delta"):
                        rest = self._read(rest + event.delta.text)
                    elif event.HasField("done"):
                        state = event.done.state
            except grpc.aio.AioRpcError as error:
                # As clients do: the same request is the same turn.
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > begun + 2 * _PATIENCE:
                    raise
                self.resumed += 1
                await asyncio.sleep(1)
        assert state == TURN_STATE_COMPLETED, f"{agent}: {state}"
        self.ended.append(time.monotonic())

    def _read(self, text: str) -> str:
        """Note the latencies of the pieces in `text`, and return what is not whole yet."""
        now, end = time.monotonic(), 0
        for stamp in _STAMP.finditer(text):
            self.latencies.append(1_000 * (now - float(stamp[1])))
            end = stamp.end()
        return text[end:]

    def _stub(self, number: int) -> AgentServiceAsyncStub:
        stub: AgentServiceAsyncStub = AgentServiceStub(self.channels[number % len(self.channels)])
        return stub


async def _measure(table: Table, model: PacedModel, load: _Load, pids: Mapping[str, int], phase: float) -> None:
    say(f"streams: creating {load.turns:,} agents")
    agents = await load.create()
    before = {name: megabytes(pid) for name, pid in pids.items()}
    say("streams: starting the turns")
    worked, begun = _worked(pids), time.monotonic()
    turns = await load.start(agents)
    while model.open < load.turns:
        assert time.monotonic() < begun + _PATIENCE, f"{model.open} turns wait for the model"
        await asyncio.sleep(0.02)
    taken = time.monotonic() - begun
    table.add(f"turns started, {AT_A_TIME} at a time", "/s", load.turns / taken)
    table.add("first event, median", "ms", statistics.median(load.started))
    limits = [f"while turns start, {_busiest(_used(worked, pids, taken))}"]
    for name in ("memory", *(name for name in pids if name.startswith("agent"))):
        size = megabytes(pids[name])
        table.add(f"{name}: resident without turns", "MB", before[name])
        table.add(f"{name}: resident with its turns", "MB", size)
        share = 1 if name == "memory" else AGENTS
        table.add(f"{name}: for each of its turns", "KB", 1024 * (size - before[name]) * share / load.turns)
    for pace in PACES:
        say(f"streams: {pace * load.turns:,.0f} pieces/s")
        if limit := await _phase(table, model, load, pids, pace, phase):
            limits.append(f"at {pace * load.turns:,.0f} pieces/s, {limit}")
            break
    say("streams: all turns end")
    worked, begun = _worked(pids), time.monotonic()
    model.finish()
    await asyncio.gather(*turns)
    taken = max(load.ended) - begun
    table.add("turns that end at once: all stored after", "s", taken)
    table.add("streams that broke and were resumed", "", load.resumed)
    limits.append(f"while all end, {_busiest(_used(worked, pids, taken))}")
    table.notes.extend(f"Use of a processor {limit}." for limit in limits)


async def _phase(
    table: Table, model: PacedModel, load: _Load, pids: Mapping[str, int], pace: float, seconds: float
) -> str:
    """Write at a pace; return what is at its limit, and nothing if nothing is."""
    model.pace(1 / pace)
    await asyncio.sleep(seconds / 4)  # the first pieces of a pace are not its typical ones
    load.latencies.clear()
    worked, begun = _worked(pids), time.monotonic()
    await asyncio.sleep(seconds)
    taken = time.monotonic() - begun
    used = _used(worked, pids, taken)
    own = max(share for name, share in used.items() if name != _MACHINE)
    latencies = sorted(load.latencies)
    late = latencies[int(0.99 * len(latencies))]
    agents = sum(share for name, share in used.items() if name.startswith("agent"))
    wanted = f"{pace * load.turns:,.0f} pieces/s"
    table.add(f"{wanted}: arrived", "/s", len(latencies) / taken)
    table.add(f"{wanted}: latency, median", "ms", statistics.median(latencies))
    table.add(f"{wanted}: latency, 99 of 100", "ms", late)
    table.add(f"{wanted}: processor time of the Agents for 1,000", "ms", 1e6 * agents * taken / len(latencies))
    return _busiest(used) if late > LATE or own > BUSY else ""


def _worked(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: processor_ms(pid) for name, pid in pids.items()} | {_MACHINE: _machine_ms()}


def _machine_ms() -> float:
    """Return the processor time of everything that ran on the machine, in milliseconds."""
    user, nice, system, _idle, _waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return 1_000 * (user + nice + system + sum(rest[:2])) / os.sysconf("SC_CLK_TCK")


def _used(before: Mapping[str, float], pids: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Return the share of a processor that each process has used."""
    return {name: (now - before[name]) / seconds / 1_000 for name, now in _worked(pids).items()}


def _busiest(used: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in sorted(used.items(), key=lambda item: -item[1]))
