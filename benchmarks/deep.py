"""The last page of a large owner's passages, with a check that none is missing or repeated."""

from __future__ import annotations

from benchmarks.common import Options, Table, bench, queries, say, texts

PAGE = 100


async def run(options: Options) -> Table:
    """Measure 100,000 passages on Milvus Lite; on a server `search` covers as many."""
    size = options.size(100_000)
    table = Table(f"deep: {size:,} passages of one owner, pages of {PAGE}")
    async with bench(options) as on:
        say(f"deep: storing {size:,} passages")
        owner = await on.source(texts(size))
        for mode in on.modes:
            say(f"deep: {mode}, page by page")
            query, token, hits = next(queries()), "", 0
            seen: set[str] = set()
            while True:
                page = await on.search(query, mode, source_id=owner, size=PAGE, token=token)
                hits += len(page.hits)
                seen.update(hit.passage.passage_id for hit in page.hits)
                token = page.next_page_token
                if not token:
                    break
            table.add(f"{mode}: hits on all pages", "", hits, len(seen), other_name="different", most=1, least=1)
            table.add(f"{mode}: hits on all pages", "", hits, page.total_size, other_name="total", most=1, least=1)
    return table
