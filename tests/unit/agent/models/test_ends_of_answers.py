"""Answers whose connection ends without an error before they are whole, and endpoints that never mark an end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from socket import socket

import pytest
from memgpt_agent.domain import Message, Role
from memgpt_agent.models.base import ModelRequest, may_be_for_content
from memgpt_agent.models.endpoint import CallMode
from memgpt_runtime import errors

from tests.support.scripted_llm import Drop, Raw, ScriptedLLM, Stream, chunk
from tests.unit.agent.models.asking import Sink, calls, model_at, question

Start = Callable[..., ScriptedLLM]
HELLO = [("send_message", {"message": "Hello."})]
CALL = {"index": 0, "id": "a", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}
WHOLE = Stream((chunk(tool_calls=[CALL]), "[DONE]"))
HALF_CALL = Stream(
    (chunk(tool_calls=[{**CALL, "function": {"name": "send_message", "arguments": '{"message": "He'}}]),)
)
HALF_TEXT = Stream((chunk(content="I should first look up what the"),))
HALVES = {"a call": HALF_CALL, "a text": HALF_TEXT, "nothing": Stream((chunk(role="assistant"),))}
SUMMARIZE = ModelRequest([Message(Role.SYSTEM, "Summarize."), Message(Role.USER, "Hello.")])


@pytest.mark.parametrize("half", HALVES)
async def test_half_of_an_answer_is_asked_again(scripted_llm: Start, half: str) -> None:
    llm, sink = scripted_llm([HALVES[half], WHOLE]), Sink()
    async with model_at(llm) as model:
        assert calls(await model.complete(question(), sink)) == HELLO
    assert len(llm.requests) == 2
    assert "closed the connection" in sink.restarts[0]
    assert "look up" not in sink.text.values()


async def test_half_of_an_answer_in_json_is_asked_again(scripted_llm: Start) -> None:
    text = json.dumps({"inner_thoughts": "", "call": {"function": "send_message", "arguments": {"message": "Hello."}}})
    llm = scripted_llm([Stream((chunk(content=text[:40]),)), Stream((chunk(content=text), chunk("stop")))])
    async with model_at(llm, CallMode.JSON_SCHEMA) as model:
        assert calls(await model.complete(question(), Sink())) == HELLO


async def test_half_of_a_summary_is_asked_again(scripted_llm: Start) -> None:
    llm = scripted_llm([HALF_TEXT, Stream((chunk(content="We talked about tea."), chunk("stop")))])
    async with model_at(llm) as model:
        assert (await model.complete(SUMMARIZE, Sink())).text == "We talked about tea."


async def test_an_endpoint_that_always_breaks_off_is_an_error(scripted_llm: Start) -> None:
    llm = scripted_llm([WHOLE, HALF_TEXT, HALF_TEXT, HALF_TEXT])
    async with model_at(llm) as model:
        await model.complete(question(), Sink())
        with pytest.raises(errors.Unavailable, match="half of an answer"):
            await model.complete(question(), Sink())


@pytest.mark.parametrize("begins_with_a_call", [True, False])
async def test_an_endpoint_that_never_marks_an_end_is_believed(scripted_llm: Start, begins_with_a_call: bool) -> None:
    """Only its first answer costs another request, and only if that is no complete call."""
    text = Stream((chunk(content="I think about tea."),))
    llm = scripted_llm([Stream((chunk(tool_calls=[CALL]),))] * begins_with_a_call + [text] * 3)
    async with model_at(llm) as model:
        if begins_with_a_call:
            assert calls(await model.complete(question(), Sink())) == HELLO
        for _ in range(2):
            assert (await model.complete(SUMMARIZE, Sink())).text == "I think about tea."
    assert len(llm.requests) == 3


async def test_what_was_not_streamed_is_whole(scripted_llm: Start) -> None:
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "We talked about tea."}}]})
    llm = scripted_llm([Raw(body)])
    async with model_at(llm) as model:
        assert (await model.complete(SUMMARIZE, Sink())).text == "We talked about tea."
    assert len(llm.requests) == 1


async def test_the_end_of_a_native_stream_of_ollama_is_marked(scripted_llm: Start) -> None:
    lines = [
        {"message": {"content": "We talked about "}, "done": False},
        {"message": {"content": "tea."}, "done": True},
    ]
    llm = scripted_llm([Raw("\n".join(map(json.dumps, lines)))])
    async with model_at(llm) as model:
        assert (await model.complete(SUMMARIZE, Sink())).text == "We talked about tea."
    assert len(llm.requests) == 1


@pytest.mark.parametrize("half", [HALF_CALL, HALF_TEXT])
async def test_an_end_without_a_reason_is_doubted_where_others_have_one(scripted_llm: Start, half: Stream) -> None:
    """A gateway ends the stream of a model that broke off."""
    ended = Stream((*half.events, "[DONE]"))
    llm = scripted_llm([Stream((chunk(tool_calls=[CALL]), chunk("tool_calls"), "[DONE]")), ended, WHOLE])
    async with model_at(llm) as model:
        for _ in range(2):
            assert calls(await model.complete(question(), Sink())) == HELLO
    assert len(llm.requests) == 3


async def test_an_end_without_a_reason_is_believed_again_after_a_doubt(scripted_llm: Start) -> None:
    """A gateway may ask several servers, of which some give no reason."""
    reasoned = Stream((chunk(content="We talked about tea."), chunk("stop"), "[DONE]"))
    plain = Stream((chunk(content="We talked about tea."), "[DONE]"))
    llm = scripted_llm([plain, reasoned, plain, plain, plain])
    async with model_at(llm) as model:
        for _ in range(4):
            assert (await model.complete(SUMMARIZE, Sink())).text == "We talked about tea."
    assert len(llm.requests) == 5


async def test_a_connection_that_closes_without_an_answer_is_told_from_one_that_cannot_be_made(
    scripted_llm: Start,
) -> None:
    llm = scripted_llm([Drop()] * 3)
    async with model_at(llm) as model:
        with pytest.raises(errors.Unavailable, match="closed the connection before it had answered") as caught:
            await model.complete(question(), Sink())
        assert may_be_for_content(caught.value)
    with socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with model_at(llm, base_url=f"http://127.0.0.1:{closed.getsockname()[1]}/v1") as model:
            with pytest.raises(errors.Unavailable, match="cannot be reached") as caught:
                await model.complete(question(), Sink())
            assert not may_be_for_content(caught.value)


async def test_a_request_may_be_sent_only_once(scripted_llm: Start) -> None:
    llm = scripted_llm([Drop(), WHOLE])
    async with model_at(llm) as model:
        with pytest.raises(errors.Unavailable):
            await model.complete(replace(question(), retried=False), Sink())
    assert len(llm.requests) == 1
