"""The pages of a search, joined, are the ranking, whatever happens in between."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import archival_memory_service_pb2 as pb

from tests.integration.memory.client import INVALID, NOT_FOUND, Memory, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.oracle import check_order, check_ranking

QUERY = "ships that sail at night"
WORDS = ["harbour", "lantern", "anchor", "engine", "river", "mountain", "coffee", "letter", "window", "garden"]
WORDS += ["rain", "night", "sail", "ship", "captain"]


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different texts, whose similarity varies."""
    return [
        f"{WORDS[(n * 7 + seed) % 15]} {WORDS[n * n % 15]} {WORDS[n // 15 % 15]} number {n + seed * 100_000}"
        for n in range(count)
    ]


async def test_pages_put_together_are_the_ranking(memory: Memory) -> None:
    agent = await memory.agent()
    texts = sentences(137)
    ids = await memory.insert(agent.agent_id, *texts)
    for size in (1, 10, 136, 137, 1000):
        hits = await memory.pages(QUERY, size=size, agent_id=agent.agent_id)
        check_ranking(QUERY, hits, dict(zip(ids, texts, strict=True)))


async def test_pages_of_a_process_that_knows_none_before_them_are_the_same(serve: Serve, milvus_uri: str) -> None:
    async with serve(milvus_uri) as memory:
        source = await memory.source()
        # Three of each, so that pages end within equal scores.
        await memory.load(source.source_id, "a.txt", [text for text in sentences(60) for _ in range(3)])
        core = memory.core()
        whole, tokens = [], [""]
        while True:
            page = await memory.page(QUERY, size=7, source_id=source.source_id, token=tokens[-1])
            whole += [hit.passage.passage_id for hit in page.hits]
            if not page.next_page_token:
                break
            tokens.append(page.next_page_token)
        assert len(set(whole)) == len(whole) == 180

        async def turn_to(number: int) -> list[str]:
            page = await memory.page(QUERY, size=7, source_id=source.source_id, token=tokens[number])
            assert page.total_size == 180
            assert bool(page.next_page_token) == (number < len(tokens) - 1)
            assert [hit.rank for hit in page.hits] == list(range(7 * number, 7 * number + len(page.hits)))
            return [hit.passage.passage_id for hit in page.hits]

        for number in range(len(tokens)):
            core.archive.rankings.clear()
            for there in (number, min(number + 1, len(tokens) - 1), max(number - 1, 0)):
                assert await turn_to(there) == whole[7 * there : 7 * there + 7]


async def test_the_total_is_the_true_one_on_every_page(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *sentences(23))
    first = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
    second = await memory.page(QUERY, size=10, token=first.next_page_token, agent_id=agent.agent_id)
    third = await memory.page(QUERY, size=10, token=second.next_page_token, agent_id=agent.agent_id)
    assert [len(page.hits) for page in (first, second, third)] == [10, 10, 3]
    assert [page.total_size for page in (first, second, third)] == [23, 23, 23]
    assert third.next_page_token == ""


async def test_a_last_page_that_is_full_has_no_token(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *sentences(20))
    first = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
    second = await memory.page(QUERY, size=10, token=first.next_page_token, agent_id=agent.agent_id)
    assert len(second.hits) == 10
    assert second.next_page_token == ""


async def test_nothing_is_found_where_nothing_is(memory: Memory) -> None:
    agent = await memory.agent()
    page = await memory.page(QUERY, agent_id=agent.agent_id)
    assert (len(page.hits), page.next_page_token, page.total_size) == (0, "", 0)
    source = await memory.source()
    page = await memory.page(QUERY, source_id=source.source_id)
    assert (len(page.hits), page.next_page_token, page.total_size) == (0, "", 0)


async def test_equal_passages_come_in_order_of_their_ids(memory: Memory) -> None:
    agent = await memory.agent()
    texts = ["the same words"] * 90 + sentences(30) + ["the same words"] * 30
    ids = await memory.insert(agent.agent_id, *texts)
    hits = await memory.pages("the same words", size=7, agent_id=agent.agent_id)
    check_ranking("the same words", hits, dict(zip(ids, texts, strict=True)))


async def test_what_is_stored_in_between_does_not_join(memory: Memory) -> None:
    agent = await memory.agent()
    texts = sentences(210)  # more than is fetched at first
    ids = await memory.insert(agent.agent_id, *texts)
    page = await memory.page(QUERY, size=30, agent_id=agent.agent_id)
    hits = list(page.hits)
    later = 0
    while page.next_page_token:
        await memory.insert(agent.agent_id, QUERY, f"{QUERY} {later}", f"far away {later}")
        later += 3
        page = await memory.page(QUERY, size=30, token=page.next_page_token, agent_id=agent.agent_id)
        assert page.total_size == 210
        hits += page.hits
    check_ranking(QUERY, hits, dict(zip(ids, texts, strict=True)))
    assert len(await memory.texts(QUERY, agent_id=agent.agent_id)) == 210 + later


async def test_what_is_deleted_in_between_vanishes_and_nothing_else(memory: Memory) -> None:
    agent = await memory.agent()
    texts = sentences(60)
    ids = await memory.insert(agent.agent_id, *texts)
    expected = dict(zip(ids, texts, strict=True))
    ranking = [hit.passage.passage_id for hit in await memory.pages(QUERY, size=1000, agent_id=agent.agent_id)]
    page = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
    # Some that were answered, the last of them too, and some that were not, the next one too.
    gone = {ranking[n] for n in (0, 9, 10, 11, 25, 59)}
    assert await memory.delete(agent.agent_id, *gone) == 6
    rest = await memory.pages(QUERY, size=10, token=page.next_page_token, agent_id=agent.agent_id)
    assert [hit.passage.passage_id for hit in rest] == [id_ for id_ in ranking[10:] if id_ not in gone]
    check_order(QUERY, rest, expected)
    again = await memory.pages(QUERY, size=10, agent_id=agent.agent_id)
    check_ranking(QUERY, again, {id_: text for id_, text in expected.items() if id_ not in gone})


async def test_deleting_is_idempotent_and_only_for_own_notes(memory: Memory) -> None:
    agent, other = await memory.agent(), await memory.agent()
    source = await memory.source()
    await memory.load(source.source_id, "a.txt", ["from a document"])
    await memory.attach(agent.agent_id, source.source_id)
    mine = await memory.insert(agent.agent_id, "one", "two")
    theirs = await memory.insert(other.agent_id, "three")
    document = (await memory.page("document", source_id=source.source_id)).hits[0].passage.passage_id
    assert await memory.delete(agent.agent_id, mine[0], theirs[0], document, f"{agent.agent_id}-n99", "nonsense") == 1
    assert await memory.delete(agent.agent_id, mine[0]) == 0
    assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == ["from a document", "two"]
    assert await memory.texts("x", agent_id=other.agent_id) == ["three"]
    context = await memory.context(agent.agent_id)
    assert (context.archival_count, context.agent.passage_count) == (2, 1)


async def test_a_source_detached_in_between_vanishes_and_one_attached_does_not_join(memory: Memory) -> None:
    agent = await memory.agent()
    names = ("first", "second", "third")
    sources = {name: await memory.source(f"{name} {uuid4().hex}") for name in names}
    texts = {name: sentences(30, seed) for seed, name in enumerate(names)}
    for name, source in sources.items():
        await memory.load(source.source_id, "a.txt", texts[name])
    own = sentences(10, 9)
    await memory.insert(agent.agent_id, *own)
    await memory.attach(agent.agent_id, sources["first"].source_id)
    await memory.attach(agent.agent_id, sources["second"].source_id)
    full = await memory.pages(QUERY, size=1000, agent_id=agent.agent_id)
    assert {hit.passage.text for hit in full} == {*texts["first"], *texts["second"], *own}

    page = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
    assert page.total_size == 70
    await memory.detach(agent.agent_id, sources["first"].source_id)
    await memory.attach(agent.agent_id, sources["third"].source_id)
    rest = await memory.pages(QUERY, size=10, token=page.next_page_token, agent_id=agent.agent_id)
    expected = [hit.passage.text for hit in full[10:] if hit.passage.text not in texts["first"]]
    assert [hit.passage.text for hit in rest] == expected

    # Attached again it is a new attachment: the old search goes on without it.
    await memory.attach(agent.agent_id, sources["first"].source_id)
    rest = await memory.pages(QUERY, size=10, token=page.next_page_token, agent_id=agent.agent_id)
    assert [hit.passage.text for hit in rest] == expected
    assert set(await memory.texts(QUERY, agent_id=agent.agent_id)) == {
        *texts["first"],
        *texts["second"],
        *texts["third"],
        *own,
    }


async def test_a_file_replaced_in_between_vanishes_and_its_new_version_waits_for_a_new_search(memory: Memory) -> None:
    source = await memory.source()
    old, new, other = sentences(25), sentences(40, 1), sentences(25, 2)
    await memory.load(source.source_id, "a.txt", old)
    await memory.load(source.source_id, "b.txt", other)
    full = await memory.pages(QUERY, size=1000, source_id=source.source_id)
    page = await memory.page(QUERY, size=10, source_id=source.source_id)
    await memory.load(source.source_id, "a.txt", new)
    rest = await memory.pages(QUERY, size=10, token=page.next_page_token, source_id=source.source_id)
    assert [hit.passage.text for hit in rest] == [hit.passage.text for hit in full[10:] if hit.passage.text not in old]
    assert sorted(await memory.texts(QUERY, source_id=source.source_id)) == sorted([*new, *other])


async def test_skip_passes_over_hits_and_the_ranks_go_on(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *sentences(50))
    full = await memory.pages(QUERY, size=1000, agent_id=agent.agent_id)
    rest = await memory.pages(QUERY, size=10, agent_id=agent.agent_id, skip=15)
    assert rest == full[15:]
    assert rest[0].rank == 15
    for skip in (50, 1_000_000):
        page = await memory.page(QUERY, agent_id=agent.agent_id, skip=skip)
        assert (len(page.hits), page.next_page_token, page.total_size) == (0, "", 50)
    with refused(INVALID):
        await memory.page(QUERY, agent_id=agent.agent_id, skip=-1)


@pytest.mark.parametrize(("size", "length"), [(0, 50), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
async def test_a_page_has_fifty_hits_unless_said_otherwise_and_a_thousand_at_most(
    memory: Memory, size: int, length: int
) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *[f"n {n}" for n in range(1001)])
    page = await memory.page(QUERY, size=size, agent_id=agent.agent_id)
    assert (len(page.hits), page.total_size) == (length, 1001)
    assert page.next_page_token


async def test_a_negative_page_size_and_a_blank_query_are_refused(memory: Memory) -> None:
    agent = await memory.agent()
    with refused(INVALID) as error:
        await memory.page(QUERY, size=-1, agent_id=agent.agent_id)
    assert "page_size" in error.message or "negative" in error.message
    for blank in ("", "  \n\t"):
        with refused(INVALID):
            await memory.page(blank, agent_id=agent.agent_id)
    with refused(INVALID):
        await memory.page(QUERY)
    with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
        await memory.page(QUERY, agent_id="agent_nobody")
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await memory.page(QUERY, source_id="source_nothing")


async def test_a_token_fits_its_own_request_only(memory: Memory) -> None:
    agent, other = await memory.agent(), await memory.agent()
    await memory.insert(agent.agent_id, *sentences(20))
    await memory.insert(other.agent_id, *sentences(20))
    token = (await memory.page(QUERY, size=5, agent_id=agent.agent_id)).next_page_token
    assert len(token) <= 4096
    changed = chr(ord(token[-9]) ^ 1)
    for forged in (token[:-9] + changed + token[-8:], token[:-4], token + "AAAA", "x", "!", "A" * 5000, "ü"):
        with refused(INVALID, "INVALID_PAGE_TOKEN"):
            await memory.page(QUERY, size=5, token=forged, agent_id=agent.agent_id)
    for request in (
        {"query": "another query", "agent_id": agent.agent_id},
        {"query": QUERY, "agent_id": other.agent_id},
        {"query": QUERY, "agent_id": agent.agent_id, "skip": 1},
        {"query": QUERY, "agent_id": agent.agent_id, "filter": pb.PassageFilter(tags=["a"])},
    ):
        with refused(INVALID, "INVALID_PAGE_TOKEN"):
            await memory.page(size=5, token=token, **request)
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await memory.archive.ListPassages(
            pb.ListPassagesRequest(scope=pb.PassageScope(agent_id=agent.agent_id), page_token=token)
        )
    # The size of a page may change on the way.
    assert len((await memory.page(QUERY, size=9, token=token, agent_id=agent.agent_id)).hits) == 9


async def test_a_new_memory_is_found_by_the_next_search(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *sentences(30))
    for number in range(10):
        assert await memory.texts(QUERY, agent_id=agent.agent_id)
        await memory.insert(agent.agent_id, f"the password is {number}")
        assert f"the password is {number}" in await memory.texts(QUERY, agent_id=agent.agent_id)


async def test_searches_at_the_same_time_do_not_disturb_each_other(memory: Memory) -> None:
    agent = await memory.agent()
    texts = sentences(300)
    ids = await memory.insert(agent.agent_id, *texts)
    expected = dict(zip(ids, texts, strict=True))
    first = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
    walks = await asyncio.gather(
        *(
            memory.pages(QUERY, size=size, token=first.next_page_token, agent_id=agent.agent_id)
            for size in (10, 290, 17, 100, 3)
        )
    )
    for walk in walks:
        check_ranking(QUERY, [*first.hits, *walk], expected)


async def test_an_agent_sees_its_own_notes_and_attached_sources_only(memory: Memory) -> None:
    one, two = await memory.agent(), await memory.agent()
    attached, detached = await memory.source(), await memory.source()
    await memory.load(attached.source_id, "a.txt", ["attached"])
    await memory.load(detached.source_id, "a.txt", ["not attached"])
    await memory.insert(one.agent_id, "of one")
    await memory.insert(two.agent_id, "of two")
    await memory.attach(one.agent_id, attached.source_id)
    assert sorted(await memory.texts("x", agent_id=one.agent_id)) == ["attached", "of one"]
    assert await memory.texts("x", agent_id=two.agent_id) == ["of two"]
    theirs = (await memory.page("x", agent_id=two.agent_id)).hits[0].passage.passage_id
    own = (await memory.page("x", agent_id=one.agent_id)).hits[0].passage.passage_id
    scope = pb.PassageScope(agent_id=one.agent_id)
    found = await memory.archive.GetPassages(
        pb.GetPassagesRequest(scope=scope, passage_ids=[theirs, "absent", own, own])
    )
    assert [passage.passage_id for passage in found.passages] == [own, own]
    assert (await memory.context(one.agent_id)).archival_count == 2


async def test_attaching_and_detaching_are_idempotent(memory: Memory) -> None:
    agent, source = await memory.agent(), await memory.source()
    await memory.load(source.source_id, "a.txt", ["attached"])
    for _ in range(3):
        attached = await memory.attach(agent.agent_id, source.source_id)
        assert [one.source_id for one in attached.attachments] == [source.source_id]
    assert await memory.texts("x", agent_id=agent.agent_id) == ["attached"]
    for _ in range(3):
        assert not (await memory.detach(agent.agent_id, source.source_id)).attachments
    assert await memory.texts("x", agent_id=agent.agent_id) == []
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await memory.attach(agent.agent_id, "source_nothing")


async def test_filters(memory: Memory) -> None:
    agent, one, two = await memory.agent(), await memory.source(), await memory.source()
    nasty = 'a "b" \\ c\n.txt'
    await memory.load(one.source_id, "plain.txt", ["one plain"])
    await memory.load(one.source_id, nasty, ["one nasty"])
    await memory.load(two.source_id, "plain.txt", ["two plain"])
    await memory.attach(agent.agent_id, one.source_id)
    await memory.attach(agent.agent_id, two.source_id)
    await memory.insert(agent.agent_id, "note red", tags=["red"])
    await memory.insert(agent.agent_id, "note both", tags=["red", 'bl"ue\\'])
    between = Timestamp()
    between.GetCurrentTime()
    await memory.insert(agent.agent_id, "note late")

    async def found(**conditions: object) -> list[str]:
        page = await memory.page("x", agent_id=agent.agent_id, filter=pb.PassageFilter(**conditions))  # type: ignore[arg-type]
        assert page.total_size == len(page.hits)
        return sorted(hit.passage.text for hit in page.hits)

    assert await found(source_ids=[one.source_id]) == ["one nasty", "one plain"]
    assert await found(source_ids=[one.source_id, two.source_id], file_names=["plain.txt"]) == [
        "one plain",
        "two plain",
    ]
    assert await found(file_names=[nasty]) == ["one nasty"]
    assert await found(file_names=['"] or true or owner in ["']) == []
    assert await found(source_ids=['"] or true or owner in ["']) == []
    assert await found(tags=["red"]) == ["note both", "note red"]
    assert await found(tags=["red", 'bl"ue\\']) == ["note both"]
    assert await found(tags=["red"], source_ids=[one.source_id]) == []
    assert await found(created_from=between) == ["note late"]
    assert await found(created_before=between) == ["note both", "note red", "one nasty", "one plain", "two plain"]
    assert await found(created_before=between, tags=["red"]) == ["note both", "note red"]


async def test_a_filtered_search_pages_like_any_other(memory: Memory) -> None:
    agent = await memory.agent()
    red, blue = sentences(120), sentences(120, 1)
    ids = []
    for start in range(0, 120, 30):
        ids += await memory.insert(agent.agent_id, *red[start : start + 30], tags=["red"])
        await memory.insert(agent.agent_id, *blue[start : start + 30], tags=["blue"])
    wanted = pb.PassageFilter(tags=["red"])
    hits = await memory.pages(QUERY, size=7, agent_id=agent.agent_id, filter=wanted)
    check_ranking(QUERY, hits, dict(zip(ids, red, strict=True)))


async def test_listing_is_in_order_of_storing(memory: Memory) -> None:
    agent, source = await memory.agent(), await memory.source()
    notes, first, second = sentences(15), sentences(12, 1), sentences(12, 2)
    ids = await memory.insert(agent.agent_id, *notes)
    await memory.load(source.source_id, "z.txt", first)
    await memory.load(source.source_id, "a.txt", second)
    await memory.attach(agent.agent_id, source.source_id)
    await memory.delete(agent.agent_id, ids[3], ids[4])
    scope = pb.PassageScope(agent_id=agent.agent_id)
    found, token = [], ""
    while True:
        page = await memory.archive.ListPassages(pb.ListPassagesRequest(scope=scope, page_size=7, page_token=token))
        found += [passage.text for passage in page.passages]
        assert page.total_size == 37
        if not token:
            await memory.insert(agent.agent_id, "stored in between")
        token = page.next_page_token
        if not token:
            break
    assert found == [*notes[:3], *notes[5:], *first, *second]


async def test_tenants_do_not_meet(memory: Memory) -> None:
    other = memory.of(f"t{uuid4().hex}")
    mine, theirs = await memory.agent("Same Name"), await other.agent("Same Name")
    assert mine.agent_id != theirs.agent_id
    source, their_source = await memory.source("same source"), await other.source("same source")
    await memory.load(source.source_id, "a.txt", ["my document"])
    await other.load(their_source.source_id, "a.txt", ["their document"])
    await memory.insert(mine.agent_id, *[f"mine {n}" for n in range(5)], request_id="r")
    await other.insert(theirs.agent_id, *[f"theirs {n}" for n in range(5)], request_id="r")
    assert sorted(await other.texts("x", agent_id=theirs.agent_id)) == [f"theirs {n}" for n in range(5)]
    with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
        await other.page("x", agent_id=mine.agent_id)
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await other.page("x", source_id=source.source_id)
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await other.attach(theirs.agent_id, source.source_id)
    with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
        await other.insert(mine.agent_id, "x")
    with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
        await other.begin(mine.agent_id, "r", "x")
    token = (await memory.page("x", size=2, agent_id=mine.agent_id)).next_page_token
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await other.page("x", size=2, token=token, agent_id=mine.agent_id)
    # The requests are alike to the byte; the tokens are the tenant's own all the same.
    for number in range(3):
        await memory.agent(f"further {number}")
        await other.agent(f"further {number}")
    listed = await memory.agents.ListAgents(state.ListAgentsRequest(page_size=2))
    assert listed.total_size == 4
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await other.agents.ListAgents(state.ListAgentsRequest(page_size=2, page_token=listed.next_page_token))
    assert (await memory.begin(mine.agent_id, "turn", "hello")).turn.turn_id != (
        await other.begin(theirs.agent_id, "turn", "hello")
    ).turn.turn_id
