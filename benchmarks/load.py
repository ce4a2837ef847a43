"""Loading passages: embedding them and writing them in the Loader's batches, on both sides."""

from __future__ import annotations

from benchmarks.common import BATCH, Options, Table, bench, compare, say, texts


async def run(options: Options) -> Table:
    """Measure files of 2,048 passages in a growing store."""
    size = options.size(2_048)
    table = Table(f"load: files of {size:,} passages, {BATCH} a batch")
    async with bench(options) as on:
        say("load: loading")
        repetitions = options.times(10)
        files = [texts(size, seed=number) for number in range(repetitions)]
        source = (await on.memory.source()).source_id
        first = texts(BATCH, seed=-1)  # warm-up
        await on.load(source, first)
        on.raw.load(source, first)
        times = await compare(
            repetitions, ours=lambda n: on.load(source, files[n]), raw=lambda n: on.raw.load(source, files[n])
        )
        rates = {name: 1_000 * size / taken for name, taken in times.items()}
        table.add("passages with embeddings", "/s", rates["ours"], rates["raw"], least=0.7)
    return table
