"""Quotas of tenants, what they use, and fair shares of searches, through a real server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from memgpt.memory.v1 import agent_state_service_pb2, message_pb2, quota_service_pb2, source_service_pb2
from memgpt_memory.agents._rows import AgentRow
from memgpt_memory.clock import now
from memgpt_memory.maintenance.store_lease import StoreLease
from memgpt_memory.quotas import Amounts, Quotas, TenantUsage, _quotas, utc_day
from memgpt_memory.quotas._usage import UsageRow
from memgpt_runtime.errors import Reason, Unavailable

from tests.integration.memory.client import (
    EXHAUSTED,
    UNAVAILABLE,
    Memory,
    batch,
    connected,
    finish,
    header,
    reason_of,
    refused,
    thought,
    user,
    version,
)
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts
from tests.integration.memory.test_edits import edit, undo
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Request, ScriptedLLM

pb = quota_service_pb2


async def limit(memory: Memory, **limits: int) -> None:
    await memory.quotas.SetQuota(pb.SetQuotaRequest(tenant=memory.tenant, quota=pb.Quota(**limits)))


async def usage(memory: Memory) -> pb.TenantUsage:
    return (await memory.quotas.GetUsage(pb.GetUsageRequest())).usage  # type: ignore[no-any-return]


@asynccontextmanager
async def exceeds(quota: str) -> AsyncIterator[None]:
    """Expects a call to exceed a quota, with all that the error promises."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is EXHAUSTED, caught.value.details()
    found: dict[str, Any] = {}
    status = rpc_status.from_call(caught.value)
    assert status is not None
    for detail in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.QuotaFailure, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    info = found["ErrorInfo"]
    assert (info.reason, info.metadata["quota"]) == ("QUOTA_EXCEEDED", quota)
    assert int(info.metadata["value"]) >= int(info.metadata["limit"])
    assert ("window_seconds" in info.metadata) == ("per_" in quota)
    (violation,) = found["QuotaFailure"].violations
    assert violation.subject == f"tenant:{info.metadata['tenant']}"
    assert found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0


async def test_limits_are_defaults_until_an_operator_sets_others(memory: Memory) -> None:
    request = pb.GetQuotaRequest(tenant=memory.tenant)
    found = await memory.quotas.GetQuota(request)
    assert found.quota == pb.Quota()
    assert found.effective.agents == 10_000
    await limit(memory, agents=3, passages=0)
    found = await memory.quotas.GetQuota(request)
    assert found.quota == pb.Quota(agents=3, passages=0)
    assert (found.effective.agents, found.effective.passages, found.effective.sources) == (3, 0, 10_000)
    other = await memory.quotas.GetQuota(pb.GetQuotaRequest(tenant=f"{memory.tenant}x"))
    assert other.quota == pb.Quota()
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await limit(memory, agents=-1)


async def test_agents_and_sources(memory: Memory) -> None:
    await limit(memory, agents=2, sources=1)
    first = await memory.agent(name="first", request_id="r-1")
    await memory.agent()
    async with exceeds("agents"):
        await memory.agent()
    assert (await memory.agent(name="first", request_id="r-1")).agent_id == first.agent_id  # a repeated request
    await memory.of(f"{memory.tenant}x").agent()  # another tenant's limits are its own
    source = await memory.source()
    async with exceeds("sources"):
        await memory.source()
    await memory.agents.DeleteAgent(agent_state_service_pb2.DeleteAgentRequest(agent_id=first.agent_id))
    await memory.agent()
    await memory.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(source_id=source.source_id))
    await memory.source()
    assert (await usage(memory)).agents == 2


async def test_concurrent_creations_do_not_exceed_the_limit(memory: Memory) -> None:
    await limit(memory, agents=5)
    outcomes = await asyncio.gather(*(memory.agent() for _ in range(20)), return_exceptions=True)
    made = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(made) == (await usage(memory)).agents <= 5
    assert {reason_of(error) for error in outcomes if isinstance(error, grpc.aio.AioRpcError)} == {"QUOTA_EXCEEDED"}
    while len(made) < 5:
        made.append(await memory.agent())
    async with exceeds("agents"):
        await memory.agent()


@pytest.mark.parametrize(
    "quota", ["sources", "passages", "bytes", "concurrent_turns", "turns_per_minute", "searches_per_minute"]
)
async def test_calls_at_once_do_not_exceed_a_limit(memory: Memory, quota: str) -> None:
    agents = [(await memory.agent()).agent_id for _ in range(20 if "turn" in quota else 1)]
    used = await usage(memory)
    most = 5 + (getattr(used, quota) if quota in ("sources", "passages", "bytes") else 0)
    await limit(memory, **{quota: most})
    streams = [memory.begin_events(agent, uuid4().hex, "hello") for agent in agents if "turn" in quota]
    calls: dict[str, Callable[[int], Awaitable[object]]] = {
        "sources": lambda _: memory.source(),
        "passages": lambda _: memory.insert(agents[0], "note"),
        "bytes": lambda _: memory.insert(agents[0], "n"),
        "concurrent_turns": lambda number: streams[number].read(),
        "turns_per_minute": lambda number: streams[number].read(),
        "searches_per_minute": lambda _: memory.page("anything", agent_id=agents[0]),
    }
    outcomes = await asyncio.gather(*map(calls[quota], range(20)), return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {reason_of(error) for error in errors if isinstance(error, grpc.aio.AioRpcError)} == {"QUOTA_EXCEEDED"}
    if quota in ("sources", "passages", "bytes"):  # what is being stored may count twice for a moment
        assert 0 < 20 - len(errors) <= 5
        assert getattr(await usage(memory), quota) == most - 5 + 20 - len(errors)
    else:
        assert len(errors) == 15
    for stream in streams:
        stream.cancel()


async def test_passages_and_bytes_of_notes(memory: Memory) -> None:
    agent = await memory.agent()
    await limit(memory, passages=3)
    ids = await memory.insert(agent.agent_id, "eins", "zwö")
    async with exceeds("passages"):
        await memory.insert(agent.agent_id, "drei", "vier")
    assert await memory.insert(agent.agent_id, "drei")
    found = await usage(memory)
    assert (found.passages, found.bytes) == (3, 4 + 4 + 4)
    assert await memory.delete(agent.agent_id, *ids, *ids, "no-note") == 2
    assert await memory.delete(agent.agent_id, *ids) == 0
    found = await usage(memory)
    assert (found.passages, found.bytes) == (1, 4)
    await limit(memory, bytes=10)
    async with exceeds("bytes"):
        await memory.insert(agent.agent_id, "1234567")
    await memory.insert(agent.agent_id, "123456")


async def test_passages_and_bytes_of_files(memory: Memory) -> None:
    source = (await memory.source()).source_id
    await limit(memory, passages=4, bytes=20)
    await memory.load(source, "a.txt", ["12345", "12345"])
    async with exceeds("passages"):
        await memory.load(source, "b.txt", ["1", "2", "3"])
    async with exceeds("bytes"):
        await memory.load(source, "b.txt", ["12345678901"])
    found = await usage(memory)
    assert (found.sources, found.passages, found.bytes) == (1, 2, 10)  # nothing of a refused file counts
    await memory.load(source, "a.txt", ["123", "123"])  # the new version replaces the old one
    assert (await memory.load(source, "a.txt", ["123", "123"])).unchanged
    assert (await usage(memory)).bytes == 6
    await memory.sources.DeleteFile(source_service_pb2.DeleteFileRequest(source_id=source, name="a.txt"))
    found = await usage(memory)
    assert (found.passages, found.bytes) == (0, 0)


async def test_nothing_of_a_refused_file_stays(serve: Serve, milvus_lite_uri: str) -> None:
    """It would not count, so files of any number could be stored beyond the quota."""
    async with serve(milvus_lite_uri) as memory:
        source = (await memory.source()).source_id
        await limit(memory, passages=4)

        async def refused_upload(name: str) -> None:
            texts = [f"{name} {number}" for number in range(6)]
            pieces = [header(source, version(name, texts)), batch(texts[:3]), batch(texts[3:], 3), finish(6)]
            async with exceeds("passages"):
                await memory.sources.UpsertPassages(iter(pieces))

        await refused_upload("a.txt")
        stored = memory.core().passages
        assert not await stored.ids(memory.tenant, source)
        await memory.load(source, "a.txt", ["first", "second"])
        await refused_upload("a.txt")
        assert len(await stored.ids(memory.tenant, source)) == 2
        assert sorted(await memory.texts("x", source_id=source)) == ["first", "second"]


async def test_loaded_bytes_per_minute_hold_back_the_next_file(memory: Memory) -> None:
    source = (await memory.source()).source_id
    await limit(memory, loaded_bytes_per_minute=100)
    await memory.load(source, "a.txt", ["x" * 300])
    assert (await usage(memory)).loaded_bytes_left < 0
    async with exceeds("loaded_bytes_per_minute"):
        await memory.load(source, "b.txt", ["x"])
    assert (await memory.load(source, "a.txt", ["x" * 300])).unchanged


async def test_searches_per_minute(memory: Memory) -> None:
    agent = await memory.agent()
    await limit(memory, searches_per_minute=3)
    for _ in range(3):
        await memory.page("anything", agent_id=agent.agent_id)
    async with exceeds("searches_per_minute"):
        await memory.page("anything", agent_id=agent.agent_id)
    assert (await usage(memory)).searches_left == 0
    await memory.of(f"{memory.tenant}x").page(
        "anything", source_id=(await memory.of(f"{memory.tenant}x").source()).source_id
    )


async def test_turns_per_minute_count_new_turns_only(memory: Memory) -> None:
    agent = (await memory.agent()).agent_id
    await limit(memory, turns_per_minute=2)
    for request_id in ("r-1", "r-2"):
        grant = await memory.begin(agent, request_id, "hello")
        await memory.end(agent, grant.lease)
    async with exceeds("turns_per_minute"):
        await memory.begin(agent, "r-3", "hello")
    assert (await memory.begin(agent, "r-1", "hello")).turn.request_id == "r-1"  # a replay
    assert (await usage(memory)).turns_left == 0


async def test_a_turn_that_has_to_finish_another_first_counts_once(serve: Serve, tmp_path: Path) -> None:
    async with serve(str(tmp_path / "milvus.db")) as memory:
        agent = (await memory.agent()).agent_id
        await limit(memory, turns_per_minute=2)
        await memory.begin(agent, "r-1", "hello")  # abandoned
        grant = await memory.begin(agent, "r-2", "hello")
        assert (grant.resumed, grant.turn.request_id) == (True, "r-1")
        await memory.end(agent, grant.lease)
        grant = await memory.begin(agent, "r-2", "hello")
        assert grant.turn.request_id == "r-2"
        await memory.end(agent, grant.lease)
        async with exceeds("turns_per_minute"):
            await memory.begin(agent, "r-3", "hello")
        assert (await memory.begin(agent, "r-2")).turn.request_id == "r-2"


async def test_a_turn_that_does_not_begin_does_not_count(memory: Memory) -> None:
    agent = (await memory.agent()).agent_id
    await limit(memory, turns_per_minute=2)
    await memory.begin(agent, "r-1", "hello")
    for _ in range(3):
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            await memory.begin(agent, "r-2", "hello", queue_timeout=Duration(nanos=10_000_000))
    assert (await usage(memory)).turns_left == 1


async def test_concurrent_turns(memory: Memory) -> None:
    agents = [(await memory.agent()).agent_id for _ in range(3)]
    await limit(memory, concurrent_turns=2)
    streams = [memory.begin_events(agent, uuid4().hex, "hello") for agent in agents]
    for stream in streams[:2]:
        assert (await stream.read()).HasField("granted")
    async with exceeds("concurrent_turns"):
        await streams[2].read()
    assert (await usage(memory)).concurrent_turns == 2
    streams[0].cancel()
    for _ in range(1000):
        if (await usage(memory)).concurrent_turns == 1:
            break
    else:
        pytest.fail("the place of a turn was not given back")
    last = memory.begin_events(agents[2], uuid4().hex, "hello")
    assert (await last.read()).HasField("granted")
    last.cancel()
    streams[1].cancel()


def answer(text: str, prompt: int, completion: int) -> message_pb2.NewMessage:
    message = thought(text)
    message.usage.prompt_tokens, message.usage.completion_tokens = prompt, completion
    return message


async def talk(memory: Memory, agent: str, tokens: int) -> None:
    grant = await memory.begin(agent, uuid4().hex, "hello")
    await memory.agents.CommitStep(
        agent_state_service_pb2.CommitStepRequest(
            agent_id=agent, lease=grant.lease, step=1, messages=[answer("hi", tokens - 1, 1)]
        )
    )
    await memory.end(agent, grant.lease)


async def test_model_tokens_per_day(memory: Memory) -> None:
    agent = (await memory.agent()).agent_id
    await limit(memory, model_tokens_per_day=100)
    await talk(memory, agent, 60)
    await talk(memory, agent, 60)  # a turn that has begun runs to its end
    async with exceeds("model_tokens_per_day"):
        await memory.begin(agent, uuid4().hex, "hello")
    assert (await usage(memory)).model_tokens_today == 120
    await memory.agents.DeleteAgent(agent_state_service_pb2.DeleteAgentRequest(agent_id=agent))
    assert (await usage(memory)).model_tokens_today == 120  # deleting agents gives no tokens back


async def test_tokens_of_a_deleted_agent_count_once_although_its_deletion_failed(serve: Serve, tmp_path: Path) -> None:
    uri = str(tmp_path / "store.db")
    async with serve(uri) as memory:
        agent = (await memory.agent()).agent_id
        await talk(memory, agent, 60)
        request = agent_state_service_pb2.DeleteAgentRequest(agent_id=agent)

        def is_the_agent(row: Any) -> bool:
            return bool(row.id == agent)

        for _ in range(2):
            failing = failing_upserts(memory.core().store, "memgpt_records", "before", only=is_the_agent)
            with failing as failed, refused(UNAVAILABLE):
                await memory.agents.DeleteAgent(request)
            assert failed
        await memory.agents.DeleteAgent(request)
        assert (await usage(memory)).model_tokens_today == 60
    async with serve(uri) as again:
        assert (await usage(again.of(memory.tenant))).model_tokens_today == 60


async def test_no_turn_begins_without_bytes_left(memory: Memory) -> None:
    agent = (await memory.agent()).agent_id
    await limit(memory, bytes=8)
    grant = await memory.begin(agent, "r-1", "hello")
    await memory.commit(agent, grant.lease, 1, "a thought", notes=["a note"])  # is not cut off
    await memory.end(agent, grant.lease)
    async with exceeds("bytes"):
        await memory.begin(agent, "r-2", "hello")
    await limit(memory, passages=1)
    grant = await memory.begin(agent, "r-3", "hello")
    await memory.commit(agent, grant.lease, 1, "a thought", notes=["another note"])
    await memory.end(agent, grant.lease)
    async with exceeds("passages"):
        await memory.begin(agent, "r-4", "hello")


async def test_no_message_is_edited_without_bytes_left(memory: Memory) -> None:
    agent = (await memory.agent()).agent_id
    await memory.turn(agent, "hello", "a thought")
    await edit(memory, agent, agent_state_service_pb2.MESSAGE_PART_THOUGHT, "another", "r-1")
    await limit(memory, bytes=8)
    async with exceeds("bytes"):
        await edit(memory, agent, agent_state_service_pb2.MESSAGE_PART_THOUGHT, "a third")
    again = await edit(memory, agent, agent_state_service_pb2.MESSAGE_PART_THOUGHT, "another", "r-1")
    assert again.text == "another"  # a repeated request
    assert await undo(memory, agent)  # adds nothing


async def test_an_import_counts_and_is_refused_as_a_whole(memory: Memory) -> None:
    agent = (await memory.agent(messages=[user("hello")])).agent_id
    await memory.insert(agent, "a note", "another note")
    export = memory.agents.ExportAgent(agent_state_service_pb2.ExportAgentRequest(agent_id=agent))
    pieces = [response.piece async for response in export]
    before = await usage(memory)

    def requests(name: str) -> list[agent_state_service_pb2.ImportAgentRequest]:
        first = agent_state_service_pb2.ImportAgentRequest(piece=pieces[0], name=name)
        return [first, *(agent_state_service_pb2.ImportAgentRequest(piece=piece) for piece in pieces[1:])]

    await limit(memory, passages=3)
    async with exceeds("passages"):
        await memory.agents.ImportAgent(iter(requests("refused")))
    assert await usage(memory) == before
    await limit(memory, agents=2)
    await memory.agents.ImportAgent(iter(requests("taken")))
    found = await usage(memory)
    assert (found.agents, found.passages, found.bytes) == (2, 2 * before.passages, 2 * before.bytes)
    async with exceeds("agents"):
        await memory.agents.ImportAgent(iter(requests("one too many")))


async def test_usage_of_agents_is_paged(memory: Memory) -> None:
    agents = [(await memory.agent()).agent_id for _ in range(5)]
    await memory.insert(agents[1], "a note")
    await talk(memory, agents[2], 50)
    found: list[pb.AgentUsage] = []
    token, pages = "", 0
    while pages == 0 or token:
        page = await memory.quotas.GetUsage(pb.GetUsageRequest(page_size=2, page_token=token))
        assert page.total_size == 5
        found += page.agents
        token, pages = page.next_page_token, pages + 1
    assert pages == 3
    assert [one.agent_id for one in found] == sorted(agents)
    by_id = {one.agent_id: one for one in found}
    assert (by_id[agents[1]].passage_count, by_id[agents[1]].bytes) == (1, 6)
    spoken = by_id[agents[2]]
    assert (spoken.message_count, spoken.bytes, spoken.model_tokens, spoken.model_tokens_today) == (2, 7, 50, 50)
    token = (await memory.quotas.GetUsage(pb.GetUsageRequest(page_size=2))).next_page_token
    foreign = pb.GetUsageRequest(page_size=2, page_token=token)
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await memory.of(f"{memory.tenant}x").quotas.GetUsage(foreign)


async def test_a_restricted_key_sees_what_its_agents_and_sources_use(memory: Memory) -> None:
    mine, other = [(await memory.agent()).agent_id for _ in range(2)]
    my_source, other_source = [(await memory.source()).source_id for _ in range(2)]
    await memory.insert(mine, "mine")
    await memory.insert(other, "another agent's")
    await talk(memory, mine, 50)
    await talk(memory, other, 70)
    await memory.load(my_source, "a.txt", ["12345"])
    await memory.load(other_source, "b.txt", ["1", "2"])
    everything = await usage(memory)

    async def seen(restriction: str) -> pb.GetUsageResponse:
        return await memory.of(f"{memory.tenant};{restriction}").quotas.GetUsage(pb.GetUsageRequest())  # type: ignore[no-any-return]

    def amounts(used: pb.TenantUsage) -> tuple[int, ...]:
        return used.agents, used.sources, used.passages, used.bytes, used.model_tokens_today

    assert amounts(everything) == (2, 2, 5, 4 + 15 + 7 + 7 + 5 + 2, 120)
    both = await seen(f"agents={mine};sources={my_source}")
    assert amounts(both.usage) == (1, 1, 2, 4 + 7 + 5, 50)
    assert ([one.agent_id for one in both.agents], both.total_size) == ([mine], 1)
    assert amounts((await seen(f"agents={mine}")).usage) == (1, 2, 4, 4 + 7 + 5 + 2, 50)
    assert amounts((await seen(f"sources={my_source}")).usage) == (2, 1, 3, 4 + 15 + 7 + 7 + 5, 120)
    assert amounts((await seen("agents=agent_x;sources=source_x")).usage) == (0, 0, 0, 0, 0)
    await memory.agents.DeleteAgent(agent_state_service_pb2.DeleteAgentRequest(agent_id=other))
    assert amounts((await seen(f"agents={mine}")).usage) == (1, 2, 4, 4 + 7 + 5 + 2, 50)


async def test_counts_survive_the_death_of_the_process(tmp_path: Path) -> None:
    def start() -> ServiceProcess:
        return ServiceProcess("memgpt_memory", tmp_path)

    with start() as process:
        async with connected(process.wait_ready()) as memory:
            agent = (await memory.agent()).agent_id
            gone = (await memory.agent()).agent_id
            await memory.insert(agent, "a note")
            await memory.load((await memory.source()).source_id, "a.txt", ["a passage"])
            await talk(memory, agent, 60)
            await talk(memory, gone, 50)
            await memory.agents.DeleteAgent(agent_state_service_pb2.DeleteAgentRequest(agent_id=gone))
            await limit(memory, model_tokens_per_day=100)
            before = await usage(memory)
            process.kill9()
    assert (before.agents, before.passages, before.model_tokens_today) == (1, 2, 110)
    with start() as process:
        async with connected(process.wait_ready()) as memory:
            async with exceeds("model_tokens_per_day"):
                await memory.begin(agent, uuid4().hex, "hello")
            assert await usage(memory) == before


def held_count(memory: Memory) -> asyncio.Event:
    """Lets the count of what is stored wait for the event that is returned."""
    quotas, allowed = memory.core().quotas, asyncio.Event()
    read = quotas.read_amounts
    assert read is not None

    async def wait(tenant: str) -> Any:
        await allowed.wait()
        return await read(tenant)

    quotas.read_amounts = wait
    return allowed


def test_sums_are_never_negative() -> None:
    usage = TenantUsage()
    usage.remove("agent_a", Amounts(agents=1, passages=2, bytes=30))  # stored after the sums, before a crash
    assert usage.stored() == UsageRow()
    usage.set("agent_b", Amounts(agents=1))
    usage.count([("agent_b", Amounts(agents=1))])
    assert usage.stored() == UsageRow(agents=1)


def test_tokens_count_after_a_clock_that_was_a_day_ahead_is_set_back() -> None:
    today, usage = 20_000, TenantUsage()
    usage.set("agent_a", Amounts(agents=1, day=today, tokens=5))
    usage.set("agent_b", Amounts(agents=1, day=today + 1, tokens=100))
    usage.set("agent_a", Amounts(agents=1, day=today, tokens=7))
    usage.set("agent_b", Amounts(agents=1, day=today, tokens=2))
    assert (usage.tokens(today), usage.tokens(today + 1)) == (9, 100)
    usage.remove("agent_a")
    usage.remove("agent_b")
    usage.count([(f"agent_{day}", Amounts(agents=1, day=day, tokens=1)) for day in range(today + 1, today - 40, -1)])
    assert (usage.tokens(today), usage.tokens(today + 1)) == (10, 1)


def test_an_agent_counts_tokens_of_the_day_after_its_clock_is_set_back() -> None:
    row = AgentRow(tenant="t", name="a", created=1, updated=1)
    for day, tokens in ((10, 3), (11, 100), (10, 4), (10, 5)):
        row.add_tokens(day, tokens)
    assert (row.token_day, row.tokens_today, row.tokens) == (10, 9, 112)


async def test_limits_hold_at_once_after_a_restart(serve: Serve, tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    async with serve(uri) as memory:
        kept = (await memory.agent()).agent_id
        gone = (await memory.agent()).agent_id
        source = (await memory.source()).source_id
        await memory.load(source, "a.txt", ["a passage"])
        await talk(memory, kept, 60)
        await talk(memory, gone, 50)
        await limit(memory, agents=2, passages=2, model_tokens_per_day=111)
    async with serve(uri) as memory:
        allowed = held_count(memory)
        async with exceeds("agents"):
            await memory.agent()
        before = await usage_of(memory)
        assert (before.agents, before.passages, before.tokens(utc_day(now()))) == (2, 1, 110)
        # What changes before the rows are counted counts once.
        await memory.agents.DeleteAgent(agent_state_service_pb2.DeleteAgentRequest(agent_id=gone))
        another = (await memory.agent()).agent_id
        await memory.load(source, "a.txt", ["another passage"])
        await memory.insert(another, "a note")
        await talk(memory, another, 1)
        async with exceeds("passages"):
            await memory.insert(kept, "a note")
        async with exceeds("model_tokens_per_day"):
            await memory.begin(kept, uuid4().hex, "hello")
        changed = (await usage_of(memory)).stored()
        allowed.set()
        counted = await settled(memory)
        assert counted.stored() == changed
        assert (counted.agents, counted.passages, counted.tokens(utc_day(now()))) == (2, 2, 111)


async def test_after_a_crash_calls_wait_for_the_count_only_a_moment(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "milvus.db")

    async def crash(_: object) -> None:
        pass

    async with serve(uri) as memory:
        agent = (await memory.agent()).agent_id
        await memory.core().quotas._save()
        await memory.insert(agent, "a note")
        await limit(memory, passages=1)
        monkeypatch.setattr(Quotas, "close", crash)
        monkeypatch.setattr(StoreLease, "release", crash)
    monkeypatch.undo()
    async with serve(uri) as memory:
        allowed = held_count(memory)
        await memory.insert(agent, "admitted by outdated sums")
        allowed.set()
        assert (await settled(memory)).passages == 2
        async with exceeds("passages"):
            await memory.insert(agent, "a note")


async def test_a_count_that_fails_is_repeated(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_quotas, "_RECOUNT_SECONDS", 0.01)
    async with serve(str(tmp_path / "milvus.db")) as memory:
        quotas = memory.core().quotas
        read, failures = quotas.read_amounts, 3
        assert read is not None

        async def fail(tenant: str) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise Unavailable(Reason.STORE_UNAVAILABLE, "injected")
            return await read(tenant)

        quotas.read_amounts = fail
        await memory.agent()
        assert (await settled(memory)).agents == 1
        assert failures == 0


async def usage_of(memory: Memory) -> TenantUsage:
    return (await memory.core().quotas._read(memory.tenant)).usage


async def settled(memory: Memory) -> TenantUsage:
    """The usage once it has been counted."""
    known = await memory.core().quotas._read(memory.tenant)
    assert known.counting is not None
    await asyncio.wait_for(asyncio.shield(known.counting), 60)
    assert known.usage.counted
    return known.usage


async def test_agents_of_an_older_version_are_counted(serve: Serve, tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    async with serve(uri) as memory:
        agent = (await memory.agent(messages=[user("hello")])).agent_id
        ids = await memory.insert(agent, "a note", "a note that goes")
        await memory.delete(agent, ids[1])
        records = memory.core().agents.repository._records
        record = await records.get(agent)
        assert record is not None
        body = json.loads(record.body)
        assert body.pop("text_bytes") == 5 + 6
        await records.put(type(record)(record.id, record.kind, record.tenant, "", record.created, json.dumps(body)))
    async with serve(uri) as memory:
        for _ in range(1000):
            if (await usage(memory)).bytes == 5 + 6:
                break
        else:
            pytest.fail("the bytes were not counted")
        await memory.insert(agent, "1234")
        assert (await usage(memory)).bytes == 5 + 6 + 4


async def test_a_flood_of_searches_does_not_make_another_tenant_wait(
    tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    """The searches of one tenant hang, as many wait as may be made, and another tenant's are served all the same."""
    slots, waiting = 4, 100
    hanging = threading.Semaphore(0)
    ended = threading.Event()

    def hang(request: Request) -> None:
        if any("flood" in text for text in request.json["input"]):
            hanging.release()
            ended.wait(60)

    llm = scripted_llm(dimension=256)
    llm.rule_embeddings(hang)
    settings = {
        "MEMGPT_MEMORY_MAX_CONCURRENT_SEARCHES": str(slots),
        "MEMGPT_MEMORY_EMBEDDING": "openai",
        "MEMGPT_MEMORY_EMBEDDING_BASE_URL": llm.base_url,
        "MEMGPT_MEMORY_EMBEDDING_API_KEY": "sk-test",
        "MEMGPT_MEMORY_EMBEDDING_DIMENSION": "256",
    }
    with ServiceProcess("memgpt_memory", tmp_path, **settings) as process:
        address = process.wait_ready()
        async with connected(address, "flood") as flood, connected(address, "quiet") as quiet:
            agents = [(await memory.agent()).agent_id for memory in (flood, quiet)]
            for memory, agent in zip((flood, quiet), agents, strict=True):
                await memory.insert(agent, "a note")
            flooding = [
                asyncio.create_task(flood.page(f"flood {number}", agent_id=agents[0])) for number in range(waiting)
            ]
            try:
                for _ in range(slots):
                    assert await asyncio.to_thread(hanging.acquire, timeout=60)
                for number in range(20):
                    assert len((await quiet.page(f"query {number}", agent_id=agents[1])).hits) == 1
                assert not hanging.acquire(blocking=False)  # no more of the flood is in progress than may be
                assert not any(task.done() for task in flooding)
            finally:
                ended.set()
            assert len([page.hits for page in await asyncio.gather(*flooding)]) == waiting
