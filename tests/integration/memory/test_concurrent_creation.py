"""Concurrent calls in the middle of a write that creates something."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import profile_pb2, profile_service_pb2, source_service_pb2
from memgpt_runtime.errors import Reason, Unavailable

from tests.integration.memory.client import UNAVAILABLE, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_deletion import delete_agent, delete_source
from tests.integration.memory.test_transfer import exported


class Gate:
    """Holds the first call of a method after its work, until it is opened."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method
        self._calls = 0
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        self._calls += 1
        first = self._calls == 1
        answer = await self._method(*arguments, **named)
        if first:
            self.reached.set()
            await self.opened.wait()
        return answer


async def test_an_agent_that_is_read_while_it_is_made_is_one_agent(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agents = memory.core().agents
        made, read = Gate(agents.repository.commit), Gate(agents._records.read_texts_of_many)
        monkeypatch.setattr(agents.repository, "commit", made)
        creating = asyncio.create_task(memory.agent("new"))
        await made.reached.wait()
        monkeypatch.setattr(agents._records, "read_texts_of_many", read)
        reading = memory.agents.GetAgent(pb.GetAgentRequest(name="new"))
        await read.reached.wait()
        made.opened.set()
        agent_id = (await creating).agent_id
        await memory.insert(agent_id, "first")
        read.opened.set()
        await reading
        await memory.insert(agent_id, "second")
        assert sorted(await memory.texts("x", agent_id=agent_id)) == ["first", "second"]


async def test_a_source_that_is_read_while_it_is_made_is_one_source(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        sources = memory.core().sources
        made, read = Gate(sources._put), Gate(sources.files.read_totals)
        monkeypatch.setattr(sources, "_put", made)
        creating = asyncio.create_task(memory.source("new"))
        await made.reached.wait()
        monkeypatch.setattr(sources.files, "read_totals", read)
        reading = memory.sources.GetSource(source_service_pb2.GetSourceRequest(name="new"))
        await read.reached.wait()
        made.opened.set()
        source_id = (await creating).source_id
        await memory.load(source_id, "a.txt", ["a document"])
        read.opened.set()
        await reading
        assert await memory.texts("x", source_id=source_id) == ["a document"]


async def test_an_import_that_ends_while_others_are_deleted_stays(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agents = memory.core().agents
        agent_id = (await memory.agent("a")).agent_id
        await memory.turn(agent_id, "hello", "a thought")
        pieces = await exported(memory, agent_id)
        purge = agents._purge

        async def fail(_: object) -> None:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "injected")

        # A deletion that failed half-way, for the compaction to find.
        monkeypatch.setattr(agents, "_purge", fail)
        with refused(UNAVAILABLE):
            await delete_agent(memory, agent_id)
        held = Gate(purge)
        monkeypatch.setattr(agents, "_purge", held)
        call = memory.agents.ImportAgent()
        for piece in pieces[:-1]:
            await call.write(pb.ImportAgentRequest(piece=piece, name="b" if piece is pieces[0] else ""))
        while len(await agents._records.find("agent")) < 2:
            pass  # until it has begun
        deleting = asyncio.create_task(agents.resume_deletions())
        await held.reached.wait()
        await call.write(pb.ImportAgentRequest(piece=pieces[-1]))
        await call.done_writing()
        imported = (await call).agent
        held.opened.set()
        await deleting
        assert [agent.name for agent in await memory.listed()] == ["b"]
        assert len(await memory.history(imported.agent_id)) == 2


async def test_what_is_deleted_while_it_is_listed_is_left_out(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        sources = [(await memory.source()).source_id for _ in range(2)]
        for source_id in sources:
            record = source_service_pb2.LoadRecord(load_id=f"load_{source_id}", source_id=source_id, state=b"x")
            await memory.sources.PutLoadRecord(source_service_pb2.PutLoadRecordRequest(record=record))
        persona = profile_pb2.PROFILE_KIND_PERSONA
        for name in ("a", "b"):
            request = profile_service_pb2.PutProfileRequest(kind=persona, name=name, text="x")
            await memory.profiles.PutProfile(request)
        records = memory.core().loads._records
        with monkeypatch.context() as patch:
            patch.setattr(records, "in_order", found := Gate(records.in_order))
            listing = memory.sources.ListLoadRecords(source_service_pb2.ListLoadRecordsRequest())
            await found.reached.wait()
            await delete_source(memory, sources[0])
            found.opened.set()
            assert [record.source_id for record in (await listing).records] == [sources[1]]
        with monkeypatch.context() as patch:
            patch.setattr(records, "bodies", found := Gate(records.bodies))
            listing = memory.profiles.ListProfiles(profile_service_pb2.ListProfilesRequest(kind=persona))
            await found.reached.wait()
            await memory.profiles.DeleteProfile(profile_service_pb2.DeleteProfileRequest(kind=persona, name="a"))
            found.opened.set()
            assert [profile.name for profile in (await listing).profiles] == ["b"]
