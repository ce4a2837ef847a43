"""Concurrent agents committing steps of two messages. Baseline: a loop that writes one step after the other.

Each step is two ordered upserts: the messages, and then the agent's row, which commits them.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

from benchmarks.common import Options, Table, bench, compare, say

AGENTS = 64
STEPS = 4
"""Steps of each agent in a repetition."""

_TEXT = "x" * 600


async def run(options: Options) -> Table:
    """Measure 64 agents."""
    table = Table(f"commits: {AGENTS} agents committing steps")
    async with bench(options, MEMGPT_MEMORY_LEASE_SECONDS="600") as on:
        say("commits: beginning turns")
        agents = [(await on.memory.agent()).agent_id for _ in range(AGENTS)]
        leases = [(await on.memory.begin(agent, uuid4().hex, "Hello!")).lease for agent in agents]
        say("commits: committing")

        async def ours(repetition: int) -> None:
            async def steps(number: int) -> None:
                for step in range(1 + repetition * STEPS, 1 + (repetition + 1) * STEPS):
                    await on.memory.commit(agents[number], leases[number], step, _TEXT, _TEXT)

            await asyncio.gather(*(steps(number) for number in range(AGENTS)))

        def raw(repetition: int) -> None:
            for step in range(repetition * STEPS, (repetition + 1) * STEPS):
                for agent in agents:
                    on.raw.commit(agent, step)

        times = await compare(options.times(10), ours=ours, raw=raw)
        rates = {name: 1_000 * AGENTS * STEPS / taken for name, taken in times.items()}
        table.add("commits", "/s", rates["ours"], rates["raw"], least=2.5)
    return table
