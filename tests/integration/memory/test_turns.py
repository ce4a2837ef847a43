"""One turn at a time for each agent, in order, under a lease; a step is atomic and happens once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import block_pb2, message_pb2, turn_pb2

from tests.integration.memory.client import (
    ABORTED,
    COMPLETED,
    EXHAUSTED,
    INVALID,
    NOT_FOUND,
    PRECONDITION,
    Memory,
    refused,
    thought,
    user,
)
from tests.integration.memory.conftest import Serve

CANCELLED = turn_pb2.TurnOutcome(state=turn_pb2.TURN_STATE_CANCELLED, reason="asked to")


class Asking:
    """A caller of BeginTurn, followed in the background."""

    def __init__(self, memory: Memory, agent_id: str, request_id: str, text: str = "hello", **fields: Any) -> None:
        self.ahead: list[int] = []
        self._told = asyncio.Condition()
        self._call = memory.begin_events(agent_id, request_id, text, **fields)
        self._task = asyncio.create_task(self._follow(self._call))

    async def _follow(self, events: AsyncIterator[pb.BeginTurnResponse]) -> pb.TurnGrant:
        async for event in events:
            if event.HasField("granted"):
                return event.granted
            async with self._told:
                self.ahead.append(event.queued.ahead)
                self._told.notify_all()
        raise AssertionError("the stream ended without a grant")

    async def queued(self, ahead: int) -> None:
        """Return when it was told that this many are ahead."""
        async with self._told, asyncio.timeout(60):
            await self._told.wait_for(lambda: self.ahead and self.ahead[-1] == ahead)

    async def grant(self) -> pb.TurnGrant:
        async with asyncio.timeout(60):
            return await self._task

    def leave(self) -> None:
        self._call.cancel()

    @property
    def done(self) -> bool:
        return self._task.done()


async def renewed(memory: Memory, agent_id: str, lease: turn_pb2.Lease) -> pb.RenewLeaseResponse:
    return await memory.agents.RenewLease(pb.RenewLeaseRequest(agent_id=agent_id, lease=lease))  # type: ignore[no-any-return]


async def release(memory: Memory, agent_id: str, lease: turn_pb2.Lease) -> None:
    await memory.agents.ReleaseLease(pb.ReleaseLeaseRequest(agent_id=agent_id, lease=lease))


async def cancel(memory: Memory, agent_id: str, request_id: str) -> turn_pb2.Turn:
    request = pb.RequestCancelRequest(agent_id=agent_id, request_id=request_id)
    return (await memory.agents.RequestCancel(request)).turn  # type: ignore[no-any-return]


def reading(memory: Memory, agent_id: str, request_id: str, **fields: Any) -> Any:
    return memory.agents.ReadTurn(pb.ReadTurnRequest(agent_id=agent_id, request_id=request_id, **fields))


async def read(
    memory: Memory, agent_id: str, request_id: str, **fields: Any
) -> tuple[list[turn_pb2.Step], turn_pb2.Turn]:
    steps, turn = [], None
    async for item in reading(memory, agent_id, request_id, **fields):
        assert turn is None, "something came after the turn"
        if item.HasField("step"):
            steps.append(item.step)
        else:
            turn = item.turn
    assert turn is not None
    return steps, turn


async def test_a_turn_from_its_input_to_its_end(memory: Memory) -> None:
    agent = await memory.agent(blocks=[block_pb2.BlockEdit(label="human", value="nobody")])
    grant = await memory.begin(agent.agent_id, "r", "hello", options=b"\0options\xff")
    assert not grant.resumed
    assert (grant.turn.state, grant.turn.request_id) == (turn_pb2.TURN_STATE_RUNNING, "r")
    assert grant.options == b"\0options\xff"
    answer = await memory.commit(
        agent.agent_id,
        grant.lease,
        1,
        "I think",
        "and so",
        blocks=[block_pb2.BlockEdit(label="human", value="Chad")],
        notes=["remember the milk"],
    )
    assert [message.text for message in answer.step.messages] == ["I think", "and so"]
    assert [message.step for message in answer.step.messages] == [1, 1]
    now = answer.context
    assert [(block.label, block.value) for block in now.blocks] == [("human", "Chad")]
    assert (now.agent.message_count, now.agent.passage_count, now.archival_count) == (3, 1, 1)
    assert not now.messages, "the caller has them"
    stored = await memory.context(agent.agent_id)
    assert [m.text for m in (*grant.context.messages, *answer.step.messages)] == [m.text for m in stored.messages]
    stored.ClearField("messages")
    assert now == stored
    assert await memory.texts("milk", agent_id=agent.agent_id) == ["remember the milk"]
    ended = (await memory.end(agent.agent_id, grant.lease)).turn
    assert (ended.state, ended.committed_steps) == (turn_pb2.TURN_STATE_COMPLETED, 1)
    assert ended.end_time.ToMicroseconds() >= ended.create_time.ToMicroseconds() > 0
    context = await memory.context(agent.agent_id)
    assert [(message.sequence, message.step, message.text) for message in context.messages] == [
        (0, 0, "hello"),
        (1, 1, "I think"),
        (2, 1, "and so"),
    ]
    assert {message.turn_id for message in context.messages} == {grant.turn.turn_id}
    again = await memory.begin(agent.agent_id, "r", "hello")
    assert not again.HasField("lease")
    assert again.turn == ended
    listed = await memory.agents.ListTurns(pb.ListTurnsRequest(agent_id=agent.agent_id))
    assert list(listed.turns) == [ended]


async def test_turns_are_granted_in_order_of_arrival(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r0", "turn 0")
    waiting = []
    for number in range(1, 5):
        waiting.append(Asking(memory, agent.agent_id, f"r{number}", f"turn {number}"))
        await waiting[-1].queued(number)
    lease = first.lease
    for number, asking in enumerate(waiting, 1):
        assert not any(later.done for later in waiting[number - 1 :])
        await memory.commit(agent.agent_id, lease, 1, f"step of {number - 1}")
        await memory.end(agent.agent_id, lease)
        lease = (await asking.grant()).lease
    await memory.end(agent.agent_id, lease)
    assert waiting[-1].ahead == [4, 3, 2, 1]
    texts = [message.text for message in await memory.history(agent.agent_id)]
    assert texts == [part for n in range(4) for part in (f"turn {n}", f"step of {n}")] + ["turn 4"]


async def test_a_caller_that_goes_away_leaves_the_queue(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r0", "x")
    gone = Asking(memory, agent.agent_id, "r1")
    await gone.queued(1)
    stays = Asking(memory, agent.agent_id, "r2")
    await stays.queued(2)
    gone.leave()
    await stays.queued(1)
    await memory.end(agent.agent_id, first.lease)
    assert (await stays.grant()).turn.request_id == "r2"
    with refused(NOT_FOUND, "TURN_NOT_FOUND"):
        await read(memory, agent.agent_id, "r1")


async def test_agents_do_not_wait_for_each_other(memory: Memory) -> None:
    one, two = await memory.agent(), await memory.agent()
    await memory.begin(one.agent_id, "one", "x")
    assert (await memory.begin(two.agent_id, "two", "x")).HasField("lease")


async def test_the_queue_is_bounded(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    waiting = [Asking(memory, agent.agent_id, f"r{number}") for number in range(64)]
    async with asyncio.timeout(60):
        while not all(asking.ahead for asking in waiting):
            await renewed(memory, agent.agent_id, grant.lease)
    with refused(EXHAUSTED):
        await memory.begin(agent.agent_id, "one too many", "x")
    for asking in waiting:
        asking.leave()


@pytest.fixture
async def hasty(serve: Serve, milvus_lite_uri: str) -> AsyncIterator[Memory]:
    """A server whose leases soon run out. Which backend it has does not matter: leases are kept in memory."""
    async with serve(milvus_lite_uri, lease_seconds=0.5) as client:
        yield client


async def test_a_lease_that_is_renewed_holds_and_one_that_is_not_passes_on(hasty: Memory) -> None:
    memory = hasty
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r", "x", options=b"mine")
    await memory.commit(agent.agent_id, first.lease, 1, "one")
    follower = Asking(memory, agent.agent_id, "r", "x")
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.9
    while loop.time() < until:  # the lease has run out by then, unless renewing keeps it
        answer = await renewed(memory, agent.agent_id, first.lease)
        assert answer.lease.expire_time.ToMicroseconds() > first.lease.expire_time.ToMicroseconds()
        assert not follower.done
    taken = await follower.grant()
    assert taken.resumed
    assert (taken.turn.turn_id, taken.turn.committed_steps) == (first.turn.turn_id, 1)
    assert taken.lease.epoch > first.lease.epoch
    assert taken.options == b"mine"
    for late in (
        memory.commit(agent.agent_id, first.lease, 2, "late"),
        memory.commit(agent.agent_id, first.lease, 1, "one"),
        memory.end(agent.agent_id, first.lease),
        renewed(memory, agent.agent_id, first.lease),
    ):
        with refused(ABORTED, "LEASE_LOST"):
            await late
    await release(memory, agent.agent_id, first.lease)  # not theirs any more: nothing happens
    await memory.commit(agent.agent_id, taken.lease, 2, "two", outcome=COMPLETED)
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "one", "two"]


async def test_a_turn_whose_holder_died_comes_first(hasty: Memory) -> None:
    memory = hasty
    agent = await memory.agent()
    await memory.begin(agent.agent_id, "dead", "x")
    next_one = await Asking(memory, agent.agent_id, "next", "y").grant()
    assert next_one.resumed
    assert next_one.turn.request_id == "dead"
    await memory.end(agent.agent_id, next_one.lease)
    granted = await memory.begin(agent.agent_id, "next", "y")
    assert (granted.turn.request_id, granted.resumed) == ("next", False)
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "y"]


async def test_a_lease_given_back_is_taken_up_at_once(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r", "x")
    waiting = Asking(memory, agent.agent_id, "r", "x")
    await waiting.queued(0)
    await release(memory, agent.agent_id, first.lease)
    await release(memory, agent.agent_id, first.lease)
    assert (await waiting.grant()).lease.epoch == first.lease.epoch + 1


async def test_who_does_not_want_to_wait_is_answered_without_a_lease(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r", "x")
    grant = await memory.begin(agent.agent_id, "r", "x", nonblocking=True)
    assert not grant.HasField("lease")
    assert grant.turn == first.turn


async def test_a_step_is_committed_once(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    first = await memory.commit(agent.agent_id, grant.lease, 1, "one", notes=["note"])
    second = await memory.commit(agent.agent_id, grant.lease, 2, "two", "three")
    for step, was, texts in ((1, first, ["one"]), (2, second, ["two", "three"])):
        again = await memory.commit(agent.agent_id, grant.lease, step, *texts, notes=["note"])
        assert again.step == was.step
        # The text does not matter: the step was decided.
        assert (await memory.commit(agent.agent_id, grant.lease, step, "something else")).step == was.step
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "one", "two", "three"]
    assert await memory.texts("note", agent_id=agent.agent_id) == ["note"]


async def test_a_step_sent_twice_at_once_is_committed_once(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    answers = await asyncio.gather(*(memory.commit(agent.agent_id, grant.lease, 1, "one") for _ in range(8)))
    assert all(answer.step == answers[0].step for answer in answers)
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "one"]


async def test_steps_come_in_order(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    for step in (2, 3, 2**31 - 1):
        with refused(PRECONDITION, "STEP_OUT_OF_ORDER"):
            await memory.commit(agent.agent_id, grant.lease, step, "early")
    for step in (0, -1):
        with refused(INVALID):
            await memory.commit(agent.agent_id, grant.lease, step, "no step")
    await memory.commit(agent.agent_id, grant.lease, 1, "one")
    await memory.end(agent.agent_id, grant.lease)
    with refused(PRECONDITION):
        await memory.commit(agent.agent_id, grant.lease, 2, "after the end")
    assert (await memory.end(agent.agent_id, grant.lease, CANCELLED)).turn.state == turn_pb2.TURN_STATE_COMPLETED
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "one"]


async def test_a_step_that_is_refused_changes_nothing(memory: Memory) -> None:
    fixed = block_pb2.BlockEdit(label="rules", value="fixed", read_only=True)
    agent = await memory.agent(blocks=[block_pb2.BlockEdit(label="human", value="old", limit=10), fixed])
    grant = await memory.begin(agent.agent_id, "r", "x")
    stale = grant.lease
    etag = (await memory.context(agent.agent_id)).blocks[0].etag
    bad: list[tuple[Any, dict[str, Any]]] = [
        (INVALID, {"blocks": [block_pb2.BlockEdit(label="human", value="x" * 11)]}),
        (NOT_FOUND, {"blocks": [block_pb2.BlockEdit(label="absent", value="x")]}),
        (PRECONDITION, {"blocks": [block_pb2.BlockEdit(label="rules", value="x")]}),
        (PRECONDITION, {"blocks": [block_pb2.BlockEdit(label="rules", read_only=False)]}),
        (ABORTED, {"blocks": [block_pb2.BlockEdit(label="human", value="x", etag=etag + "x")]}),
        (INVALID, {"eviction": pb.Eviction(before_sequence=99)}),
        (INVALID, {"notes": ["   "]}),
        (INVALID, {"messages_": [thought("é" * (1 << 19) + "x")]}),
    ]
    for code, fields in bad:
        messages = fields.pop("messages_", [thought("never")])
        request = pb.CommitStepRequest(agent_id=agent.agent_id, lease=stale, step=1, messages=messages, **fields)
        if not fields.get("notes"):
            request.notes.append("never")
        with refused(code):
            await memory.agents.CommitStep(request)
    context = await memory.context(agent.agent_id)
    assert [(block.value, block.read_only) for block in context.blocks] == [("old", False), ("fixed", True)]
    assert ([message.text for message in context.messages], context.archival_count) == (["x"], 0)
    assert await memory.texts("never", agent_id=agent.agent_id) == []
    blocks = [block_pb2.BlockEdit(label="human", value="new", etag=etag)]
    await memory.commit(agent.agent_id, grant.lease, 1, "good", blocks=blocks)
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x", "good"]


async def test_eviction_leaves_recall_memory_whole(memory: Memory) -> None:
    agent = await memory.agent(messages=[user(f"boot {n}") for n in range(4)])
    grant = await memory.begin(agent.agent_id, "r", "x")
    eviction = pb.Eviction(before_sequence=3, summary="It began. " * 100)
    await memory.commit(agent.agent_id, grant.lease, 1, "one", eviction=eviction)
    context = await memory.context(agent.agent_id)
    assert context.summary == eviction.summary
    assert [message.text for message in context.messages] == ["boot 3", "x", "one"]
    with refused(INVALID):
        await memory.commit(agent.agent_id, grant.lease, 2, eviction=pb.Eviction(before_sequence=2))
    assert len(await memory.history(agent.agent_id)) == 6


async def test_reading_a_turn_replays_it_and_follows_it_live(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    await memory.commit(agent.agent_id, grant.lease, 1, "one")
    stream = reading(memory, agent.agent_id, "r", after_step=-1)
    assert [((await stream.read()).step.index) for _ in range(2)] == [0, 1]
    late = asyncio.create_task(read(memory, agent.agent_id, "r", after_step=1))
    for step in (2, 3):
        await memory.commit(agent.agent_id, grant.lease, step, f"{step} a", f"{step} b")
        item = await stream.read()
        assert [message.text for message in item.step.messages] == [f"{step} a", f"{step} b"]
    steps, now = await read(memory, agent.agent_id, "r", after_step=2, replay_only=True)
    assert ([step.index for step in steps], now.state) == ([3], turn_pb2.TURN_STATE_RUNNING)
    await memory.end(agent.agent_id, grant.lease)
    assert (await stream.read()).turn.state == turn_pb2.TURN_STATE_COMPLETED
    steps, turn = await late
    assert [step.index for step in steps] == [2, 3]
    assert turn.committed_steps == 3
    await memory.turn(agent.agent_id, "another", "turn")
    steps, turn = await read(memory, agent.agent_id, "r", after_step=-1)
    assert [[message.text for message in step.messages] for step in steps] == [
        ["x"],
        ["one"],
        ["2 a", "2 b"],
        ["3 a", "3 b"],
    ]
    with refused(NOT_FOUND, "TURN_NOT_FOUND"):
        await read(memory, agent.agent_id, "never asked")


async def test_a_queued_turn_can_be_followed(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r0", "x")
    waiting = Asking(memory, agent.agent_id, "r1", "y")
    await waiting.queued(1)
    follower = asyncio.create_task(read(memory, agent.agent_id, "r1", after_step=-1))
    _, now = await read(memory, agent.agent_id, "r1", replay_only=True)
    assert now.state == turn_pb2.TURN_STATE_QUEUED
    await memory.end(agent.agent_id, first.lease)
    grant = await waiting.grant()
    await memory.commit(agent.agent_id, grant.lease, 1, "one")
    await memory.end(agent.agent_id, grant.lease)
    steps, turn = await follower
    assert [step.index for step in steps] == [0, 1]
    assert turn.state == turn_pb2.TURN_STATE_COMPLETED


async def test_cancelling_a_running_turn_tells_its_holder(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    assert not (await renewed(memory, agent.agent_id, grant.lease)).cancel_requested
    for _ in range(2):
        assert (await cancel(memory, agent.agent_id, "r")).state == turn_pb2.TURN_STATE_RUNNING
    assert (await renewed(memory, agent.agent_id, grant.lease)).cancel_requested
    await memory.end(agent.agent_id, grant.lease, CANCELLED)
    turn = await cancel(memory, agent.agent_id, "r")
    assert (turn.state, turn.reason) == (turn_pb2.TURN_STATE_CANCELLED, "asked to")
    following = await memory.begin(agent.agent_id, "r2", "y")
    assert not (await renewed(memory, agent.agent_id, following.lease)).cancel_requested


async def test_cancelling_a_turn_whose_holder_died_ends_it(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r", "x")
    await release(memory, agent.agent_id, grant.lease)
    assert (await cancel(memory, agent.agent_id, "r")).state == turn_pb2.TURN_STATE_CANCELLED
    assert (await memory.begin(agent.agent_id, "r", "x")).turn.state == turn_pb2.TURN_STATE_CANCELLED


async def test_cancelling_a_queued_turn_takes_it_out_of_the_queue_for_good(memory: Memory) -> None:
    agent = await memory.agent()
    first = await memory.begin(agent.agent_id, "r0", "x")
    waiting = Asking(memory, agent.agent_id, "r1", "y")
    await waiting.queued(1)
    twin = Asking(memory, agent.agent_id, "r1", "y")
    await twin.queued(1)
    await cancel(memory, agent.agent_id, "r1")
    grants = [await waiting.grant(), await twin.grant()]
    assert [grant.turn.state for grant in grants] == [turn_pb2.TURN_STATE_CANCELLED] * 2
    assert grants[0].turn.turn_id == grants[1].turn.turn_id
    await memory.end(agent.agent_id, first.lease)
    again = await memory.begin(agent.agent_id, "r1", "y")
    assert again.turn == grants[0].turn
    assert [message.text for message in await memory.history(agent.agent_id)] == ["x"]
    with refused(NOT_FOUND, "TURN_NOT_FOUND"):
        await cancel(memory, agent.agent_id, "never asked")


async def test_a_request_asked_for_by_many_at_once_runs_once(memory: Memory) -> None:
    agent = await memory.agent()
    running = await memory.begin(agent.agent_id, "r0", "zero")
    asking = []
    for request_id, ahead in (("r1", 1), ("r2", 2), ("r1", 1), ("r2", 2), ("r1", 1)):
        asking.append(Asking(memory, agent.agent_id, request_id, request_id))
        await asking[-1].queued(ahead)
    await memory.end(agent.agent_id, running.lease)
    for request_id, own in (("r1", asking[0]), ("r2", asking[1])):
        grant = await own.grant()
        assert grant.turn.request_id == request_id
        await memory.commit(agent.agent_id, grant.lease, 1, f"answer {request_id}")
        await memory.end(agent.agent_id, grant.lease)
    for place in (2, 3, 4):
        grant = await asking[place].grant()
        assert not grant.HasField("lease")
        assert grant.turn.request_id == ("r1" if place != 3 else "r2")
    texts = [message.text for message in await memory.history(agent.agent_id)]
    assert texts == ["zero", "r1", "answer r1", "r2", "answer r2"]


async def test_a_request_id_names_one_turn(memory: Memory) -> None:
    one, two = await memory.agent(), await memory.agent()
    grant = await memory.begin(one.agent_id, "r", "x")
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await memory.begin(one.agent_id, "r", "another input")
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await memory.begin(two.agent_id, "r", "x")
    await memory.end(one.agent_id, grant.lease)
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await memory.begin(one.agent_id, "r", "another input")
    # Without input it is a question after a turn that must be there.
    assert (await memory.begin(one.agent_id, "r")).turn.state == turn_pb2.TURN_STATE_COMPLETED
    with refused(NOT_FOUND, "TURN_NOT_FOUND"):
        await memory.begin(one.agent_id, "unknown")


async def test_a_request_id_names_one_turn_also_in_a_queue(memory: Memory) -> None:
    one, two = await memory.agent(), await memory.agent()
    running = await memory.begin(one.agent_id, "r0", "x")
    queued = Asking(memory, one.agent_id, "r", "first")
    await queued.queued(1)
    elsewhere = await memory.begin(two.agent_id, "r", "second")
    await memory.end(one.agent_id, running.lease)
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await queued.grant()
    assert (await read(memory, two.agent_id, "r", replay_only=True))[1].turn_id == elsewhere.turn.turn_id
    other_input = await memory.begin(one.agent_id, "r1", "x")
    this = Asking(memory, one.agent_id, "r2", "this")
    await this.queued(1)
    that = Asking(memory, one.agent_id, "r2", "that")
    await that.queued(1)
    await memory.end(one.agent_id, other_input.lease)
    await memory.end(one.agent_id, (await this.grant()).lease)
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await that.grant()


@pytest.mark.parametrize("character", ["汉", "\1"])
async def test_a_turn_ends_though_all_that_is_kept_of_its_agent_is_as_long_as_can_be(
    memory: Memory, character: str
) -> None:
    long = {"preset": 128, "persona": 128, "human": 128, "model": 256}
    agent = await memory.agent(
        "汉" * 128,
        blocks=[block_pb2.BlockEdit(label=f"L{number:063d}", value="v") for number in range(32)],
        **{field: character * length for field, length in long.items()},
    )
    for number in range(8):  # those that the agent's row remembers
        await memory.insert(agent.agent_id, "note", request_id=f"{number}")
    reason = character * 1000
    outcomes = [turn_pb2.TurnOutcome(state=turn_pb2.TURN_STATE_FAILED, reason=reason)] * 2
    for number, outcome in enumerate(outcomes):
        request_id = character * 127 + f"{number}"
        grant = await memory.begin(agent.agent_id, request_id, "hello", options=b"o" * 4096)
        if number:
            await memory.end(agent.agent_id, grant.lease, outcome)
        else:
            await memory.commit(agent.agent_id, grant.lease, 1, "thought", outcome=outcome)
        ended = (await read(memory, agent.agent_id, request_id))[1]
        assert (ended.state, ended.reason) == (turn_pb2.TURN_STATE_FAILED, reason)
    listed = await memory.agents.ListTurns(pb.ListTurnsRequest(agent_id=agent.agent_id))
    assert [turn.reason for turn in listed.turns] == [reason] * 2


async def test_turns_are_listed_the_latest_first_in_pages(memory: Memory) -> None:
    agent = await memory.agent()
    for number in range(5):
        await memory.turn(agent.agent_id, f"turn {number}", "step")
    running = await memory.begin(agent.agent_id, "running", "x")
    found, token = [], ""
    while True:
        page = await memory.agents.ListTurns(
            pb.ListTurnsRequest(agent_id=agent.agent_id, page_size=2, page_token=token)
        )
        found += page.turns
        token = page.next_page_token
        if not token:
            break
    assert [turn.committed_steps for turn in found] == [0, 1, 1, 1, 1, 1]
    assert found[0] == running.turn
    assert sorted((turn.turn_id for turn in found), reverse=True) == [turn.turn_id for turn in found]
    with refused(INVALID):
        await memory.agents.ListTurns(pb.ListTurnsRequest(agent_id=agent.agent_id, page_size=-1))


async def test_deleting_an_agent_sends_its_queue_away(memory: Memory) -> None:
    agent = await memory.agent()
    grant = await memory.begin(agent.agent_id, "r0", "x")
    waiting = Asking(memory, agent.agent_id, "r1")
    await waiting.queued(1)
    follower = asyncio.create_task(read(memory, agent.agent_id, "r0", after_step=0))
    await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=agent.agent_id))
    with refused(NOT_FOUND):
        await waiting.grant()
    with refused(NOT_FOUND):
        await follower
    with refused(NOT_FOUND):
        await memory.commit(agent.agent_id, grant.lease, 1, "late")


@pytest.mark.parametrize("role", [0, 1])
async def test_messages_of_no_role_and_of_the_system_are_refused(memory: Memory, role: int) -> None:
    agent = await memory.agent()
    message = thought("x")
    message.role = role  # type: ignore[assignment]
    with refused(INVALID):
        await memory.agents.BeginTurn(
            pb.BeginTurnRequest(agent_id=agent.agent_id, request_id="r", input=[message])
        ).read()


NOW = "a-placeholder-for-the-time"


def told_now(text: str, zone: str) -> bool:
    """Whether a text tells a time of the last minute in this zone."""
    moment = datetime.strptime(text[:22], "%Y-%m-%d %I:%M:%S %p").replace(tzinfo=ZoneInfo(zone))
    return abs(datetime.now(ZoneInfo(zone)) - moment) < timedelta(minutes=1)


async def test_a_turn_is_told_the_time_where_its_agent_lives(memory: Memory) -> None:
    agent = await memory.agent(time_zone="Asia/Kathmandu")
    await memory.begin(agent.agent_id, "one", f"{NOW}: hello at {NOW}", time_placeholder=NOW)
    (message,) = await memory.history(agent.agent_id)
    time, hello, again = message.text.partition(": hello at ")
    assert (hello, again) == (": hello at ", time)
    assert told_now(time, "Asia/Kathmandu")
    assert time.endswith(" +0545+0545")


@pytest.mark.parametrize("placeholder", ["short", 'quoted " placeholder'])
async def test_a_placeholder_that_could_tear_a_text_is_refused(memory: Memory, placeholder: str) -> None:
    agent = await memory.agent()
    with refused(INVALID):
        await memory.begin(agent.agent_id, "one", "hello", time_placeholder=placeholder)


async def test_the_result_of_a_cancelled_call_tells_the_time(memory: Memory) -> None:
    agent = await memory.agent(time_zone="Asia/Tokyo")
    grant = await memory.begin(agent.agent_id, "one", "hello")
    call = message_pb2.NewMessage(
        role=message_pb2.ROLE_ASSISTANT,
        function_call=message_pb2.FunctionCall(call_id="c1", name="get", arguments="{}"),
    )
    await memory.agents.CommitStep(
        pb.CommitStepRequest(agent_id=agent.agent_id, lease=grant.lease, step=1, messages=[call])
    )
    await release(memory, agent.agent_id, grant.lease)
    request = pb.RequestCancelRequest(
        agent_id=agent.agent_id, request_id="one", call_result=f"{NOW} cancelled", time_placeholder=NOW
    )
    await memory.agents.RequestCancel(request)
    result = (await memory.history(agent.agent_id))[-1]
    assert result.call_id == "c1"
    assert told_now(result.text, "Asia/Tokyo")
    assert result.text.endswith("JST+0900 cancelled")
