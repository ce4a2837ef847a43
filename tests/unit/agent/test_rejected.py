"""A content filter that rejects a prompt: the turn ends with words, and later prompts leave out what was rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.tokens import TokenCounter
from memgpt_agent.context_window.window import raw_size
from memgpt_agent.domain import Message, PassageHit, Role, TurnState, Usage
from memgpt_agent.functions.send_message import SENT
from memgpt_agent.loop import final_reply
from memgpt_agent.loop.events import AssistantMessage, Done
from memgpt_agent.loop.turn_request import TurnRequest
from memgpt_agent.models.base import NO_STATUS, Completion, FilteredError, ModelRequest, Sink
from memgpt_agent.models.endpoint import CallMode
from memgpt_runtime import errors, reasons

from tests.support.scripted_llm import Drop, Request, ScriptedLLM, Status
from tests.support.scripted_llm import Reply as LLMReply
from tests.support.scripted_llm import call as llm_call
from tests.support.scripted_llm import say as llm_say
from tests.unit.agent.fakes import (
    NOW,
    TIME,
    FakeMemory,
    Reply,
    ScriptedModel,
    answered,
    call,
    make_loop,
    request,
    run,
    say,
    user,
)
from tests.unit.agent.models.asking import model_at

POISON = "pestilence"
SEARCH = call("archival_memory_search", query="illness", request_heartbeat=True)


class Filtered(ScriptedModel):
    """A scripted model behind a filter."""

    def __init__(self, *replies: Reply, repeat: bool = False, refusal: Exception | None = None) -> None:
        super().__init__(*replies, repeat=repeat)
        self.refusal = refusal or FilteredError("the content filter rejected the prompt")

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        if POISON in f"{request.messages}{request.note}":
            self.requests.append(request)
            raise self.refusal
        return await super().complete(request, sink)


def memory_with(text: str = "Nothing.") -> FakeMemory:
    memory = FakeMemory(answered())
    memory.passages = [PassageHit(text, NOW)]
    return memory


@pytest.mark.parametrize(("text", "language"), [(f"What is {POISON}?", "en"), (f"什么是 {POISON}？", "zh")])
async def test_a_rejected_message_fails_its_turn_only(text: str, language: str) -> None:
    memory, model = memory_with(), Filtered(say("It is Monday."))
    loop = make_loop(memory, model)
    feed = await run(loop, request(text, "r1"))
    assert AssistantMessage(final_reply.REJECTED[language]) in [event.body async for event in feed.events()]
    assert memory.turns["r1"].state is TurnState.FAILED
    await run(loop, request("What day is it?", "r2"))
    assert memory.turns["r2"].state is TurnState.COMPLETED
    shown = [envelopes.parse(m.text).get("message") for m in model.requests[-1].messages if m.role is Role.USER]
    assert prompt.LEFT_OUT in shown
    assert "What day is it?" in shown
    # Recall memory has it, and searches find it.
    assert any(POISON in message.text for message in memory.history)
    assert (await memory.search_recall("agent_1", POISON, before=None, page_size=5, skip=0)).total == 1


async def test_a_rejected_result_is_left_out_and_the_turn_goes_on() -> None:
    memory, model = memory_with(f"All about {POISON}."), Filtered(SEARCH, say("I found nothing that I may tell."))
    feed = await run(make_loop(memory, model), request("Is it in my notes?"))
    assert AssistantMessage("I found nothing that I may tell.") in [event.body async for event in feed.events()]
    assert memory.turns["r1"].state is TurnState.COMPLETED
    texts = [message.text for message in model.requests[-1].messages]
    assert any(prompt.LEFT_OUT in text for text in texts)
    assert any("Is it in my notes?" in text for text in texts)
    assert prompt.HEARTBEAT_REJECTED in texts[-1]


async def test_a_prompt_that_is_rejected_without_its_results_too_ends_the_turn() -> None:
    memory, model = memory_with(), Filtered(SEARCH)
    poisoned = replace(memory.context.agent, system=f"Speak of {POISON}.")
    memory.before_commit = lambda step: setattr(memory, "context", replace(memory.context, agent=poisoned))
    await run(make_loop(memory, model), request("Hello?"))
    assert memory.turns["r1"].state is TurnState.FAILED
    assert len(model.requests) == 5  # each prompt was tried without core memory, too


def prompts(model: ScriptedModel) -> list[str]:
    return ["\n".join(message.text for message in request.messages) for request in model.requests]


def last_answered(model: ScriptedModel) -> str:
    """The last prompt that was answered, with its note."""
    texts = [f"{text}\n{request.note}" for text, request in zip(prompts(model), model.requests, strict=True)]
    return next(text for text in reversed(texts) if POISON not in text)


REFUSALS = {
    "a filter": FilteredError("the content filter rejected the prompt"),
    "unknown words": reasons.model_unusable("the endpoint refuses the request (HTTP 400)", model="m", status=400),
    "a crash": reasons.model_unavailable("the endpoint is out of order (HTTP 500)", model="m", status=500),
    "a closed connection": reasons.model_unavailable("the endpoint closed the connection", model="m", status=NO_STATUS),
}


@pytest.fixture(params=REFUSALS)
def refusal(request: pytest.FixtureRequest) -> Exception:
    return REFUSALS[request.param]


@pytest.mark.parametrize("part", ["human", "persona", "summary"])
async def test_a_part_of_memory_that_is_rejected_is_left_out_alone(part: str, refusal: Exception) -> None:
    memory, model = memory_with(), Filtered(say("It is Monday."), repeat=True, refusal=refusal)
    text = f"I fear {POISON}."
    memory.context = replace(memory.context, summary="We spoke of tea.")
    memory.set_block("human", "Ada.")
    if part == "summary":
        memory.context = replace(memory.context, summary=text)
    else:
        memory.set_block(part, text)
    loop = make_loop(memory, model)
    await run(loop, request("What day is it?", "r1"))
    asked = len(model.requests)
    await run(loop, request("Really?", "r2"))
    assert [turn.state for turn in memory.turns.values()] == [TurnState.COMPLETED] * 2
    assert len(model.requests) == asked + 1, "it is known by then"
    kept = {"human": "Ada.", "persona": "I am Sam.", "summary": "We spoke of tea."}
    shown = prompts(model)[-1]
    assert prompt.LEFT_OUT in shown
    assert all(other in shown for name, other in kept.items() if name != part)
    stored = [memory.context.summary, *(block.value for block in memory.context.blocks)]
    assert text in stored
    assert prompt.LEFT_OUT not in stored


async def test_a_part_of_memory_that_is_left_out_can_be_edited() -> None:
    append = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=False)
    memory, model = memory_with(), Filtered(append, append, append, say("Noted."), repeat=True)
    memory.set_block("human", f"Fears {POISON}.")
    loop = make_loop(memory, model)
    await run(loop, request("I like tea.", "r1"))
    assert next(b.value for b in memory.context.blocks if b.label == "human") == f"Fears {POISON}.\nLikes tea."
    memory.set_block("human", "Likes tea.")
    await run(loop, request("And?", "r2"))
    assert prompt.LEFT_OUT not in prompts(model)[-1] + model.requests[-1].note
    assert memory.turns["r2"].state is TurnState.COMPLETED


async def test_what_one_model_rejects_another_is_shown() -> None:
    memory, model = memory_with(), Filtered(say("It is Monday."), repeat=True)
    memory.set_block("human", f"Fears {POISON}.")
    loop = make_loop(memory, model)
    await run(loop, request("What day is it?", "r1"))
    memory.context = replace(memory.context, agent=replace(memory.context.agent, model="another"))
    before = len(model.requests)
    await run(loop, request("Really?", "r2"))
    assert POISON in prompts(model)[before]
    assert prompt.LEFT_OUT in last_answered(model)


@pytest.mark.parametrize("parts", [("persona", "human"), ("human", "summary"), ("persona", "human", "summary")])
async def test_all_parts_of_memory_that_are_rejected_are_left_out_and_no_other(parts: tuple[str, ...]) -> None:
    memory, model = memory_with(), Filtered(say("It is Monday."), repeat=True)
    texts = {name: f"{name}: {POISON if name in parts else 'tea'}" for name in ("summary", "persona", "human")}
    memory.context = replace(memory.context, summary=texts["summary"])
    for label in ("persona", "human"):
        memory.set_block(label, texts[label])
    await run(make_loop(memory, model), request("What day is it?"))
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert [name for name, text in texts.items() if text not in last_answered(model)] == [
        name for name in texts if name in parts
    ]


async def test_the_usage_of_every_answer_counts_once() -> None:
    memory, model = memory_with(), Filtered(replace(say("It is Monday."), usage=Usage(10, 1)), repeat=True)
    memory.set_block("human", f"Fears {POISON}.")
    feed = await run(make_loop(memory, model), request("What day is it?"))
    answers = sum(POISON not in text for text in prompts(model))
    (done,) = [event.body async for event in feed.events() if isinstance(event.body, Done)]
    assert (answers, done.usage.total) == (2, 22)


async def test_an_answer_without_memory_stands_if_the_search_for_the_cause_is_refused() -> None:
    limited = reasons.model_unavailable("too many requests (HTTP 429)", model="m", status=429)
    memory, model = memory_with(), Filtered(say("It is Monday."), limited, say("Yes."))
    memory.set_block("human", f"Fears {POISON}.")
    loop = make_loop(memory, model)
    await run(loop, request("What day is it?", "r1"))
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert any(
        "It is Monday." in message.function_call.arguments for message in memory.history if message.function_call
    )


async def test_a_message_that_is_refused_in_unknown_words_ends_its_turn_only(refusal: Exception) -> None:
    """The turn would stay open, and the agent's next message would continue it, in vain."""
    memory, model = memory_with(), Filtered(say("It is Monday."), repeat=True, refusal=refusal)
    loop = make_loop(memory, model)
    feed = await run(loop, request(f"What is {POISON}?", "r1"))
    assert AssistantMessage(final_reply.REJECTED["en"]) in [event.body async for event in feed.events()]
    assert str(refusal) in memory.turns["r1"].reason
    await run(loop, request("What day is it?", "r2"))
    assert [memory.turns[r].state for r in ("r1", "r2")] == [TurnState.FAILED, TurnState.COMPLETED]
    assert POISON not in prompts(model)[-1]


@pytest.mark.parametrize("name", ["unknown words", "a crash", "a closed connection"])
async def test_an_endpoint_that_refuses_every_prompt_leaves_the_turn_open(name: str) -> None:
    memory, model = memory_with(), ScriptedModel(REFUSALS[name], repeat=True)
    with pytest.raises(errors.ServiceError, match=str(REFUSALS[name].args[0]).split("(")[0]):
        await run(make_loop(memory, model), request("Hello?"))
    assert memory.turns["r1"].state is TurnState.RUNNING
    assert len(model.requests) == 2


@pytest.mark.parametrize("mode", CallMode)
@pytest.mark.parametrize("status", [400, 403, 422, 500, 0])
async def test_a_real_endpoint_with_a_filter_in_its_own_words(
    scripted_llm: Callable[..., ScriptedLLM], mode: CallMode, status: int
) -> None:
    def endpoint(request: Request) -> LLMReply:
        if POISON in json.dumps(request.messages):
            return Status(status, "Nope: E-1234") if status else Drop()
        if "tools" in request.json:
            return llm_call("send_message", message="It is Monday.")
        return llm_say(json.dumps({"call": {"function": "send_message", "arguments": {"message": "It is Monday."}}}))

    memory = memory_with()
    memory.set_block("human", f"Fears {POISON}.")
    async with model_at(scripted_llm(endpoint), mode) as model:
        loop = make_loop(memory, model)
        await run(loop, request("What day is it?", "r1"))
        feed = await run(loop, request(f"What is {POISON}?", "r2"))
        await run(loop, request("What day is it, then?", "r3"))
    assert [memory.turns[r].state.value for r in ("r1", "r2", "r3")] == ["completed", "failed", "completed"]
    assert AssistantMessage(final_reply.REJECTED["en"]) in [event.body async for event in feed.events()]


async def test_an_endpoint_that_was_out_of_order_for_a_moment_is_asked_again() -> None:
    memory, model = memory_with(), ScriptedModel(REFUSALS["a crash"], say("Hello."), say("Hello."))
    await run(make_loop(memory, model), request("Hello?"))
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert prompt.LEFT_OUT not in prompts(model)[-1]


async def test_an_endpoint_that_is_out_of_order_is_asked_for_another_prompt_once(
    scripted_llm: Callable[..., ScriptedLLM],
) -> None:
    llm = scripted_llm(lambda _: Status(500, "Oh no."))
    async with model_at(llm) as model:
        with pytest.raises(errors.Unavailable, match="Oh no"):
            await run(make_loop(memory_with(), model), request("Hello?"))
    assert len(llm.requests) == 3 + 1


class Crashing(Filtered):
    """A model whose server crashes, and starts again only when told to."""

    runs = True

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        if not self.runs:
            raise reasons.model_unavailable("the endpoint cannot be reached", model="m")
        try:
            return await super().complete(request, sink)
        except errors.Unavailable:
            self.runs = False
            raise


@pytest.mark.parametrize("cause", ["the message", "core memory", "what was recalled"])
async def test_a_turn_that_crashes_a_server_which_starts_slowly_ends(cause: str) -> None:
    memory = memory_with(f"All about {POISON}." if cause == "what was recalled" else "Nothing.")
    model = Crashing(say("It is Monday."), repeat=True, refusal=REFUSALS["a closed connection"])
    if cause == "core memory":
        memory.set_block("human", f"Fears {POISON}.")
    loop = make_loop(memory, model, auto_recall=cause == "what was recalled")
    turn = request(f"What is {POISON}?" if cause == "the message" else "Is it an illness?", "r1")
    with pytest.raises(errors.Unavailable):
        await run(loop, turn)
    with pytest.raises(errors.Unavailable, match="cannot be reached"):
        await run(loop, turn)
    model.runs = True
    await run(loop, turn)
    assert memory.turns["r1"].state is TurnState.FAILED


async def test_a_server_that_was_down_answers_when_it_runs_again() -> None:
    memory, model = memory_with(), ScriptedModel(*[REFUSALS["a closed connection"]] * 2, say("Hi."), say("Hello."))
    loop = make_loop(memory, model)
    with pytest.raises(errors.Unavailable):
        await run(loop, request("Hello?", "r1"))
    await run(loop, request("Hello?", "r1"))
    assert memory.turns["r1"].state is TurnState.COMPLETED


@pytest.mark.parametrize("name", ["unknown words", "a crash"])
async def test_a_prompt_that_is_too_long_in_unknown_words_gets_shorter(name: str) -> None:
    class Small(ScriptedModel):
        async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
            if sum(raw_size(message, count) for message in request.messages) > 5000:
                self.requests.append(request)
                raise REFUSALS[name]
            return await super().complete(request, sink)

    count = TokenCounter()
    memory, model = memory_with(), Small(say("Yes."), repeat=True)
    loop = make_loop(memory, model, context_window=32_768)
    for n in range(30):
        await run(loop, request("word " * 200, f"r{n}"))
    assert {turn.state for turn in memory.turns.values()} == {TurnState.COMPLETED}
    assert memory.context.summary == "I keep it short."


async def test_a_heartbeat_that_is_rejected_says_nothing_to_the_user() -> None:
    memory, model = memory_with(), Filtered(say("It is Monday."))
    loop = make_loop(memory, model)
    event = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_TIMED.format(reason=POISON), TIME))
    feed = await run(loop, TurnRequest("agent_1", "h1", b"h1", (event,)))
    assert not [event async for event in feed.events() if isinstance(event.body, AssistantMessage)]
    await run(loop, request("What day is it?", "r2"))
    assert memory.turns["r2"].state is TurnState.COMPLETED


async def test_recalled_messages_that_are_rejected_are_left_out_of_the_prompt() -> None:
    memory, model = memory_with(f"All about {POISON}."), Filtered(say("Hello."))
    await run(make_loop(memory, model, auto_recall=True), request("illness"))
    assert memory.turns["r1"].state is TurnState.COMPLETED
    assert "possibly_relevant" not in json.loads(model.requests[-1].note)


async def test_what_was_rejected_is_not_in_a_summary_either() -> None:
    memory = memory_with()
    model = Filtered(say("Yes."), repeat=True)
    loop = make_loop(memory, model, context_window=4096, max_answer_tokens=400)
    await run(loop, request(POISON, "r0"))
    for n in range(1, 14):
        await run(loop, request("word " * 150, f"r{n}"))
    assert memory.context.summary == "I keep it short."
    assert [turn.state for turn in memory.turns.values()] == [TurnState.FAILED] + [TurnState.COMPLETED] * 13


@pytest.mark.parametrize("age", [1, 3])
async def test_an_older_cause_is_left_out_after_as_many_turns(age: int) -> None:
    """The agent's own words, or what another endpoint took."""
    memory, model = memory_with(), ScriptedModel(say(f"Beware of {POISON}."), say("Yes."), repeat=True)
    loop = make_loop(memory, model)
    for n in range(age):
        await run(loop, request(f"Question {n}?", f"q{n}"))
    model = Filtered(say("It is Monday."), repeat=True)
    loop = make_loop(memory, model)
    for n in range(age + 3):
        await run(loop, request(f"What day is it? {n}", f"r{n}"))
    states = [memory.turns[f"r{n}"].state for n in range(age + 3)]
    assert states == [TurnState.FAILED] * (age + 1) + [TurnState.COMPLETED] * 2
    assert "What day is it? 1" not in str(model.requests[-1].messages)
    assert "Hi." in str(model.requests[-1].messages)  # the greeting, which is older than the cause


async def test_heartbeats_that_are_rejected_day_by_day_cost_no_context() -> None:
    memory, model = memory_with(), Filtered(say("It is Monday."), say("It is late."))
    loop = make_loop(memory, model)
    await run(loop, request("What day is it?", "r1"))
    event = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_TIMED.format(reason=POISON), TIME))
    for n in range(4):
        await run(loop, TurnRequest("agent_1", f"h{n}", b"h", (event,)))
    await run(loop, request("And how late?", "r2"))
    assert memory.turns["r2"].state is TurnState.COMPLETED
    assert all(text in str(model.requests[-1].messages) for text in ("What day is it?", "It is Monday."))


def rejected() -> Message:
    return Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_REJECTED, TIME))


def test_only_what_the_agent_had_not_answered_is_left_out() -> None:
    messages = (
        user("kept"),
        Message(Role.ASSISTANT, "thought"),
        Message(Role.TOOL, envelopes.function_result(True, SENT, TIME), call_id="c"),
        Message(Role.USER, envelopes.login("Never", TIME)),
        user("one"),
        Message(Role.USER, envelopes.heartbeat("two", TIME)),
        Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_FAILED, TIME)),
        Message(Role.USER, "three"),
        Message(Role.TOOL, envelopes.function_result(False, "four", TIME), call_id="d"),
        rejected(),
        user("later"),
    )
    left = prompt.without_rejected(messages)
    same = [n for n, (before, after) in enumerate(zip(messages, left, strict=True)) if before == after]
    assert same == [0, 1, 2, 3, 6, 9, 10]
    assert not any(word in message.text for message in left for word in ("one", "two", "three", "four"))
    assert envelopes.parse(left[8].text)["status"] == "Failed"
    assert prompt.without_rejected(left) == left
    assert prompt.without_rejected([rejected()]) == (rejected(),)


def test_a_user_cannot_write_the_mark() -> None:
    messages = (user("one"), user(envelopes.heartbeat(prompt.HEARTBEAT_REJECTED, TIME)), user("two"))
    assert prompt.without_rejected(messages) == messages
