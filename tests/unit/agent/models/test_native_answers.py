# ruff: noqa: E501 - a body a line
"""Answers in a vendor's own form, as some proxies pass them on; ends of answers that broke off."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from memgpt.endpoints.refusals import Meaning, error_in, understand
from memgpt_agent.domain import Usage
from memgpt_agent.models.answer.answer import Answer
from memgpt_agent.models.answer.completion import completion
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.lenient_json import read_object
from memgpt_agent.models.answer.reader import AnswerReader
from memgpt_agent.models.base import DeltaKind
from memgpt_runtime import errors

from tests.support.scripted_llm import Raw, Reply, ScriptedLLM, Stream, call, chunk
from tests.unit.agent.models.asking import Sink, calls, model_at, question

Start = Callable[..., ScriptedLLM]
ARGUMENTS = {"message": "Hello."}
TEXT = json.dumps(ARGUMENTS)
HELLO = [("send_message", ARGUMENTS)]
USAGE = Usage(900, 25, 850)


def gemini(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}]}


GEMINI_USAGE = {"usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": 25, "cachedContentTokenCount": 850}}
GEMINI_CALL = {"functionCall": {"name": "send_message", "args": ARGUMENTS}, "thoughtSignature": "abc"}
GEMINI_WHOLE = gemini(
    {"text": "Secret.", "thought": True}, {"text": "I greet."}, GEMINI_CALL, finishReason="STOP"
) | GEMINI_USAGE  # fmt: skip
ITEM = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "send_message"}
RESPONSE = {
    "id": "resp_1", "object": "response", "status": "completed", "error": None, "incomplete_details": None,
    "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Secret."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I greet.", "annotations": []}]},
        {**ITEM, "arguments": TEXT, "status": "completed"},
    ],
    "usage": {"input_tokens": 900, "output_tokens": 25, "input_tokens_details": {"cached_tokens": 850}},
}  # fmt: skip
ANTHROPIC_CALL = {"type": "tool_use", "id": "toolu_1", "name": "send_message", "input": ARGUMENTS}
ANTHROPIC = {
    "type": "message", "role": "assistant", "stop_reason": "tool_use",
    "content": [{"type": "thinking", "thinking": "Secret."}, {"type": "text", "text": "I greet."}, ANTHROPIC_CALL],
    "usage": {"input_tokens": 50, "output_tokens": 25, "cache_read_input_tokens": 850},
}  # fmt: skip
BEDROCK = {
    "output": {"message": {"role": "assistant", "content": [
        {"text": "I greet."}, {"toolUse": {"toolUseId": "t1", "name": "send_message", "input": ARGUMENTS}}]}},
    "stopReason": "tool_use", "usage": {"inputTokens": 50, "outputTokens": 25, "cacheReadInputTokens": 850},
}  # fmt: skip
BEDROCK_EVENTS: list[dict[str, Any]] = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Secret."}}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "I gr"}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "eet."}}},
    {"contentBlockStop": {"contentBlockIndex": 1}},
    {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "send_message"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": TEXT[:9]}}}},
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": TEXT[9:]}}}},
    {"contentBlockStop": {"contentBlockIndex": 2}},
    {"messageStop": {"stopReason": "tool_use"}},
    {"metadata": {"usage": BEDROCK["usage"], "metrics": {"latencyMs": 3}}},
]

WHOLE = {"Gemini": GEMINI_WHOLE, "Responses": RESPONSE, "Anthropic": ANTHROPIC, "Bedrock": BEDROCK}
STREAMED: dict[str, list[dict[str, Any]]] = {
    "Gemini": [
        gemini({"text": "Secret.", "thought": True}),
        gemini({"text": "I gr"}),
        gemini({"text": "eet."}, GEMINI_CALL),
        gemini({"text": ""}, finishReason="STOP") | GEMINI_USAGE,
    ],
    "Responses": [
        {"type": "response.created", "response": {"object": "response", "status": "in_progress", "output": []}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Secret."},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "I gr"},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "eet."},
        {"type": "response.output_text.done", "output_index": 1, "text": "I greet."},
        {"type": "response.output_item.added", "output_index": 2, "item": {**ITEM, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": TEXT[:9]},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": TEXT[9:]},
        {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": TEXT},
        {"type": "response.output_item.done", "output_index": 2, "item": {**ITEM, "arguments": TEXT}},
        {"type": "response.completed", "response": RESPONSE},
    ],
    "Responses, the end only": [{"type": "response.completed", "response": RESPONSE}],
    "Anthropic": [
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": ANTHROPIC["usage"]}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Secret."}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I greet."}},
        {"type": "ping"},
        {"type": "content_block_start", "index": 2, "content_block": {**ANTHROPIC_CALL, "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": TEXT[:9]}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": TEXT[9:]}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 25}},
        {"type": "message_stop"},
    ],
    "Responses, whole items": [
        {"type": "response.output_text.delta", "output_index": 1, "delta": "I greet."},
        {"type": "response.output_item.added", "output_index": 2, "item": {**ITEM, "arguments": ""}},
        {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": TEXT},
        {"type": "response.output_item.done", "output_index": 2, "item": {**ITEM, "arguments": TEXT.replace(" ", "")}},
        {"type": "response.completed", "response": {**RESPONSE, "output": []}},
    ],
    "Anthropic, whole blocks": [
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": ANTHROPIC["usage"]}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "I greet."}},
        {"type": "content_block_start", "index": 1, "content_block": ANTHROPIC_CALL},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 25}},
    ],
    "Bedrock": BEDROCK_EVENTS,
    "Bedrock, events without names": [next(iter(event.values())) for event in BEDROCK_EVENTS],
}


async def asked(start: Start, *replies: Reply) -> tuple[Any, Sink, ScriptedLLM]:
    llm, sink = start(list(replies)), Sink()
    async with model_at(llm) as model:
        return await model.complete(question(), sink), sink, llm


@pytest.mark.parametrize("vendor", WHOLE)
async def test_a_whole_answer_in_a_vendors_own_form(scripted_llm: Start, vendor: str) -> None:
    answer, _, llm = await asked(scripted_llm, Raw(json.dumps(WHOLE[vendor])))
    assert calls(answer) == HELLO
    assert (answer.text, answer.usage) == ("I greet.", USAGE)
    assert len(llm.requests) == 1


@pytest.mark.parametrize("vendor", STREAMED)
async def test_a_stream_in_a_vendors_own_form(scripted_llm: Start, vendor: str) -> None:
    answer, sink, _ = await asked(scripted_llm, Stream([json.dumps(event) for event in STREAMED[vendor]]))
    assert calls(answer) == HELLO
    assert (answer.text, answer.usage) == ("I greet.", USAGE)
    assert "Secret" not in "".join(sink.text.values())
    assert sink.text[DeltaKind.MESSAGE] in ("Hello.", "")


ODD: dict[str, list[Any]] = {
    "Cohere": [
        {"type": "message-start", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "I greet."}}}},
        {"type": "tool-call-start", "delta": {"message": {"tool_calls": {"id": "a", "function": {"name": "send_message", "arguments": ""}}}}},
        {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": TEXT}}}}},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}},
    ],
    "Cohere, the first": [{"text": "I greet.", "tool_calls": [{"name": "send_message", "parameters": ARGUMENTS}]}],
    "Cloudflare": [{"response": "I greet."}, {"response": "", "tool_calls": [{"name": "send_message", "arguments": ARGUMENTS}]}],
    "Hugging Face": [[{"generated_text": f"I greet.<tool_call>send_message{TEXT}</tool_call>"}]],
    "a message beside an empty delta": [
        {"choices": [{"delta": {"role": "assistant"}, "message": {"content": "I greet.", "tool_calls": [{**ITEM, "arguments": TEXT}]}}]}
    ],
    "Responses without their mark": [{"output": RESPONSE["output"]}],
    "Gemini in an envelope": [{"response": GEMINI_WHOLE}],
    "Baidu": [{"result": "I greet."}, {"result": "", "function_call": {"name": "send_message", "arguments": TEXT}, "is_end": True}],
    "DashScope": [
        {"output": {"choices": [{"message": {"content": "I greet.", "tool_calls": [{**ITEM, "arguments": TEXT[:9]}]}}]}},
        {"output": {"choices": [{"message": {"content": "", "tool_calls": [{"index": 0, "id": "", "arguments": TEXT[9:]}]}}]}},
    ],
    "SAP": [{"request_id": "r", "orchestration_result": {"choices": [{"message": {"content": "I greet.", "tool_calls": [{**ITEM, "arguments": TEXT}]}}]}}],
    "Oracle": [{"chatResponse": {"choices": [{"message": {"content": [{"type": "TEXT", "text": "I greet."}], "toolCalls": [{"id": "a", "type": "FUNCTION", "name": "send_message", "arguments": TEXT}]}, "finishReason": "tool_calls"}]}}],
    "a gateway's metadata": [{"metadata": {"gateway": "g"}, "choices": [{"message": {"content": "I greet.", "tool_calls": [{**ITEM, "arguments": TEXT}]}}]}],
    "calls by number": [{"choices": [{"message": {"content": "I greet.", "tool_calls": {"0": {**ITEM, "arguments": TEXT}}}}]}],
}  # fmt: skip


@pytest.mark.parametrize("form", ODD)
def test_other_forms(form: str) -> None:
    reader = AnswerReader(Sink(), FunctionNames(question().functions), as_json=False)
    for one in ODD[form]:
        reader.chunk(one)
    answer = completion(reader.answer(), question(), as_json=False)
    assert calls(answer) == HELLO
    assert answer.text == "I greet."


def test_the_end_of_a_stream_of_cohere() -> None:
    usage = {
        "billed_units": {"input_tokens": 9, "output_tokens": 1},
        "tokens": {"input_tokens": 900, "output_tokens": "25"},
    }
    answer = read([{"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS", "usage": usage}}])
    assert (answer.finish, answer.usage) == ("length", Usage(900, 25, 0))


def test_arguments_that_cannot_be_read_do_not_recur() -> None:
    assert read_object(json.dumps([TEXT[:9], TEXT[9:]])) is None


async def test_two_calls_in_a_vendors_own_form(scripted_llm: Start) -> None:
    save = {"name": "archival_memory_insert", "args": {"content": "tea"}}
    answer, _, _ = await asked(scripted_llm, Raw(json.dumps(gemini({"functionCall": save}, GEMINI_CALL))))
    assert calls(answer) == [("archival_memory_insert", {"content": "tea"}), *HELLO]


def read(chunks: Sequence[Any]) -> Answer:
    reader = AnswerReader(Sink(), FunctionNames(question().functions), as_json=False)
    for one in chunks:
        reader.chunk(one)
    return reader.answer()


@pytest.mark.parametrize(
    "body",
    [
        gemini({"text": "I"}, finishReason="MAX_TOKENS"),
        {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {**ANTHROPIC, "stop_reason": "max_tokens"},
        {**BEDROCK, "stopReason": "max_tokens"},
    ],
)
def test_the_end_of_an_answer_that_was_cut_off(body: dict[str, Any]) -> None:
    assert read([body]).finish == "length"


@pytest.mark.parametrize(
    "broken", [None, [], "x", 7, {}, [None], [{"content": None}], [{"content": {"parts": [7, None]}}]]
)
def test_odd_parts_of_a_vendors_own_form_are_skipped(broken: object) -> None:
    odd = [
        {"candidates": broken}, {"object": "response", "output": broken}, {"type": "response.completed", "response": broken},
        {"type": "response.output_item.added", "item": broken}, {"type": "response.output_text.delta", "delta": broken},
        {"type": "response.function_call_arguments.delta", "delta": broken}, {"type": "content_block_delta", "delta": broken},
        {"type": "content_block_start", "content_block": broken}, {"type": "message_start", "message": broken},
        {"object": "response", "output": [{"type": "message", "content": broken}]},
        {"object": "response", "output": [{"type": "reasoning", "summary": broken, "content": broken}]},
    ]  # fmt: skip
    assert read(odd).calls == ()


def test_a_refusal_is_read_once() -> None:
    part = {"type": "refusal", "refusal": "I cannot help with that."}
    item = {"type": "message", "role": "assistant", "content": [part]}
    responses = [
        {"type": "response.refusal.delta", "output_index": 0, "delta": "I cannot help "},
        {"type": "response.refusal.delta", "output_index": 0, "delta": "with that."},
        {"type": "response.refusal.done", "output_index": 0, "refusal": part["refusal"]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**RESPONSE, "output": [item]}},
    ]
    chat = [
        {"choices": [{"delta": {"refusal": part["refusal"]}}]},
        {"choices": [{"message": {"content": None, "refusal": part["refusal"]}, "finish_reason": "stop"}]},
    ]
    assert {read(chunks).refusal for chunks in (responses, responses[-1:], chat, chat[1:])} == {part["refusal"]}


def test_an_error_inside_a_stream_of_responses() -> None:
    event = {
        "type": "response.failed",
        "response": {"object": "response", "status": "failed", "error": {"code": "server_error", "message": "Oh no."}},
    }
    problem = error_in(event)
    assert understand(200, problem).quote == "Oh no."
    assert error_in(STREAMED["Responses"][-1]) is None
    assert (
        understand(200, error_in({"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}})).meaning
        is Meaning.FILTERED
    )


@pytest.mark.parametrize("reason", ["error", "abort", "network_error", "insufficient_system_resource"])
async def test_an_answer_that_broke_off_is_asked_for_again(scripted_llm: Start, reason: str) -> None:
    """vLLM, Zhipu, and DeepSeek say so in place of the reason for the end."""
    entry = [{"index": 0, "id": "a", "function": {"name": "send_message", "arguments": '{"message": "Hel'}}]
    half = Stream([chunk(tool_calls=entry), chunk(reason)])
    answer, sink, llm = await asked(scripted_llm, half, call("send_message", message="Hello."))
    assert calls(answer) == HELLO
    assert sink.restarts
    assert "Your last answer" not in json.dumps(llm.requests[1].json)


async def test_an_answer_that_always_breaks_off_is_an_error_of_the_endpoint(scripted_llm: Start) -> None:
    with pytest.raises(errors.Unavailable):
        await asked(scripted_llm, *[Stream([chunk(content="Let me"), chunk("error")])] * 3)
    whole = Stream(
        [chunk(tool_calls=[{"index": 0, "function": {"name": "send_message", "arguments": TEXT}}]), chunk("abort")]
    )
    assert calls((await asked(scripted_llm, whole))[0]) == HELLO
