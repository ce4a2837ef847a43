"""Filters of archival search: each kind in each mode, to the last page, whatever the values look like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.client import MemGPT
from memgpt.memory.v1 import archival_memory_service_pb2 as pb
from memgpt.memory.v1 import passage_pb2, source_service_pb2
from memgpt.memory.v1.passage_pb2 import SEARCH_MODE_DENSE, SEARCH_MODE_HYBRID, SEARCH_MODE_TEXT
from memgpt_memory.ranking import _ranking as ranking

from tests.integration.memory.client import INVALID, Memory, batch, header, refused, version
from tests.integration.memory.conftest import Serve
from tests.integration.memory.oracle import check_ranking
from tests.integration.memory.test_modes import has_full_text, notes
from tests.integration.memory.test_paging import QUERY, sentences

MODES = (SEARCH_MODE_DENSE, SEARCH_MODE_TEXT, SEARCH_MODE_HYBRID)
NASTY = [
    'a "b" \\ c',
    "line\nbreak\ttab\rreturn",
    "'single'",
    '"] or true or owner in ["',
    "x' OR '1'='1'; DROP TABLE passages; --",
    "100%_like_%",
    "😀 e\u0301 \u202e \u0000null",
    "{tag} {{tag}} $tag",
    "\\",
]


def texts(hits: Sequence[passage_pb2.PassageHit]) -> list[str]:
    return sorted(hit.passage.text for hit in hits)


async def found(memory: Memory, agent_id: str, mode: passage_pb2.SearchMode.ValueType, **filters: object) -> list[str]:
    """Texts of the whole filtered ranking, whose total is the true one on every page."""
    hits: list[passage_pb2.PassageHit] = []
    token, total = "", None
    wanted = pb.PassageFilter(**filters)  # type: ignore[arg-type]
    while True:
        page = await memory.page("note", size=3, token=token, agent_id=agent_id, mode=mode, filter=wanted)
        total = page.total_size if total is None else total
        assert page.total_size == total
        hits += page.hits
        token = page.next_page_token
        if not token:
            break
    assert len(hits) == total
    return texts(hits)


async def listed(memory: Memory, scope: pb.PassageScope, **filters: object) -> list[str]:
    """Texts of a filtered listing, in its order, whose total is the true one on every page."""
    found: list[str] = []
    token, totals = "", set()
    wanted = pb.PassageFilter(**filters)  # type: ignore[arg-type]
    while True:
        page = await memory.archive.ListPassages(
            pb.ListPassagesRequest(scope=scope, page_size=3, page_token=token, filter=wanted)
        )
        found += [passage.text for passage in page.passages]
        totals.add(page.total_size)
        token = page.next_page_token
        if not token:
            break
    assert totals == {len(found)}
    return found


async def test_every_filter_holds_in_every_mode_to_the_last_page(memory: Memory) -> None:
    agent, one, two = await memory.agent(), await memory.source(), await memory.source()
    await memory.insert(agent.agent_id, *[f"note early {n}" for n in range(7)], tags=["red"])
    first = await memory.load(one.source_id, "a.txt", [f"note one a {n}" for n in range(7)])
    await memory.load(one.source_id, "b.txt", [f"note one b {n}" for n in range(7)])
    between = Timestamp()
    between.GetCurrentTime()
    await memory.load(two.source_id, "a.txt", [f"note two a {n}" for n in range(7)])
    await memory.insert(agent.agent_id, *[f"note late {n}" for n in range(7)], tags=["red", "blue"])
    for source in (one, two):
        await memory.attach(agent.agent_id, source.source_id)

    def of(*kinds: str) -> list[str]:
        return sorted(f"note {kind} {n}" for kind in kinds for n in range(7))

    for mode in MODES:
        for filters, expected in (
            ({"source_ids": [one.source_id]}, of("one a", "one b")),
            ({"file_names": ["a.txt"]}, of("one a", "two a")),
            ({"source_ids": [one.source_id], "file_names": ["a.txt", "absent"]}, of("one a")),
            ({"tags": ["red"]}, of("early", "late")),
            ({"tags": ["blue", "red"]}, of("late")),
            ({"tags": ["green"]}, []),
            ({"created_before": between}, of("early", "one a", "one b")),
            ({"created_from": between}, of("two a", "late")),
            ({"created_from": between, "tags": ["red"]}, of("late")),
            ({"created_from": between, "source_ids": [one.source_id]}, []),
            # By the time that is shown, to the microsecond.
            ({"created_from": first.file.create_time, "file_names": ["a.txt"]}, of("one a", "two a")),
            ({"created_before": first.file.create_time}, of("early")),
        ):
            assert await found(memory, agent.agent_id, mode, **filters) == expected, (mode, filters)
            # A listing is in order of storing, own notes first.
            names = ("early", "late", "one a", "one b", "two a")
            in_order = sorted(expected, key=lambda text: (names.index(text[5:-2]), text))
            assert await listed(memory, pb.PassageScope(agent_id=agent.agent_id), **filters) == in_order, filters


async def test_documents_bear_the_tags_of_their_file(memory: Memory) -> None:
    agent, source = await memory.agent(), await memory.source()
    await memory.attach(agent.agent_id, source.source_id)
    await memory.insert(agent.agent_id, "note own", tags=["red"])
    loaded = await memory.load(source.source_id, "a.txt", ["note a 0", "note a 1"], tags=["red", NASTY[0]])
    assert list(loaded.file.tags) == ["red", NASTY[0]]
    await memory.load(source.source_id, "b.txt", ["note b"], tags=["blue"])
    for mode in MODES:
        assert await found(memory, agent.agent_id, mode, tags=["red"]) == ["note a 0", "note a 1", "note own"]
        assert await found(memory, agent.agent_id, mode, tags=[NASTY[0], "red"]) == ["note a 0", "note a 1"]
        assert await found(memory, agent.agent_id, mode, tags=["blue"], file_names=["a.txt"]) == []
    hits = (await memory.page("note", agent_id=agent.agent_id, filter=pb.PassageFilter(tags=["blue"]))).hits
    assert [list(hit.passage.tags) for hit in hits] == [["blue"]]
    # The same version with other labels: nothing is written anew, and the next search goes by them.
    again = await memory.load(source.source_id, "a.txt", ["note a 0", "note a 1"], tags=["blue"])
    assert again.unchanged
    assert list(again.file.tags) == ["blue"]
    for mode in MODES:
        assert await found(memory, agent.agent_id, mode, tags=["red"]) == ["note own"]
        assert await found(memory, agent.agent_id, mode, tags=["blue"]) == ["note a 0", "note a 1", "note b"]


async def test_values_of_filters_may_hold_anything(memory: Memory) -> None:
    agent, source = await memory.agent(), await memory.source()
    await memory.attach(agent.agent_id, source.source_id)
    for place, nasty in enumerate(NASTY):
        await memory.insert(agent.agent_id, f"note tagged {place}", tags=[nasty])
        await memory.load(source.source_id, nasty, [f"note in file {place}"])
    for mode in MODES:
        for place, nasty in enumerate(NASTY):
            assert await found(memory, agent.agent_id, mode, tags=[nasty]) == [f"note tagged {place}"]
            assert await found(memory, agent.agent_id, mode, file_names=[nasty]) == [f"note in file {place}"]
            assert await found(memory, agent.agent_id, mode, source_ids=[nasty]) == []


async def test_a_filtered_listing_is_that_of_its_first_page(memory: Memory) -> None:
    agent, source = await memory.agent(), await memory.source()
    await memory.load(source.source_id, "a.txt", [f"note a {n}" for n in range(4)], tags=["red"])
    await memory.load(source.source_id, "b.txt", ["note b"])
    assert await listed(memory, pb.PassageScope(source_id=source.source_id), tags=["red"]) == [
        f"note a {n}" for n in range(4)
    ]
    await memory.attach(agent.agent_id, source.source_id)
    ids = await memory.insert(agent.agent_id, *[f"note {n}" for n in range(4)], tags=["red"])
    await memory.insert(agent.agent_id, "note of another color", tags=["blue"])
    scope, wanted = pb.PassageScope(agent_id=agent.agent_id), pb.PassageFilter(tags=["red"])
    request = pb.ListPassagesRequest(scope=scope, page_size=2, filter=wanted)
    first = await memory.archive.ListPassages(request)
    await memory.insert(agent.agent_id, "note that comes later", tags=["red"])
    await memory.delete(agent.agent_id, ids[2])
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await memory.archive.ListPassages(
            pb.ListPassagesRequest(scope=scope, page_size=2, page_token=first.next_page_token)
        )
    found, token = list(first.passages), first.next_page_token
    while token:
        page = await memory.archive.ListPassages(
            pb.ListPassagesRequest(scope=scope, page_size=2, filter=wanted, page_token=token)
        )
        assert page.total_size == first.total_size == 8
        found, token = [*found, *page.passages], page.next_page_token
    texts = ["note 0", "note 1", "note 3", "note a 0", "note a 1", "note a 2", "note a 3"]
    assert [passage.text for passage in found] == texts


async def test_the_python_client_lists(memory: Memory) -> None:
    mine = memory.of("default")  # it says nothing of a tenant
    agent = await mine.agent()
    await mine.insert(agent.agent_id, "note 1", "note 2", tags=["red"])
    await mine.insert(agent.agent_id, "note 3")

    def texts_of(wanted: pb.PassageFilter | None) -> list[str]:
        with MemGPT(memory=memory.address) as client:
            found = client.memory.list_passages(pb.PassageScope(agent_id=agent.agent_id), wanted)
            return [passage.text for passage in found]

    assert await asyncio.to_thread(texts_of, None) == ["note 1", "note 2", "note 3"]
    assert await asyncio.to_thread(texts_of, pb.PassageFilter(tags=["red"])) == ["note 1", "note 2"]


async def test_a_filter_that_cannot_be_is_refused(memory: Memory) -> None:
    agent = await memory.agent()
    for wanted in (
        pb.PassageFilter(created_from=Timestamp(seconds=2), created_before=Timestamp(seconds=1)),
        pb.PassageFilter(created_from=Timestamp(seconds=2**62)),
        pb.PassageFilter(created_before=Timestamp(seconds=-(2**62))),
        pb.PassageFilter(tags=["x" * 65]),
        pb.PassageFilter(source_ids=["x"] * 101),
    ):
        with refused(INVALID):
            await memory.page(QUERY, agent_id=agent.agent_id, filter=wanted)
        with refused(INVALID):
            scope = pb.PassageScope(agent_id=agent.agent_id)
            await memory.archive.ListPassages(pb.ListPassagesRequest(scope=scope, filter=wanted))


async def test_a_token_fits_its_own_filter_and_mode_only(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *sentences(20), tags=["red", "blue"])
    wanted = pb.PassageFilter(tags=["red"], created_from=Timestamp(seconds=1))
    page = await memory.page(QUERY, size=5, agent_id=agent.agent_id, filter=wanted)
    for other in (
        pb.PassageFilter(),
        pb.PassageFilter(tags=["red"]),
        pb.PassageFilter(tags=["red", "blue"], created_from=Timestamp(seconds=1)),
        pb.PassageFilter(tags=["red"], created_from=Timestamp(seconds=2)),
        pb.PassageFilter(tags=["red"], created_from=Timestamp(seconds=1), file_names=["a"]),
        pb.PassageFilter(tags=["red"], created_from=Timestamp(seconds=1), source_ids=["a"]),
    ):
        with refused(INVALID, "INVALID_PAGE_TOKEN"):
            await memory.page(QUERY, token=page.next_page_token, agent_id=agent.agent_id, filter=other)
    for mode in (SEARCH_MODE_TEXT, SEARCH_MODE_HYBRID):
        with refused(INVALID, "INVALID_PAGE_TOKEN"):
            await memory.page(QUERY, token=page.next_page_token, agent_id=agent.agent_id, filter=wanted, mode=mode)


async def test_a_hundred_attached_sources_are_one_ranking(memory: Memory) -> None:
    agent = await memory.agent()
    sources = await asyncio.gather(*(memory.source() for _ in range(100)))
    everything = sentences(300)

    async def load(place: int, source_id: str) -> None:
        await memory.load(source_id, "a.txt", everything[3 * place : 3 * place + 3])

    await asyncio.gather(*(load(place, source.source_id) for place, source in enumerate(sources)))
    for source in sources:
        await memory.attach(agent.agent_id, source.source_id)
    own = await memory.insert(agent.agent_id, "a note of its own")
    hits = await memory.pages(QUERY, size=40, agent_id=agent.agent_id)
    check_ranking(QUERY, hits, {hit.passage.passage_id: hit.passage.text for hit in hits})
    assert texts(hits) == sorted([*everything, "a note of its own"])
    assert own[0] in {hit.passage.passage_id for hit in hits}
    # All but one, by a filter: and that one is another's as soon as it is detached.
    wanted = pb.PassageFilter(source_ids=[source.source_id for source in sources[1:]])
    page = await memory.page(QUERY, size=10, agent_id=agent.agent_id, filter=wanted)
    assert page.total_size == 297
    await memory.detach(agent.agent_id, sources[50].source_id)
    rest = await memory.pages(QUERY, size=100, token=page.next_page_token, agent_id=agent.agent_id, filter=wanted)
    gone = set(everything[150:153])
    assert {hit.passage.text for hit in [*page.hits, *rest]} - gone == set(everything[3:]) - gone
    assert not gone & {hit.passage.text for hit in rest}


async def test_rows_of_an_unfinished_version_displace_no_hits(memory: Memory) -> None:
    """A version on its way in has more rows than are visible, and better ones: all that is visible is found."""
    source = await memory.source()
    visible = [f"harbour of note number {n} with many words that make it less alike" for n in range(10)]
    await memory.load(source.source_id, "a.txt", visible)
    staged = ["harbour"] * 500

    async def unfinished() -> AsyncIterator[source_service_pb2.UpsertPassagesRequest]:
        yield header(source.source_id, version("a.txt", staged))
        yield batch(staged)

    with refused(INVALID):
        await memory.sources.UpsertPassages(unfinished())
    for mode in MODES:
        page = await memory.page("harbour", size=4, source_id=source.source_id, mode=mode)
        assert page.total_size == 10
        assert texts(await memory.pages("harbour", size=4, source_id=source.source_id, mode=mode)) == sorted(visible)
        if page.mode == SEARCH_MODE_HYBRID:
            assert all(hit.HasField("fused_score") and hit.HasField("text_score") for hit in page.hits)


async def test_the_head_of_a_filtered_ranking_is_made_of_what_passes(memory: Memory) -> None:
    if not await has_full_text(memory):
        pytest.skip("this backend has no full text")
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *(["harbour"] * 500))
    tagged = [f"the harbour is mentioned here among other things, {n}" for n in range(5)]
    await memory.insert(agent.agent_id, *tagged, tags=["kept"])
    page = await memory.page(
        "harbour", agent_id=agent.agent_id, mode=SEARCH_MODE_HYBRID, filter=pb.PassageFilter(tags=["kept"])
    )
    assert texts(page.hits) == sorted(tagged)
    assert all(hit.text_score > 0 and hit.HasField("fused_score") for hit in page.hits)


async def test_a_total_is_that_of_its_own_snapshot_while_others_write(memory: Memory) -> None:
    agent, source = await memory.agent(), await memory.source()
    await memory.attach(agent.agent_id, source.source_id)
    await memory.insert(agent.agent_id, *sentences(50))
    busy = True

    async def write(number: int) -> None:
        while busy:
            await memory.insert(agent.agent_id, f"note of writer {number}")

    async def load() -> None:
        while busy:
            await memory.load(source.source_id, f"{uuid4().hex}.txt", ["a document"])

    writers = [asyncio.create_task(write(number)) for number in range(3)] + [asyncio.create_task(load())]
    try:
        for _ in range(15):
            first = await memory.page(QUERY, size=7, agent_id=agent.agent_id)
            rest = await memory.pages(QUERY, size=500, token=first.next_page_token, agent_id=agent.agent_id)
            assert len(first.hits) + len(rest) == first.total_size
    finally:
        busy = False
        await asyncio.gather(*writers)


async def test_every_match_is_found_behind_the_head_of_a_ranking(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        everything = notes(600)
        for start in range(0, 600, 20):  # each with a stamp of its own
            await memory.insert(agent.agent_id, *everything[start : start + 20])
        hits = await memory.pages("note", size=50, agent_id=agent.agent_id, mode=SEARCH_MODE_TEXT)
        assert texts(hits) == sorted(everything)


async def test_cached_rankings_are_bounded_in_memory(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "_MAX_CACHED_BYTES", 200_000)
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        await memory.insert(agent.agent_id, *sentences(300))
        rankings = memory.core().archive.rankings
        first = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
        for number in range(60):
            await memory.page(f"query {number}", agent_id=agent.agent_id)
            assert sum(one.bytes for one in rankings._cache.values()) <= 200_000
        assert 1 < len(rankings._cache) < 60
        # What was dropped is built again, and the walk goes on.
        rest = await memory.pages(QUERY, size=100, token=first.next_page_token, agent_id=agent.agent_id)
        assert len({hit.passage.passage_id for hit in [*first.hits, *rest]}) == 300
