"""Known behavior of endpoints and models, each with its outcome, over real HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from memgpt_agent.context_window.tokens import TokenCalibration, TokenCounter
from memgpt_agent.domain import Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.models.base import BadAnswerError, ContextOverflowError, DeltaKind, ModelRequest
from memgpt_agent.models.endpoint import CallMode, ChatEndpointSettings
from memgpt_agent.models.openai_model import OpenAIModel
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason

from tests.support.scripted_llm import (
    NO_CHOICES,
    Completion,
    Drop,
    Hang,
    Reply,
    ScriptedLLM,
    Status,
    Stream,
    call,
    choose,
    chunk,
    say,
)
from tests.unit.agent.fakes import answered, user

Start = Callable[..., ScriptedLLM]
HELLO = call("send_message", message="Hello.", inner_thoughts="I greet.")
CHOSEN = choose("send_message", message="Hello.", inner_thoughts="I greet.")


class Sink:
    """Keeps what a reader sees: what was restarted is void."""

    def __init__(self) -> None:
        self.restarts: list[str] = []
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}

    def delta(self, kind: DeltaKind, text: str) -> None:
        self.text[kind] += text

    def restart(self, reason: str) -> None:
        self.restarts.append(reason)
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}


Asked = tuple[OpenAIModel, ScriptedLLM, Sink]


@pytest.fixture
def asked(scripted_llm: Start):
    """A model that is asked again twice, the endpoint behind it, and a sink."""

    @asynccontextmanager
    async def run(
        *replies: Reply,
        mode: CallMode = CallMode.TOOLS,
        seconds: float = 20.0,
        max_retry_wait: float = 5.0,
        temperature: float | None = None,
        calibration: TokenCalibration | None = None,
    ) -> AsyncIterator[Asked]:
        llm = scripted_llm(replies)
        settings = ChatEndpointSettings(
            "scripted", llm.base_url, "", mode, seconds, temperature, 2, max_retry_wait, 0.001
        )
        model = OpenAIModel(settings, calibration or TokenCalibration(), TokenCounter())
        try:
            yield model, llm, Sink()
        finally:
            await model.close()

    return run


def question(*messages: Message, max_tokens: int = 500) -> ModelRequest:
    history = messages or (*answered().messages, user("Hello?"))
    return ModelRequest([Message(Role.SYSTEM, "Be yourself."), *history], BUILT_IN, max_tokens=max_tokens)


def streamed_call(*pieces: str, name: str = "send_message", index: int = 0, **more: object) -> list[str]:
    """Events of a call whose arguments come in pieces."""
    head = {"index": index, "id": "c1", "type": "function", "function": {"name": name, "arguments": ""}, **more}
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return [chunk(tool_calls=[entry]) for entry in (head, *rest)]


# Reasoning is left out: of what is streamed, and of what is kept.


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_in_a_field_of_its_own(asked, field: str) -> None:
    thinking: dict[str, Any] = {field: "Let me see."}
    reply = Stream((chunk(**thinking), *streamed_call('{"message": "Hi"}'), chunk("tool_calls")))
    async with asked(reply) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert (answer.text, sink.text) == ("", {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: "Hi"})


@pytest.mark.parametrize("begin", ["<think>", "\n<think>\n", ""])
@pytest.mark.parametrize("pieces", [1, 7, 200])
async def test_reasoning_before_an_answer(asked, begin: str, pieces: int) -> None:
    assert CHOSEN.content is not None
    reply = Completion(f"{begin}A {{brace}} in <b>. </think>\n{CHOSEN.content}", pieces=pieces)
    async with asked(reply, mode=CallMode.JSON_SCHEMA) as (model, llm, sink):
        answer = await model.complete(question(), sink)
    assert answer.text == "I greet."
    assert answer.call is not None
    assert len(llm.requests) == 1
    if begin:
        assert sink.text == {DeltaKind.THOUGHT: "I greet.", DeltaKind.MESSAGE: "Hello."}


async def test_reasoning_beside_a_call_and_before_a_summary(asked) -> None:
    beside = Completion("<think>Hm, hm.</think>Greet.", (("send_message", '{"message": "Hi"}'),), pieces=9)
    async with asked(beside, say("<think>Hm.</think>I know Ada.", pieces=5)) as (model, _, sink):
        answer = await model.complete(question(), sink)
        summary = await model.complete(ModelRequest([user("Sum up.")]), Sink())
    assert (answer.text, sink.text[DeltaKind.THOUGHT]) == ("Greet.", "Greet.")
    assert summary.text == "I know Ada."


async def test_what_only_begins_like_reasoning_is_kept(asked) -> None:
    async with asked(say("<thi", pieces=4)) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert (answer.text, sink.text[DeltaKind.THOUGHT]) == ("<thi", "<thi")


async def test_think_tags_in_a_message_stay(asked) -> None:
    async with asked(choose("send_message", message="Write </think>."), mode=CallMode.JSON_SCHEMA) as (
        model,
        _,
        sink,
    ):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert json.loads(answer.call.arguments) == {"message": "Write </think>."}


# Calls, as servers send them.


async def test_several_calls_that_are_all_numbered_0(asked) -> None:
    second = chunk(tool_calls=[{"index": 0, "id": "c2", "function": {"name": "send_message", "arguments": "{}"}}])
    async with asked(Stream((*streamed_call('{"message": "1"}'), second))) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert (answer.call.name, answer.call.arguments) == ("send_message", '{"message": "1"}')


async def test_a_name_with_every_piece_and_arguments_as_an_object(asked) -> None:
    named = [
        chunk(tool_calls=[{"function": {"name": "send_message", "arguments": piece}}])
        for piece in ('{"mess', 'age": "1"}')
    ]
    whole = chunk(tool_calls=[{"function": {"name": "send_message", "arguments": {"message": "2"}}}])
    async with asked(Stream(tuple(named)), Stream((whole,))) as (model, _, sink):
        first, second = await model.complete(question(), sink), await model.complete(question(), sink)
    assert first.call is not None
    assert second.call is not None
    assert (first.call.arguments, second.call.arguments) == ('{"message": "1"}', '{"message": "2"}')


HALF, OTHER = "\ud83d", "\ude00"  # of one emoji


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (('{"message": "Hi \\ud83d"}',), "Hi \ufffd"),  # named in JSON, of which one half was cut off
        (('{"message": "Hi ' + HALF, OTHER + '"}'), "Hi \U0001f600"),  # cut in half between two pieces
        (('{"message": "Hi ' + HALF + '"}',), "Hi \ufffd"),
    ],
)
async def test_half_a_character(asked, pieces: tuple[str, ...], said: str) -> None:
    async with asked(Stream(tuple(streamed_call(*pieces)))) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert json.loads(answer.call.arguments) == {"message": said}
    for text in (answer.call.arguments, sink.text[DeltaKind.MESSAGE]):
        text.encode()  # else it could neither be stored nor sent


async def test_half_a_character_in_text(asked) -> None:
    async with asked(Stream((chunk(content=f"I think {HALF}"), chunk("stop", content=f"{OTHER} and {HALF}")))) as (
        model,
        _,
        sink,
    ):
        answer = await model.complete(question(), sink)
    assert answer.text == "I think \U0001f600 and"
    body = '{"inner_thoughts": "\\ud83d", "function": "send_message", "arguments": {"message": "Hi."}}'
    async with asked(Stream((chunk(content=body),)), mode=CallMode.JSON_SCHEMA) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.text == "\ufffd"


async def test_a_call_that_is_nested_without_end(asked) -> None:
    deep = '{"message": ' + "[" * 50_000
    async with asked(Stream((*streamed_call(deep), chunk("tool_calls")))) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert answer.call.arguments == deep  # told to the model as a failed call
    async with asked(Stream((chunk(content=deep), chunk("stop"))), say("x"), mode=CallMode.JSON_SCHEMA) as (
        model,
        _,
        sink,
    ):
        with pytest.raises(BadAnswerError):
            await model.complete(question(), sink)


async def test_chatter_around_the_object(asked) -> None:
    async with asked(say(f"Sure!\n```json\n{CHOSEN.content}\n```\nDone."), mode=CallMode.JSON_SCHEMA) as (
        model,
        llm,
        sink,
    ):
        answer = await model.complete(question(), sink)
    assert answer.text == "I greet."
    assert sink.text[DeltaKind.MESSAGE] == "Hello."
    assert len(llm.requests) == 1


async def test_a_refusal_is_a_thought(asked) -> None:
    async with asked(Completion(refusal="I will not."), mode=CallMode.JSON_SCHEMA) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert (answer.text, answer.call) == ("I will not.", None)


# Answers that are not whole, or none: one repair, then a typed failure.

CUT = Completion(tool_calls=(("core_memory_append", '{"content": "Hel'),), finish_reason="length")
CUT_JSON = say('{"inner_thoughts": "I', finish_reason="length")
FILTERED = say("I must", finish_reason="content_filter")


@pytest.mark.parametrize(
    ("bad", "mode", "shown", "told"),
    [
        (CUT, CallMode.TOOLS, "write less", "max_answer_tokens"),
        (say("Well,", finish_reason="length"), CallMode.TOOLS, "write less", "max_answer_tokens"),
        (CUT_JSON, CallMode.JSON_SCHEMA, "write less", "max_answer_tokens"),
        (FILTERED, CallMode.TOOLS, "content filter", "content filter"),
        (FILTERED, CallMode.JSON_SCHEMA, "content filter", "content filter"),
        (say(""), CallMode.TOOLS, "neither", "something other than a function call"),
        (say(""), CallMode.JSON_SCHEMA, "not a JSON", "something other than a function call"),
        (say("Certainly!"), CallMode.JSON_SCHEMA, "not a JSON", "something other than a function call"),
        (NO_CHOICES, CallMode.TOOLS, "neither", "something other than a function call"),
        (
            Stream(("[]", "null", '{"choices": [null]}', '{"choices": [{"delta": 7}]}', "[DONE]")),
            CallMode.TOOLS,
            "neither",
            "call",
        ),
    ],
)
async def test_one_repair_then_a_failure(asked, bad: Reply, mode: CallMode, shown: str, told: str) -> None:
    good = HELLO if mode is CallMode.TOOLS else CHOSEN
    doubted = isinstance(bad, Stream)  # it does not say why it ended, as the good one did
    async with asked(bad, good, *[bad] * (2 + doubted), mode=mode) as (model, llm, sink):
        answer = await model.complete(question(), sink)
        assert answer.call is not None
        assert sink.text[DeltaKind.MESSAGE] == "Hello."
        assert len(sink.restarts) == 1
        assert shown in str(llm.requests[1].messages[-1]["content"])
        with pytest.raises(BadAnswerError, match=told):
            await model.complete(question(), sink)
    assert len(llm.requests) == 4 + doubted


@pytest.mark.parametrize(
    ("cut", "mode"),
    [
        (Completion("I count.", (("send_message", '{"message": "One, two, thr'),), "length"), CallMode.TOOLS),
        (
            say(
                '{"inner_thoughts": "I count.", "function": "send_message", "arguments": {"message": "One, two, thr',
                finish_reason="length",
            ),
            CallMode.JSON_SCHEMA,
        ),
    ],
)
async def test_a_message_that_is_cut_off_twice_is_said_as_far_as_it_came(asked, cut: Reply, mode: CallMode) -> None:
    async with asked(cut, cut, mode=mode) as (model, llm, sink):
        answer = await model.complete(question(), sink)
    assert answer.text == "I count."
    assert answer.call is not None
    assert (answer.call.name, json.loads(answer.call.arguments)) == ("send_message", {"message": "One, two, thr …"})
    assert sink.text[DeltaKind.MESSAGE] == "One, two, thr"
    assert "write less" in str(llm.requests[1].messages[-1]["content"])


async def test_what_is_cut_off_does_not_switch_the_mode(asked) -> None:
    async with asked(HELLO, CUT, HELLO, mode=CallMode.AUTO) as (model, _, sink):
        await model.complete(question(), sink)
        assert model.mode() is CallMode.TOOLS


async def test_a_repair_takes_its_room_from_the_answer(asked) -> None:
    async with asked(say(""), HELLO) as (model, llm, sink):
        await model.complete(question(max_tokens=512), sink)
    first, second = (request.json["max_tokens"] for request in llm.requests)
    assert second < first


async def test_an_answer_without_end(asked) -> None:
    endless = Stream((chunk(content="\n" * 200_000),) * 3)
    async with asked(endless, HELLO) as (model, _, sink):
        assert (await model.complete(question(), sink)).call is not None


# Failures of the endpoint: asked again within a budget.


@pytest.mark.parametrize(
    "bad",
    [
        Status(500),
        Status(502),
        Status(503, retry_after=0),
        Status(529),
        Status(408),
        Status(429, retry_after=0.01),
        Status(429, retry_after=formatdate(time.time() - 5, usegmt=True)),
        Drop(),
        Completion("half of a thought", drop_after=2),
        Completion(tool_calls=(("send_message", '{"message": "Half of a message"}'),), drop_after=4),
        Stream((chunk(content="half"), '{"error": {"message": "CUDA error", "code": 500}}')),
        Stream((chunk(content="half"), '{"choices": [{"de')),
    ],
)
@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_asked_again(asked, bad: Reply, mode: CallMode) -> None:
    good = HELLO if mode is CallMode.TOOLS else CHOSEN
    async with asked(bad, bad, good, mode=mode) as (model, llm, sink):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert (len(llm.requests), len(sink.restarts)) == (3, 2)
    # What was streamed of the broken answers is void.
    assert sink.text == {DeltaKind.THOUGHT: "I greet.", DeltaKind.MESSAGE: "Hello."}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Status(503), "is out of order"),
        (Status(429, retry_after=0.01), "has had too many requests"),
        (Status(503, "Loading model"), "is still loading the model"),
        (Completion("half of a thought", drop_after=2), "closed the connection"),
    ],
)
async def test_people_are_told_why_it_is_asked_again(asked, bad: Reply, says: str) -> None:
    async with asked(bad, HELLO) as (model, _, sink):
        await model.complete(question(), sink)
    assert re.fullmatch(rf"The model's endpoint {says}; it is asked again in 0\.0 s\.", sink.restarts[0])


async def test_people_are_told_that_it_cannot_be_reached(asked) -> None:
    async with asked() as (model, llm, sink):
        llm.close()
        with pytest.raises(errors.Unavailable):
            await model.complete(question(), sink)
    assert all("endpoint cannot be reached; it is asked again in" in reason for reason in sink.restarts)
    assert sink.restarts


@pytest.mark.parametrize(
    ("bad", "error", "requests"),
    [
        (Status(500), errors.Unavailable, 3),
        (Completion("half", drop_after=2), errors.Unavailable, 3),
        (Status(429, retry_after=0.001), errors.ResourceExhausted, 3),
        (Status(401), errors.FailedPrecondition, 1),
        (Status(403), errors.FailedPrecondition, 1),
        (Status(404), errors.FailedPrecondition, 1),
        (Status(400), errors.FailedPrecondition, 1),
        (Status(429, "You exceeded your current quota", "insufficient_quota"), errors.ResourceExhausted, 1),
        (Status(400, "The prompt triggered Azure's content management policy", "content_filter"), BadAnswerError, 1),
        (Status(400, "maximum context length is 8192 tokens"), ContextOverflowError, 1),
        (Stream(('{"error": {"message": "the request exceeds the context size"}}',)), ContextOverflowError, 1),
    ],
)
async def test_the_budget_ends(asked, bad: Reply, error: type[Exception], requests: int) -> None:
    async with asked(bad, bad, bad, bad) as (model, llm, sink):
        with pytest.raises(error):
            await model.complete(question(), sink)
    assert len(llm.requests) == requests


async def test_a_long_pause_is_left_to_the_caller(asked) -> None:
    async with asked(Status(429, retry_after=60), max_retry_wait=5.0) as (model, llm, sink):
        with pytest.raises(errors.ResourceExhausted) as caught:
            await model.complete(question(), sink)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.MODEL_RATE_LIMITED, 60)
    assert (len(llm.requests), sink.restarts) == (1, [])


@pytest.mark.parametrize("reply", [Hang(), Completion("half", hang_after=2)])
async def test_silence_is_not_waited_for_twice(asked, reply: Reply) -> None:
    async with asked(reply, seconds=0.3) as (model, llm, sink):
        with pytest.raises(errors.Unavailable, match=r"agent\.model_timeout"):
            await model.complete(question(), sink)
    assert len(llm.requests) == 1


# Options that servers refuse: fallen back from once, and remembered, model by model.


@pytest.mark.parametrize(
    ("mode", "refusals", "option", "values"),
    [
        (CallMode.TOOLS, ["unknown field stream_options"], "stream_options", [{"include_usage": True}, None]),
        (CallMode.TOOLS, ["tool_choice 'required'"], "tool_choice", ["required", "auto"]),
        (CallMode.TOOLS, ["tool_choice: bad", "tool_choice: bad"], "tool_choice", ["required", "auto", None]),
        (CallMode.TOOLS, ["temperature must be 1"], "temperature", [0.2, None]),
        (
            CallMode.TOOLS,
            ["Use 'max_completion_tokens' instead of 'max_tokens'"],
            "max_completion_tokens",
            [None, 500],
        ),
        (CallMode.TOOLS, ["max_tokens?", "max_completion_tokens?"], "max_completion_tokens", [None, 500, None]),
        (
            CallMode.JSON_SCHEMA,
            ["response_format.type json_schema is unavailable", "'response_format' is unknown"],
            "response_format",
            ["json_schema", "json_object", None],
        ),
    ],
)
async def test_a_refused_option(asked, mode: CallMode, refusals: list[str], option: str, values: list[object]) -> None:
    good = HELLO if mode is CallMode.TOOLS else CHOSEN
    bad = [Status(400, refusal) for refusal in refusals]
    async with asked(*bad, good, good, mode=mode, temperature=0.2) as (model, llm, sink):
        await model.complete(question(), sink)
        await model.complete(question(), sink)
        sent = [request.json.get(option) for request in llm.requests]
        llm.add(good)
        other = ModelRequest(question().messages, BUILT_IN, "another", 500)
        await model.complete(other, sink)
        others = llm.requests[-1].json.get(option)
    kinds = [value.get("type", value) if isinstance(value, dict) else value for value in [*sent, others]]
    assert kinds == [*values, values[-1], values[0]]


@pytest.mark.parametrize("code", [400, 404])
async def test_a_model_that_takes_no_tools(asked, code: int) -> None:
    refusal = Status(code, "registry/library/small does not support tools")
    async with asked(HELLO, refusal, CHOSEN, CHOSEN, mode=CallMode.AUTO) as (model, llm, sink):
        for _ in range(3):
            assert (await model.complete(question(), sink)).call is not None
        assert model.mode() is CallMode.JSON_SCHEMA
    assert ["tools" in r.json for r in llm.requests] == [True, True, False, False]
    async with asked(refusal, CHOSEN, mode=CallMode.AUTO) as (model, _, sink):
        assert (await model.complete(question(), sink)).call is not None
    async with asked(refusal) as (model, _, sink):
        with pytest.raises(errors.FailedPrecondition, match=r"agent\.mode"):
            await model.complete(question(), sink)


# Counts.


async def test_the_endpoint_corrects_our_counts(asked) -> None:
    calibration = TokenCalibration()
    reply = Stream((*streamed_call('{"message": "Hi"}'), chunk("tool_calls", usage=(9000, 5))))
    async with asked(reply, HELLO, calibration=calibration) as (model, _, sink):
        answer = await model.complete(question(), sink)
        assert answer.usage.prompt_tokens == 9000
        high = calibration.scale("")
        assert high > 2
        # An endpoint that leaves out what it had cached is not believed.
        await model.complete(question(), sink)
        assert calibration.scale("") == high


async def test_usage_is_estimated_where_it_is_not_reported(asked) -> None:
    calibration = TokenCalibration()
    async with asked(Stream(tuple(streamed_call('{"message": "Hi"}'))), calibration=calibration) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.usage.prompt_tokens > 500
    assert calibration.scale("") == 1.0
