"""The modes of archival search: by similarity, by keywords, and hybrid."""

from __future__ import annotations

import pytest
from memgpt.memory.v1 import archival_memory_service_pb2 as pb
from memgpt.memory.v1 import store_service_pb2
from memgpt.memory.v1.passage_pb2 import (
    SEARCH_MODE_DENSE,
    SEARCH_MODE_HYBRID,
    SEARCH_MODE_TEXT,
    SEARCH_MODE_UNSPECIFIED,
    SearchMode,
)

from tests.integration.memory.client import Memory
from tests.integration.memory.conftest import Serve

WORDS = ["harbour", "lantern", "anchor", "engine", "river", "mountain", "coffee", "letter", "window", "garden"]


def notes(count: int) -> list[str]:
    return [f"{WORDS[n % 10]} {WORDS[n * n % 7]} note number {n}" for n in range(count)]


async def has_full_text(memory: Memory) -> bool:
    answer: store_service_pb2.GetStoreResponse = await memory.store.GetStore(store_service_pb2.GetStoreRequest())
    return answer.full_text


async def test_what_the_backend_cannot_do_is_said_and_done_by_similarity(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *notes(12))
    full_text = await has_full_text(memory)
    expected = {
        SEARCH_MODE_UNSPECIFIED: SEARCH_MODE_HYBRID if full_text else SEARCH_MODE_DENSE,
        SEARCH_MODE_HYBRID: SEARCH_MODE_HYBRID if full_text else SEARCH_MODE_DENSE,
        SEARCH_MODE_TEXT: SEARCH_MODE_TEXT if full_text else SEARCH_MODE_DENSE,
        SEARCH_MODE_DENSE: SEARCH_MODE_DENSE,
    }
    for asked, done in expected.items():
        page = await memory.page("harbour", agent_id=agent.agent_id, mode=asked)
        assert page.mode == done
        assert page.hits


@pytest.mark.parametrize("mode", [SEARCH_MODE_HYBRID, SEARCH_MODE_TEXT])
async def test_pages_are_the_ranking_beyond_the_head_and_on_a_cold_cache(
    serve: Serve, milvus_lite_uri: str, mode: SearchMode.ValueType
) -> None:
    """600 notes: a head of up to 400, and the rest behind it, the same whether the list is cached or built anew."""
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        ids = await memory.insert(agent.agent_id, *notes(600))
        query = "anchor note"
        warm = await memory.pages(query, size=37, agent_id=agent.agent_id, mode=mode)
        assert sorted(hit.passage.passage_id for hit in warm) == sorted(ids)
        assert [hit.rank for hit in warm] == list(range(600))

        cold, token = [], ""
        while True:
            memory.core().archive.rankings.clear()
            page = await memory.page(query, size=37, token=token, agent_id=agent.agent_id, mode=mode)
            cold += [hit.passage.passage_id for hit in page.hits]
            assert page.total_size == 600
            assert len(page.next_page_token) <= 4096
            token = page.next_page_token
            if not token:
                break
        assert cold == [hit.passage.passage_id for hit in warm]


async def test_a_rebuilt_head_has_the_same_scores(serve: Serve, milvus_lite_uri: str) -> None:
    """Also when a page behind it, which needs none of them, was what it was built for."""
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        await memory.insert(agent.agent_id, *notes(600))

        async def page(token: str) -> pb.SearchPassagesResponse:
            return await memory.page(
                "anchor note", size=50, token=token, agent_id=agent.agent_id, mode=SEARCH_MODE_HYBRID
            )

        warm = [await page("")]
        while warm[-1].next_page_token:
            warm.append(await page(warm[-1].next_page_token))
        memory.core().archive.rankings.clear()
        behind = await page(warm[-2].next_page_token)
        assert behind == warm[-1]
        again = await page(warm[0].next_page_token)
        scored = 0
        for hit, before in zip(again.hits, warm[1].hits, strict=True):
            assert hit.passage == before.passage
            if before.HasField("text_score"):
                assert hit.text_score == pytest.approx(before.text_score)
                scored += 1
        assert scored


@pytest.mark.parametrize("mode", [SEARCH_MODE_HYBRID, SEARCH_MODE_TEXT])
async def test_a_pinned_head_stays_when_others_write_and_passages_go(
    serve: Serve, milvus_lite_uri: str, mode: SearchMode.ValueType
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent, other = await memory.agent(), await memory.agent()
        ids = await memory.insert(agent.agent_id, *notes(300))
        everything = [
            hit.passage.passage_id
            for hit in await memory.pages("river note", size=100, agent_id=agent.agent_id, mode=mode)
        ]
        first = await memory.page("river note", size=20, agent_id=agent.agent_id, mode=mode)

        await memory.insert(other.agent_id, *(["river river river"] * 200))
        await memory.insert(agent.agent_id, "river note of later")
        gone = {everything[25], everything[150], everything[299]}
        assert await memory.delete(agent.agent_id, *gone) == 3
        memory.core().archive.rankings.clear()

        rest = await memory.pages(
            "river note", size=20, token=first.next_page_token, agent_id=agent.agent_id, mode=mode
        )
        found = [hit.passage.passage_id for hit in [*first.hits, *rest]]
        assert found == [one for one in everything if one not in gone]
        assert set(found) <= set(ids)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("系统有长期记忆，可以翻页检索。", "记忆"),
        ("このシステムには長期記憶があります。", "記憶"),
        ("ระบบมีความจำระยะยาวและค้นหาได้", "ความจำ"),
        ("Der Ärger über Straßen", "STRASSEN"),
    ],
)
async def test_words_are_found_inside_sentences_of_every_script(memory: Memory, text: str, query: str) -> None:
    if not await has_full_text(memory):
        pytest.skip("this backend has no full text")
    agent = await memory.agent()
    (wanted,) = await memory.insert(agent.agent_id, text)
    await memory.insert(agent.agent_id, *notes(30))
    for mode in (SEARCH_MODE_TEXT, SEARCH_MODE_HYBRID):
        page = await memory.page(query, size=1, agent_id=agent.agent_id, mode=mode)
        assert page.hits[0].passage.passage_id == wanted
        assert page.hits[0].text_score > 0
    assert (await memory.page(query, agent_id=agent.agent_id, mode=SEARCH_MODE_TEXT)).total_size == 1


async def test_a_query_without_words_finds_nothing_by_words(memory: Memory) -> None:
    agent = await memory.agent()
    await memory.insert(agent.agent_id, *notes(3))
    page = await memory.page("?!", agent_id=agent.agent_id, mode=SEARCH_MODE_TEXT)
    assert len(page.hits) == (0 if await has_full_text(memory) else 3)
    assert len((await memory.page("?!", agent_id=agent.agent_id)).hits) == 3


async def test_filters_hold_in_every_mode(memory: Memory) -> None:
    agent = await memory.agent()
    kept = await memory.insert(agent.agent_id, *notes(9), tags=["kept"])
    await memory.insert(agent.agent_id, *notes(9), tags=["other"])
    for mode in (SEARCH_MODE_DENSE, SEARCH_MODE_TEXT, SEARCH_MODE_HYBRID):
        wanted = pb.PassageFilter(tags=["kept"])
        hits = await memory.pages("note", size=4, agent_id=agent.agent_id, mode=mode, filter=wanted)
        assert sorted(hit.passage.passage_id for hit in hits) == sorted(kept)
