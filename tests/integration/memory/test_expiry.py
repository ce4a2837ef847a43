"""The time to live of messages and notes: older ones are in no answer, and their rows are deleted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import agent_pb2, message_pb2, passage_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import quota_service_pb2 as quotas_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportWindow
from memgpt_memory.agents import LiveAgent
from memgpt_memory.core import Core
from memgpt_memory.messages import Message, NewMessage, Role, message_rows
from memgpt_memory.recall import Expiry
from memgpt_memory.store.filters import Between, Equals, all_of
from memgpt_memory.store.layout import MESSAGES, Collection
from memgpt_memory.store.rows import Key, MessageRow, RowTime
from memgpt_runtime import clock as runtime_clock

from tests.integration.memory.client import ABORTED, INVALID, UNAVAILABLE, Memory, connected, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_deletes, failing_upserts
from tests.integration.memory.test_forgetting import calls, counted, forget, result, search
from tests.support.processes import ServiceProcess

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SEMANTIC = {"query": "weather", "mode": recall_pb.RECALL_MODE_SEMANTIC}


class Clock:
    """The time of a Memory within the test's process; it stands still unless the test moves it."""

    @property
    def time(self) -> int:
        """Microseconds since 1970."""
        return runtime_clock.microseconds()

    def pass_(self, duration: timedelta) -> None:
        runtime_clock.stop(runtime_clock.now() + duration)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(runtime_clock, "_stopped", runtime_clock.now())
    return Clock()


def duration(value: timedelta) -> Duration:
    made = Duration()
    made.FromTimedelta(value)
    return made


async def keep(memory: Memory, agent_id: str, etag: str = "", **ttls: timedelta) -> agent_pb2.Agent:
    """Set times to live."""
    fields: dict[str, Any] = {name: duration(ttl) for name, ttl in ttls.items()}
    request = state_pb.UpdateAgentRequest(
        agent=agent_pb2.Agent(agent_id=agent_id, etag=etag, **fields), update_mask=FieldMask(paths=list(ttls))
    )
    return (await memory.agents.UpdateAgent(request)).agent  # type: ignore[no-any-return]


async def exported(memory: Memory, agent_id: str) -> list[AgentPiece]:
    request = state_pb.ExportAgentRequest(agent_id=agent_id)
    return [response.piece async for response in memory.agents.ExportAgent(request)]


async def listed_notes(memory: Memory, agent_id: str, **fields: Any) -> archival_pb.ListPassagesResponse:
    scope = archival_pb.PassageScope(agent_id=agent_id)
    return await memory.archive.ListPassages(archival_pb.ListPassagesRequest(scope=scope, **fields))  # type: ignore[no-any-return]


async def shown(memory: Memory, agent_id: str) -> list[set[str]]:
    """The texts of messages in everything that shows messages; all must agree."""
    pieces = await exported(memory, agent_id)
    return [
        {m.text for m in await memory.history(agent_id)},
        {m.text for m in (await memory.context(agent_id)).messages},
        {m.text for m in (await search(memory, agent_id, page_size=1000)).messages},
        {m.text for m in (await search(memory, agent_id, page_size=1000, **SEMANTIC)).messages},
        {p.message.text for p in pieces if p.HasField("message")},
    ]


async def shown_notes(memory: Memory, agent_id: str) -> list[set[str]]:
    """The texts of notes in everything that shows notes."""
    pieces = await exported(memory, agent_id)
    return [
        {p.text for p in (await listed_notes(memory, agent_id, page_size=1000)).passages},
        set(await memory.texts("weather", agent_id=agent_id)),
        {p.passage.text for p in pieces if p.HasField("passage")},
    ]


@dataclass(frozen=True)
class Rows:
    """How many rows a store has of an agent's messages, notes and index of messages."""

    messages: int
    notes: int
    indexed: int


async def rows_of(core: Core, live: LiveAgent) -> Rows:
    index = core.message_index.collection(core.passages.index)
    indexed: list[RowTime] = []
    if core.store.is_open(index):
        condition = all_of(Equals("owner", live.id), Between("created", 1))
        indexed = await core.store.query(index, condition, RowTime)
    messages = await core.store.query(MESSAGES, Equals("agent", live.id), Key)
    return Rows(len(messages), len(await core.passages.ids(live.row.tenant, live.id)), len(indexed))


async def test_what_is_older_is_in_no_answer_and_its_rows_go(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent(message_ttl=duration(HOUR), note_ttl=duration(2 * HOUR))).agent_id
        await memory.turn(agent_id, "weather of monday", "it will rain")
        (old,) = await memory.insert(agent_id, "the weather was bad")
        clock.pass_(HOUR / 2)
        await memory.turn(agent_id, "weather of tuesday", "the sun shines")
        await memory.insert(agent_id, "the weather was good")
        everything = {"weather of monday", "it will rain", "weather of tuesday", "the sun shines"}
        assert await shown(memory, agent_id) == [everything] * 5
        clock.pass_(HOUR / 2 - timedelta(seconds=1))
        assert (await memory.context(agent_id)).agent.message_count == 4
        clock.pass_(timedelta(seconds=1))
        assert [agent.message_count for agent in await memory.listed()] == [2]
        assert await counted(memory) == [2]
        assert await shown(memory, agent_id) == [{"weather of tuesday", "the sun shines"}] * 5
        assert await shown_notes(memory, agent_id) == [{"the weather was bad", "the weather was good"}] * 3
        clock.pass_(HOUR)
        assert (await memory.context(agent_id)).archival_count == 1
        assert await shown_notes(memory, agent_id) == [{"the weather was good"}] * 3
        scope = archival_pb.PassageScope(agent_id=agent_id)
        got = await memory.archive.GetPassages(archival_pb.GetPassagesRequest(scope=scope, passage_ids=[old]))
        assert not got.passages
        core = memory.core()
        live = await core.agents.get(memory.tenant, agent_id)
        await core.expiry.remove(live)
        assert await rows_of(core, live) == Rows(0, 1, 0)
        assert live.row.text_bytes == len("the weather was good")


async def test_messages_expire_without_being_read(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent(message_ttl=duration(HOUR))).agent_id
        await memory.turn(agent_id, "weather", "rain")
        core = memory.core()
        live = await core.agents.get(memory.tenant, agent_id)
        clock.pass_(2 * HOUR)
        await core.expiry._pass()
        assert (await rows_of(core, live)).messages == 0
        assert live.state.message_count == 0


async def test_a_list_looks_for_what_has_expired_of_all_agents_at_once(
    serve: Serve, milvus_lite_uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        ids = [(await memory.agent(message_ttl=duration(number * HOUR))).agent_id for number in range(6)]
        for agent_id in ids:
            await memory.turn(agent_id, "weather", "rain")
        clock.pass_(3 * HOUR + MINUTE)
        core, scans = memory.core(), []
        await core.expiry.close()
        query = core.store.query

        async def counted_query(collection: Collection, *arguments: Any, **options: Any) -> list[Any]:
            scans.append(collection.name)
            return await query(collection, *arguments, **options)

        monkeypatch.setattr(core.store, "query", counted_query)
        listed = (await memory.agents.ListAgents(state_pb.ListAgentsRequest(page_size=50))).agents
        assert [agent.message_count for agent in listed] == [2, 0, 0, 0, 2, 2]
        assert scans.count(MESSAGES.name) == 1


async def test_a_clock_that_was_ahead_keeps_nothing_longer(serve: Serve, milvus_lite_uri: str, clock: Clock) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        await keep(memory, agent.agent_id, message_ttl=HOUR)
        clock.pass_(timedelta(days=30))
        assert await memory.history(agent.agent_id) == []
        clock.pass_(-timedelta(days=30))
        await memory.turn(agent.agent_id, "hello")
        assert await memory.history(agent.agent_id)
        clock.pass_(HOUR + MINUTE)
        assert await memory.history(agent.agent_id) == []


async def test_page_tokens_stay_valid(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent(message_ttl=duration(HOUR), note_ttl=duration(HOUR))).agent_id
        for number in range(4):
            await memory.turn(agent_id, f"weather {number}", f"rain {number}")
            await memory.insert(agent_id, f"the weather {number}")
            clock.pass_(10 * MINUTE)
        request = recall_pb.ListMessagesRequest(agent_id=agent_id, page_size=3)
        listed = await memory.recall.ListMessages(request)
        found = await search(memory, agent_id, page_size=3)
        notes = await listed_notes(memory, agent_id, page_size=1)
        near = await search(memory, agent_id, page_size=1, **SEMANTIC)
        ranked = await memory.page("weather", size=1, agent_id=agent_id)
        clock.pass_(35 * MINUTE)  # the first two turns and notes expire
        request.page_token = listed.next_page_token
        following = await memory.recall.ListMessages(request)
        assert [m.sequence for m in (*listed.messages, *following.messages)] == [7, 6, 5, 4]
        more = await search(memory, agent_id, page_size=10, page_token=found.next_page_token)
        assert [m.sequence for m in (*found.messages, *more.messages)] == [7, 6, 5, 4]
        other = await listed_notes(memory, agent_id, page_size=10, page_token=notes.next_page_token)
        assert [p.text for p in other.passages] == ["the weather 2", "the weather 3"]
        rest = await search(memory, agent_id, page_size=10, page_token=near.next_page_token, **SEMANTIC)
        assert {m.sequence for m in (*near.messages, *rest.messages)} - {near.messages[0].sequence} <= {4, 5, 6, 7}
        hits = await memory.pages("weather", size=10, token=ranked.next_page_token, agent_id=agent_id)
        texts = {hit.passage.text for hit in hits}
        assert texts == {"the weather 2", "the weather 3"} - {ranked.hits[0].passage.text}


async def test_messages_of_the_running_turn_stay_until_it_ends(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri, lease_seconds=60.0) as memory:
        agent_id = (await memory.agent(message_ttl=duration(MINUTE))).agent_id
        await memory.turn(agent_id, "before")
        grant = await memory.begin(agent_id, uuid4().hex, "weather")
        clock.pass_(2 * MINUTE)
        await memory.commit(agent_id, grant.lease, 1, "rain")
        assert [m.text for m in (await memory.context(agent_id)).messages] == ["weather", "rain"]
        await memory.end(agent_id, grant.lease)
        assert [m.text for m in (await memory.context(agent_id)).messages] == ["rain"]
        clock.pass_(MINUTE)
        assert not (await memory.context(agent_id)).messages


async def test_a_call_expires_with_its_result(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri, lease_seconds=60.0) as memory:
        agent_id = (await memory.agent(message_ttl=duration(HOUR))).agent_id
        grant = await memory.begin(agent_id, uuid4().hex, "hello")
        for step, message in enumerate((calls("slow", "a"), result("a", "done"), calls("slow", "b")), 1):
            request = state_pb.CommitStepRequest(agent_id=agent_id, lease=grant.lease, step=step, messages=[message])
            await memory.agents.CommitStep(request)
            clock.pass_(10 * MINUTE)
        await memory.end(agent_id, grant.lease)
        clock.pass_(31 * MINUTE)
        assert [m.sequence for m in await memory.history(agent_id)] == [3]


async def test_settings(memory: Memory) -> None:
    agent = await memory.agent(message_ttl=duration(HOUR))
    assert agent.message_ttl.ToTimedelta() == HOUR
    assert not agent.HasField("note_ttl")
    changed = await keep(memory, agent.agent_id, agent.etag, note_ttl=2 * HOUR)
    assert (changed.message_ttl.ToTimedelta(), changed.note_ttl.ToTimedelta()) == (HOUR, 2 * HOUR)
    with refused(ABORTED):
        await keep(memory, agent.agent_id, agent.etag, note_ttl=HOUR)
    for wrong in (timedelta(seconds=59), -HOUR, timedelta(days=36_501)):
        with refused(INVALID):
            await keep(memory, agent.agent_id, message_ttl=wrong)
        with refused(INVALID):
            await memory.agent(note_ttl=duration(wrong))
    off = await keep(memory, agent.agent_id, message_ttl=timedelta(), note_ttl=timedelta())
    assert not off.HasField("message_ttl")
    assert not off.HasField("note_ttl")


async def test_it_can_be_turned_on_shortened_and_turned_off(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        for number in range(4):
            await memory.turn(agent_id, f"weather {number}")
            clock.pass_(HOUR)
        assert (await keep(memory, agent_id, message_ttl=3 * HOUR)).message_count == 2
        assert (await keep(memory, agent_id, message_ttl=2 * HOUR)).message_count == 1
        await keep(memory, agent_id, message_ttl=timedelta())
        clock.pass_(24 * HOUR)
        assert [m.text for m in await memory.history(agent_id)] == ["weather 3"]


async def used_bytes(memory: Memory) -> int:
    (usage,) = (await memory.quotas.GetUsage(quotas_pb.GetUsageRequest())).agents
    return int(usage.bytes)


async def test_bytes_of_what_has_expired_and_is_forgotten_are_subtracted(
    serve: Serve, milvus_uri: str, clock: Clock
) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        core = memory.core()
        await core.expiry.close()  # the test makes the passes itself
        before = await used_bytes(memory)
        await memory.turn(agent_id, "weather of today", "fair weather")
        assert await used_bytes(memory) > before
        sequences = [m.sequence for m in await memory.history(agent_id)]
        await keep(memory, agent_id, message_ttl=HOUR)
        clock.pass_(2 * HOUR)
        assert await memory.history(agent_id) == []
        await forget(memory, agent_id, *sequences)
        await core.expiry.remove(await core.agents.get(memory.tenant, agent_id))
        assert await used_bytes(memory) == before


async def test_bytes_of_what_expires_during_a_pass_are_subtracted(
    serve: Serve, milvus_uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        core = memory.core()
        await core.expiry.close()
        before = await used_bytes(memory)
        await memory.turn(agent_id, "weather of today", "fair weather")
        await memory.insert(agent_id, "weather of the note")
        await keep(memory, agent_id, message_ttl=HOUR, note_ttl=3 * HOUR)
        clock.pass_(2 * HOUR)
        live = await core.agents.get(memory.tenant, agent_id)
        messages = core.agents.repository.messages
        delete = messages.delete

        async def delete_later(ids: Sequence[str]) -> None:
            clock.pass_(2 * HOUR)
            assert (await listed_notes(memory, agent_id)).passages == []  # a reader hides the note
            await delete(ids)

        monkeypatch.setattr(messages, "delete", delete_later)
        await core.expiry.remove(live)
        await core.expiry.remove(live)
        assert await used_bytes(memory) == before


async def test_failures_show_nothing_that_has_expired(serve: Serve, milvus_uri: str, clock: Clock) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent(message_ttl=duration(HOUR), note_ttl=duration(HOUR))).agent_id
        await memory.turn(agent_id, "weather", "rain")
        await memory.insert(agent_id, "the weather")
        assert (await search(memory, agent_id, **SEMANTIC)).total_size == 2
        core = memory.core()
        live = await core.agents.get(memory.tenant, agent_id)
        await core.expiry.close()  # the test makes the passes itself
        clock.pass_(2 * HOUR)
        with failing_upserts(core.store, "memgpt_records", "before") as failed, refused(UNAVAILABLE):
            await memory.history(agent_id)
        assert failed
        for collection in ("memgpt_messages", "memgpt_recall", "memgpt_passages"):
            with failing_deletes(core.store, collection) as failures:
                await core.expiry._pass()
            assert failures
            assert await memory.history(agent_id) == []
            assert (await listed_notes(memory, agent_id)).total_size == 0
        await core.expiry._pass()
        assert await rows_of(core, live) == Rows(0, 0, 0)


def old_agent(messages: int, notes: int, age: timedelta, **ttls: timedelta) -> Iterator[AgentPiece]:
    """The pieces of an agent whose first half of messages and notes is `age` old, and whose others are new."""

    def stored(number: int, count: int) -> Timestamp:
        made = Timestamp()
        made.FromNanoseconds(time.time_ns())
        if number < count // 2:
            made.FromMicroseconds(made.ToMicroseconds() - int(age / timedelta(microseconds=1)))
        return made

    yield AgentPiece(header=ExportHeader(format_version=1))
    fields: dict[str, Any] = {name: duration(ttl) for name, ttl in ttls.items()}
    yield AgentPiece(agent=agent_pb2.Agent(name=f"old {uuid4().hex}", **fields))
    yield AgentPiece(window=ExportWindow())
    for number in range(messages):
        message = message_pb2.Message(sequence=number, role=message_pb2.ROLE_USER, text=f"weather {number}")
        message.create_time.CopyFrom(stored(number, messages))
        yield AgentPiece(message=message)
    for number in range(notes):
        passage = passage_pb2.Passage(text=f"the weather {number}", create_time=stored(number, notes))
        yield AgentPiece(passage=passage)
    yield AgentPiece(end=ExportEnd(message_count=messages, passage_count=notes))


async def take(memory: Memory, pieces: Iterator[AgentPiece]) -> str:
    async def stream() -> AsyncIterator[state_pb.ImportAgentRequest]:
        for piece in pieces:
            yield state_pb.ImportAgentRequest(piece=piece)

    return (await memory.agents.ImportAgent(stream())).agent.agent_id  # type: ignore[no-any-return]


async def test_an_imported_agent_keeps_its_times_and_its_ttl(memory: Memory) -> None:
    agent_id = await take(memory, old_agent(4, 4, 48 * HOUR, message_ttl=24 * HOUR))
    agent = (await memory.context(agent_id)).agent
    assert agent.message_ttl.ToTimedelta() == 24 * HOUR
    assert [m.text for m in await memory.history(agent_id)] == ["weather 2", "weather 3"]
    assert agent.passage_count == 4
    pieces = await exported(memory, agent_id)
    pieces[1].agent.name = f"copy {uuid4().hex}"
    copy = await take(memory, iter(pieces))
    assert [m.text for m in await memory.history(copy)] == ["weather 2", "weather 3"]


async def add_history(core: Core, live: LiveAgent, count: int, age: timedelta) -> None:
    """Store messages, the first half of which is `age` old, without the minutes that calls would take."""
    new = runtime_clock.microseconds()
    for start in range(0, count, 2_000):
        rows: list[MessageRow] = []
        for number in range(start, start + 2_000):
            created = new - age // timedelta(microseconds=1) if number < count // 2 else new
            rows += message_rows(live.id, number, created, "", 0, NewMessage(Role.USER, f"weather {number}"))
        await core.store.upsert(MESSAGES, rows)
    size = sum(len(f"weather {number}") for number in range(count))
    row = live.row.model_copy(
        update={"message_count": count, "window_start": count, "text_bytes": (live.row.text_bytes or 0) + size}
    )
    live.state = replace(live.state, row=row)


class WatchedLock(asyncio.Lock):
    """A lock that says what is counted while it is held, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.most = 0

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        self.count = 0
        return True

    def release(self) -> None:
        self.most = max(self.most, self.count)
        super().release()


async def test_a_first_ttl_on_a_long_history_holds_up_no_turn(serve: Serve, tmp_path: Path) -> None:
    """All of it is hidden at once, and its texts are read a batch at a time, between which turns are stored."""
    count = 50_000
    async with serve(str(tmp_path / "milvus.db"), lease_seconds=600.0) as memory:
        agent_id = await take(memory, old_agent(0, 600, 48 * HOUR))
        core = memory.core()
        await core.expiry.close()  # the test makes the pass itself
        live = await core.agents.get(memory.tenant, agent_id)
        await add_history(core, live, count, 48 * HOUR)
        everything = live.row.text_bytes
        lock = live.lock = WatchedLock()
        read, size = core.agents.messages.read, core.notes.size

        async def counted_read(agent_id: str, sequences: Iterable[int]) -> list[Message]:
            wanted = list(sequences)
            lock.count += len(wanted) if lock.locked() else 0
            return await read(agent_id, wanted)

        async def counted_size(live: LiveAgent, numbers: Sequence[int]) -> int:
            lock.count += len(numbers)
            return await size(live, numbers)

        core.agents.messages.read, core.notes.size = counted_read, counted_size  # type: ignore[method-assign]
        changed = await keep(memory, agent_id, message_ttl=24 * HOUR, note_ttl=24 * HOUR)
        assert (changed.message_count, changed.passage_count) == (count // 2, 300)
        assert live.row.text_bytes == everything
        working = asyncio.create_task(core.expiry._pass())
        turns = 0
        while not working.done():
            await memory.turn(agent_id, f"weather {turns}")
            turns += 1
        await working
        assert turns > 3
        assert await rows_of(core, live) == Rows(count // 2 + turns, 300, 0)
        texts = [f"weather {n}" for n in range(count // 2, count)] + [f"weather {n}" for n in range(turns)]
        notes = [f"the weather {n}" for n in range(300, 600)]
        assert live.row.text_bytes == sum(map(len, [*texts, *notes]))
        assert not live.state.unfreed_messages
        assert not live.state.unfreed_notes
    assert 0 < lock.most <= 400


async def test_a_kill_during_the_pass_loses_and_keeps_nothing_else(tmp_path: Path, milvus_uri: str) -> None:
    """Memory is killed while it hides and deletes; the next one completes it, and what is new stays."""
    settings = {"MEMGPT_MEMORY_URI": milvus_uri, "MEMGPT_MEMORY_TIMEOUT": "30"}
    with ServiceProcess("memgpt_memory", tmp_path / "home", **settings) as process:
        async with connected(process.wait_ready(120), "tenant") as memory:
            agent_id = await take(memory, old_agent(400, 200, 48 * HOUR))
            await search(memory, agent_id, page_size=1, **SEMANTIC)
            update = asyncio.ensure_future(keep(memory, agent_id, message_ttl=24 * HOUR, note_ttl=24 * HOUR))
            await asyncio.wait([update], timeout=random.uniform(0, 0.5))
            process.kill9()
            await asyncio.gather(update, return_exceptions=True)
    with ServiceProcess("memgpt_memory", tmp_path / "home", **settings) as process:
        async with connected(process.wait_ready(120), "tenant") as memory:
            await keep(memory, agent_id, message_ttl=24 * HOUR, note_ttl=24 * HOUR)
            assert [m.sequence for m in await memory.history(agent_id)] == list(range(200, 400))
            assert (await listed_notes(memory, agent_id)).total_size == 100
            assert (await search(memory, agent_id, **SEMANTIC)).total_size == 200
            process.kill9()


async def test_the_next_process_deletes_what_a_crash_left(serve: Serve, milvus_uri: str) -> None:
    async with serve(milvus_uri) as memory:
        agent_id = await take(memory, old_agent(20, 20, 48 * HOUR))
        assert (await search(memory, agent_id, **SEMANTIC)).total_size == 20
        core = memory.core()
        await core.expiry.close()  # as if it had died before its pass
        await keep(memory, agent_id, message_ttl=24 * HOUR, note_ttl=24 * HOUR)
        live = await core.agents.get(memory.tenant, agent_id)
        assert await rows_of(core, live) == Rows(20, 20, 20)
    async with serve(milvus_uri) as memory:
        core = memory.core()
        await core.expiry.close()
        await Expiry(core.agents, core.notes, core.recall)._pass()
        (live,) = await core.agents.find_many([agent_id])
        assert await rows_of(core, live) == Rows(10, 10, 10)


def has_expired(born: int, ttl: timedelta, clock: Clock) -> bool:
    """Whether what was stored at a time has expired."""
    return bool(ttl) and born + ttl // timedelta(microseconds=1) <= clock.time


@pytest.mark.parametrize("seed", range(2))
async def test_any_order_of_operations_is_as_the_oracle_says(
    serve: Serve, milvus_uri: str, clock: Clock, seed: int
) -> None:
    """Random turns, notes, deletions, changes of the times to live, pauses and passes, against lists of times."""
    chance = random.Random(seed)
    async with serve(milvus_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        messages: dict[int, int] = {}
        notes: dict[str, int] = {}
        ttls = {"message_ttl": timedelta(), "note_ttl": timedelta()}
        said = 0
        core = memory.core()
        for _ in range(40):
            match chance.choice(("talk", "note", "pass", "pass", "ttl", "forget", "delete", "work")):
                case "talk":
                    await memory.turn(agent_id, f"weather {said}", f"rain {said}")
                    messages |= {said: clock.time, said + 1: clock.time}
                    said += 2
                case "note":
                    notes |= dict.fromkeys(await memory.insert(agent_id, "the weather", "the rain"), clock.time)
                case "pass":
                    clock.pass_(timedelta(minutes=chance.randint(1, 40)))
                case "ttl":
                    name = chance.choice(sorted(ttls))
                    ttls[name] = chance.choice((timedelta(), HOUR, 2 * HOUR))
                    await keep(memory, agent_id, "", **{name: ttls[name]})
                case "forget" if messages:
                    chosen = chance.choice(sorted(messages))
                    await forget(memory, agent_id, chosen)
                    messages.pop(chosen)
                case "delete" if notes:
                    chosen_note = chance.choice(sorted(notes))
                    await memory.delete(agent_id, chosen_note)
                    notes.pop(chosen_note)
                case "work":
                    await core.expiry._pass()
            messages = {
                key: born for key, born in messages.items() if not has_expired(born, ttls["message_ttl"], clock)
            }
            notes = {key: born for key, born in notes.items() if not has_expired(born, ttls["note_ttl"], clock)}
            assert [m.sequence for m in await memory.history(agent_id)] == sorted(messages)
            context = await memory.context(agent_id)
            assert [m.sequence for m in context.messages] == sorted(messages)
            assert (context.agent.message_count, context.archival_count) == (len(messages), len(notes))
            found = await search(memory, agent_id, page_size=1000, **SEMANTIC)
            assert sorted(m.sequence for m in found.messages) == sorted(messages)
            assert {hit.passage.passage_id for hit in await memory.pages("rain", size=3, agent_id=agent_id)} == {*notes}
        await core.expiry._pass()
        live = await core.agents.get(memory.tenant, agent_id)
        texts = sum(len(m.text) for m in await memory.history(agent_id))
        texts += sum(len(p.text) for p in (await listed_notes(memory, agent_id, page_size=1000)).passages)
        assert live.row.text_bytes == texts
