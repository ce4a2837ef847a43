"""Deletion of an agent or a source leaves nothing, whatever fails in the meantime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, Literal
from uuid import uuid4

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import block_pb2, profile_pb2, profile_service_pb2, source_service_pb2
from memgpt_memory.store import Store
from memgpt_memory.store.threaded import ThreadedStore
from memgpt_runtime.errors import Reason, Unavailable
from pymilvus import MilvusClient

from tests.integration.memory.client import NOT_FOUND, UNAVAILABLE, Memory, batch, header, refused, version
from tests.integration.memory.conftest import Serve

LONG = "word " * 30_000
"""A text of several rows."""


def rows_with(uri: str, marks: Sequence[str]) -> list[tuple[str, str, str]]:
    """Every row of the store that has one of the marks anywhere: its collection, its key, the mark."""
    found = []
    with closing(MilvusClient(uri, timeout=60)) as client:
        for name in client.list_collections():
            client.load_collection(name)
            for row in client.query(name, filter='id >= ""', output_fields=["*"], limit=16_384):
                text = repr({field: value for field, value in row.items() if isinstance(value, str)})
                found += [(name, row["id"], mark) for mark in marks if mark in text]
    return found


async def full_agent(memory: Memory, mark: str, source_id: str, notes: int = 60) -> str:
    """Create an agent with rows of every kind, and return its id."""
    agent = await memory.agent(
        f"first {mark}",
        system=f"{mark} " + LONG[:60_000],
        blocks=[block_pb2.BlockEdit(label="human", value=mark)],
        request_id=f"create {mark}",
    )
    agent_id = agent.agent_id
    await memory.attach(agent_id, source_id)
    await memory.turn(agent_id, f"{mark} {LONG[:70_000]}", f"{mark} one", f"{mark} two")
    await memory.insert(agent_id, f"{mark} note", request_id=f"insert {mark}")
    await memory.insert(agent_id, *[f"{mark} {n} {LONG[:900]}" for n in range(notes)], request_id=f"many {mark}")
    ids = await memory.insert(agent_id, f"{mark} deleted", tags=[mark])
    await memory.delete(agent_id, *ids)
    grant = await memory.begin(agent_id, f"turn {mark}", f"{mark} unfinished")
    await memory.commit(
        agent_id,
        grant.lease,
        1,
        f"{mark} step",
        eviction=state.Eviction(before_sequence=1, summary=f"{mark} summary"),
    )
    return agent_id


async def full_source(memory: Memory, mark: str) -> str:
    """Create a source with rows of every kind, and return its id."""
    source_id = (await memory.source(f"source {mark}", description=mark, request_id=f"create {mark}")).source_id
    await memory.load(source_id, f"{mark} a.txt", [f"{mark} old"])
    await memory.load(source_id, f"{mark} a.txt", [f"{mark} {n}" for n in range(30)])
    upload = memory.sources.UpsertPassages()
    await upload.write(header(source_id, version(f"{mark} b.txt", ["x"])))
    await upload.write(batch([f"{mark} staged"]))
    upload.cancel()
    record = source_service_pb2.LoadRecord(
        load_id=f"load_{mark}", source_id=source_id, request_id=f"load {mark}", state=LONG.encode()
    )
    await memory.sources.PutLoadRecord(source_service_pb2.PutLoadRecordRequest(record=record))
    return source_id


async def delete_agent(memory: Memory, agent_id: str) -> None:
    await memory.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=agent_id))


async def delete_source(memory: Memory, source_id: str) -> None:
    await memory.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(source_id=source_id))


async def test_nothing_is_left_of_what_was_deleted(serve: Serve, milvus_uri: str) -> None:
    gone, kept = f"g{uuid4().hex}", f"k{uuid4().hex}"
    async with serve(milvus_uri) as memory:
        kept_source = await full_source(memory, kept)
        gone_source = await full_source(memory, gone)
        agent_id = await full_agent(memory, gone, kept_source)
        other_id = await full_agent(memory, kept, kept_source)
        await memory.attach(other_id, kept_source)
        await delete_agent(memory, agent_id)
        await delete_source(memory, gone_source)
        assert (await memory.context(other_id)).agent.attachments[0].source_id == kept_source
        # A late repeated request creates nothing.
        with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
            await memory.insert(agent_id, f"{gone} note", request_id=f"insert {gone}")
        with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
            await memory.source(f"source {gone}", description=gone, request_id=f"create {gone}")
        notes = await memory.texts("word", agent_id=other_id)
        assert len(notes) == 61 + 30
    assert rows_with(milvus_uri, [gone, agent_id, gone_source]) == []
    assert {name.split("_")[1] for name, _, _ in rows_with(milvus_uri, [kept])} == {"records", "messages", "passages"}


@contextmanager
def failing_write(store: Store, number: int, *, done: bool) -> Iterator[list[int]]:
    """Makes the write of this number fail, of upserts and deletes alike; `done` says whether it happens all the same.

    Yields:
        The number of each write that was asked for.
    """
    seen: list[int] = []

    def failing(write: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any, **options: Any) -> None:
            if len(arguments) > 1 and not arguments[1]:
                return
            seen.append(len(seen))
            if len(seen) - 1 < number:
                await write(*arguments, **options)
                return
            if len(seen) - 1 == number and done:
                await write(*arguments, **options)
            # Nothing more comes after a crash.
            raise Unavailable(Reason.STORE_UNAVAILABLE, "injected")

        return counted

    delete = store.delete
    with pytest.MonkeyPatch.context() as patch:
        assert isinstance(store, ThreadedStore)
        patch.setattr(store, "_upsert_now", failing(store._upsert_now))
        patch.setattr(store, "delete", failing(delete))
        yield seen


@pytest.mark.parametrize("kind", ["agent", "source"])
async def test_a_deletion_goes_on_after_a_crash_at_any_of_its_writes(
    serve: Serve, milvus_lite_uri: str, kind: str
) -> None:
    marks, ids = [], []
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        for number in range(40):
            mark = uuid4().hex
            id_ = await (full_agent(memory, mark, source_id, 6) if kind == "agent" else full_source(memory, mark))
            delete = delete_agent if kind == "agent" else delete_source
            with failing_write(memory.core().store, number // 2, done=number % 2 == 1) as seen:
                try:
                    await delete(memory, id_)
                    break
                except grpc.aio.AioRpcError as error:
                    if error.code() is not UNAVAILABLE:
                        raise
            if number == 0:  # nothing has happened
                await delete(memory, id_)
            marks.append(mark)
            ids.append(id_)
        assert len(seen) >= 6
        assert number // 2 == len(seen)
    async with serve(milvus_lite_uri):
        pass
    assert rows_with(milvus_lite_uri, [*marks, *ids]) == []


async def test_what_is_being_deleted_is_not_found_at_any_of_its_writes(serve: Serve, milvus_uri: str) -> None:
    mark = uuid4().hex
    async with serve(milvus_uri) as memory:
        kept = (await memory.agent("kept")).agent_id
        source_id = await full_source(memory, mark)
        agent_id = await full_agent(memory, mark, (await memory.source()).source_id, 6)
        core = memory.core()
        delete = core.store.delete
        looked = []

        async def look(*arguments: Any, **options: Any) -> None:
            core.agents._cache.remove(agent_id)  # as if others had pushed it out
            page = await memory.agents.ListAgents(state.ListAgentsRequest())
            looked.append([agent.agent_id for agent in page.agents])
            await delete(*arguments, **options)

        async def look_for_load(*arguments: Any, **options: Any) -> None:
            page = await memory.sources.ListLoadRecords(source_service_pb2.ListLoadRecordsRequest())
            looked.append([record.load_id for record in page.records])
            with refused(NOT_FOUND, "LOAD_NOT_FOUND"):
                await memory.sources.GetLoadRecord(source_service_pb2.GetLoadRecordRequest(load_id=f"load_{mark}"))
            await delete(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(core.store, "delete", look)
            await delete_agent(memory, agent_id)
        assert len(looked) > 1
        assert looked == [[kept]] * len(looked)
        looked.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(core.store, "delete", look_for_load)
            await delete_source(memory, source_id)
        assert len(looked) > 1
        assert looked == [[]] * len(looked)


async def test_a_crash_in_the_deletion_of_a_profile_leaves_no_half_of_it(serve: Serve, milvus_lite_uri: str) -> None:
    persona = profile_pb2.PROFILE_KIND_PERSONA
    async with serve(milvus_lite_uri) as memory:
        put = profile_service_pb2.PutProfileRequest(kind=persona, name="p", text="I am kind.")
        await memory.profiles.PutProfile(put)
        with failing_write(memory.core().store, 1, done=False), suppress(grpc.aio.AioRpcError):
            await memory.profiles.DeleteProfile(profile_service_pb2.DeleteProfileRequest(kind=persona, name="p"))
    async with serve(milvus_lite_uri) as memory:
        listing = profile_service_pb2.ListProfilesRequest(kind=persona)
        assert not (await memory.profiles.ListProfiles(listing)).profiles
    assert rows_with(milvus_lite_uri, ["I am kind.", '"name": "p"']) == []


async def test_writes_under_way_leave_nothing_behind_a_deletion(serve: Serve, milvus_lite_uri: str) -> None:
    mark = uuid4().hex
    ids = []
    async with serve(milvus_lite_uri) as memory:
        for turns in range(12):
            agent_id = (await memory.agent(f"{mark} {turns}")).agent_id
            source_id = (await memory.source(f"{mark} {turns}")).source_id
            ids += [agent_id, source_id]
            grant = await memory.begin(agent_id, f"{mark} {turns}", mark)
            under_way = [
                asyncio.ensure_future(work)
                for work in (
                    memory.insert(agent_id, f"{mark} a", request_id=f"{mark} {turns}"),
                    memory.insert(agent_id, f"{mark} b"),
                    memory.commit(agent_id, grant.lease, 1, f"{mark} step"),
                    memory.begin(agent_id, f"{mark} {turns} later", mark),
                    memory.load(source_id, f"{mark}.txt", [f"{mark} {n}" for n in range(20)]),
                )
            ]
            for _ in range(turns * 4):
                await asyncio.sleep(0)
            await asyncio.gather(delete_agent(memory, agent_id), delete_source(memory, source_id))
            outcomes = await asyncio.gather(*under_way, return_exceptions=True)
            for outcome in outcomes:
                assert not isinstance(outcome, grpc.aio.AioRpcError) or outcome.code() is NOT_FOUND
    # What is left of a request that came too late is its number, and nothing of what it held.
    left = rows_with(milvus_lite_uri, [mark, *ids])
    assert [row for row in left if not row[1].startswith("request-")] == []
    assert not any(row[2] == mark for row in left)


class WatchedLock(asyncio.Lock):
    """A lock that reports waiters."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        if self.locked():
            self.waited_for.set()
        return await super().acquire()


async def test_a_wish_to_cancel_that_waits_for_a_deletion_leaves_nothing_behind(
    serve: Serve, milvus_lite_uri: str
) -> None:
    async with serve(milvus_lite_uri, lease_seconds=60.0) as memory:
        agent_id = (await memory.agent()).agent_id
        grant = await memory.begin(agent_id, "left behind", "hello")
        await memory.agents.ReleaseLease(state.ReleaseLeaseRequest(agent_id=agent_id, lease=grant.lease))
        # Its caller gets the turn that was left behind, and keeps a place in the queue.
        assert (await memory.begin(agent_id, "waits", "hello")).turn.request_id == "left behind"
        core = memory.core()
        lock = (await core.agents.get(memory.tenant, agent_id)).lock = WatchedLock()
        deleting, deleted = asyncio.Event(), asyncio.Event()
        assert isinstance(core.store, ThreadedStore)
        write = core.store._upsert_now

        async def slow(collection: Any, rows: Any, *more: Any) -> None:
            kinds = {getattr(row, "kind", "") for row in rows}
            if "agent" in kinds:
                deleting.set()
                await lock.waited_for.wait()
            if "turn" in kinds:
                await deleted.wait()
            await write(collection, rows, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(core.store, "_upsert_now", slow)
            deletion = asyncio.ensure_future(delete_agent(memory, agent_id))
            await deleting.wait()
            request = state.RequestCancelRequest(agent_id=agent_id, request_id="waits")
            cancellation = asyncio.ensure_future(memory.agents.RequestCancel(request))
            await deletion
            deleted.set()
            with refused(NOT_FOUND, "AGENT_NOT_FOUND"):
                await cancellation
    assert rows_with(milvus_lite_uri, [agent_id]) == []
