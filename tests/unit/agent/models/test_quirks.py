# ruff: noqa: E501 - a vendor's wording a line
"""Quirks of endpoints, from public issues: two or more of each kind that no rule was written for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from memgpt.endpoints.address import parse_address
from memgpt_agent.domain import Usage
from memgpt_agent.models.endpoint import CallMode

from tests.support.scripted_llm import Raw, Reply, ScriptedLLM, Status, Stream, call, chunk
from tests.unit.agent.models.asking import Sink, calls, model_at, question

Start = Callable[..., ScriptedLLM]
HELLO = [("send_message", {"message": "Hello."})]


async def made(start: Start, *replies: Reply, mode: CallMode = CallMode.TOOLS, asked: int = 1) -> list[Any]:
    """Return the calls in the answer that a script leads to, after `asked` requests."""
    llm = start(list(replies))
    async with model_at(llm, mode) as model:
        answer = await model.complete(question(), Sink())
    assert len(llm.requests) == asked
    return calls(answer)


def native(**more: Any) -> str:
    return json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", "done": False, **more})


async def test_lines_of_json_in_ollamas_own_form(scripted_llm: Start) -> None:
    function = {"name": "send_message", "arguments": {"message": "Hello."}}
    lines = [
        native(message={"role": "assistant", "content": "", "thinking": "Let me see."}),
        native(message={"role": "assistant", "content": "", "tool_calls": [{"function": function}]}),
        native(message={"role": "assistant", "content": ""}, done=True, done_reason="stop", prompt_eval_count=9, eval_count=4),
    ]  # fmt: skip
    llm = scripted_llm([Raw("\n".join(lines) + "\n", "application/x-ndjson")])
    async with model_at(llm) as model:
        answer = await model.complete(question(), Sink())
    assert calls(answer) == HELLO
    assert answer.usage == Usage(9, 4)


async def test_lines_of_json_in_openais_form(scripted_llm: Start) -> None:
    parts = ['{"message": ', '"Hello."}']
    lines = [chunk(tool_calls=[{"index": 0, "function": {"name": "send_message", "arguments": ""}}])]
    lines += [chunk(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in parts]
    assert await made(scripted_llm, Raw("\n".join(lines), "application/json")) == HELLO


async def test_a_whole_answer_over_several_lines(scripted_llm: Start) -> None:
    body = json.dumps({"choices": [{"message": json.loads(chunk(**_whole()))["choices"][0]["delta"]}]}, indent=2)
    assert await made(scripted_llm, Raw(body)) == HELLO


def _whole() -> dict[str, Any]:
    return {"tool_calls": [{"id": "1", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}]}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/tags/", ""])
def test_ollamas_own_address(path: str) -> None:
    assert parse_address(f"http://localhost:11434{path}").base_url == "http://localhost:11434/v1"
    assert parse_address("http://webui/api").base_url == "http://webui/api"


GENERATED = [
    '<function=send_message>{"message": "Hello."}</function>',
    'send_message{"message": "Hello."}</function>',
    '```\n{"tool_calls": [{"name": "send_message", "arguments": {"message": "Hello."}}]}\n```',
    {"name": "send_message", "arguments": {"message": "Hello."}},
]


@pytest.mark.parametrize("generated", GENERATED)
async def test_a_call_that_the_endpoint_could_not_read(scripted_llm: Start, generated: object) -> None:
    error = {
        "message": "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.",
        "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": generated,
    }  # fmt: skip
    assert await made(scripted_llm, Raw(json.dumps({"error": error}), code=400)) == HELLO
    wrapped = {
        "error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": json.dumps({"error": error})}}
    }
    assert await made(scripted_llm, Raw(json.dumps(wrapped), code=400)) == HELLO
    assert await made(scripted_llm, Stream([json.dumps({"error": error})])) == HELLO


async def test_a_generation_without_a_call_is_asked_for_again(scripted_llm: Start) -> None:
    error = {"message": "Failed", "code": "tool_use_failed", "failed_generation": "I would rather talk."}
    replies = (Raw(json.dumps({"error": error}), code=400), call("send_message", message="Hello."))
    assert await made(scripted_llm, *replies, asked=2) == HELLO


async def test_a_second_call_with_a_wrong_number_at_its_head(scripted_llm: Start) -> None:
    entries: list[dict[str, Any]] = [
        {
            "index": 0,
            "id": "a",
            "function": {"name": "core_memory_append", "arguments": '{"name": "human", "content": "Ada"}'},
        },
        {"index": 0, "id": "b", "function": {"name": "send_message", "arguments": ""}},
        {"index": 1, "id": None, "function": {"arguments": '{"message": '}},
        {"index": 1, "id": " ", "function": {"name": None, "arguments": '"Hello."}'}},
    ]
    stream = Stream([*(chunk(tool_calls=[entry]) for entry in entries), chunk("tool_calls")])
    assert await made(scripted_llm, stream) == [("core_memory_append", {"name": "human", "content": "Ada"}), *HELLO]


async def test_calls_of_one_number_without_ids(scripted_llm: Start) -> None:
    texts = ["one", "two", "three"]
    entries = [
        {
            "index": 0,
            "type": "function",
            "function": {"name": "archival_memory_insert", "arguments": json.dumps({"content": text})},
        }
        for text in texts
    ]
    stream = Stream([*(chunk(tool_calls=[entry]) for entry in entries), chunk("tool_calls")])
    assert await made(scripted_llm, stream) == [("archival_memory_insert", {"content": text}) for text in texts]


async def test_a_provider_that_breaks_off_is_asked_again(scripted_llm: Start) -> None:
    broken = Stream([chunk(content="Let me"), json.dumps({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "Upstream idle timeout exceeded"}}]})])  # fmt: skip
    assert await made(scripted_llm, broken, call("send_message", message="Hello."), asked=2) == HELLO


@pytest.mark.parametrize(
    "demand",
    [
        "Invalid schema for response_format 'function_call': In context=('properties', 'call'), 'additionalProperties' is required to be supplied and to be false.",
        "invalid JSON schema for response_format: 'function_call': `additionalProperties:false` must be set on every object",
    ],
)
async def test_a_keyword_that_is_demanded_is_not_dropped(scripted_llm: Start, demand: str) -> None:
    replies = (Status(400, demand), call_as_json(), call_as_json())
    llm = scripted_llm(list(replies))
    async with model_at(llm, CallMode.JSON_SCHEMA) as model:
        assert calls(await model.complete(question(), Sink())) == HELLO
    assert '"additionalProperties": false' in json.dumps(llm.requests[1].json["response_format"])


def call_as_json() -> Reply:
    chosen = {"inner_thoughts": "", "call": {"function": "send_message", "arguments": {"message": "Hello."}}}
    return Stream([chunk("stop", content=json.dumps(chosen))])


async def test_usage_in_parts_and_zeros_at_the_end(scripted_llm: Start) -> None:
    parts = [
        json.dumps({"choices": [], "usage": {"input_tokens": 50, "output_tokens": 1, "cache_read_input_tokens": 850}}),
        chunk(**_whole()),
        json.dumps({"choices": [], "usage": {"output_tokens": 5}}),
        json.dumps({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}),
    ]
    llm = scripted_llm([Stream(parts)])
    async with model_at(llm) as model:
        assert (await model.complete(question(), Sink())).usage == Usage(900, 5, 850)
