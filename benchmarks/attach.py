"""Attaching and detaching a source, which is a link whatever its size. Baseline: two ordered upserts of a record."""

from __future__ import annotations

from benchmarks.common import Options, Table, bench, compare, say, texts

SMALL = 100


async def run(options: Options) -> Table:
    """Measure a source of 10,000 passages and one of 100."""
    size = options.size(10_000)
    table = Table(f"attach: a source of {size:,} passages, and one of {SMALL}")
    async with bench(options) as on:
        say(f"attach: storing {size:,} passages")
        wanted = texts(size)
        large, small = await on.source(wanted), await on.source(wanted[:SMALL])
        agent = (await on.memory.agent()).agent_id

        async def change(number: int, source_id: str) -> None:
            await (on.memory.detach if number % 2 else on.memory.attach)(agent, source_id)

        def write(_: int) -> None:
            on.raw.put_record("links", "x" * 200)
            on.raw.put_record("agent", "x" * 600)

        for number in (0, 1):  # warm-up
            await change(number, small)
        times = await compare(
            2 * options.times(30), large=lambda n: change(n, large), small=lambda n: change(n, small), raw=write
        )
        most = 20.0 if options.backend == "lite" else None
        table.add("attach or detach", "ms", times["large"], most=most)
        table.add("attach or detach", "ms", times["large"], times["raw"])
        name = f"{SMALL} passages"
        table.add("attach or detach", "ms", times["large"], times["small"], other_name=name, most=1.3)
    return table
