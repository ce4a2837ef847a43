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

from tests.support.scripted_llm import Raw, Reply, ScriptedLLM, Stream, call, chunk
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
