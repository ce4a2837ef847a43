"""The footprint of a store: memory after a restart and many searches, and disk per passage after compaction."""

from __future__ import annotations

from memgpt.memory.v1 import store_service_pb2

from benchmarks.common import PASSAGE_CHARS, Options, Table, bench, megabytes, queries, say, take, texts


async def run(options: Options) -> Table:
    """Measure 10,000 passages on Milvus Lite; the memory and disk of a server are not measured."""
    size = options.size(10_000)
    table = Table(f"footprint: {size:,} passages of {PASSAGE_CHARS:,} characters")
    if options.backend != "lite":
        table.notes.append("Only on Milvus Lite, which lives within Memory.")
        return table
    async with bench(options) as on:
        say(f"footprint: storing {size:,} passages")
        source = await on.source(texts(size))
        await on.start()
        table.add("resident after a restart", "MB", megabytes(on.pid))
        searches = options.times(1_000)
        say(f"footprint: {searches:,} searches")
        for query in take(queries(), searches):
            await on.search(query, "hybrid", source_id=source)
        name = f"after {searches:,} hybrid searches"
        table.add(f"resident {name}", "MB", megabytes(on.pid), most=700)
        table.add("its peak", "MB", megabytes(on.pid, "VmHWM"))
        await on.memory.store.Compact(store_service_pb2.CompactRequest())
        await on.stop()
        path = on.home / "memory.db"
        used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        table.add("disk for each passage", "KB", used / size / 1024, most=4)
    return table
