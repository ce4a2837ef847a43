"""Searching one owner's passages: the first page, deep pages, a token in a new process, the very last page.

Raw, a deep page is a search with an offset; of a hybrid ranking it takes the search by words as well, for what stands
in its head is to be left out behind it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import Options, Stage, Table, compare, queries, say, stage, take, texts

PAGE = 10


async def run(options: Options) -> Table:
    """10,000 passages on Lite, 100,000 on a server, unless told otherwise."""
    size = options.size(10_000 if options.backend == "lite" else 100_000)
    table = Table(f"search: {size:,} passages of one owner, pages of {PAGE}")
    async with stage(options) as on:
        say(f"search: storing {size:,} passages twice")
        wanted = texts(size)
        owner = await on.source(wanted)
        on.raw.load(owner, wanted)
        for mode in on.modes:
            await _pages(on, table, owner, mode, size)
        tokens = {mode: await _deep_tokens(on, owner, mode, size) for mode in on.modes}
        await on.start()
        for mode in on.modes:
            await _cold(on, table, owner, mode, size, tokens[mode])
    return table


def _deep(size: int) -> int:
    """Number of the deep page, from 1: 900 of 1,000."""
    return max(size // PAGE * 9 // 10, 3)


async def _pages(on: Stage, table: Table, owner: str, mode: str, size: int) -> None:
    say(f"search: {mode}, page by page")
    asked = queries()
    first = take(asked, on.options.times(30) + 2)
    for query in first[-2:]:  # nobody's first search counts
        await on.search(query, mode, source_id=owner)
        on.raw.search(owner, query, mode)
    times = await compare(
        on.options.times(30),
        ours=lambda n: on.search(first[n], mode, source_id=owner),
        raw=lambda n: on.raw.search(owner, first[n], mode),
    )
    table.add(f"{mode}: page 1", "ms", times["ours"], times["raw"], most=1.5)

    query = next(asked)
    tokens = [""]
    seen: set[str] = set()
    while True:
        page = await on.search(query, mode, source_id=owner, token=tokens[-1])
        seen.update(hit.passage.passage_id for hit in page.hits)
        if not page.next_page_token:
            break
        tokens.append(page.next_page_token)
    table.add(f"{mode}: passages on {len(tokens):,} pages", "", len(seen), size, other_name="stored", most=1, least=1)

    async def turn_to(number: int) -> None:
        await on.search(query, mode, source_id=owner, token=tokens[number - 1])

    deep = _deep(size)
    times = await compare(
        on.options.times(30),
        second=lambda n: turn_to(2),
        deep=lambda n: turn_to(deep),
        raw=lambda n: on.raw.search(owner, query, mode, offset=PAGE * (deep - 1)),
    )
    table.add(f"{mode}: page {deep:,}", "ms", times["deep"], times["second"], other_name="page 2", most=1.3)
    table.add(f"{mode}: page {deep:,}", "ms", times["deep"], times["raw"], other_name="raw offset", most=0.2)


async def _deep_tokens(on: Stage, owner: str, mode: str, size: int) -> list[tuple[str, str]]:
    """Queries, and for each the token of its deep page."""
    asked = take(queries(seed=2), on.options.times(10) + 1)
    return [(query, (await on.search(query, mode, **_before(owner, size))).next_page_token) for query in asked]


async def _cold(on: Stage, table: Table, owner: str, mode: str, size: int, tokens: list[tuple[str, str]]) -> None:
    say(f"search: {mode}, tokens of a former process")
    before = _before(owner, size)

    async def go_on(query: str, token: str) -> None:
        page = await on.search(query, mode, token=token, **before)
        assert page.hits[0].rank == before["skip"] + PAGE

    await go_on(*tokens[-1])  # nobody's first search counts
    times = await compare(
        len(tokens) - 1,
        ours=lambda n: go_on(*tokens[n]),
        raw=lambda n: on.raw.search(owner, tokens[n][0], mode, offset=PAGE * (_deep(size) - 1)),
    )
    what = f"{mode}: page {_deep(size):,}, new process"
    table.add(what, "ms", times["ours"], times["raw"], other_name="raw offset", most=1.5)


def _before(owner: str, size: int) -> dict[str, Any]:
    """The request whose answer is the page before the deep one."""
    return {"source_id": owner, "skip": PAGE * (_deep(size) - 2)}
