"""Paging to the very last passage of long rankings."""

from __future__ import annotations

from itertools import pairwise
from uuid import uuid4

import pytest
from memgpt_memory.store.server import store as server

from tests.integration.memory.client import Memory, connected
from tests.integration.memory.conftest import Serve
from tests.integration.memory.oracle import check_ranking
from tests.integration.memory.test_paging import QUERY, sentences


async def loaded(memory: Memory, count: int) -> tuple[str, dict[str, str]]:
    """An agent that can see so many passages: its own, and those of two sources. Every tenth is the same text."""
    agent = await memory.agent()
    texts = sentences(count)
    texts[::10] = ["the same as many others"] * len(texts[::10])
    third = count // 3
    ids = await memory.insert(agent.agent_id, *texts[:third])
    for number, part in enumerate((texts[third : 2 * third], texts[2 * third :])):
        source = await memory.source()
        await memory.load(source.source_id, f"{number}.txt", part)
        await memory.attach(agent.agent_id, source.source_id)
        hits = await memory.pages("x", size=1000, source_id=source.source_id)
        by_text: dict[str, list[str]] = {}
        for hit in hits:
            by_text.setdefault(hit.passage.text, []).append(hit.passage.passage_id)
        ids += [by_text[text].pop() for text in part]
    return agent.agent_id, dict(zip(ids, texts, strict=True))


async def test_every_one_of_three_thousand_passages_is_reached(memory: Memory) -> None:
    agent_id, expected = await loaded(memory, 3_001)
    hits = await memory.pages(QUERY, size=250, agent_id=agent_id)
    check_ranking(QUERY, hits, expected)
    page = await memory.page(QUERY, size=250, agent_id=agent_id, skip=2_999)
    assert [hit.passage.passage_id for hit in page.hits] == [hit.passage.passage_id for hit in hits[2_999:]]


@pytest.mark.milvus_server
async def test_a_ranking_is_put_together_from_several_windows_of_a_server(
    serve: Serve, milvus_server_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a window of 500 rows instead of 16,384, every boundary lies within hundreds of equal scores."""
    monkeypatch.setattr(server, "WINDOW", 500)
    async with serve(milvus_server_uri) as memory:
        agent_id, expected = await loaded(memory, 2_400)
        hits = await memory.pages(QUERY, size=300, agent_id=agent_id)
        check_ranking(QUERY, hits, expected)


@pytest.mark.milvus_server
async def test_the_last_passage_beyond_a_servers_window_is_reached(server_process: str) -> None:
    async with connected(server_process, f"t{uuid4().hex}") as memory:
        source = await memory.source()
        texts = sentences(17_500)
        await memory.load(source.source_id, "long.txt", texts)
        hits = await memory.pages(QUERY, size=1_000, source_id=source.source_id)
        assert sorted(hit.passage.text for hit in hits) == sorted(texts)
        assert len({hit.passage.passage_id for hit in hits}) == len(texts)
        assert all(one.dense_score >= other.dense_score for one, other in pairwise(hits))
        page = await memory.page(QUERY, size=10, source_id=source.source_id, skip=17_495)
        assert [hit.passage for hit in page.hits] == [hit.passage for hit in hits[17_495:]]
