"""Writes that fail, possibly in part: a step is complete or absent, and nothing of it appears later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import block_pb2, turn_pb2
from memgpt.memory.v1 import source_service_pb2 as pb
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import MESSAGES
from memgpt_memory.store.lite.engine import EngineError
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.rows import Key
from memgpt_runtime.errors import Aborted, NotFound

from tests.integration.memory.client import NOT_FOUND, UNAVAILABLE, Memory, batch, finish, header, refused, version
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import When, failing_deletes, failing_upserts
from tests.integration.memory.test_state import get, update

COLLECTIONS = ["memgpt_messages", "memgpt_passages", "memgpt_records"]
WHEN: list[When] = ["before", "half", "after"]


@pytest.fixture
async def local(serve: Serve, milvus_lite_uri: str) -> AsyncIterator[Memory]:
    """Memory within this process, on Milvus Lite."""
    async with serve(milvus_lite_uri) as memory:
        yield memory


async def one_step(memory: Memory, agent_id: str, lease: turn_pb2.Lease, step: int, mark: str, messages: int) -> None:
    await memory.commit(
        agent_id,
        lease,
        step,
        *[f"{mark} {n}" for n in range(messages)],
        notes=[f"note {mark} {n}" for n in range(messages)],
        blocks=[block_pb2.BlockEdit(label="human", value=mark)],
    )


async def seen(memory: Memory, agent_id: str) -> tuple[list[str], list[str], str, int]:
    """Everything that a step leaves."""
    context = await memory.context(agent_id)
    notes = sorted(await memory.texts("note", agent_id=agent_id))
    messages = [message.text for message in await memory.history(agent_id)]
    assert messages == [message.text for message in context.messages]
    assert context.archival_count == len(notes)
    return messages, notes, context.blocks[0].value, len(notes)


def after(*marks: str) -> tuple[list[str], list[str], str, int]:
    """What steps leave of two messages and notes each."""
    messages = ["x", *(f"{mark} {n}" for mark in marks for n in range(2))]
    notes = sorted(f"note {mark} {n}" for mark in marks for n in range(2))
    return messages, notes, marks[-1], len(notes)


async def test_a_step_whose_write_failed_happens_whole_or_not_at_all(serve: Serve, milvus_uri: str) -> None:
    agents = {}
    async with serve(milvus_uri) as memory:
        ways = list(product(COLLECTIONS, WHEN))
        for collection, when in ways if "://" not in milvus_uri else ways[1::3]:
            agent = await memory.agent(blocks=[block_pb2.BlockEdit(label="human", value="nobody")])
            agents[collection, when] = agent.agent_id
            grant = await memory.begin(agent.agent_id, agent.agent_id, "x")
            await one_step(memory, agent.agent_id, grant.lease, 1, "first", 2)
            with failing_upserts(memory.core().store, collection, when) as failed, refused(UNAVAILABLE):
                await one_step(memory, agent.agent_id, grant.lease, 2, "failed", 5)
            assert len(failed) == 1
            assert await seen(memory, agent.agent_id) == after("first")
            # Its numbers are used again, by fewer messages: what the failed one left would show.
            await one_step(memory, agent.agent_id, grant.lease, 2, "second", 2)
            assert await seen(memory, agent.agent_id) == after("first", "second")
    async with serve(milvus_uri) as memory:
        for agent_id in agents.values():
            assert await seen(memory, agent_id) == after("first", "second")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_point_that_may_have_been_written_is_looked_up(local: Memory, when: When) -> None:
    agent = await local.agent(blocks=[block_pb2.BlockEdit(label="human", value="nobody")])
    grant = await local.begin(agent.agent_id, "r", "x")
    await one_step(local, agent.agent_id, grant.lease, 1, "first", 2)
    store = local.core().store
    with failing_upserts(store, "memgpt_records", when, only=lambda row: row.kind == "agent"), refused(UNAVAILABLE):
        await one_step(local, agent.agent_id, grant.lease, 2, "second", 2)
    assert await seen(local, agent.agent_id) == (after("first") if when == "before" else after("first", "second"))
    await one_step(local, agent.agent_id, grant.lease, 2, "second", 2)
    assert await seen(local, agent.agent_id) == after("first", "second")


async def test_a_rollback_that_fails_is_tried_again_before_anything_is_written(local: Memory) -> None:
    agent = await local.agent(blocks=[block_pb2.BlockEdit(label="human", value="nobody")])
    grant = await local.begin(agent.agent_id, "r", "x")
    store = local.core().store
    with failing_upserts(store, "memgpt_passages", "after"), refused(UNAVAILABLE):
        await one_step(local, agent.agent_id, grant.lease, 1, "failed", 5)
    with failing_deletes(store, "memgpt_passages", times=2):
        for _ in range(2):
            with refused(UNAVAILABLE):
                await one_step(local, agent.agent_id, grant.lease, 1, "first", 2)
    await one_step(local, agent.agent_id, grant.lease, 1, "first", 2)
    assert await seen(local, agent.agent_id) == after("first")


async def test_one_agents_failed_write_harms_no_other(local: Memory) -> None:
    agents = [await local.agent(blocks=[block_pb2.BlockEdit(label="human", value="nobody")]) for _ in range(6)]
    grants = [await local.begin(agent.agent_id, agent.agent_id, "x") for agent in agents]
    with failing_upserts(local.core().store, "memgpt_messages", "half"):
        outcomes = await asyncio.gather(
            *(
                one_step(local, agent.agent_id, grant.lease, 1, "first", 2)
                for agent, grant in zip(agents, grants, strict=True)
            ),
            return_exceptions=True,
        )
    assert any(outcomes)  # several share an upsert, and with it its failure
    for agent, grant in zip(agents, grants, strict=True):
        await one_step(local, agent.agent_id, grant.lease, 1, "first", 2)
        assert await seen(local, agent.agent_id) == after("first")


async def test_a_caller_that_goes_away_does_not_break_a_step_in_two(local: Memory) -> None:
    agent = await local.agent(blocks=[block_pb2.BlockEdit(label="human", value="nobody")])
    grant = await local.begin(agent.agent_id, "r", "x")
    done = ["x"]
    for step in range(1, 12):
        call = asyncio.ensure_future(one_step(local, agent.agent_id, grant.lease, step, f"s{step}", 2))
        for _ in range(step * 3):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await one_step(local, agent.agent_id, grant.lease, step, f"s{step}", 2)
        done.append(f"s{step}")
        assert await seen(local, agent.agent_id) == after(*done[1:])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_creating_again_after_a_failure_makes_one_agent(local: Memory, when: When) -> None:
    store = local.core().store
    for kind in ("name", "agent", "text", "request"):
        name = f"of {kind}"

        def is_kind(row: Any, kind: str = kind) -> bool:
            return bool(row.kind == kind)

        with failing_upserts(store, "memgpt_records", when, only=is_kind), refused(UNAVAILABLE):
            await local.agent(name, system="s", request_id=name)
        agent = await local.agent(name, system="s", request_id=name)
        assert (await get(local, name=name)).agent_id == agent.agent_id
    listed = await local.agents.ListAgents(state.ListAgentsRequest())
    assert sorted(agent.name for agent in listed.agents) == ["of agent", "of name", "of request", "of text"]


@pytest.mark.parametrize("restart", [False, True])
async def test_notes_whose_answer_was_lost_are_stored_once(serve: Serve, milvus_lite_uri: str, restart: bool) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        failing = failing_upserts(
            memory.core().store, "memgpt_records", "before", only=lambda row: '"answer"' in row.body
        )
        with failing, refused(UNAVAILABLE):
            await memory.insert(agent.agent_id, "stored", request_id="r")
        if not restart:
            await memory.insert(agent.agent_id, "another", request_id="r2")
            await memory.insert(agent.agent_id, "stored", request_id="r")
            assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == ["another", "stored"]
            return
    async with serve(milvus_lite_uri) as memory:
        await memory.insert(agent.agent_id, "another", request_id="r2")
        await memory.insert(agent.agent_id, "stored", request_id="r")
        assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == ["another", "stored"]


async def test_a_rename_that_failed_half_way_leaves_the_old_name_free(local: Memory) -> None:
    agent = await local.agent("old")
    with failing_deletes(local.core().store, "memgpt_records"), refused(UNAVAILABLE):
        await update(local, agent.agent_id, "name", name="new")
    assert (await update(local, agent.agent_id, "name", name="new")).name == "new"
    assert (await local.agent("old")).agent_id != agent.agent_id


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_deleting_an_agent_goes_on_where_it_failed(local: Memory, collection: str) -> None:
    agent = await local.agent("gone")
    await local.turn(agent.agent_id, "x", "y")
    await local.insert(agent.agent_id, "note")
    request = state.DeleteAgentRequest(agent_id=agent.agent_id, request_id="d")
    with failing_deletes(local.core().store, collection) as failed, refused(UNAVAILABLE):
        await local.agents.DeleteAgent(request)
    assert failed
    with refused(NOT_FOUND):
        await get(local, name="gone")
    await local.agents.DeleteAgent(request)
    store = local.core().store
    notes = local.core().agents.passages.collection
    assert [await store.query(table, EVERY_ROW, Key) for table in (MESSAGES, notes)] == [[], []]
    await local.agent("gone")


async def test_calls_that_already_have_an_agent_find_its_deletion_although_it_failed(local: Memory) -> None:
    core, agent_id = local.core(), (await local.agent(user_id="ada")).agent_id
    (live,) = await core.agents.find_many([agent_id])
    fails = failing_upserts(core.store, "memgpt_records", "after", only=lambda row: row.kind == "agent")
    with fails, refused(UNAVAILABLE):
        await local.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=agent_id))
    with pytest.raises(Aborted, match="is being deleted"):
        [piece async for piece in core.transfers.export(live)]
    found, _ = await core.agents.read_context(live, messages=True)
    with pytest.raises(NotFound):
        await core.core_memory.list(found)


async def test_deleted_notes_are_gone_though_their_rows_are_not(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        ids = await memory.insert(agent.agent_id, *[f"note {n}" for n in range(9)])
        with failing_deletes(memory.core().store, "memgpt_passages") as failed:
            assert await memory.delete(agent.agent_id, *ids[2:5]) == 3
        assert failed
    async with serve(milvus_lite_uri) as memory:
        left = [f"note {n}" for n in (0, 1, 5, 6, 7, 8)]
        assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == left
        assert (await memory.context(agent.agent_id)).archival_count == 6
        assert await memory.delete(agent.agent_id, *ids) == 6


@pytest.mark.parametrize("when", WHEN)
async def test_a_load_that_failed_is_sent_again(local: Memory, when: When) -> None:
    source = await local.source()
    await local.load(source.source_id, "a.txt", ["old"])
    texts = [f"new {n}" for n in range(10)]
    store = local.core().store
    with failing_upserts(store, "memgpt_passages", when), refused(UNAVAILABLE):
        await local.load(source.source_id, "a.txt", texts)
    assert await local.texts("x", source_id=source.source_id) == ["old"]
    await local.load(source.source_id, "a.txt", texts)
    assert sorted(await local.texts("x", source_id=source.source_id)) == texts


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_switch_that_may_have_happened_is_looked_up(local: Memory, when: When) -> None:
    source = await local.source()
    await local.load(source.source_id, "a.txt", ["old"])
    other = local.sources.UpsertPassages()
    await other.write(header(source.source_id, version("b.txt", ["other"])))
    await other.write(batch(["other"]))
    store = local.core().store
    failing = failing_upserts(store, "memgpt_records", when, only=lambda row: '"staged":""' in row.body)
    with failing as failed, refused(UNAVAILABLE):
        await local.load(source.source_id, "a.txt", ["new"])
    assert failed
    assert await local.texts("x", source_id=source.source_id) == ["old" if when == "before" else "new"]
    # An upload that was under way all the while is not forgotten.
    await other.write(finish(1))
    await other.done_writing()
    await other
    assert (await local.load(source.source_id, "a.txt", ["new"])).unchanged == (when == "after")
    assert sorted(await local.texts("x", source_id=source.source_id)) == ["new", "other"]
    listed = await local.sources.ListFiles(pb.ListFilesRequest(source_id=source.source_id))
    assert [file.version.name for file in listed.files] == ["a.txt", "b.txt"]


async def test_a_reading_that_fails_is_unavailable_and_nothing_else(
    local: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await local.agent()
    await local.insert(agent.agent_id, "note")
    store = local.core().store
    assert isinstance(store, LiteStore)
    engine = store._open_engine

    def fail(*_: object, **__: object) -> None:
        raise EngineError("secret: /etc/passwd")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "get", fail)
        with refused(UNAVAILABLE, "STORE_UNAVAILABLE") as said:
            await local.texts("x", agent_id=agent.agent_id)
    assert "secret" not in said.message
    assert await local.texts("x", agent_id=agent.agent_id) == ["note"]
