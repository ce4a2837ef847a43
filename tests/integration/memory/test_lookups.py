"""What is looked up by key: nothing is found by looking through the store that a key can say."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import source_service_pb2
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt_memory.agents import _agents
from memgpt_runtime.errors import Reason, Unavailable

from tests.integration.memory.client import UNAVAILABLE, Memory, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts


def without_queries(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every look through the store fail."""

    async def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"looked through the store: {arguments}")

    monkeypatch.setattr(memory.core().store, "query", refuse)


async def totals(memory: Memory, source_id: str) -> tuple[int, int, int]:
    source = (await memory.sources.GetSource(source_service_pb2.GetSourceRequest(source_id=source_id))).source
    return source.file_count, source.document_count, source.passage_count


async def test_a_process_reads_agents_and_sources_by_key(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        sources = [(await memory.source()).source_id for _ in range(3)]
        await memory.load(sources[0], "a.txt", ["one", "two"])
        await memory.load(sources[0], "b.txt", ["three"])
        await memory.load(sources[0], "a.txt", ["one", "two", "more"])
        agent = await memory.agent("a")
        for source_id in sources:
            await memory.attach(agent.agent_id, source_id)
    async with serve(milvus_lite_uri) as memory:
        with monkeypatch.context() as patch:
            without_queries(memory, patch)
            found = (await memory.agents.GetAgent(state.GetAgentRequest(name="a"))).agent
            assert [link.passage_count for link in found.attachments] == [4, 0, 0]
            grant = await memory.begin(agent.agent_id, "r", "hello")
            assert grant.context.archival_count == 4
            await memory.detach(agent.agent_id, sources[1])
            await memory.attach(agent.agent_id, sources[1])
        assert await totals(memory, sources[0]) == (2, 2, 4)
        assert await memory.texts("x", source_id=sources[0]) != []


async def test_totals_follow_every_change_and_every_restart(serve: Serve, milvus_lite_uri: str) -> None:
    expected = (0, 0, 0)
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id

    async def check(change: Any = None) -> None:
        async with serve(milvus_lite_uri) as memory:
            assert await totals(memory, source_id) == expected
            if change is not None:
                await change(memory)

    await check(lambda memory: memory.load(source_id, "a.txt", ["1", "2"]))
    expected = (1, 1, 2)
    await check(lambda memory: memory.load(source_id, "b.txt", ["3"]))
    expected = (2, 2, 3)
    await check(lambda memory: memory.load(source_id, "a.txt", ["4"]))
    expected = (2, 2, 2)
    delete = source_service_pb2.DeleteFileRequest(source_id=source_id, name="a.txt")
    await check(lambda memory: memory.sources.DeleteFile(delete))
    expected = (1, 1, 1)
    await check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
async def test_totals_are_true_whichever_write_of_a_switch_fails(
    serve: Serve, milvus_lite_uri: str, when: Any, number: int
) -> None:
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        await memory.load(source_id, "a.txt", ["1", "2", "3"])
        await memory.load(source_id, "b.txt", ["4"])
        seen = 0

        def chosen(*_: Any) -> bool:
            nonlocal seen
            seen += 1
            return seen == number + 1

        failing = failing_upserts(memory.core().store, "memgpt_records", when, only=chosen)
        with failing as failed, suppress(grpc.aio.AioRpcError):
            await memory.load(source_id, "a.txt", ["5", "6"])
        assert failed
        shown = await totals(memory, source_id)
        listed = (await memory.sources.ListFiles(source_service_pb2.ListFilesRequest(source_id=source_id))).files
        assert shown == (2, 2, sum(file.passage_count for file in listed))
    async with serve(milvus_lite_uri) as memory:
        assert await totals(memory, source_id) == shown


async def test_a_store_without_totals_and_journal_gets_them(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        await memory.load(source_id, "a.txt", ["1", "2"])
        gone = (await memory.agent("gone")).agent_id
        agents, records = memory.core().agents, memory.core().agents._records

        async def fail(_: object) -> None:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "injected")

        monkeypatch.setattr(agents, "_purge", fail)
        with refused(UNAVAILABLE):
            await memory.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=gone))
        await records.delete(["unfinished", *[row.id for row in await records.find("summary")]])
    async with serve(milvus_lite_uri) as memory:
        records = memory.core().agents._records
        assert await records.get(gone) is None
        assert await totals(memory, source_id) == (1, 1, 2)
        assert len(await records.find("summary")) == 1


async def test_lists_agree_with_what_was_made_and_deleted(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        names = [f"a{number}" for number in range(5)]
        ids = [(await memory.agent(name)).agent_id for name in names]
        assert [agent.name for agent in await memory.listed()] == names
        await memory.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=ids[1]))
        page = await memory.agents.ListAgents(state.ListAgentsRequest(page_size=2))
        assert ([agent.name for agent in page.agents], page.total_size) == (["a0", "a2"], 4)
        with failing_upserts(memory.core().store, "memgpt_records", "after"), refused(UNAVAILABLE):
            await memory.agent("doubtful")
    async with serve(milvus_lite_uri) as memory:
        page = await memory.agents.ListAgents(state.ListAgentsRequest())
        assert [agent.name for agent in page.agents] == ["a0", "a2", "a3", "a4"]
        assert page.total_size == 4


async def listed_turns(memory: Memory, agent_id: str) -> list[str]:
    """The requests of an agent's turns, the latest first, in pages of two; asserts the total."""
    found: list[str] = []
    token = ""
    while True:
        page = await memory.agents.ListTurns(state.ListTurnsRequest(agent_id=agent_id, page_size=2, page_token=token))
        found += [turn.request_id for turn in page.turns]
        token = page.next_page_token
        if not token:
            return found


async def test_turns_are_listed_by_key_also_those_of_an_older_version(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [f"r{number}" for number in range(5)]
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent("a")).agent_id
        for request_id in requests:
            grant = await memory.begin(agent_id, request_id, "hello")
            await memory.end(agent_id, grant.lease)
        with monkeypatch.context() as patch:
            without_queries(memory, patch)
            assert await listed_turns(memory, agent_id) == requests[::-1]
        # As an older version leaves them: without numbers.
        records = memory.core().agents._records
        await records.delete([row.id for row in await records.find("turnkey")])
        row = await records.get(agent_id)
        assert row is not None
        body = json.loads(row.body)
        del body["turn_count"]
        await records.put(replace(row, body=json.dumps(body)))
    async with serve(milvus_lite_uri) as memory:
        assert await listed_turns(memory, agent_id) == requests[::-1]
        await memory.begin(agent_id, "r5", "hello")
        with monkeypatch.context() as patch:
            without_queries(memory, patch)
            assert await listed_turns(memory, agent_id) == ["r5", *requests[::-1]]


async def test_a_list_by_label_holds_up_no_other_call(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the labels of all agents, which with many takes long; it reads them from the store only once."""
    async with serve(milvus_lite_uri) as memory:
        ids = [(await memory.agent(tags=[tag], user_id=user)).agent_id for tag in "ab" for user in ("u", "v")]
        reading, resumed, read = threading.Event(), threading.Event(), _agents._labeled

        def slow(*arguments: Any) -> Sequence[str]:
            reading.set()
            assert resumed.wait(60)
            return read(*arguments)

        monkeypatch.setattr(_agents, "_labeled", slow)
        listing = asyncio.ensure_future(memory.agents.ListAgents(state.ListAgentsRequest(tags=["b"], user_id="v")))
        assert await asyncio.to_thread(reading.wait, 60)
        assert (await memory.agents.GetAgent(state.GetAgentRequest(agent_id=ids[0]))).agent.tags == ["a"]
        resumed.set()
        assert [agent.agent_id for agent in (await listing).agents] == [ids[3]]
        await memory.agents.UpdateAgent(
            state.UpdateAgentRequest(
                agent=Agent(agent_id=ids[1], tags=["c", "b"]), update_mask=FieldMask(paths=["tags"])
            )
        )
        await memory.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=ids[3]))
        ids.append((await memory.agent(tags=["b"], user_id="v")).agent_id)
        with monkeypatch.context() as patch:
            without_queries(memory, patch)
            listed = await memory.agents.ListAgents(state.ListAgentsRequest(tags=["b"], user_id="v"))
            assert [agent.agent_id for agent in listed.agents] == [ids[1], ids[4]]
