"""What checking a credential costs: the same calls with an API key, a token, and no credential.

Suites on Milvus Lite run side by side: one requires credentials, two accept anyone. Calls are paired: each pair calls
two suites one right after the other, in changing order, so that other load on the machine affects both. The second
suite without credentials shows how far two suites differ for other reasons.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub

from benchmarks.common import Options, Table, say, texts
from tests.support.credentials import GuardedSuite, Metadata, bearer
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.suite import Suite

PAIRS = 3_000
WARM_UP = 50
NOTES = 200

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Paired:
    """Times of pairs of calls.

    Attributes:
        checked: Median of the checked calls, in milliseconds.
        unchecked: Median of the others.
        ratio: Median of the ratios of the pairs.
        low: Lower bound of the ratio's median, with 95 % confidence.
        high: Upper bound.
    """

    checked: float
    unchecked: float
    ratio: float
    low: float
    high: float


async def run(options: Options) -> Table:
    """Measure ``GetAgent`` of the Agent, which asks Memory, and ``SearchPassages`` of Memory."""
    table = Table("credentials: a checked call beside an unchecked one")
    with ExitStack() as stack, Issuer() as issuer:
        issuer.add("key")
        say("credentials: starting three suites")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        guarded = stack.enter_context(
            GuardedSuite(
                folder / "guarded",
                MEMGPT_SERVER_JWT_ISSUER=ISSUER,
                MEMGPT_SERVER_JWT_AUDIENCE=AUDIENCE,
                MEMGPT_SERVER_JWT_JWKS=issuer.address,
            )
        )
        plain, other = (stack.enter_context(Suite(folder / name)) for name in ("plain", "other"))
        token = issuer.token("key", tenant="default", role="user")
        kinds: dict[str, tuple[Suite, Metadata]] = {
            "API key": (guarded, bearer(guarded.create_key("bench", "user")[1])),
            "token": (guarded, bearer(token)),
            "none, another suite": (other, ()),
        }
        async with AsyncExitStack() as channels:
            unchecked = await _calls(channels, plain, ())
            for kind, (suite, metadata) in kinds.items():
                checked = await _calls(channels, suite, metadata)
                for name in unchecked:
                    say(f"credentials: {name} with {kind}")
                    found = await compare_pairs(options.times(PAIRS), checked[name], unchecked[name])
                    what = f"{name}, {kind} [{found.ratio:.3f}: {found.low:.3f} to {found.high:.3f}]"
                    # The ratio that counts is that of the pairs.
                    table.add(
                        what,
                        "ms",
                        found.unchecked * found.ratio,
                        found.unchecked,
                        other_name="unchecked",
                        most=1.05 if metadata else None,
                    )
    table.notes.append("in brackets: the median of the pairs' ratios, and its interval with 95 % confidence")
    return table


async def _calls(stack: AsyncExitStack, suite: Suite, metadata: Metadata) -> dict[str, Call]:
    """Create an agent with notes, and return the calls to measure."""
    agents: Any = AgentServiceStub(await stack.enter_async_context(grpc.aio.insecure_channel(suite.agent_address)))
    archive: Any = ArchivalMemoryServiceStub(
        await stack.enter_async_context(grpc.aio.insecure_channel(suite.memory_address))
    )
    agent_id = (await agents.CreateAgent(agent_pb.CreateAgentRequest(), metadata=metadata)).agent.agent_id
    notes = archival_pb.InsertPassagesRequest(agent_id=agent_id, texts=texts(NOTES))
    await archive.InsertPassages(notes, metadata=metadata)
    scope = archival_pb.PassageScope(agent_id=agent_id)
    search = archival_pb.SearchPassagesRequest(scope=scope, query="which memory is archival", page_size=10)
    return {
        "GetAgent": partial(agents.GetAgent, agent_pb.GetAgentRequest(agent_id=agent_id), metadata=metadata),
        "SearchPassages": partial(archive.SearchPassages, search, metadata=metadata),
    }


async def compare_pairs(pairs: int, checked: Call, unchecked: Call) -> Paired:
    """Time pairs of calls, after a warm-up."""
    for _ in range(WARM_UP):
        await checked()
        await unchecked()
    taken: dict[Call, list[float]] = {checked: [], unchecked: []}
    for pair in range(pairs):
        for call in (checked, unchecked) if pair % 2 else (unchecked, checked):
            start = time.perf_counter()
            await call()
            taken[call].append(1_000 * (time.perf_counter() - start))
    ratios = [one / other for one, other in zip(taken[checked], taken[unchecked], strict=True)]
    low, high = median_interval(ratios)
    return Paired(
        statistics.median(taken[checked]), statistics.median(taken[unchecked]), statistics.median(ratios), low, high
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return an interval that has the median with a confidence of 95 %, whatever the distribution."""
    ordered, count = sorted(values), len(values)
    reach = 1.96 * math.sqrt(count) / 2
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return ordered[max(low, 0)], ordered[min(high, count - 1)]
