"""Eight concurrent clients searching the notes of eight agents. Baseline: eight threads that share a client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.common import Bench, Options, Table, bench, compare, queries, say, take, texts

AGENTS = 8
SEARCHES = 5
"""Searches of each client in a repetition."""


async def run(options: Options) -> Table:
    """Measure 10,000 passages in total."""
    size = options.size(10_000) // AGENTS
    table = Table(f"concurrency: {AGENTS} agents with {size:,} notes each, {AGENTS} clients")
    async with bench(options) as on:
        say(f"concurrency: storing {AGENTS * size:,} notes twice")
        agents = [(await on.memory.agent()).agent_id for _ in range(AGENTS)]
        for number, agent in enumerate(agents):
            wanted = texts(size, seed=number)
            await on.memory.insert(agent, *wanted)
            on.raw.load(agent, wanted)
        for mode in on.modes:
            say(f"concurrency: {mode}")
            await _clients(on, table, agents, mode)
    return table


async def _clients(on: Bench, table: Table, agents: list[str], mode: str) -> None:
    asked = queries()

    async def everybody(client: Callable[[str, list[str]], Awaitable[None]]) -> None:
        await asyncio.gather(*(client(agent, take(asked, SEARCHES)) for agent in agents))

    async def ours(agent: str, wanted: list[str]) -> None:
        for query in wanted:
            await on.search(query, mode, agent_id=agent)

    async def raw(agent: str, wanted: list[str]) -> None:
        def search() -> None:
            for query in wanted:
                on.raw.search(agent, query, mode)

        await asyncio.get_running_loop().run_in_executor(threads, search)

    with ThreadPoolExecutor(AGENTS) as threads:
        for client in (ours, raw):  # warm-up
            await everybody(client)
        times = await compare(on.options.times(10), ours=lambda _: everybody(ours), raw=lambda _: everybody(raw))
    rates = {name: 1_000 * AGENTS * SEARCHES / taken for name, taken in times.items()}
    table.add(f"{mode}: searches", "/s", rates["ours"], rates["raw"], least=0.6 if mode == "dense" else None)
