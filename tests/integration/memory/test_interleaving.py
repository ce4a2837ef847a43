"""Calls that meet others at a chosen point: between a read and what follows from it, or between two writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import block_pb2, quota_service_pb2, source_service_pb2, turn_pb2
from memgpt.memory.v1 import recall_memory_service_pb2 as recall
from memgpt.memory.v1 import shared_block_service_pb2 as shared
from memgpt_memory.agents import MAX_BLOCKS, TurnRow, TurnStart, TurnState, _cache
from memgpt_memory.messages import NewMessage, Role
from memgpt_memory.turns import Grant, Step, TurnRequest
from memgpt_runtime.errors import Reason, Unavailable

from tests.integration.memory.client import NOT_FOUND, PRECONDITION, UNAVAILABLE, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts
from tests.integration.memory.test_concurrent_creation import Gate
from tests.integration.memory.test_deletion import delete_agent, delete_source
from tests.integration.memory.test_shared_blocks import attach, create, delete
from tests.integration.memory.test_state import get_block, set_block, update
from tests.support.waiting import until

_SECONDS = 60
"""After which calls that should not wait for each other do."""


async def nothing() -> None:
    """Do nothing; for a gate before something."""


def fail(*_: Any) -> Any:
    raise Unavailable(Reason.STORE_UNAVAILABLE, "injected")


async def test_a_list_of_loads_goes_on_after_one_that_was_deleted(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        sources = [(await memory.source()).source_id for _ in range(4)]
        for number, source_id in enumerate(sources):
            record = source_service_pb2.LoadRecord(load_id=f"load_{number}", source_id=source_id, state=b"x")
            await memory.sources.PutLoadRecord(source_service_pb2.PutLoadRecordRequest(record=record))

        async def page(token: str = "") -> source_service_pb2.ListLoadRecordsResponse:
            request = source_service_pb2.ListLoadRecordsRequest(page_size=2, page_token=token)
            return await memory.sources.ListLoadRecords(request)  # type: ignore[no-any-return]

        first = await page()
        assert [record.load_id for record in first.records] == ["load_3", "load_2"]
        await delete_source(memory, sources[2])
        rest = await page(first.next_page_token)
        assert ([record.load_id for record in rest.records], rest.next_page_token) == (["load_1", "load_0"], "")


async def test_a_shared_block_takes_the_name_of_one_that_is_being_deleted(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        block = await create(memory, name="team")
        records = memory.core().shared_blocks._records
        monkeypatch.setattr(records, "put", marked := Gate(records.put))
        deleting = asyncio.create_task(delete(memory, block.block_id))
        await marked.reached.wait()
        async with asyncio.timeout(_SECONDS):
            creating = asyncio.create_task(create(memory, "new", name="team"))
            await until(lambda: creating.done() or memory.core().shared_blocks._names._locks)
            marked.opened.set()
            await deleting
            assert (await creating).value == "new"
        found = await memory.shared.GetSharedBlock(shared.GetSharedBlockRequest(name="team"))
        assert found.block.value == "new"


async def test_a_repeated_creation_and_a_deletion_of_a_shared_block_do_not_wait_for_each_other(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        core = memory.core()
        answers = failing_upserts(
            core.store, "memgpt_records", "before", only=lambda row: row.kind == "request" and "answer" in row.body
        )
        with answers, refused(UNAVAILABLE):
            await create(memory, name="team", request_id="r")
        (block,) = (await memory.shared.ListSharedBlocks(shared.ListSharedBlocksRequest())).blocks
        records = core.shared_blocks._records
        monkeypatch.setattr(records, "put", marked := Gate(records.put))
        deleting = asyncio.create_task(delete(memory, block.block_id))
        await marked.reached.wait()
        async with asyncio.timeout(_SECONDS):
            repeating = asyncio.create_task(create(memory, name="team", request_id="r"))
            await until(lambda: core.shared_blocks._entry(block.block_id).lock._waiters)
            marked.opened.set()
            await deleting
            await asyncio.gather(repeating, return_exceptions=True)
        assert not (await memory.shared.ListSharedBlocks(shared.ListSharedBlocksRequest())).blocks
        with refused(NOT_FOUND):
            await memory.shared.GetSharedBlock(shared.GetSharedBlockRequest(block_id=block.block_id))


async def test_deleted_shared_blocks_take_no_room_of_an_agent(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        blocks = [block_pb2.BlockEdit(label=f"b{number}", value="x") for number in range(MAX_BLOCKS - 1)]
        agent_id = (await memory.agent(blocks=blocks)).agent_id
        block = await create(memory)
        await attach(memory, agent_id, block.block_id)
        with refused(PRECONDITION):
            await set_block(memory, agent_id, "one_more", "x")
        await delete(memory, block.block_id, detach=True)
        await set_block(memory, agent_id, "one_more", "x")
        assert (await get_block(memory, agent_id, "one_more")).value == "x"
        with refused(PRECONDITION):
            await set_block(memory, agent_id, "too_many", "x")


async def test_a_turn_that_is_read_while_the_next_begins_is_found(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        grant = await memory.begin(agent_id, "first", "hello")
        await memory.end(agent_id, grant.lease)
    async with serve(milvus_lite_uri) as memory:
        await memory.context(agent_id)
        records = memory.core().turns._history._records
        monkeypatch.setattr(records, "get", read := Gate(records.get))
        request = state.ReadTurnRequest(agent_id=agent_id, request_id="first")
        reading = asyncio.ensure_future(anext(aiter(memory.agents.ReadTurn(request))))
        await read.reached.wait()
        await memory.begin(agent_id, "second", "again")
        read.opened.set()
        assert (await reading).turn.state == turn_pb2.TURN_STATE_COMPLETED


async def test_a_call_keeps_its_agent_while_many_others_are_read(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent("first")).agent_id
        for _ in range(12):
            await memory.agent()
    monkeypatch.setattr(_cache, "_MAX_AGENTS", 8)
    async with serve(milvus_lite_uri) as memory:
        names = memory.core().agents._names
        monkeypatch.setattr(names, "_holder", claimed := Gate(names._holder))
        renaming = asyncio.create_task(update(memory, agent_id, "name", name="second"))
        await claimed.reached.wait()
        await memory.listed()
        await memory.insert(agent_id, "a note")
        claimed.opened.set()
        await renaming
    async with serve(milvus_lite_uri) as memory:
        assert await memory.texts("note", agent_id=agent_id) == ["a note"]
        assert (await memory.agents.GetAgent(state.GetAgentRequest(name="second"))).agent.agent_id == agent_id


@pytest.mark.parametrize("kind", ["agent", "source"])
async def test_a_deletion_that_a_compaction_meets_is_completed_after_a_crash(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with serve(milvus_lite_uri) as memory:
        core = memory.core()
        journal = core.agents._journal
        gate = Gate(nothing)
        owner: Any
        work: Any
        deleting: Any
        with monkeypatch.context() as patch:
            if kind == "agent":
                id_ = (await memory.agent()).agent_id
                owner, work, deleting = core.agents, core.agents.repository, delete_agent
                method = "_write"
            else:
                id_ = (await memory.source()).source_id
                owner, work, deleting = core.sources, core.sources, delete_source
                method = "_write_row"
            write = getattr(work, method)

            async def later(*arguments: Any) -> None:
                await gate()
                await write(*arguments)

            patch.setattr(work, method, later)
            patch.setattr(owner, "_purge", fail)
            call = asyncio.create_task(deleting(memory, id_))
            await gate.reached.wait()
            resuming = asyncio.create_task(owner.resume_deletions())
            await until(lambda: journal._lock._waiters)
            gate.opened.set()
            with refused(UNAVAILABLE):
                await call
            await asyncio.gather(resuming, return_exceptions=True)
    async with serve(milvus_lite_uri) as memory:
        assert await memory.core().agents._records.get(id_) is None


async def test_a_new_version_of_a_file_counts_once_while_the_former_is_deleted(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id, source_id = (await memory.agent()).agent_id, (await memory.source()).source_id
        quota = quota_service_pb2.Quota(passages=4)
        await memory.quotas.SetQuota(quota_service_pb2.SetQuotaRequest(tenant=memory.tenant, quota=quota))
        await memory.load(source_id, "a.txt", ["1", "2"])
        passages = memory.core().passages
        monkeypatch.setattr(passages, "delete_where", deleted := Gate(passages.delete_where))
        loading = asyncio.create_task(memory.load(source_id, "a.txt", ["3", "4"]))
        await deleted.reached.wait()
        await memory.insert(agent_id, "one", "two")
        deleted.opened.set()
        await loading


async def test_a_search_continues_while_messages_are_forgotten(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        for number in range(3):
            await memory.turn(agent_id, f"tea {number}")
        transcripts = memory.core().recall._transcripts
        monkeypatch.setattr(transcripts, "chunk", read := Gate(transcripts.chunk))
        request = recall.SearchMessagesRequest(agent_id=agent_id, query="tea", page_size=1)
        searching = asyncio.ensure_future(memory.recall.SearchMessages(request))
        await read.reached.wait()
        await memory.recall.ForgetMessages(recall.ForgetMessagesRequest(agent_id=agent_id, sequences=[2]))
        read.opened.set()
        found: list[str] = []
        page = await searching
        while page.next_page_token:
            request.page_token = page.next_page_token
            page = await memory.recall.SearchMessages(request)
            found += [message.text for message in page.messages]
        assert found == ["tea 1", "tea 0"]


async def test_forgetting_reads_the_messages_after_one_that_was_taken_back_once(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        await memory.turn(agent_id, "tea", *["a thought"] * 20)
        await memory.agents.RewindMessages(state.RewindMessagesRequest(agent_id=agent_id, request_id="undo"))
        forgetting, read = memory.core().forgetting, 0
        messages = forgetting._all

        async def counted(*arguments: Any) -> Any:
            nonlocal read
            async for message in messages(*arguments):
                read += 1
                yield message

        monkeypatch.setattr(forgetting, "_all", counted)
        request = recall.ForgetMessagesRequest(agent_id=agent_id, sequences=range(21))
        assert (await memory.recall.ForgetMessages(request)).forgotten_count == 21
        assert read == 21


async def test_a_turn_begins_that_another_made_way_for_while_its_caller_read_its_place(
    serve: Serve, milvus_lite_uri: str
) -> None:
    async with serve(milvus_lite_uri, lease_seconds=600.0) as memory:
        agent = await memory.agent()
        first = await memory.begin(agent.agent_id, "r0", "x")
        core = memory.core()
        live = await core.agents.get(memory.tenant, agent.agent_id)
        start = TurnStart([NewMessage(Role.USER, "y")])
        events = core.turns.begin(live, TurnRequest("r1", start))
        assert await anext(events) == 1
        await memory.end(agent.agent_id, first.lease)
        async with asyncio.timeout(_SECONDS):
            assert isinstance(granted := [event async for event in events][-1], Grant)
        assert granted.turn.request_id == "r1"


async def test_the_end_of_a_turn_is_read_though_the_next_began_while_its_steps_were(
    serve: Serve, milvus_lite_uri: str
) -> None:
    async with serve(milvus_lite_uri, lease_seconds=600.0) as memory:
        agent = await memory.agent()
        first = await memory.begin(agent.agent_id, "r0", "x")
        await memory.commit(agent.agent_id, first.lease, 1, "a thought")
        core = memory.core()
        live = await core.agents.get(memory.tenant, agent.agent_id)
        events = core.turns.read(live, "r0", 0, follow=True)
        step = await anext(events)
        assert isinstance(step, Step)
        await memory.end(agent.agent_id, first.lease)
        await memory.begin(agent.agent_id, "r1", "y")
        async with asyncio.timeout(_SECONDS):
            rest = [event async for event in events]
        assert [event.state for event in rest if isinstance(event, TurnRow)] == [TurnState.COMPLETED]


async def test_agents_that_were_created_leave_the_cache(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cache, "_MAX_AGENTS", 8)
    async with serve(milvus_lite_uri) as memory:
        created = [(await memory.agent()).agent_id for _ in range(24)]
        assert len(memory.core().agents._cache._agents) <= 8
        assert [agent.agent_id for agent in await memory.listed()] == created
