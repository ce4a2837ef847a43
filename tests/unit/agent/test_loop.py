"""The loop: chaining, the end of a turn, crashes, lost leases and stubborn models."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.tokens import TokenCalibration
from memgpt_agent.domain import Context, FunctionCall, Lease, Message, NewStep, Outcome, PassageHit, Role, TurnState
from memgpt_agent.loop import final_reply, summary
from memgpt_agent.loop.answer_check import MAX_FIRST_ATTEMPTS
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.events import (
    AssistantMessage,
    Body,
    Done,
    FunctionCalled,
    FunctionResult,
    Notice,
    Queued,
    StepRestarted,
    Thought,
)
from memgpt_agent.loop.settings import LoopSettings
from memgpt_agent.loop.turn_loop import TurnLoop
from memgpt_agent.memory.port import TurnEvent
from memgpt_agent.models.base import BadAnswerError, Completion, ContextOverflowError, ModelRequest, Sink
from memgpt_agent.remote_tools.description import describe
from memgpt_agent.remote_tools.port import ToolResult
from memgpt_runtime import errors, reasons
from memgpt_runtime.errors import Reason
from memgpt_runtime.tokens import count_tokens

from tests.support.waiting import until
from tests.unit.agent.fakes import (
    NOW,
    TIME,
    FakeMemory,
    FakeTools,
    ScriptedModel,
    answered,
    booted,
    call,
    make_loop,
    request,
    run,
    say,
    user,
)


async def bodies(feed: EventStream, *, provisional: bool = False) -> list[Body]:
    return [event.body async for event in feed.events() if event.sequence or provisional]


async def done(feed: EventStream) -> Done:
    last = (await bodies(feed))[-1]
    assert isinstance(last, Done)
    return last


async def test_a_message_ends_the_turn() -> None:
    memory = FakeMemory(answered())
    feed = await run(make_loop(memory, ScriptedModel(say("Hello you."))), request())
    found = await bodies(feed)
    assert [type(body).__name__ for body in found] == [
        "Thought",
        "FunctionCalled",
        "AssistantMessage",
        "FunctionResult",
        "Usage",
        "Done",
    ]
    assert found[2] == AssistantMessage("Hello you.")
    assert await done(feed) == Done(TurnState.COMPLETED, "", 1, found[4])  # type: ignore[arg-type]
    assert [m.role for m in memory.history[-3:]] == [Role.USER, Role.ASSISTANT, Role.TOOL]


async def test_a_search_goes_on_and_its_heartbeat_is_committed_with_it() -> None:
    memory = FakeMemory(answered())
    memory.passages = [PassageHit(f"passage {n}", NOW) for n in range(12)]
    search = call("archival_memory_search", query="x", page=1, request_heartbeat=True)
    feed = await run(make_loop(memory, ScriptedModel(search, say("Found."))), request())
    assert memory.searches == [("x", 5)]
    step = memory.turns["r1"].steps[1]
    assert [m.role for m in step.messages] == [Role.ASSISTANT, Role.TOOL, Role.USER]
    assert envelopes.kind(step.messages[-1].text) == "heartbeat"
    results = [body for body in await bodies(feed) if isinstance(body, FunctionResult)]
    assert results[0].text.startswith("Showing 5 of 12 results (page 1/2): [")
    assert (await done(feed)).steps == 2


APPEND = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=False)


async def test_without_a_heartbeat_the_turn_ends_once_the_agent_has_spoken() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(APPEND, say("Tea it is."))
    feed = await run(make_loop(memory, model), request("I like tea."))
    assert (await done(feed)).state is TurnState.COMPLETED
    assert memory.context.blocks[1].value == "Nobody yet.\nLikes tea."
    assert prompt.HEARTBEAT_SPEAK in model.requests[1].messages[-1].text
    assert AssistantMessage("Tea it is.") in await bodies(feed)


@pytest.mark.parametrize(
    ("text", "words"), [("I like tea.", "could not put an answer"), ("我喜欢喝茶。", "请再问我一次")]
)
async def test_a_turn_never_ends_without_words(text: str, words: str) -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(APPEND, repeat=True)
    feed = await run(make_loop(memory, model), request(text))
    assert (await done(feed)).state is TurnState.COMPLETED
    assert (await done(feed)).steps == len(model.requests) == 1 + final_reply.MAX_REMINDERS
    assert [words in b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == [True]
    replay = await run(make_loop(memory, model), request(text))
    assert await bodies(replay) == await bodies(feed)


async def test_an_agent_without_a_waiting_user_may_stay_silent() -> None:
    memory = FakeMemory(answered())
    heartbeat = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_MANUAL, TIME))
    feed = await run(make_loop(memory, ScriptedModel(APPEND)), replace(request(), messages=(heartbeat,)))
    assert (await done(feed)).state is TurnState.COMPLETED
    assert not [b for b in await bodies(feed) if isinstance(b, AssistantMessage)]


LONG = "I am glad that you told me about your cat today."


@pytest.mark.parametrize("times", [1, 2])
async def test_a_repeated_answer_is_refused_and_the_model_is_told(times: int) -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(say(LONG), *[say(LONG)] * times, say("Your cat is Tom."))
    await run(make_loop(memory, model), request("I have a cat."))
    feed = await run(make_loop(memory, model), request("What is its name?", "r2"))
    assert [b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == ["Your cat is Tom."]
    results = [b for b in await bodies(feed) if isinstance(b, FunctionResult)]
    assert "What is its name?" in results[0].text


@pytest.mark.parametrize(
    ("second", "answers"),
    [("I have a cat.", [LONG]), ("What is its name?", [LONG, LONG, LONG])],
    ids=["the same question", "insisting"],
)
async def test_an_answer_may_be_repeated_to_the_same_question_or_by_insisting(second: str, answers: list[str]) -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(say(LONG), *map(say, answers))
    await run(make_loop(memory, model), request("I have a cat."))
    feed = await run(make_loop(memory, model), request(second, "r2"))
    assert [b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == [LONG]


async def test_a_thought_that_plans_another_call_is_asked_about_once() -> None:
    memory = FakeMemory(answered())
    planned = call("send_message", thought="Let me use conversation_search.", message="I do not know.")
    found = call("conversation_search", query="cat", request_heartbeat=True)
    model = ScriptedModel(planned, found, say("Tom."))
    feed = await run(make_loop(memory, model), request("What is my cat called?"))
    assert "you planned to call conversation_search" in model.requests[1].note
    assert "you planned" not in model.requests[2].note
    assert [b.name for b in await bodies(feed) if isinstance(b, FunctionCalled)] == [
        "conversation_search",
        "send_message",
    ]


async def test_notes_are_committed_with_the_step() -> None:
    memory = FakeMemory(answered())
    insert = call("archival_memory_insert", content="A note.", request_heartbeat=True)
    await run(make_loop(memory, ScriptedModel(insert, say("Noted."))), request())
    assert memory.notes == ["A note."]


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (call("fly_away"), 'no function "fly_away"'),
        (call("send_message", raw="{oops"), "not valid JSON"),
        (call("send_message"), 'needs the argument "message"'),
        (call("core_memory_replace", name="human", old_content="absent", new_content=""), 'does not contain "absent"'),
        (call("archival_memory_search", query="x", page=-1), "at least 0"),
    ],
)
async def test_a_call_that_fails_gives_control_back(bad: Completion, complaint: str) -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(bad, say("Better."))
    feed = await run(make_loop(memory, model), request())
    results = [body for body in await bodies(feed) if isinstance(body, FunctionResult)]
    assert not results[0].ok
    assert complaint in results[0].text
    assert results[1].ok
    # The model was told.
    assert any(complaint in m.text.replace('\\"', '"') for m in model.requests[1].messages if m.role is Role.TOOL)


async def test_a_failed_send_message_says_nothing_to_the_user() -> None:
    memory = FakeMemory(answered())
    feed = await run(make_loop(memory, ScriptedModel(call("send_message", message=7), say("Now."))), request())
    assert [b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == ["Now."]


async def test_mere_text_is_a_thought_once_and_a_message_after_that() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(Completion("Hmm."), Completion("Hello there."))
    found = await bodies(await run(make_loop(memory, model), request()))
    assert [b for b in found if isinstance(b, Thought)] == [Thought("Hmm.")]
    assert [b for b in found if isinstance(b, AssistantMessage)] == [AssistantMessage("Hello there.")]
    assert "call send_message" in model.requests[1].messages[-1].text


async def test_plain_text_ends_a_turn_without_a_waiting_user() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(Completion("Hmm."), Completion("Hmm again."))
    heartbeat = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_MANUAL, TIME))
    asked = replace(request(), messages=(heartbeat,))
    found = await bodies(await run(make_loop(memory, model), asked))
    assert [b for b in found if isinstance(b, Thought)] == [Thought("Hmm."), Thought("Hmm again.")]
    assert not [b for b in found if isinstance(b, AssistantMessage)]


async def test_the_limit_of_steps() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(call("archival_memory_search", query="x", request_heartbeat=True), repeat=True)
    feed = await run(make_loop(memory, model), request())
    end = await done(feed)
    assert (end.state, end.steps, len(model.requests)) == (TurnState.STOPPED, 50, 50)
    assert "50 steps" in end.reason


async def test_the_limits_of_a_request() -> None:
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    memory = FakeMemory(answered())
    feed = await run(make_loop(memory, ScriptedModel(search, repeat=True)), request(max_steps=3))
    assert (await done(feed)).steps == 3
    feed = await run(make_loop(memory, ScriptedModel(search, repeat=True)), request(request_id="r2", max_tokens=200))
    end = await done(feed)
    assert (end.state, end.steps) == (TurnState.STOPPED, 2)
    assert "200 tokens" in end.reason


async def test_the_first_answer_is_checked() -> None:
    memory = FakeMemory(booted())
    pause = call("pause_heartbeats", minutes=5)
    model = ScriptedModel(pause, Completion("Hm."), say("Hello!"))
    feed = await run(make_loop(memory, model), request())
    assert len(model.requests) == 3
    assert len(feed.restarts) == 2
    # The model is told what was wrong; the prompt and the functions stay, for the endpoint's cache.
    assert "You called pause_heartbeats" in model.requests[1].note
    assert model.requests[1].messages == model.requests[0].messages
    assert model.requests[1].functions == model.requests[0].functions
    # One committed step, with the tokens of all three tries.
    assert len(memory.turns["r1"].steps) == 2
    assert (await done(feed)).usage.total == 220


async def test_a_first_answer_may_write_memory_and_must_then_speak() -> None:
    memory = FakeMemory(booted())
    model = ScriptedModel(APPEND, say("Hello! Tea it is."))
    feed = await run(make_loop(memory, model), request("I like tea."))
    assert memory.context.blocks[1].value == "Nobody yet.\nLikes tea."
    assert AssistantMessage("Hello! Tea it is.") in await bodies(feed)


async def test_a_first_answer_that_never_comes_fails_the_turn() -> None:
    memory = FakeMemory(booted())
    model = ScriptedModel(Completion("Hm."), repeat=True)
    feed = await run(make_loop(memory, model), request())
    end = await done(feed)
    assert (end.state, len(model.requests)) == (TurnState.FAILED, MAX_FIRST_ATTEMPTS)
    assert "skip_verify" in end.reason


async def test_no_verify_takes_any_first_answer() -> None:
    memory = FakeMemory(booted())
    append = call("core_memory_append", name="human", content="x", request_heartbeat=False)
    feed = await run(make_loop(memory, ScriptedModel(append, say("Hi."))), request(verify=False))
    assert (await done(feed)).state is TurnState.COMPLETED


async def test_a_model_out_of_reach_suspends_the_turn_and_the_same_request_goes_on() -> None:
    memory = FakeMemory(answered())
    away = errors.Unavailable(Reason.MODEL_UNAVAILABLE, "away")
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    model = ScriptedModel(search, away, say("Back."))
    loop = make_loop(memory, model)
    feed = EventStream()
    with pytest.raises(errors.Unavailable):
        await loop.run(request(), feed)
    assert not memory.turns["r1"].held
    history = len(memory.history)
    feed = await run(loop, request())
    # The input and the search were committed once; the replay begins with them.
    assert len(memory.history) == history + 2
    called = [b.name for b in await bodies(feed) if isinstance(b, FunctionCalled)]
    assert called == ["archival_memory_search", "send_message"]
    assert isinstance((await bodies(feed, provisional=True))[4], Thought | StepRestarted | FunctionResult)


async def test_live_and_replay_are_equal() -> None:
    memory = FakeMemory(answered())
    search = call("archival_memory_search", thought="Look.", query="x", request_heartbeat=True)
    loop = make_loop(memory, ScriptedModel(search, call("nonsense"), say("There.")))
    live = await run(loop, request())
    replay = await run(loop, request())
    durable = [event async for event in live.events() if event.sequence]
    assert durable == [event async for event in replay.events() if event.sequence]
    assert [event.sequence for event in durable] == list(range(1, len(durable) + 1))
    assert [e.sequence async for e in replay.events(after_sequence=4) if e.sequence] == list(range(5, len(durable) + 1))


async def test_a_model_that_answers_nonsense_fails_the_turn_and_keeps_what_was_done() -> None:
    memory = FakeMemory(answered())
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    loop = make_loop(memory, ScriptedModel(search, BadAnswerError("the model babbles"), say("next")))
    feed = await run(loop, request())
    end = await done(feed)
    assert (end.state, end.reason, end.steps) == (TurnState.FAILED, "the model babbles", 1)
    # The agent is free for the next turn.
    assert (await done(await run(loop, request("And now?", "r2")))).state is TurnState.COMPLETED


async def test_a_bug_costs_its_own_turn_only() -> None:
    memory = FakeMemory(answered())
    loop = make_loop(memory, ScriptedModel(RuntimeError("a bug"), say("Here I am.")))
    with pytest.raises(RuntimeError):
        await run(loop, request())
    # Whoever asks again hears that it has failed, and the agent's next turn runs.
    assert (await done(await run(loop, request()))).state is TurnState.FAILED
    assert (await done(await run(loop, request(request_id="r2")))).state is TurnState.COMPLETED


def refuse_steps(memory: FakeMemory, error: errors.ServiceError, count: int = 1) -> None:
    """Lets Memory refuse the next steps."""
    left = iter(range(count))

    def refuse(step: NewStep) -> None:
        if next(left, None) is not None:
            raise error

    memory.before_commit = refuse


@pytest.mark.parametrize("refused", [errors.InvalidArgument, errors.FailedPrecondition])
@pytest.mark.parametrize("steps", [1, 99], ids=["one step", "the last words too"])
async def test_a_step_that_memory_refuses_fails_its_turn_only(refused: type[errors.ServiceError], steps: int) -> None:
    memory = FakeMemory(answered())
    refuse_steps(memory, refused(Reason.INVALID_FIELD, "the name is too long"), steps)
    loop = make_loop(memory, ScriptedModel(say("Hi."), say("Here I am.")))
    feed = await run(loop, request())
    assert (await done(feed)).state is TurnState.FAILED
    assert "the name is too long" in (await done(feed)).reason
    assert bool([b for b in await bodies(feed) if isinstance(b, AssistantMessage)]) == (steps == 1)
    memory.before_commit = lambda step: None
    assert (await done(await run(loop, request(request_id="r2")))).state is TurnState.COMPLETED


async def test_a_result_that_memory_refuses_leaves_no_call_open() -> None:
    memory = FakeMemory(with_tool())

    def refuse(step: NewStep) -> None:
        if step.messages[0].role is Role.TOOL:
            raise errors.InvalidArgument(Reason.INVALID_FIELD, "too large")

    memory.before_commit = refuse
    feed = await run(make_loop(memory, ScriptedModel(call("roll")), FakeTools(ToolResult(True, "6"))), request())
    assert (await done(feed)).state is TurnState.FAILED
    assert memory.context.open_call is None


async def test_an_eviction_that_memory_refuses_ends_its_turn() -> None:
    memory = FakeMemory(answered())
    memory._store(long_talk(10))
    loop = make_loop(memory, ScriptedModel())
    refuse_steps(memory, errors.InvalidArgument(Reason.INVALID_FIELD, "too large"))
    with pytest.raises(errors.InvalidArgument, match="too large"):
        await loop.summarize("agent_1", "s1")
    assert [turn.state for turn in memory.turns.values()] == [TurnState.FAILED]


async def test_an_uncertain_commit_is_repeated_and_written_once() -> None:
    memory = FakeMemory(answered())
    lost = [
        errors.Unavailable(Reason.SERVICE_UNAVAILABLE, "gone"),
        errors.DeadlineExceeded(Reason.DEADLINE_EXCEEDED, "late"),
    ]

    def fail(step: object) -> None:
        if lost:
            raise lost.pop()

    memory.before_commit = fail
    await run(make_loop(memory, ScriptedModel(say("Once."))), request())
    assert memory.commits == 3
    assert len(memory.turns["r1"].steps) == 2


async def test_a_concurrent_change_of_a_block_repeats_the_step() -> None:
    memory = FakeMemory(answered())
    edits = ["Their name is Ada."]

    def interfere(step: object) -> None:
        if edits:
            memory.set_block("human", edits.pop())

    memory.before_commit = interfere
    append = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=False)
    feed = await run(make_loop(memory, ScriptedModel(append, append, say("Tea!"))), request())
    assert memory.context.blocks[1].value == "Their name is Ada.\nLikes tea."
    assert len(feed.restarts) == 1


async def test_an_edit_of_a_shared_block_that_comes_too_late_fails_with_the_new_value() -> None:
    memory = FakeMemory(answered())
    memory.share_block("human")
    others = [f"Value {number}." for number in range(20)]

    def interfere(step: NewStep) -> None:
        if step.blocks and others:
            memory.set_block("human", others.pop(0))

    memory.before_commit = interfere
    append = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=False)
    feed = await run(make_loop(memory, ScriptedModel(*[append] * 7, say("I could not."))), request())
    results = [body for body in await bodies(feed) if isinstance(body, FunctionResult)]
    assert [result.ok for result in results] == [False] * 7 + [True]
    assert '"human" in the meantime. Its value is now: Value 0.' in results[0].text
    assert (await done(feed)).state is TurnState.COMPLETED
    assert memory.context.blocks[1].value == "Value 6."
    assert feed.restarts == []


async def test_an_edit_of_a_shared_block_that_is_gone_fails() -> None:
    memory = FakeMemory(answered())
    memory.share_block("human")

    def interfere(step: NewStep) -> None:
        if step.blocks:
            memory.context = replace(memory.context, blocks=memory.context.blocks[:1])
            raise errors.NotFound(Reason.BLOCK_NOT_FOUND, "gone")

    memory.before_commit = interfere
    append = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=False)
    feed = await run(make_loop(memory, ScriptedModel(append, say("I could not."))), request())
    results = [body for body in await bodies(feed) if isinstance(body, FunctionResult)]
    assert results[0].text == 'Nothing was changed: the block "human" no longer exists.'
    assert (await done(feed)).state is TurnState.COMPLETED


async def test_a_search_beyond_the_quota_fails_and_the_turn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory(answered())

    async def refuse(*_: object, **__: object) -> None:
        raise reasons.quota_exceeded("quota exceeded: too many searches", quota="searches_per_minute", limit=1)

    monkeypatch.setattr(memory, "search_archival", refuse)
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    feed = await run(make_loop(memory, ScriptedModel(search, say("I could not search."))), request())
    results = [body for body in await bodies(feed) if isinstance(body, FunctionResult)]
    assert "quota exceeded" in results[0].text
    assert (await done(feed)).state is TurnState.COMPLETED


async def test_a_lost_lease_is_followed_to_the_end() -> None:
    memory = FakeMemory(answered())
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    stolen = asyncio.Event()

    def steal(step: object) -> None:
        if not stolen.is_set():
            stolen.set()
            memory.turns["r1"].epoch += 1
            raise errors.Aborted(Reason.LEASE_LOST, "the lease has passed to another")

    memory.before_commit = steal
    feed = EventStream()
    running = asyncio.create_task(make_loop(memory, ScriptedModel(search)).run(request(), feed))
    await stolen.wait()
    # The other replica is killed: the waiting one gets the turn.
    model = ScriptedModel(say("From the other replica."))
    memory.turns["r1"].held = False
    other = make_loop(memory, model)
    finished = await run(other, request())
    await running
    assert [b.text for b in await bodies(finished) if isinstance(b, AssistantMessage)] == ["From the other replica."]
    assert await bodies(feed) == await bodies(finished)


async def test_a_turn_whose_holder_died_is_finished_before_ours() -> None:
    memory = FakeMemory(answered())
    away = errors.Unavailable(Reason.MODEL_UNAVAILABLE, "away")
    loop = make_loop(memory, ScriptedModel(away, say("To the first."), say("To the second.")))
    with pytest.raises(errors.Unavailable):
        await loop.run(request("First?", "r1", max_steps=7), EventStream())
    feed = await run(loop, request("Second?", "r2"))
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert [b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == ["To the second."]
    spoken = [m for m in memory.history if m.function_call is not None][-2:]
    assert ["first" in m.function_call.arguments for m in spoken if m.function_call] == [True, False]


async def test_a_bug_in_another_turn_is_not_ours() -> None:
    memory = FakeMemory(answered())
    away = errors.Unavailable(Reason.MODEL_UNAVAILABLE, "away")
    loop = make_loop(memory, ScriptedModel(away, RuntimeError("a bug"), say("To the second.")))
    with pytest.raises(errors.Unavailable):
        await run(loop, request("First?", "r1"))
    feed = await run(loop, request("Second?", "r2"))
    assert memory.turns["r1"].state is TurnState.FAILED
    assert AssistantMessage("To the second.") in await bodies(feed)


async def test_a_turn_that_cannot_even_be_failed_is_not_tried_indefinitely(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = FakeMemory(answered())
    away = errors.Unavailable(Reason.MODEL_UNAVAILABLE, "away")
    loop = make_loop(memory, ScriptedModel(away, RuntimeError("a bug"), repeat=True))
    with pytest.raises(errors.Unavailable):
        await run(loop, request("First?", "r1"))

    async def broken(*args: object) -> None:
        raise RuntimeError("another bug")

    monkeypatch.setattr(memory, "end_turn", broken)
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match="another bug"):
            await run(loop, request("Second?", "r2"))


async def test_turns_of_one_agent_run_one_after_the_other() -> None:
    memory = FakeMemory(answered())
    gate = asyncio.Event()

    class Slow(ScriptedModel):
        async def complete(self, asked: object, sink: object) -> Completion:
            await gate.wait()
            return await super().complete(asked, sink)  # type: ignore[arg-type]

    loop = make_loop(memory, Slow(say("one"), say("two")))
    feeds = [EventStream(), EventStream()]
    tasks = [asyncio.create_task(loop.run(request(str(n), f"r{n}"), feed)) for n, feed in enumerate(feeds)]
    async for event in feeds[1].events():
        assert event.body == Queued(1)
        break
    gate.set()
    await asyncio.gather(*tasks)
    assert [m.role for m in memory.history[-6:]] == [Role.USER, Role.ASSISTANT, Role.TOOL] * 2


async def test_cancelling_interrupts_the_model() -> None:
    memory = FakeMemory(answered())
    asked = asyncio.Event()

    class Endless(ScriptedModel):
        async def complete(self, request: object, sink: object) -> Completion:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    feed = EventStream()
    running = asyncio.create_task(make_loop(memory, Endless()).run(request(), feed))
    await asked.wait()
    memory.cancel = True
    await running
    assert (await done(feed)).state is TurnState.CANCELLED


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_turn_that_another_replica_took_is_followed_even_at_its_end(cancelled: bool) -> None:
    memory = FakeMemory(answered())
    asked = asyncio.Event()

    class Failing(ScriptedModel):
        async def complete(self, request: object, sink: object) -> Completion:
            asked.set()
            if cancelled:
                await asyncio.Event().wait()
            raise BadAnswerError("nonsense")

    ending, end_turn = asyncio.Event(), memory.end_turn

    async def stolen(agent_id: str, lease: Lease, outcome: Outcome, call_result: str = "") -> None:
        if not ending.is_set():
            memory.turns["r1"].epoch += 1
            ending.set()
        await end_turn(agent_id, lease, outcome, call_result)

    memory.end_turn = stolen  # type: ignore[method-assign]
    if not cancelled:
        memory.before_commit = lambda _: _refuse()
    feed = EventStream()
    running = asyncio.create_task(make_loop(memory, Failing()).run(request(), feed))
    await asked.wait()
    memory.cancel = cancelled
    await ending.wait()
    # The other replica is killed.
    memory.cancel, memory.before_commit, memory.turns["r1"].held = False, lambda _: None, False
    finished = await run(make_loop(memory, ScriptedModel(say("From the other replica."))), request())
    await running
    assert AssistantMessage("From the other replica.") in await bodies(finished)
    assert await bodies(feed) == await bodies(finished)


def _refuse() -> None:
    raise errors.InvalidArgument(Reason.INVALID_FIELD, "the step is refused")


async def test_a_keeper_that_breaks_cancels_no_turn() -> None:
    memory = FakeMemory(answered())

    async def broken(agent_id: str, lease: Lease) -> bool:
        raise RuntimeError("a bug")

    memory.renew_lease = broken  # type: ignore[method-assign]

    class Endless(ScriptedModel):
        async def complete(self, request: object, sink: object) -> Completion:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(RuntimeError):
        await run(make_loop(memory, Endless()), request())
    turn = memory.turns["r1"]
    assert (turn.state, turn.held) == (TurnState.RUNNING, False)


async def test_a_stopped_process_gives_the_lease_back() -> None:
    memory = FakeMemory(answered())
    asked = asyncio.Event()

    class Endless(ScriptedModel):
        async def complete(self, request: object, sink: object) -> Completion:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    running = asyncio.create_task(make_loop(memory, Endless()).run(request(), EventStream()))
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not memory.turns["r1"].held


def long_talk(count: int, words: int = 60) -> list[Message]:
    text = " ".join(["word"] * words)
    return [Message(Role.USER, envelopes.user_message(f"{n} {text}", "now")) for n in range(count)]


async def test_pressure_alerts_once_and_eviction_makes_room() -> None:
    memory = FakeMemory(answered())
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    memory.passages = [PassageHit("long passage " * 40, NOW) for _ in range(200)]
    model = ScriptedModel(*[search] * 14, say("Done."), repeat=True)
    feed = await run(make_loop(memory, model, context_window=4096, max_answer_tokens=400), request())
    notices = [body.text for body in await bodies(feed) if isinstance(body, Notice)]
    assert any("told to save" in text for text in notices)
    assert any("left the context window" in text for text in notices)
    # Between two evictions there is one alert at most.
    kinds = ["evict" if "left" in text else "alert" for text in notices]
    assert ("alert", "alert") not in list(itertools.pairwise(kinds))
    assert memory.context.summary
    # Recall memory lost nothing, and no result stands without its call.
    assert [m.sequence for m in memory.history] == list(range(len(memory.history)))
    assert memory.context.messages[0].role is not Role.TOOL
    assert len(memory.context.messages) >= 3


async def test_a_question_stays_open_over_many_evictions_until_it_is_answered() -> None:
    memory = FakeMemory(answered())
    memory.passages = [PassageHit("long passage " * 77, NOW) for _ in range(200)]
    searches = [call("archival_memory_search", query="x", page=n, request_heartbeat=True) for n in range(10)]
    model = ScriptedModel(*searches, APPEND, say("It is Tom."))
    feed = await run(make_loop(memory, model, context_window=8192), request("What is my cat called?"))
    asked = [asked for asked in model.requests if asked.functions]
    assert all(any("What is my cat called?" in m.text for m in one.messages) for one in asked)
    summaries = [one.messages[1].text for one in model.requests if not one.functions]
    assert len(summaries) > 1
    assert not any(prompt.STILL_OPEN in text for text in summaries)
    assert AssistantMessage("It is Tom.") in await bodies(feed)


def sent(ok: bool) -> tuple[Message, Message]:
    """A call of send_message with its result."""
    return (
        Message(Role.ASSISTANT, "", function_call=FunctionCall("call_1", "send_message", '{"message": "Tom."}')),
        Message(Role.TOOL, envelopes.function_result(ok, "", TIME), call_id="call_1"),
    )


@pytest.mark.parametrize(("ok", "still_open"), [(False, "Who?"), (True, "")])
@pytest.mark.parametrize("evicted", [False, True], ids=["in the window", "in the summary"])
def test_only_a_message_that_was_sent_answers_a_question(ok: bool, still_open: str, evicted: bool) -> None:
    context = replace(answered(), messages=sent(ok), summary=f"I know.{prompt.STILL_OPEN}Who?")
    if not evicted:
        context = replace(context, messages=(user("Who?"), *sent(ok)), summary="I know.")
    assert summary.open_question(context, 1) == still_open


async def test_the_alert_lets_the_agent_save_after_it_has_spoken() -> None:
    context = answered()
    memory = FakeMemory(context)
    memory._store(long_talk(40))
    insert = call("archival_memory_insert", content="What matters.", request_heartbeat=False)
    model = ScriptedModel(say("Hello."), insert)
    loop = make_loop(memory, model, context_window=7000, max_answer_tokens=500)
    feed = await run(loop, request())
    assert memory.notes == ["What matters."]
    assert (await done(feed)).state is TurnState.COMPLETED


async def test_a_message_larger_than_the_window_is_elided_for_the_model_only() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(say("Long!"), repeat=True)
    text = "A long story. " * 3000
    feed = await run(make_loop(memory, model, context_window=4096), request(text))
    assert (await done(feed)).state is TurnState.COMPLETED
    asked = next(r for r in model.requests if r.functions)
    shown = next(m for m in asked.messages if "characters left out" in m.text)
    assert envelopes.parse(shown.text)["type"] == "user_message"
    stored = next(m for m in memory.history if envelopes.kind(m.text) == "user_message")
    assert envelopes.parse(stored.text)["message"] == text


async def test_an_endpoint_that_calls_the_prompt_too_long_gets_less() -> None:
    memory = FakeMemory(answered())
    memory._store(long_talk(30))
    sizes: list[int] = []

    def picky(asked: object) -> Completion:
        shown = [m.text for m in asked.messages] + [f.description for f in asked.functions]  # type: ignore[attr-defined]
        sizes.append(len("".join(shown)))
        if len(sizes) < 3:
            raise ContextOverflowError
        return say("Fits.")

    feed = await run(make_loop(memory, ScriptedModel(picky, repeat=True)), request())
    assert (await done(feed)).state is TurnState.COMPLETED
    assert sizes[0] > sizes[1] > sizes[2]


async def test_an_answer_may_take_what_the_prompt_leaves_of_the_window() -> None:
    memory, calibration = FakeMemory(answered()), TokenCalibration()
    calibration.need("", 16_384)
    model = ScriptedModel(say("Hi."))
    settings = LoopSettings(context_window=8192)
    loop = TurnLoop(memory, model, FakeTools(), settings, count_tokens, lambda: NOW, calibration)
    await run(loop, request())
    view = loop.view(memory.context)
    asked = model.requests[0]
    assert asked.max_tokens == settings.max_answer_tokens
    assert 4096 < asked.most_tokens < 8192 - view.window.fixed(view.context, view.functions)


async def test_an_endpoint_that_is_never_content_fails_the_turn() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(ContextOverflowError(), repeat=True)
    end = await done(await run(make_loop(memory, model), request()))
    assert end.state is TurnState.FAILED
    assert "context_window" in end.reason


async def test_a_window_without_room_for_messages_fails_the_turn() -> None:
    memory = FakeMemory(answered())
    end = await done(await run(make_loop(memory, ScriptedModel(), context_window=1024), request()))
    assert end.state is TurnState.FAILED
    assert "no room" in end.reason


async def test_summarize() -> None:
    memory = FakeMemory(answered())
    memory._store(long_talk(10))
    loop = make_loop(memory, ScriptedModel())
    count, text = await loop.summarize("agent_1", "s1")
    assert count > 0
    assert text.startswith("I keep it short.")
    assert memory.context.summary == text
    # The same request does not do it again.
    assert await loop.summarize("agent_1", "s1") == (0, text)


async def test_a_summary_that_another_replica_makes_is_awaited_and_returned() -> None:
    """A proxy that gives up sends the same request to another Agent."""
    gate = asyncio.Event()

    class SlowModel(ScriptedModel):
        async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
            await gate.wait()
            return await super().complete(request, sink)

    memory = FakeMemory(answered())
    memory._store(long_talk(10))
    first = asyncio.create_task(make_loop(memory, SlowModel()).summarize("agent_1", "s1"))
    await until(lambda: memory.turns)
    second = asyncio.create_task(make_loop(memory, ScriptedModel()).summarize("agent_1", "s1"))
    await until(lambda: len(memory.waits) == 2)
    gate.set()
    count, text = await first
    assert count > 0
    assert await second == (count, text)


async def test_a_summary_of_messages_that_a_turn_before_it_took_ends_its_turn() -> None:
    class Crowded(FakeMemory):
        async def begin_turn(self, *arguments: Any, **options: Any) -> AsyncGenerator[TurnEvent, None]:
            self.context = replace(self.context, messages=self.context.messages[-1:])
            async for event in super().begin_turn(*arguments, **options):
                yield event

    memory = Crowded(answered())
    memory._store(long_talk(10))
    with pytest.raises(errors.FailedPrecondition, match="nothing to summarize"):
        await make_loop(memory, ScriptedModel()).summarize("agent_1", "s1")
    assert memory.turns["s1"].state is TurnState.FAILED


async def test_a_repeated_summary_is_returned_though_nothing_is_left_to_evict() -> None:
    memory = FakeMemory(answered())
    memory._store(long_talk(10))
    _, text = await make_loop(memory, ScriptedModel()).summarize("agent_1", "s1")
    memory.context = replace(memory.context, messages=memory.context.messages[-1:])
    assert await make_loop(memory, ScriptedModel()).summarize("agent_1", "s1") == (0, text)


async def test_a_repeated_summary_that_failed_says_so() -> None:
    memory = FakeMemory(answered())
    memory._store(long_talk(10))
    refuse_steps(memory, errors.InvalidArgument(Reason.INVALID_FIELD, "too large"))
    with pytest.raises(errors.InvalidArgument, match="too large"):
        await make_loop(memory, ScriptedModel()).summarize("agent_1", "s1")
    with pytest.raises(errors.FailedPrecondition, match="too large; send another request with a new id"):
        await make_loop(memory, ScriptedModel()).summarize("agent_1", "s1")


async def test_nothing_to_summarize() -> None:
    memory = FakeMemory()
    with pytest.raises(errors.FailedPrecondition, match="nothing to summarize"):
        await make_loop(memory, ScriptedModel()).summarize("agent_1", "s1")
    assert memory.history == []


async def test_deltas_say_which_try_they_belong_to() -> None:
    memory = FakeMemory(booted())
    model = ScriptedModel(call("pause_heartbeats", thought="a"), say("b"))
    feed = await run(make_loop(memory, model), request())
    assert feed.deltas == [(1, "a"), (2, "I speak.")]


async def test_automatic_recall_shows_the_best_hits_once() -> None:
    memory = FakeMemory(answered())
    memory.passages = [PassageHit("Tom is a cat. " * 99, NOW)]
    append = call("core_memory_append", name="human", content="Has a cat.", request_heartbeat=True)
    model = ScriptedModel(append, say("Tom."))
    await run(make_loop(memory, model, auto_recall=True), request("What is my cat called?"))
    assert memory.searches == [("What is my cat called?", 0)]
    first, second = (json.loads(asked.note.splitlines()[-1]) for asked in model.requests)
    assert first["possibly_relevant"][0]["content"].startswith("Tom is a cat.")
    assert len(first["possibly_relevant"][0]["content"]) <= 401
    assert "possibly_relevant" not in second


QUESTION = "What is my cat called?"


def nearly_full(window: int) -> Context:
    """An agent whose window has no room left once the question is in it."""
    loop = make_loop(FakeMemory(), ScriptedModel(), context_window=window)
    talk = long_talk(500, 10)

    def fits(count: int) -> bool:
        messages = (*answered().messages, *talk[:count], user(QUESTION))
        return not loop.view(replace(answered(), messages=messages, recall_count=len(messages))).overflows

    count = next(n for n in range(500) if not fits(n + 1))
    return replace(answered(), messages=(*answered().messages, *talk[:count]))


async def test_nothing_is_evicted_for_what_is_recalled() -> None:
    memory = FakeMemory(nearly_full(16_384))
    memory.passages = [PassageHit("Tom is a cat. " * 99, NOW)] * 3
    model = ScriptedModel(say("Tom."), repeat=True)
    await run(make_loop(memory, model, context_window=16_384, auto_recall=True), request(QUESTION))
    # The first request is the question, not a summary.
    assert model.requests[0].functions
    assert "possibly_relevant" not in json.loads(model.requests[0].note)


async def test_what_is_recalled_is_shown_once_an_eviction_made_room() -> None:
    context = nearly_full(16_384)
    memory = FakeMemory(replace(context, messages=(*context.messages, *long_talk(1))))
    memory.passages = [PassageHit("Tom is a cat. " * 99, NOW)] * 3
    model = ScriptedModel(say("Tom."))
    await run(make_loop(memory, model, context_window=16_384, auto_recall=True), request(QUESTION))
    assert memory.context.summary
    assert len(json.loads(model.requests[-1].note)["possibly_relevant"]) >= 3


async def test_what_is_recalled_fails_no_turn_in_a_small_window() -> None:
    async def end(window: int, *, auto_recall: bool) -> TurnState:
        memory = FakeMemory(answered())
        memory.passages = [PassageHit("Tom is a cat. " * 99, NOW)] * 3
        loop = make_loop(
            memory, ScriptedModel(say("Tom."), repeat=True), context_window=window, auto_recall=auto_recall
        )
        return (await done(await run(loop, request(QUESTION)))).state

    smallest = 1024
    while await end(smallest, auto_recall=False) is not TurnState.COMPLETED:
        smallest += 64
    assert await end(smallest, auto_recall=True) is TurnState.COMPLETED


async def test_a_recall_that_fails_does_not_stop_the_turn() -> None:
    memory = FakeMemory(answered())

    async def away(*args: object, **more: object) -> object:
        raise errors.Unavailable(Reason.SERVICE_UNAVAILABLE, "away")

    memory.search_archival = memory.search_recall = away  # type: ignore[method-assign,assignment]
    feed = await run(make_loop(memory, ScriptedModel(say("Hi.")), auto_recall=True), request())
    assert (await done(feed)).state is TurnState.COMPLETED


def calls_of(*made: Completion) -> Completion:
    """One answer with several calls."""
    calls = [one.call for one in made if one.call is not None]
    return replace(made[0], further=tuple(calls[1:]))


async def test_further_calls_of_an_answer_are_steps_of_their_own() -> None:
    memory = FakeMemory(answered())
    insert = call("archival_memory_insert", content="Tea.", request_heartbeat=True)
    model = ScriptedModel(calls_of(insert, APPEND, say("Noted.")))
    feed = await run(make_loop(memory, model), request("I like tea."))
    assert len(model.requests) == 1
    assert memory.notes == ["Tea."]
    assert memory.context.blocks[1].value.endswith("Likes tea.")
    called = [b.name for b in await bodies(feed) if isinstance(b, FunctionCalled)]
    assert called == ["archival_memory_insert", "core_memory_append", "send_message"]


async def test_a_message_that_an_answer_has_twice_is_sent_once() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(calls_of(say("Noted."), say("Noted."), say("And more.")))
    feed = await run(make_loop(memory, model), request("I like tea."))
    assert [b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == ["Noted.", "And more."]


async def test_a_tool_that_an_answer_calls_twice_is_called_twice() -> None:
    memory, tools = FakeMemory(with_tool()), FakeTools(ToolResult(True, "six"), ToolResult(True, "six"))
    roll = call("roll", request_heartbeat=False)
    model = ScriptedModel(calls_of(roll, roll, say("Two.")))
    await run(make_loop(memory, model, tools), request())
    assert len(tools.calls) == 2


async def test_further_calls_do_not_swallow_a_heartbeat_and_stop_at_a_failure() -> None:
    memory = FakeMemory(answered())
    search = call("archival_memory_search", query="x", request_heartbeat=True)
    model = ScriptedModel(calls_of(search, APPEND), calls_of(call("fly"), say("Lost.")), say("Found."))
    feed = await run(make_loop(memory, model), request("I like tea."))
    assert len(model.requests) == 3
    assert [b.text for b in await bodies(feed) if isinstance(b, AssistantMessage)] == ["Found."]
    assert (await done(feed)).steps == 3


def with_tool() -> Context:
    return replace(answered(), tools=(describe("roll", "Rolls a die.", "", "localhost:7"),))


async def test_a_remote_call_is_committed_before_it_is_made() -> None:
    memory = FakeMemory(with_tool())
    tools = FakeTools(ToolResult(True, "six"))
    committed: list[list[object]] = []
    memory.before_commit = lambda step: committed.append([*(m.role for m in step.messages), len(tools.calls)])
    model = ScriptedModel(call("roll", thought="Let me see.", request_heartbeat=True), say("A six."))
    feed = await run(make_loop(memory, model, tools), request())
    assert committed == [[Role.ASSISTANT, 0], [Role.TOOL, Role.USER, 1], [Role.ASSISTANT, Role.TOOL, 1]]
    assert [one.key for one in tools.calls] == ["turn_0-1"]
    found = [body for body in await bodies(feed) if isinstance(body, FunctionCalled | FunctionResult)]
    assert found[1] == FunctionResult(found[0].call_id, "roll", True, "six")
    assert (await done(feed)).steps == 2
    # The model sees the result beside the call.
    assert [m.role for m in model.requests[1].messages[-3:]] == [Role.ASSISTANT, Role.TOOL, Role.USER]


async def test_an_open_call_is_resumed_under_the_same_key() -> None:
    memory = FakeMemory(with_tool())
    tools = FakeTools(ToolResult(True, "six"))
    tools.block = asyncio.Event()
    model = ScriptedModel(call("roll"), say("A six."))
    first = asyncio.create_task(run(make_loop(memory, model, tools), request()))
    await tools.called.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert memory.context.open_call is not None
    tools.block = None
    feed = await run(make_loop(memory, model, tools), request())
    assert [one.key for one in tools.calls] == ["turn_0-1", "turn_0-1"]
    assert len(model.requests) == 2, "the model was not asked again for the call"
    called = [b.name for b in await bodies(feed) if isinstance(b, FunctionCalled)]
    assert called == ["roll", "send_message"]
    assert [b.ok for b in await bodies(feed) if isinstance(b, FunctionResult)] == [True, True]


async def test_a_tool_that_fails_gives_control_back_and_its_result_is_cut() -> None:
    memory = FakeMemory(with_tool())
    tools = FakeTools(ToolResult(False, "No die."), ToolResult(True, "6" * 5000))
    quiet = call("roll", request_heartbeat=False)
    feed = await run(make_loop(memory, ScriptedModel(quiet, quiet, say("Sixes.")), tools), request())
    results = [b for b in await bodies(feed) if isinstance(b, FunctionResult)]
    assert [(b.ok, b.text[:7]) for b in results[:2]] == [(False, "No die."), (True, "6666666")]
    assert "cut after 3,000 of 5,000 characters" in results[1].text
    assert (await done(feed)).state is TurnState.COMPLETED


async def test_arguments_that_do_not_fit_are_never_sent() -> None:
    memory = FakeMemory(with_tool())
    memory.context = replace(memory.context, tools=(describe("roll", "x", '{"required": ["sides"]}', "localhost:7"),))
    tools = FakeTools()
    feed = await run(make_loop(memory, ScriptedModel(call("roll"), say("Oh.")), tools), request())
    assert tools.calls == []
    assert "'sides' is a required property" in next(b.text for b in await bodies(feed) if isinstance(b, FunctionResult))


async def test_a_tool_taken_away_after_its_call_was_committed_fails() -> None:
    memory = FakeMemory(with_tool())

    def take_away(step: NewStep) -> None:
        memory.context = replace(memory.context, tools=())

    memory.before_commit = take_away
    feed = await run(make_loop(memory, ScriptedModel(call("roll"), say("Oh."))), request())
    results = [b for b in await bodies(feed) if isinstance(b, FunctionResult)]
    assert not results[0].ok
    assert 'no function "roll"' in results[0].text


async def test_a_turn_cancelled_within_a_call_leaves_a_result_behind() -> None:
    memory = FakeMemory(with_tool())
    tools = FakeTools()
    tools.block = asyncio.Event()
    running = asyncio.create_task(run(make_loop(memory, ScriptedModel(call("roll")), tools), request()))
    await tools.called.wait()
    memory.cancel = True
    memory._notify()
    feed = await running
    assert (await done(feed)).state is TurnState.CANCELLED
    assert memory.context.open_call is None
    results = [b for b in await bodies(feed) if isinstance(b, FunctionResult)]
    assert [b.ok for b in results] == [False]
    assert "cancelled while the function was running" in results[0].text


async def test_a_bug_within_a_call_leaves_a_result_behind() -> None:
    memory = FakeMemory(with_tool())
    loop = make_loop(memory, ScriptedModel(call("roll")), FakeTools())
    with pytest.raises(IndexError):
        await run(loop, request())
    feed = await run(loop, request())
    assert (await done(feed)).state is TurnState.FAILED
    assert memory.context.open_call is None
    results = [b for b in await bodies(feed) if isinstance(b, FunctionResult)]
    assert ["failed before the function returned" in b.text for b in results] == [True]


async def test_the_limit_of_steps_never_leaves_a_call_open() -> None:
    memory = FakeMemory(with_tool())
    tools = FakeTools(ToolResult(True, "six"))
    feed = await run(make_loop(memory, ScriptedModel(call("roll")), tools), request(max_steps=1))
    assert (await done(feed)).state is TurnState.STOPPED
    assert memory.context.open_call is None


async def test_a_turn_waits_no_longer_than_the_setting_says() -> None:
    memory = FakeMemory(answered())
    await run(make_loop(memory, ScriptedModel(say("Hi.")), queue_timeout=7.0), request())
    assert 6 < memory.waits[0] <= 7


async def test_calls_behind_a_remote_one_are_made_after_its_result() -> None:
    memory = FakeMemory(with_tool())
    answer = calls_of(call("roll", request_heartbeat=False), say("I rolled."))
    model = ScriptedModel(answer)
    await run(make_loop(memory, model, FakeTools(ToolResult(True, "six"))), request())
    assert len(model.requests) == 1
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert [m.role for m in memory.history[-4:]] == [Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.TOOL]
    assert "six" in memory.history[-3].text


async def test_further_calls_are_left_to_the_model_when_another_replica_takes_over() -> None:
    memory = FakeMemory(answered())
    answer = calls_of(call("core_memory_append", name="human", content="Ada."), say("Hello Ada."))
    model = ScriptedModel(answer, say("Hello again, Ada."))

    def out_of_reach(step: NewStep) -> None:
        if step.index == 2:
            raise errors.ResourceExhausted(Reason.OVERLOADED, "away")

    memory.before_commit = out_of_reach
    with pytest.raises(errors.ResourceExhausted):
        await run(make_loop(memory, model), request())
    memory.before_commit = lambda step: None
    await run(make_loop(memory, model), request())
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert "Hello again" in str(memory.history[-2].function_call)
    assert memory.context.blocks[1].value.count("Ada.") == 1
