"""Waiting for a turn and cancelling one: bounded, in order even after a crash, and kept across restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import message_pb2, tool_pb2, turn_pb2
from memgpt_memory.turns._history import TurnHistory

from tests.integration.memory.client import Memory, connected, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_turns import CANCELLED, Asking, cancel, hasty, read, renewed
from tests.support.processes import ServiceProcess
from tests.support.waiting import until

__all__ = ["hasty"]  # a fixture

FAILED_RESULT = '{"status": "Failed", "message": "cancelled", "time": "now"}'


async def cancelled(events: Any) -> bool:
    """Whether a turn is to be cancelled, by what comes behind its grant."""
    return [event.HasField("cancel_requested") async for event in events] == [True]


async def held(memory: Memory, agent_id: str, request_id: str, text: str) -> tuple[turn_pb2.Lease, Any]:
    """A lease, and what comes behind its grant."""
    events = aiter(memory.begin_events(agent_id, request_id, text))
    async for event in events:
        if event.HasField("granted"):
            return event.granted.lease, events
    raise AssertionError("the stream ended without a grant")


async def call_tool(memory: Memory, agent_id: str, lease: turn_pb2.Lease, step: int = 1) -> None:
    """Commits a call without its result."""
    call = message_pb2.FunctionCall(call_id="call_1", name="ring", arguments="{}")
    message = message_pb2.NewMessage(role=message_pb2.ROLE_ASSISTANT, function_call=call)
    await memory.agents.CommitStep(pb.CommitStepRequest(agent_id=agent_id, lease=lease, step=step, messages=[message]))


async def test_a_turn_does_not_wait_indefinitely(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r0", "x")
    soon = Duration(nanos=200_000_000)
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"):
        await memory.begin(agent.agent_id, "r1", "y", queue_timeout=soon)
    # A turn that was begun is followed for as long as it takes.
    own = Asking(memory, agent.agent_id, "r0", "x", queue_timeout=soon)
    await own.queued(0)
    await memory.end(agent.agent_id, first.lease)
    assert (await own.grant()).turn.state == turn_pb2.TURN_STATE_COMPLETED
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x"], "nothing of it is left"
    assert (await memory.begin(agent.agent_id, "r1", "y", queue_timeout=soon)).HasField("lease")


async def test_who_finishes_another_turn_keeps_its_place(hasty: Memory) -> None:
    memory = hasty
    agent = await memory.agent()
    await memory.begin(agent.agent_id, "dead", "x")
    first = Asking(memory, agent.agent_id, "first", "1")
    await first.queued(1)
    second = Asking(memory, agent.agent_id, "second", "2")
    await second.queued(2)
    taken = await first.grant()
    assert taken.turn.request_id == "dead"
    await memory.end(agent.agent_id, taken.lease)
    granted = await memory.begin(agent.agent_id, "first", "1")
    assert granted.turn.request_id == "first"
    assert not second.done
    await memory.end(agent.agent_id, granted.lease)
    last = (await second.grant()).lease
    await memory.end(agent.agent_id, last)
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "1", "2"]


async def test_a_place_is_not_kept_indefinitely(hasty: Memory) -> None:
    memory = hasty
    agent = await memory.agent()
    await memory.begin(agent.agent_id, "dead", "x")
    first = Asking(memory, agent.agent_id, "first", "1")
    await first.queued(1)
    second = Asking(memory, agent.agent_id, "second", "2")
    await second.queued(2)
    await memory.end(agent.agent_id, (await first.grant()).lease)
    # The first never comes back.
    assert (await second.grant()).turn.request_id == "second"


async def test_a_holder_learns_at_once_that_its_turn_is_cancelled(memory: Memory) -> None:
    agent = await memory.agent()
    lease, events = await held(memory, agent.agent_id, "r", "x")
    await cancel(memory, agent.agent_id, "r")
    assert await cancelled(events)
    assert (await renewed(memory, agent.agent_id, lease)).cancel_requested, "also who asks later"
    await memory.end(agent.agent_id, lease, CANCELLED)
    after, events = await held(memory, agent.agent_id, "r2", "y")
    await memory.end(agent.agent_id, after)
    assert not await cancelled(events), "the wish was for the turn before"


async def test_a_wish_to_cancel_survives_a_restart(tmp_path: Path) -> None:
    def start() -> ServiceProcess:
        return ServiceProcess("memgpt_memory", tmp_path, MEMGPT_MEMORY_LEASE_SECONDS="60")

    with start() as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            agent = await memory.agent()
            grant = await memory.begin(agent.agent_id, "r", "x")
            await cancel(memory, agent.agent_id, "r")
            process.kill9()
    with start() as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            assert (await renewed(memory, agent.agent_id, grant.lease)).cancel_requested


async def test_a_turn_that_waits_is_cancelled_with_the_call(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r0", "x")
    waiting = Asking(memory, agent.agent_id, "r1", "y")
    await waiting.queued(1)
    assert (await cancel(memory, agent.agent_id, "r1")).state == turn_pb2.TURN_STATE_CANCELLED
    assert (await waiting.grant()).turn.state == turn_pb2.TURN_STATE_CANCELLED
    await memory.end(agent.agent_id, grant.lease)
    assert not (await memory.begin(agent.agent_id, "r1", "y")).HasField("lease")
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x"]


async def test_a_turn_that_is_being_cancelled_does_not_start_for_a_second_caller(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory, asyncio.timeout(60):
        await cancel_before_a_second_caller(memory, monkeypatch)


async def cancel_before_a_second_caller(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second caller comes when the first has left, and before the cancellation is stored."""
    agent = await memory.agent()
    live = await memory.core().agents.get(memory.tenant, agent.agent_id)
    cancelling, resumed = asyncio.Event(), asyncio.Event()
    index = TurnHistory.index

    async def slow(history: TurnHistory, of: Any) -> int:
        cancelling.set()
        await resumed.wait()
        return await index(history, of)

    monkeypatch.setattr(TurnHistory, "index", slow)
    async with live.lock:
        cancellation = asyncio.create_task(cancel(memory, agent.agent_id, "r"))
        await until(lambda: live.lock._waiters)
        first = Asking(memory, agent.agent_id, "r", "x")
        await until(lambda: live.queue)
    await cancelling.wait()
    first.leave()
    await until(lambda: not live.queue)
    second = Asking(memory, agent.agent_id, "r", "x")
    await until(lambda: live.queue)
    resumed.set()
    assert (await cancellation).state == turn_pb2.TURN_STATE_CANCELLED
    grant = await second.grant()
    assert grant.turn.state == turn_pb2.TURN_STATE_CANCELLED
    assert not grant.HasField("lease")


async def test_a_turn_that_ends_leaves_no_call_without_result(memory: Memory) -> None:
    agent = await memory.agent()
    held = await memory.begin(agent.agent_id, "held", "x")
    await call_tool(memory, agent.agent_id, held.lease)
    request = pb.EndTurnRequest(agent_id=agent.agent_id, lease=held.lease, outcome=CANCELLED, call_result=FAILED_RESULT)
    ended = (await memory.agents.EndTurn(request)).turn
    assert ended == (await memory.agents.EndTurn(request)).turn
    left = await memory.begin(agent.agent_id, "left", "y")
    await call_tool(memory, agent.agent_id, left.lease)
    await memory.agents.ReleaseLease(pb.ReleaseLeaseRequest(agent_id=agent.agent_id, lease=left.lease))
    wish = pb.RequestCancelRequest(agent_id=agent.agent_id, request_id="left", call_result=FAILED_RESULT)
    assert (await memory.agents.RequestCancel(wish)).turn.state == turn_pb2.TURN_STATE_CANCELLED
    for name in ("held", "left"):
        steps, turn = await read(memory, agent.agent_id, name)
        assert turn.committed_steps == 2
        assert [[m.role for m in step.messages] for step in steps] == [
            [message_pb2.ROLE_ASSISTANT],
            [message_pb2.ROLE_TOOL],
        ]
        result = steps[-1].messages[-1]
        assert (result.call_id, result.text) == ("call_1", FAILED_RESULT)


async def test_tools_of_an_agent(memory: Memory) -> None:
    agent_id = (await memory.agent()).agent_id

    async def put(address: str, *names: str) -> None:
        functions = [
            tool_pb2.ToolFunction(name=n, description=n, parameters='{"é": "' + "x" * 5000 + '"}') for n in names
        ]
        server = tool_pb2.ToolServer(address=address, functions=functions)
        await memory.agents.PutToolServer(pb.PutToolServerRequest(agent_id=agent_id, server=server))

    async def found() -> dict[str, list[str]]:
        listed: Any = await memory.agents.ListToolServers(pb.ListToolServersRequest(agent_id=agent_id))
        assert list((await memory.context(agent_id)).tool_servers) == list(listed.servers)
        return {server.address: [one.name for one in server.functions] for server in listed.servers}

    # Far more than the agent's own row could hold.
    await put("a:1", *(f"f{n}" for n in range(30)))
    await put("b:1", "g")
    await put("a:1", "f0", "new")
    assert await found() == {"a:1": ["f0", "new"], "b:1": ["g"]}
    with refused(grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN"):
        await put("c:1", "h", "g")
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await put("c:1", *(f"h{n}" for n in range(98)))
    for _ in range(2):
        await memory.agents.DeleteToolServer(pb.DeleteToolServerRequest(agent_id=agent_id, address="b:1"))
    assert await found() == {"a:1": ["f0", "new"]}
