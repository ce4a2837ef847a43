"""Searching one owner's passages: the first page, deep pages, a page token in a new process, the last page.

The baseline of a deep page is a search with an offset. In a hybrid ranking it also needs the keyword search, because
passages in the head must not repeat after it. A deep page of a keyword ranking is one of its own matches.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.common import Bench, Options, Table, bench, compare, queries, say, take, texts

PAGE = 10


async def run(options: Options) -> Table:
    """Measure 10,000 passages on Lite, 100,000 on a server, unless the options say otherwise."""
    size = options.size(10_000 if options.backend == "lite" else 100_000)
    table = Table(f"search: {size:,} passages of one owner, pages of {PAGE}")
    async with bench(options) as on:
        say(f"search: storing {size:,} passages twice")
        wanted = texts(size)
        owner = await on.source(wanted)
        on.raw.load(owner, wanted)
        for mode in on.modes:
            await _pages(on, table, owner, mode, size)
        tokens = {mode: await _deep_tokens(on, owner, mode) for mode in on.modes}
        await on.start()
        for mode in on.modes:
            await _cold(on, table, owner, mode, tokens[mode])
    return table


@dataclass(frozen=True, slots=True)
class _Deep:
    """A query, and a deep page of its ranking.

    Attributes:
        query: The query.
        number: The page's number, from 1.
        token: The page token that leads to it.
    """

    query: str
    number: int
    token: str

    @property
    def before(self) -> int:
        """Number of hits before the page that returned the token."""
        return PAGE * (self.number - 2)

    @property
    def offset(self) -> int:
        """Number of hits before the page."""
        return PAGE * (self.number - 1)


def _deep(total: int) -> int:
    """Find page 900, which a server can still reach by an offset, or the page at nine tenths of a shorter ranking."""
    return min(max(total // PAGE * 9 // 10, 3), 900)


async def _pages(on: Bench, table: Table, owner: str, mode: str, size: int) -> None:
    say(f"search: {mode}, page by page")
    asked = queries()
    first = take(asked, on.options.times(30) + 2)
    for query in first[-2:]:  # warm-up
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
    # A keyword ranking contains only passages that share a word with the query.
    every, name = (page.total_size, "total") if mode == "text" else (size, "stored")
    table.add(f"{mode}: passages on {len(tokens):,} pages", "", len(seen), every, other_name=name, most=1, least=1)

    async def turn_to(number: int) -> None:
        await on.search(query, mode, source_id=owner, token=tokens[number - 1])

    deep = _deep(page.total_size)
    # Measured separately from raw, whose work leaves the processor's caches cold for the next contender.
    pages = await compare(on.options.times(100), second=lambda _: turn_to(2), deep=lambda _: turn_to(deep))
    table.add(f"{mode}: page {deep:,}", "ms", pages["deep"], pages["second"], other_name="page 2", most=1.3)
    times = await compare(
        on.options.times(30),
        deep=lambda _: turn_to(deep),
        raw=lambda _: on.raw.search(owner, query, mode, offset=PAGE * (deep - 1)),
    )
    table.add(f"{mode}: page {deep:,}", "ms", times["deep"], times["raw"], other_name="raw offset", most=0.2)


async def _deep_tokens(on: Bench, owner: str, mode: str) -> list[_Deep]:
    found = []
    for query in take(queries(seed=2), on.options.times(10) + 1):
        number = _deep((await on.search(query, mode, source_id=owner)).total_size)
        page = await on.search(query, mode, source_id=owner, skip=PAGE * (number - 2))
        found.append(_Deep(query, number, page.next_page_token))
    return found


async def _cold(on: Bench, table: Table, owner: str, mode: str, pages: list[_Deep]) -> None:
    say(f"search: {mode}, tokens of a former process")

    async def go_on(deep: _Deep) -> None:
        page = await on.search(deep.query, mode, source_id=owner, skip=deep.before, token=deep.token)
        assert page.hits[0].rank == deep.offset

    await go_on(pages[-1])  # warm-up
    times = await compare(
        len(pages) - 1,
        ours=lambda n: go_on(pages[n]),
        raw=lambda n: on.raw.search(owner, pages[n].query, mode, offset=pages[n].offset),
    )
    what = f"{mode}: page {pages[0].number:,}, new process"
    table.add(what, "ms", times["ours"], times["raw"], other_name="raw offset", most=1.5)
