"""Undo and edits: hidden messages stay readable, nothing is torn, and every request takes effect once."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import message_pb2, turn_pb2
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb

from tests.integration.memory.client import (
    COMPLETED,
    INVALID,
    NOT_FOUND,
    PRECONDITION,
    UNAVAILABLE,
    Memory,
    connected,
    refused,
    user,
)
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import When, failing_upserts
from tests.integration.memory.test_turns import Asking, read, release
from tests.support.processes import ServiceProcess

THOUGHT, SPOKEN = pb.MESSAGE_PART_THOUGHT, pb.MESSAGE_PART_REPLY


def says(text: str) -> message_pb2.NewMessage:
    return user(json.dumps({"type": "user_message", "message": text}))


def event(kind: str) -> message_pb2.NewMessage:
    return user(json.dumps({"type": kind, "reason": "a test"}))


def answer(text: str, call_id: str = "") -> list[message_pb2.NewMessage]:
    """A step: a thought and words to the user, and the result of saying them."""
    id_ = call_id or uuid4().hex[:29]
    call = message_pb2.FunctionCall(
        call_id=id_, name="send_message", arguments=json.dumps({"message": text, "mood": "ö"}, ensure_ascii=False)
    )
    return [
        message_pb2.NewMessage(
            role=message_pb2.ROLE_ASSISTANT,
            text=f"I think of {text}",
            function_call=call,
            usage=message_pb2.Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=5),
        ),
        message_pb2.NewMessage(role=message_pb2.ROLE_TOOL, text='{"status": "OK"}', call_id=id_),
    ]


async def booted(memory: Memory) -> str:
    return (await memory.agent(messages=answer("boot"))).agent_id


async def turn(
    memory: Memory, agent_id: str, began: message_pb2.NewMessage, *steps: Sequence[message_pb2.NewMessage]
) -> str:
    """Run a whole turn, and return its request id."""
    request_id = uuid4().hex
    grant = await granted(memory, agent_id, request_id, [began])
    for index, messages in enumerate(steps, 1):
        await memory.agents.CommitStep(
            pb.CommitStepRequest(agent_id=agent_id, lease=grant.lease, step=index, messages=messages)
        )
    await memory.end(agent_id, grant.lease)
    return request_id


async def granted(
    memory: Memory, agent_id: str, request_id: str, began: Sequence[message_pb2.NewMessage] = (), **fields: Any
) -> pb.TurnGrant:
    request = pb.BeginTurnRequest(agent_id=agent_id, request_id=request_id, input=began, **fields)
    async for item in memory.agents.BeginTurn(request):
        if item.HasField("granted"):
            return item.granted  # type: ignore[no-any-return]
    raise AssertionError("no grant")


async def undo(memory: Memory, agent_id: str, count: int = 0, request_id: str = "") -> int:
    request = pb.RewindMessagesRequest(agent_id=agent_id, request_id=request_id or uuid4().hex, count=count)
    return (await memory.agents.RewindMessages(request)).rewound_count  # type: ignore[no-any-return]


async def edit(
    memory: Memory, agent_id: str, part: pb.MessagePart.ValueType, text: str, request_id: str = ""
) -> message_pb2.Message:
    request = pb.EditMessageRequest(agent_id=agent_id, request_id=request_id or uuid4().hex, part=part, text=text)
    return (await memory.agents.EditMessage(request)).message  # type: ignore[no-any-return]


def brief(messages: Sequence[message_pb2.Message]) -> list[str]:
    """Messages as the words in them."""
    found = []
    for message in messages:
        if message.HasField("function_call"):
            found.append(f"{message.text}/{json.loads(message.function_call.arguments)['message']}")
        elif message.role == message_pb2.ROLE_USER:
            envelope = json.loads(message.text)
            found.append(envelope.get("message", envelope["type"]))
        else:
            found.append("result")
    return found


async def window(memory: Memory, agent_id: str) -> list[str]:
    return brief((await memory.context(agent_id)).messages)


async def found(memory: Memory, agent_id: str, query: str, **fields: Any) -> list[str]:
    request = recall_pb.SearchMessagesRequest(agent_id=agent_id, query=query, **fields)
    page = await memory.recall.SearchMessages(request)
    assert page.total_size == len(page.messages)
    return brief(page.messages)


async def queued(memory: Memory, agent_id: str, request_id: str) -> None:
    """Return when the request is in the queue."""
    async with asyncio.timeout(60):
        while True:
            with suppress(grpc.aio.AioRpcError):
                await read(memory, agent_id, request_id, replay_only=True)
                return


async def evict(memory: Memory, agent_id: str, before: int) -> None:
    grant = await granted(memory, agent_id, uuid4().hex, [event("heartbeat")])
    await memory.agents.CommitStep(
        pb.CommitStepRequest(
            agent_id=agent_id,
            lease=grant.lease,
            step=1,
            eviction=pb.Eviction(before_sequence=before, summary="before"),
            outcome=COMPLETED,
        )
    )


BOOT = ["I think of boot/boot", "result"]
FIRST = ["one", "I think of yes/yes", "result"]


async def test_an_undone_turn_is_hidden_and_not_lost(memory: Memory) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), answer("yes"))
    await turn(
        memory, agent_id, says("two secrets"), answer("no secrets"), [event("heartbeat")], answer("more secrets")
    )
    undone = uuid4().hex
    assert await undo(memory, agent_id, request_id=undone) == 6
    assert await window(memory, agent_id) == [*BOOT, *FIRST]
    assert await found(memory, agent_id, "secrets") == []
    assert len(await found(memory, agent_id, "secrets", include_rewound=True)) == 3
    for mode in (recall_pb.RECALL_MODE_SEMANTIC, recall_pb.RECALL_MODE_HYBRID):
        assert sorted(await found(memory, agent_id, "secrets", mode=mode)) == sorted([BOOT[0], *FIRST[:2]])
        assert len(await found(memory, agent_id, "secrets", mode=mode, include_rewound=True)) == 6
    history = await memory.history(agent_id)
    assert [message.sequence for message in history] == list(range(11))
    turns = (await memory.agents.ListTurns(pb.ListTurnsRequest(agent_id=agent_id))).turns
    by_id = {one.turn_id: one for one in turns}
    assert all(not message.HasField("rewind") for message in history[:5])
    for message in history[5:]:
        assert by_id[message.rewind.turn_id].request_id == undone
        assert message.rewind.time.ToMicroseconds() >= message.create_time.ToMicroseconds()
    context = await memory.context(agent_id)
    assert (context.agent.message_count, context.agent.rewound_count) == (11, 6)
    await turn(memory, agent_id, says("three"), answer("well"))
    assert await window(memory, agent_id) == [*BOOT, *FIRST, "three", "I think of well/well", "result"]


async def test_undo_goes_back_to_the_boot_sequence_and_no_further(memory: Memory) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, event("login"), answer("hello"))
    await turn(memory, agent_id, says("one"), answer("yes"))
    await turn(memory, agent_id, event("heartbeat"), answer("still there"))
    assert await undo(memory, agent_id) == 6, "the user's message and all that came after it"
    assert await undo(memory, agent_id) == 3, "without one, the last turn"
    assert await window(memory, agent_id) == BOOT
    for count in (0, 1, 5):
        with refused(PRECONDITION, "WRONG_STATE") as error:
            await undo(memory, agent_id, count)
        assert "nothing to undo" in error.message
    assert await window(memory, agent_id) == BOOT


@pytest.mark.parametrize(("count", "left"), [(1, 4), (2, 4), (3, 3), (4, 1), (5, 1), (6, 0), (100, 0)])
async def test_no_result_is_left_without_its_call(memory: Memory, count: int, left: int) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), [*answer("a"), event("heartbeat")], answer("b"))
    assert await undo(memory, agent_id, count) == 6 - left
    assert (await window(memory, agent_id))[2:] == ["one", "I think of a/a", "result", "heartbeat"][:left]


async def test_a_request_is_done_once(memory: Memory) -> None:
    agent_id = await booted(memory)
    for text in ("one", "two", "three"):
        await turn(memory, agent_id, says(text), answer(text))
    assert [await undo(memory, agent_id, request_id="u") for _ in range(3)] == [3, 3, 3]
    edited = await edit(memory, agent_id, SPOKEN, "other", "e")
    await turn(memory, agent_id, says("four"), answer("four"))
    assert await edit(memory, agent_id, SPOKEN, "other", "e") == edited
    assert await undo(memory, agent_id, request_id="u") == 3
    for other in (
        undo(memory, agent_id, 2, "u"),
        edit(memory, agent_id, SPOKEN, "another", "e"),
        edit(memory, agent_id, THOUGHT, "other", "e"),
        undo(memory, agent_id, request_id="e"),
    ):
        with refused(INVALID, "REQUEST_ID_REUSED"):
            await other
    with refused(INVALID, "REQUEST_ID_REUSED"):
        await granted(memory, agent_id, "u", [says("mine")], fingerprint=b"mine")


async def test_edited_messages_come_again_behind(memory: Memory) -> None:
    agent_id = await booted(memory)
    first = await turn(memory, agent_id, says("one"), answer("wrong words"), [event("heartbeat")])
    edited = await edit(memory, agent_id, SPOKEN, "richtig, größer")
    assert brief([edited]) == ["I think of wrong words/richtig, größer"]
    assert "größer" in edited.function_call.arguments
    assert json.loads(edited.function_call.arguments)["mood"] == "ö"
    assert (edited.replaces, edited.HasField("usage"), edited.step) == (3, False, 1)
    assert await window(memory, agent_id) == [
        *BOOT,
        "one",
        "I think of wrong words/richtig, größer",
        "result",
        "heartbeat",
    ]
    again = await edit(memory, agent_id, THOUGHT, "a new thought")
    assert again.replaces == edited.sequence
    assert brief([again]) == ["a new thought/richtig, größer"]
    context = await memory.context(agent_id)
    assert [message.replaces for message in context.messages[-3:]] == [6, 7, 8]
    assert (context.agent.message_count, context.agent.rewound_count) == (12, 6)
    assert await found(memory, agent_id, "wrong words", roles=[message_pb2.ROLE_ASSISTANT]) == []
    steps, ended = await read(memory, agent_id, first, after_step=-1)
    assert ended.state == turn_pb2.TURN_STATE_COMPLETED
    assert brief(steps[1].messages) == ["I think of wrong words/wrong words", "result"], "a replay is as it was"
    assert all(message.HasField("rewind") for message in steps[1].messages)
    assert await undo(memory, agent_id) == 4, "the user's message, and the copies of what followed"
    assert await window(memory, agent_id) == BOOT


@pytest.mark.parametrize("part", [THOUGHT, SPOKEN])
async def test_nothing_to_edit(memory: Memory, part: pb.MessagePart.ValueType) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"))
    with refused(PRECONDITION, "WRONG_STATE") as error:
        await edit(memory, agent_id, part, "x")
    assert ("rethink" if part == THOUGHT else "rewrite") in error.message
    await turn(memory, agent_id, says("two"), answer("two"))
    count = (await memory.context(agent_id)).agent.message_count
    await evict(memory, agent_id, count)
    with refused(PRECONDITION, "WRONG_STATE"):
        await edit(memory, agent_id, part, "x")
    with refused(INVALID):
        await edit(memory, agent_id, part, "  ")
    with refused(INVALID):
        await edit(memory, agent_id, pb.MESSAGE_PART_UNSPECIFIED, "x")


async def test_a_failed_call_said_nothing(memory: Memory) -> None:
    agent_id = await booted(memory)
    broken = message_pb2.FunctionCall(call_id="c", name="send_message", arguments='{"message": ')
    failed = [
        message_pb2.NewMessage(role=message_pb2.ROLE_ASSISTANT, text="hm", function_call=broken),
        message_pb2.NewMessage(role=message_pb2.ROLE_TOOL, text='{"status": "Failed"}', call_id="c"),
    ]
    await turn(memory, agent_id, says("one"), answer("yes"), failed)
    assert brief([await edit(memory, agent_id, SPOKEN, "no")]) == ["I think of yes/no"]
    context = await memory.context(agent_id)
    assert [message.text for message in context.messages[-2:]] == [message.text for message in failed]
    assert (await edit(memory, agent_id, THOUGHT, "oh")).function_call == broken


async def test_undo_reaches_back_over_an_eviction(memory: Memory) -> None:
    """The turn began before the window; an older one, which lies outside altogether, is not touched."""
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), answer("yes"))  # 2 to 4
    await turn(memory, agent_id, says("two"), answer("a"), answer("b"))  # 5 to 9
    await evict(memory, agent_id, 8)
    assert await undo(memory, agent_id) == 6
    context = await memory.context(agent_id)
    assert (brief(context.messages), context.summary) == ([], "before")
    with refused(PRECONDITION):
        await undo(memory, agent_id)
    assert await found(memory, agent_id, "yes") == ["I think of yes/yes"]
    await turn(memory, agent_id, says("three"))
    assert await window(memory, agent_id) == ["three"]


async def test_a_retry_is_a_turn_with_the_same_input(memory: Memory) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), answer("yes"))
    grant = await granted(memory, agent_id, "again", retry=True, options=b"options")
    assert grant.HasField("lease")
    assert await window(memory, agent_id) == [*BOOT, "one"]
    context = await memory.context(agent_id)
    assert (context.messages[-1].sequence, context.messages[-1].replaces) == (5, 2)
    # Taken up again, by its id alone or as it was sent.
    await release(memory, agent_id, grant.lease)
    taken = await granted(memory, agent_id, "again")
    assert (taken.resumed, taken.options, taken.turn.turn_id) == (True, b"options", grant.turn.turn_id)
    await release(memory, agent_id, taken.lease)
    taken = await granted(memory, agent_id, "again", retry=True)
    await memory.agents.CommitStep(
        pb.CommitStepRequest(agent_id=agent_id, lease=taken.lease, step=1, messages=answer("no"), outcome=COMPLETED)
    )
    assert not (await granted(memory, agent_id, "again", retry=True)).HasField("lease")
    assert await window(memory, agent_id) == [*BOOT, "one", "I think of no/no", "result"]
    steps, _ = await read(memory, agent_id, "again", after_step=-1)
    assert brief(steps[0].messages) == ["one"]
    with refused(INVALID):
        await granted(memory, agent_id, "x", [says("mine")], retry=True)
    assert await undo(memory, agent_id) == 3
    with refused(PRECONDITION) as error:
        await granted(memory, agent_id, "x", retry=True)
    assert "nothing to retry" in error.message
    with refused(NOT_FOUND):
        await granted(memory, agent_id, "x")


async def test_an_edit_waits_for_the_turn_that_runs(memory: Memory) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), answer("yes"))
    grant = await granted(memory, agent_id, "running", [says("two")])
    waiting = asyncio.create_task(undo(memory, agent_id, request_id="u"))
    await queued(memory, agent_id, "u")
    next_ = Asking(memory, agent_id, "next", json.dumps({"type": "user_message", "message": "three"}))
    await next_.queued(2)
    assert not waiting.done()
    await memory.agents.CommitStep(
        pb.CommitStepRequest(agent_id=agent_id, lease=grant.lease, step=1, messages=answer("no"), outcome=COMPLETED)
    )
    assert await waiting == 3
    await next_.grant()
    assert await window(memory, agent_id) == [*BOOT, *FIRST, "three"]


async def test_a_turn_that_was_left_behind_is_taken_back(memory: Memory) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), answer("yes"))
    grant = await granted(memory, agent_id, "left", [says("two")])
    await release(memory, agent_id, grant.lease)
    retried = await granted(memory, agent_id, "again", retry=True)
    assert retried.turn.request_id == "again"
    assert await window(memory, agent_id) == [*BOOT, *FIRST, "two"]
    _, left = await read(memory, agent_id, "left")
    assert left.state == turn_pb2.TURN_STATE_CANCELLED
    await release(memory, agent_id, retried.lease)
    assert await undo(memory, agent_id) == 1
    assert await window(memory, agent_id) == [*BOOT, *FIRST]


async def test_where_nothing_can_be_taken_back_a_turn_left_behind_goes_on(memory: Memory) -> None:
    agent_id = (await memory.agent()).agent_id
    grant = await granted(memory, agent_id, "left", [says("one")])
    await release(memory, agent_id, grant.lease)
    with refused(PRECONDITION):
        await edit(memory, agent_id, SPOKEN, "x")
    assert (await granted(memory, agent_id, "left")).resumed


async def test_a_cancelled_edit_is_not_done(memory: Memory) -> None:
    agent_id = await booted(memory)
    await turn(memory, agent_id, says("one"), answer("yes"))
    grant = await granted(memory, agent_id, "running", [says("two")])
    waiting = asyncio.create_task(undo(memory, agent_id, request_id="u"))
    await queued(memory, agent_id, "u")
    next_ = Asking(memory, agent_id, "next")
    await next_.queued(2)
    await memory.agents.RequestCancel(pb.RequestCancelRequest(agent_id=agent_id, request_id="u"))
    for attempt in (waiting, undo(memory, agent_id, request_id="u")):
        with refused(PRECONDITION):
            await attempt
    await memory.end(agent_id, grant.lease)
    await next_.grant()
    assert (await memory.context(agent_id)).agent.rewound_count == 0


WHATS = ("undo", "edit", "retry")


async def act(memory: Memory, agent_id: str, what: str, request_id: str) -> None:
    """One of the three; a retry up to its grant."""
    if what == "undo":
        await undo(memory, agent_id, request_id=request_id)
    elif what == "edit":
        await edit(memory, agent_id, SPOKEN, "other", request_id)
    else:
        await granted(memory, agent_id, request_id, retry=True)


def outcome(what: str, before: list[str]) -> list[str]:
    """The window after it."""
    edited = [*before[:-2], "I think of n/other", "result"]
    return {"undo": before[:-3], "edit": edited, "retry": before[:-2]}[what]


async def dense(memory: Memory, agent_id: str) -> None:
    history = await memory.history(agent_id)
    assert [message.sequence for message in history] == list(range(len(history)))


@pytest.mark.parametrize("what", WHATS)
async def test_a_write_that_fails_does_it_wholly_or_not_at_all(serve: Serve, tmp_path: Path, what: str) -> None:
    async with serve(str(tmp_path / "milvus.db"), lease_seconds=0.2) as memory:
        whens: tuple[When, ...] = ("before", "half", "after")
        for when, where in itertools.product(whens, ("texts", "agent", "messages")):
            if (what, where) == ("undo", "messages"):
                continue  # it writes none
            agent_id = await booted(memory)
            await turn(memory, agent_id, says("one"), answer("yes"))
            await turn(memory, agent_id, says("n"), answer("n"))
            before = [*BOOT, *FIRST, "n", "I think of n/n", "result"]
            collection = "memgpt_messages" if where == "messages" else "memgpt_records"

            def hit(row: Any, where: str = where, agent_id: str = agent_id) -> bool:
                return where == "messages" or (row.id == agent_id) == (where == "agent")

            with failing_upserts(memory.core().store, collection, when, only=hit) as failed, refused(UNAVAILABLE):
                await act(memory, agent_id, what, "r" + agent_id)
            assert len(failed) == 1
            assert await window(memory, agent_id) in (before, outcome(what, before))
            await act(memory, agent_id, what, "r" + agent_id)
            assert await window(memory, agent_id) == outcome(what, before)
            await dense(memory, agent_id)


async def test_memory_killed_before_the_writes_of_an_edit(tmp_path: Path) -> None:
    """`kill -9`: afterwards all is as it was or as it should be, and the same request completes it."""
    armed = tmp_path / "armed"
    settings = {"DIE_ARMED": str(armed), "MEMGPT_MEMORY_LEASE_SECONDS": "0.2"}
    agent_id, last, possible = "", ("", ""), [BOOT]
    # Before what the commit makes count, before the commit itself, and before its end is written down.
    deaths = [("edit", 1), ("edit", 2), ("edit", 3), ("undo", 2), ("retry", 3)]
    for what, write in [*deaths, ("", 1)]:
        die_at = f"before:armed:{write}"
        with ServiceProcess(
            "tests.integration.memory.dying", tmp_path, name="memory", DIE_AT=die_at, **settings
        ) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                agent_id = agent_id or await booted(memory)
                assert await window(memory, agent_id) in possible
                if last[0]:
                    await act(memory, agent_id, *last)
                assert await window(memory, agent_id) == possible[-1]
                await dense(memory, agent_id)
                if not what:
                    return
                if last[0] == "retry":
                    await undo(memory, agent_id)  # the turn that it began
                await turn(memory, agent_id, says("n"), answer("n"))
                before = await window(memory, agent_id)
                last, possible = (what, f"{what} {write}"), [before, outcome(what, before)]
                armed.touch()
                with refused(UNAVAILABLE):
                    await act(memory, agent_id, *last)
                assert await asyncio.to_thread(process.wait, 60) == -9
                armed.unlink()
