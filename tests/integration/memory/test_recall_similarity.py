"""Recall memory by similarity: the paged ranking of an agent's messages, while the agent continues."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.memory.v1 import agent_pb2, message_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import recall_memory_service_pb2 as pb
from memgpt_memory.recall import MessageIndex
from memgpt_memory.store.filters import Equals
from memgpt_memory.store.rows import Key
from memgpt_memory.store.threaded import ThreadedStore

from tests.integration.memory.client import INVALID, PRECONDITION, UNAVAILABLE, Memory, refused, thought, user
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts
from tests.integration.memory.oracle import TOLERANCE, score
from tests.integration.memory.stores import collection_names
from tests.integration.memory.test_modes import has_full_text
from tests.integration.memory.test_paging import QUERY, sentences
from tests.integration.memory.test_recall import ASSISTANT, TOOL, USER, said, search, sent
from tests.integration.memory.test_reembedding import llm, move, target  # noqa: F401 - the fixture
from tests.support.scripted_llm import ScriptedLLM

SEMANTIC, HYBRID = pb.RECALL_MODE_SEMANTIC, pb.RECALL_MODE_HYBRID


async def walk(
    memory: Memory, agent_id: str, query: str = QUERY, *, token: str = "", size: int = 1000, **fields: Any
) -> list[tuple[int, pb.RecallScore]]:
    """Every message from a token on, or from the first: its place and its score."""
    fields.setdefault("mode", SEMANTIC)
    found: list[tuple[int, pb.RecallScore]] = []
    total = None
    while True:
        page = await search(memory, agent_id, query, page_token=token, page_size=size, **fields)
        assert len(page.messages) == len(page.scores) <= size
        total = page.total_size if total is None else total
        assert page.total_size == total
        found += zip((message.sequence for message in page.messages), page.scores, strict=True)
        token = page.next_page_token
        assert len(token) <= 4096
        if not token:
            return found


async def talker(memory: Memory, texts: Iterable[str]) -> agent_pb2.Agent:
    """An agent that has thought these texts, in order."""
    agent = await memory.agent()
    first, *left = texts
    grant = await memory.begin(agent.agent_id, uuid4().hex, first)
    for step in range(1, 1 + -(-len(left) // 60)):
        await memory.commit(agent.agent_id, grant.lease, step, *left[60 * (step - 1) : 60 * step])
    await memory.end(agent.agent_id, grant.lease)
    return agent


async def places(memory: Memory, agent_id: str, query: str = QUERY, **fields: Any) -> list[int]:
    return [sequence for sequence, _ in await walk(memory, agent_id, query, **fields)]


def check_ranked(found: list[tuple[int, pb.RecallScore]], texts: dict[int, str]) -> None:
    """Asserts that the texts, by their places, were found once each, the most alike first."""
    assert sorted(sequence for sequence, _ in found) == sorted(texts)
    for sequence, scores in found:
        assert abs(scores.dense_score - score(QUERY, texts[sequence])) < TOLERANCE
    for (one, _), (other, _) in pairwise(found):
        assert score(QUERY, texts[one]) - score(QUERY, texts[other]) > -TOLERANCE


async def test_pages_are_the_ranking_of_what_was_said_while_messages_arrive(memory: Memory) -> None:
    texts = dict(enumerate(sentences(60)))
    agent = await memory.agent(messages=[said(text) if n % 2 else sent(text) for n, text in texts.items()])
    await memory.insert(agent.agent_id, *sentences(5))
    found: list[tuple[int, pb.RecallScore]] = []
    token = ""
    while True:
        page = await search(memory, agent.agent_id, QUERY, mode=SEMANTIC, page_size=13, page_token=token)
        assert (page.total_size, page.mode) == (60, SEMANTIC)
        found += zip((message.sequence for message in page.messages), page.scores, strict=True)
        await memory.turn(agent.agent_id, QUERY, QUERY)
        token = page.next_page_token
        if not token:
            break
    check_ranked(found, texts)
    # Archival memory sees nothing of it.
    assert (await memory.page(QUERY, agent_id=agent.agent_id)).total_size == 5
    assert (await memory.context(agent.agent_id)).archival_count == 5


async def test_a_new_message_is_found_by_the_next_search(memory: Memory) -> None:
    agent = await memory.agent(messages=[said("x")])
    for number in range(5):
        await memory.turn(agent.agent_id, f"the boat number {number} is called Greta")
        assert sorted(await places(memory, agent.agent_id)) == list(range(number + 2))


async def test_events_without_words_are_left_out_and_roles_and_days_hold(memory: Memory) -> None:
    result = message_pb2.NewMessage(role=TOOL, text="a boat", call_id="c")
    heartbeat = user('{"type": "heartbeat", "reason": "boat"}')
    agent = await memory.agent(messages=[said("a boat"), sent("a boat"), result, heartbeat, thought(" "), thought("b")])
    assert sorted(await places(memory, agent.agent_id)) == [0, 1, 5]
    assert await places(memory, agent.agent_id, roles=[USER]) == [0]
    assert sorted(await places(memory, agent.agent_id, roles=[TOOL, ASSISTANT])) == [1, 2, 5]
    assert await places(memory, agent.agent_id, roles=[message_pb2.ROLE_SYSTEM]) == []
    stored = (await memory.history(agent.agent_id))[0].create_time.ToDatetime(tzinfo=UTC).date()
    day, after = str(stored), str(stored + timedelta(days=1))
    assert len(await places(memory, agent.agent_id, start_date=day, end_date=day)) == 3
    assert await places(memory, agent.agent_id, start_date=after) == []
    assert await places(memory, agent.agent_id, end_date=str(stored - timedelta(days=1))) == []
    assert len(await places(memory, agent.agent_id, start_date="0001-01-01", end_date="9999-12-31")) == 3


@pytest.mark.parametrize("mode", [pb.RECALL_MODE_TEXT, SEMANTIC])
async def test_days_are_those_of_the_first_page(memory: Memory, mode: pb.RecallMode.ValueType) -> None:
    agent = await memory.agent(time_zone="Pacific/Kiritimati", messages=[said(f"red {n}") for n in range(9)])
    first = (await memory.history(agent.agent_id))[0].create_time.ToDatetime(tzinfo=UTC) + timedelta(hours=14)
    day = str(first.date())
    request = {"start_date": day, "end_date": day, "mode": mode, "page_size": 4}
    page = await search(memory, agent.agent_id, "red", **request)
    changed = agent_pb2.Agent(agent_id=agent.agent_id, time_zone="Pacific/Niue")  # always another day
    await memory.agents.UpdateAgent(state.UpdateAgentRequest(agent=changed, update_mask=FieldMask(paths=["time_zone"])))
    found = [message.sequence for message in page.messages]
    while page.next_page_token:
        page = await search(memory, agent.agent_id, "red", page_token=page.next_page_token, **request)
        found += [message.sequence for message in page.messages]
    assert sorted(found) == list(range(9))


async def test_skipping_sizes_and_tokens(memory: Memory) -> None:
    agent = await memory.agent(messages=[said(text) for text in sentences(64)])
    everything = await places(memory, agent.agent_id, size=7)
    assert len(everything) == 64
    page = await search(memory, agent.agent_id, QUERY, mode=SEMANTIC, page_size=10, skip=5)
    assert [message.sequence for message in page.messages] == everything[5:15]
    beyond = await search(memory, agent.agent_id, QUERY, mode=SEMANTIC, skip=2**31 - 1)
    assert (len(beyond.messages), beyond.next_page_token, beyond.total_size) == (0, "", 64)
    for blank in ("", " \n"):
        with refused(INVALID):
            await search(memory, agent.agent_id, blank, mode=SEMANTIC)
    for other in ({"mode": HYBRID}, {"mode": SEMANTIC, "roles": [USER]}, {"mode": pb.RECALL_MODE_TEXT}):
        with refused(INVALID, "INVALID_PAGE_TOKEN"):
            await search(memory, agent.agent_id, QUERY, skip=5, page_token=page.next_page_token, **other)
    nobody = await memory.agent()
    assert await places(memory, nobody.agent_id) == []


async def test_hybrid_finds_words_in_every_script_and_says_what_it_did(memory: Memory) -> None:
    texts = ["我的船叫格雷塔，它在漏水", "ระบบมีความจำระยะยาวและค้นหาได้", *sentences(40)]
    agent = await memory.agent(messages=[said(text) for text in texts])
    full_text = await has_full_text(memory)
    for place, query in enumerate(("格雷塔", "ความจำ")):
        page = await search(memory, agent.agent_id, query, mode=HYBRID, page_size=5)
        assert page.mode == (HYBRID if full_text else SEMANTIC)
        assert page.total_size == len(texts)
        if full_text:
            assert page.messages[0].sequence == place
            assert page.scores[0].text_score > 0
            assert page.scores[0].fused_score > 0
    assert sorted(await places(memory, agent.agent_id, mode=HYBRID, size=9)) == list(range(len(texts)))


async def test_a_long_message_is_one_of_the_ranking(memory: Memory) -> None:
    long = " ".join(["ships that sail at night."] * 20_000)
    agent = await memory.agent(messages=[said(long), said("coffee"), said("🚢" * 30_000), said("?!")])
    page = await search(memory, agent.agent_id, QUERY, mode=SEMANTIC)
    assert page.messages[0].sequence == 0
    assert page.total_size == 4
    assert page.scores[0].dense_score > 0.9


async def test_agents_do_not_meet(memory: Memory) -> None:
    texts = sentences(30)
    agents = [await memory.agent(messages=[said(text) for text in texts[place::3]]) for place in range(3)]
    for place, agent in enumerate(agents):
        page = await search(memory, agent.agent_id, QUERY, mode=SEMANTIC)
        assert {message.agent_id for message in page.messages} == {agent.agent_id}
        assert page.total_size == len(texts[place::3])


@pytest.mark.parametrize("when", ["before", "half", "after"])
async def test_an_index_that_failed_half_way_is_finished_by_the_next_search(
    serve: Serve, milvus_lite_uri: str, when: Any
) -> None:
    texts = dict(enumerate(sentences(300)))
    async with serve(milvus_lite_uri) as memory:
        agent = await talker(memory, texts.values())
        await walk(memory, (await memory.agent(messages=[said("x")])).agent_id)  # the index exists
        with failing_upserts(memory.core().store, "memgpt_recall", when) as failed:
            with refused(UNAVAILABLE):
                await walk(memory, agent.agent_id)
            check_ranked(await walk(memory, agent.agent_id, size=70), texts)
        assert failed
    async with serve(milvus_lite_uri) as memory:  # and a new process goes on with it
        await memory.turn(agent.agent_id, sentences(1, 9)[0])
        texts[300] = sentences(1, 9)[0]
        check_ranked(await walk(memory, agent.agent_id, size=70), texts)


async def index_rows(memory: Memory, agent_id: str) -> int:
    core = memory.core()
    store = core.store
    assert isinstance(store, ThreadedStore)
    names = collection_names(store, "memgpt_recall")
    assert len(names) == 1
    await core.message_index._write_marks()  # otherwise written later
    return len(await store.query(store._ready[names[0]], Equals("owner", agent_id), Key))


async def test_searches_after_every_message_write_few_marks(
    serve: Serve, milvus_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server counts every mark as a text without words, and ranks words by the number and length of texts."""
    written: list[str] = []
    upsert = ThreadedStore.upsert

    async def noting(store: ThreadedStore, collection: Any, rows: Any, **options: Any) -> None:
        if collection.name.startswith("memgpt_recall"):
            written.extend(row.id for row in rows)
        await upsert(store, collection, rows, **options)

    monkeypatch.setattr(ThreadedStore, "upsert", noting)
    async with serve(milvus_uri) as memory:
        agents = [(await memory.agent()).agent_id for _ in range(2)]
        for number in range(5):
            for agent_id in agents:
                await memory.turn(agent_id, f"question {number}", f"answer {number}")
                assert len(await walk(memory, agent_id)) == 2 * number + 2
        assert len(written) == 20
        assert not {f"{agent_id}-r" for agent_id in agents} & set(written)
    assert sorted(written[20:]) == sorted(f"{agent_id}-r" for agent_id in agents)
    async with serve(milvus_uri) as memory:
        for agent_id in agents:
            assert len(await walk(memory, agent_id)) == 10
        assert len(written) == 22  # nothing was taken in again
        await memory.turn(agents[0], *(f"{number}" for number in range(130)))
        assert len(await walk(memory, agents[0])) == 140
        assert written[22:].count(f"{agents[0]}-r") == 1


async def test_after_a_crash_the_index_takes_in_again_what_has_no_mark(
    serve: Serve, milvus_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(_: object) -> None:
        pass

    with monkeypatch.context() as patch:
        patch.setattr(MessageIndex, "close", crash)
        async with serve(milvus_uri) as memory:
            agent_id = (await memory.agent()).agent_id
            await memory.turn(agent_id, "question", "answer")
            before = await walk(memory, agent_id)
    async with serve(milvus_uri) as memory:
        assert await walk(memory, agent_id) == before
        await memory.turn(agent_id, "another question", "another answer")
        assert len(await walk(memory, agent_id)) == 4


async def test_a_deleted_agent_leaves_nothing_in_the_index(serve: Serve, milvus_uri: str) -> None:
    async with serve(milvus_uri) as memory:
        agent, other = [await memory.agent(messages=[said(text) for text in sentences(20)]) for _ in range(2)]
        for one in (agent, other):
            assert len(await walk(memory, one.agent_id)) == 20
            assert await index_rows(memory, one.agent_id) == 21
        await memory.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=agent.agent_id))
        assert await index_rows(memory, agent.agent_id) == 0
        assert len(await walk(memory, other.agent_id)) == 20


async def test_after_a_move_to_another_model_the_index_is_made_again(
    serve: Serve,
    milvus_lite_uri: str,
    llm: ScriptedLLM,  # noqa: F811
) -> None:
    async with serve(milvus_lite_uri, **target(llm)) as memory:
        texts = sentences(40)
        agent = await memory.agent(messages=[said(text) for text in texts])
        await memory.insert(agent.agent_id, *texts)
        page = await search(memory, agent.agent_id, QUERY, mode=SEMANTIC, page_size=5)
        text_page = await search(memory, agent.agent_id, "number", page_size=5)
        await move(memory)
        with refused(PRECONDITION, "PAGE_TOKEN_EXPIRED"):
            await search(memory, agent.agent_id, QUERY, mode=SEMANTIC, page_size=5, page_token=page.next_page_token)
        await search(memory, agent.agent_id, "number", page_size=5, page_token=text_page.next_page_token)
        assert sorted(await places(memory, agent.agent_id, size=9)) == list(range(40))
        assert await index_rows(memory, agent.agent_id) == 41  # and the former one is gone
        assert (await memory.page(QUERY, agent_id=agent.agent_id)).total_size == 40


async def test_searches_of_one_agent_at_the_same_time(memory: Memory) -> None:
    texts = dict(enumerate(sentences(200)))
    agent = await talker(memory, texts.values())
    for found in await asyncio.gather(*(walk(memory, agent.agent_id, size=size) for size in (1000, 50, 33, 7))):
        check_ranked(found, texts)


@pytest.mark.parametrize("mode", [pb.RECALL_MODE_TEXT, SEMANTIC, HYBRID])
async def test_only_messages_before_a_given_one_are_found(memory: Memory, mode: pb.RecallMode.ValueType) -> None:
    agent = await memory.agent(messages=[said(f"I saw {n} owls.") for n in range(9)])
    pages: list[int] = []
    token = ""
    while True:
        page = await search(memory, agent.agent_id, "owls", mode=mode, before_sequence=5, page_size=2, page_token=token)
        assert page.total_size == 5
        pages += [message.sequence for message in page.messages]
        await memory.turn(agent.agent_id, "owls")
        token = page.next_page_token
        if not token:
            break
    assert sorted(pages) == [0, 1, 2, 3, 4]
    none = await search(memory, agent.agent_id, "owls", mode=mode, before_sequence=0)
    assert (len(none.messages), none.total_size) == (0, 0)
    late = await search(memory, agent.agent_id, "I saw owls", mode=mode, before_sequence=1 << 40)
    assert late.total_size >= 9


@pytest.mark.parametrize("mode", [pb.RECALL_MODE_TEXT, HYBRID])
async def test_neighbors_are_what_was_said_around_a_message(memory: Memory, mode: pb.RecallMode.ValueType) -> None:
    result = message_pb2.NewMessage(role=TOOL, text="a result", call_id="c")
    heartbeat = user('{"type": "heartbeat", "reason": "go on"}')
    agent = await memory.agent(
        messages=[
            said("Good day."),
            thought("Hm."),
            sent("Hello!"),
            result,
            heartbeat,
            said("I keep owls."),
            thought("I save it."),
            result,
            sent("Lovely."),
            said("Thanks."),
        ]
    )
    page = await search(memory, agent.agent_id, "owls", mode=mode, neighbors=1, page_size=1)
    (beside,) = page.neighbors
    assert [message.sequence for message in page.messages] == [5]
    assert ([m.sequence for m in beside.before], [m.sequence for m in beside.after]) == ([2], [8])
    page = await search(memory, agent.agent_id, "owls", mode=mode, neighbors=3, page_size=1)
    assert [m.sequence for m in page.neighbors[0].before] == [0, 2]
    assert [m.sequence for m in page.neighbors[0].after] == [8, 9]
    users = await search(memory, agent.agent_id, "owls", mode=mode, neighbors=3, page_size=1, roles=[USER])
    assert [m.sequence for m in users.neighbors[0].before] == [0]
    early = await search(memory, agent.agent_id, "owls", mode=mode, neighbors=3, before_sequence=6, page_size=1)
    assert not early.neighbors[0].after, "nothing after the limit is shown"
    assert not (await search(memory, agent.agent_id, "owls", mode=mode)).neighbors


async def test_neighbors_that_would_exceed_a_response_are_left_out(memory: Memory) -> None:
    agent = await memory.agent(messages=[said("x" * 400_000), said("owls"), said("y" * 400_000), said("z")])
    page = await search(memory, agent.agent_id, "owls", neighbors=2)
    (beside,) = page.neighbors
    assert [m.sequence for m in beside.before] == [0]
    assert [m.sequence for m in beside.after] == [3]
