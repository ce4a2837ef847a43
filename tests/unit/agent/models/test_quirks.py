# ruff: noqa: E501 - a vendor's wording a line
"""Quirks of endpoints, from public issues: two or more of each kind that no rule was written for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from memgpt.endpoints.address import parse_address
from memgpt_agent.domain import Tool, Usage
from memgpt_agent.functions import BUILT_IN, Function
from memgpt_agent.functions.remote import function_of
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.lenient_json import read_object
from memgpt_agent.models.answer.partial_json import StringReader
from memgpt_agent.models.answer.reasoning import without_reasoning
from memgpt_agent.models.answer.text_calls import calls_in
from memgpt_agent.models.endpoint import CallMode
from memgpt_runtime import errors

from tests.support.scripted_llm import Raw, Reply, ScriptedLLM, Status, Stream, call, chunk, say
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


CALL = chunk(
    tool_calls=[{"index": 0, "id": "a", "function": {"name": "send_message", "arguments": '{"message": "Hello."}'}}]
)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([f"data: {CALL}", f"data: {chunk('stop')}", "data: [DONE]"], id="framed twice"),
        pytest.param([json.dumps(CALL), json.dumps(chunk("stop")), '"[DONE]"'], id="encoded twice"),
        pytest.param([CALL, chunk("stop"), "[done]"], id="end in lower case"),
        pytest.param(["keepalive", CALL, "[PING]", chunk("stop"), "[DONE]"], id="keep-alive"),
    ],
)
async def test_malformed_event_frames_of_gateways(scripted_llm: Start, events: list[str]) -> None:
    body = "".join(f"data: {event}\n\n" for event in events)
    assert await made(scripted_llm, Raw(body, content_type="text/event-stream")) == HELLO


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


async def test_a_null_thought_is_none(scripted_llm: Start) -> None:
    llm = scripted_llm([call("send_message", message="Hello.", inner_thoughts=None)])
    async with model_at(llm) as model:
        answer = await model.complete(question(), Sink())
    assert (answer.text, calls(answer)) == ("", HELLO)


def repeating(text: str) -> Stream:
    """A stream in which each piece repeats the arguments from their beginning."""
    arguments = json.dumps({"message": text})
    ends = range(1, len(arguments) + 1)
    entries = [{"index": 0, "function": {"name": "send_message", "arguments": arguments[:end]}} for end in ends]
    return Stream([*(chunk(tool_calls=[entry]) for entry in entries), chunk("tool_calls")])


async def test_arguments_that_are_repeated_with_each_piece_count_once(scripted_llm: Start) -> None:
    text = " ".join(map(str, range(400)))
    assert await made(scripted_llm, repeating(text)) == [("send_message", {"message": text})]


async def test_a_legacy_call_without_end_is_stopped(scripted_llm: Start) -> None:
    pieces = ['{"message": "', *["and so on " * 50] * 40]
    entries = [{"name": "send_message", "arguments": piece} for piece in pieces]
    endless = Stream([chunk(function_call=entry) for entry in entries])
    async with model_at(scripted_llm([endless, call("send_message", message="Hello.")])) as model:
        sink = Sink()
        assert calls(await model.complete(question(), sink)) == HELLO
    assert sink.restarts


@pytest.mark.parametrize("data", ['"The server is overloaded"', "The server is overloaded"])
async def test_an_event_that_is_a_sentence_is_an_error(scripted_llm: Start, data: str) -> None:
    llm = scripted_llm([Stream([data])] * 3)
    async with model_at(llm) as model:
        with pytest.raises(errors.Unavailable, match="The server is overloaded"):
            await model.complete(question(), Sink())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (r'{"message": "Match \d+ and \w, in C:\Users",}', r"Match \d+ and \w, in C:\Users"),
        (r'{"message": "It\'s \(x^2\)"}', r"It's \(x^2\)"),
        (r'{"message": "a \" b \\ c \/ d",}', 'a " b \\ c / d'),
    ],
)
def test_a_repair_keeps_backslashes(written: str, message: str) -> None:
    assert read_object(written) == {"message": message}
    streamed = "".join(text for _, text in StringReader().feed(written))
    assert streamed == message, "the same text is streamed and stored"


@pytest.mark.parametrize(
    "written",
    [
        '{"message": """Hi,\nAda. "So" it is."""}',
        "{'message': '''Hi,\nAda. \"So\" it is.''', }",
        '{\\"message\\": \\"Hi,\\\\nAda. \\\\\\"So\\\\\\" it is.\\"}',
    ],
    ids=["three quotes", "three single quotes", "escaped twice"],
)
def test_odd_quotation_marks(written: str) -> None:
    assert read_object(written) == {"message": 'Hi,\nAda. "So" it is.'}
    assert read_object(written[:-5]) is None, "half of it is none"


def test_a_repaired_number_stays_whole() -> None:
    assert read_object('{"page": +1, "days": 007, "part": .5,}') == {"page": 1, "days": 7, "part": 0.5}
    found = read_object('{"page": +1,}')
    assert found is not None
    assert isinstance(found["page"], int)


MENTIONS = [
    'Hm.</think><tool_call>{"name": "send_message", "arguments": {"message": "MESSAGE"}}</tool_call>',
    '<tool_call>{"name": "send_message", "arguments": {"message": "MESSAGE"}}</tool_call>',
    "<tool_call><function=send_message><parameter=message>MESSAGE</parameter></function></tool_call>",
    '```json\n{"name": "send_message", "arguments": {"message": "MESSAGE"}}\n```',
]


@pytest.mark.parametrize("form", MENTIONS)
@pytest.mark.parametrize("message", ["Close it with </think>.", "Write <think>so</think> first."])
async def test_a_written_call_may_speak_of_marks_of_reasoning(scripted_llm: Start, form: str, message: str) -> None:
    assert await made(scripted_llm, say(form.replace("MESSAGE", message))) == [("send_message", {"message": message})]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("They asked what `</think>` means.", "They asked what `</think>` means."),
        ('I say {"a": 1} and "b".</think>They like tea.', "They like tea."),
        ("<think>They wrote `</think>`.</think>They like tea.", "They like tea."),
        ('<think>I could {"a": "<think>"}.</think>They like tea.', "They like tea."),
    ],
)
def test_marks_of_reasoning_that_a_text_mentions(text: str, kept: str) -> None:
    assert without_reasoning(text) == kept


NAMES = FunctionNames(BUILT_IN)


def test_the_id_and_type_of_a_written_call_are_no_arguments() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}, "type": {}, "id": {}, "limit": {}}}
    lookup = Function("lookup", "Looks up.", (), schema=schema)
    text = '{"id": "call_1", "type": "function", "name": "lookup", "limit": 3, "arguments": {"q": "x"}}'
    found = calls_in(text, FunctionNames((lookup,)))
    assert json.loads(found.calls[0].arguments) == {"q": "x", "limit": 3}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (
            '{"name": "archival_memory_search", "arguments": {"query": "tea"}, "request_heartbeat": true}',
            {"query": "tea", "request_heartbeat": True},
        ),
        (
            '{"function": "archival_memory_insert", "content": "{\\"tea\\": 1}", "request_heartbeat": false}',
            {"content": '{"tea": 1}', "request_heartbeat": False},
        ),
        (
            "<function=conversation_search><parameter=query>tea</parameter><parameter=page>2 of 3</parameter></function>",
            {"query": "tea", "page": "2 of 3"},
        ),
    ],
)
def test_no_argument_of_a_written_call_is_lost(text: str, arguments: dict[str, object]) -> None:
    (found,) = calls_in(text, NAMES).calls
    assert json.loads(found.arguments) == arguments


@pytest.mark.parametrize(("written", "value"), [("0123", "0123"), ("null", None), ("2026-01-02", "2026-01-02")])
def test_a_parameter_that_may_be_text_stays_text(written: str, value: object) -> None:
    schema = json.dumps({"type": "object", "properties": {"code": {"type": ["string", "null"]}}})
    function = function_of(Tool("look_up", "Looks up.", schema, "tools:1"))
    text = f"<function=look_up><parameter=code>{written}</parameter></function>"
    (found,) = calls_in(text, FunctionNames([function])).calls
    assert json.loads(found.arguments) == {"code": value}
