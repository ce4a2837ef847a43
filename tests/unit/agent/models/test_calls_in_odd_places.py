# ruff: noqa: E501 - a dialect a line
"""Calls that gateways and servers put in other places or forms than OpenAI's."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any

import pytest
from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN, Function, Parameter
from memgpt_agent.models.answer.answer import Answer, MalformedError
from memgpt_agent.models.answer.completion import completion, is_whole
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.reader import AnswerReader
from memgpt_agent.models.answer.text_calls import calls_in
from memgpt_agent.models.base import Completion, ModelRequest

from tests.unit.agent.models.asking import Sink, calls, question

HELLO = [("send_message", {"message": "Hello."})]
ARGUMENTS = {"message": "Hello."}
TEXT = json.dumps(ARGUMENTS)
ANSWER = {"inner_thoughts": "I greet.", "call": {"function": "send_message", "arguments": ARGUMENTS}}


def read(chunks: list[Any], request: ModelRequest | None = None, *, as_json: bool = False) -> Completion:
    """Read an answer as it comes from the connection."""
    request = request or question()
    reader = AnswerReader(Sink(), FunctionNames(request.functions), as_json=as_json)
    for chunk in chunks:
        reader.chunk(chunk)
    return completion(reader.answer(), request, as_json=as_json)


def delta(finish: str | None = None, **fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def made(name: object = "send_message", arguments: object = TEXT, **more: object) -> dict[str, object]:
    return {"index": 0, "id": "a", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


PLACES: dict[str, Any] = {
    "beside the delta": {"choices": [{"index": 0, "tool_calls": [made()], "delta": {}}]},
    "beside the message": {"choices": [{"tool_calls": [made()], "message": {"content": "I greet."}}]},
    "beside the choices": {"choices": [{"delta": {"content": ""}}], "tool_calls": [made()]},
    "one call in place of a list": delta(tool_calls=made()),
    "a list as JSON": delta(tool_calls=json.dumps([made()])),
    "tool_call": delta(tool_call=made()),
    "toolCalls": delta(toolCalls=[made()]),
    "a part tool_use": delta(content=[{"type": "tool_use", "id": "x", "name": "send_message", "input": ARGUMENTS}]),
    "a part tool_call": delta(content=[{"type": "tool_call", "name": "send_message", "arguments": ARGUMENTS}]),
    "a part function_call": delta(content=[{"function_call": {"name": "send_message", "arguments": TEXT}}]),
    "a part functionCall": delta(content=[{"functionCall": {"name": "send_message", "args": ARGUMENTS}}]),
    "one choice in place of a list": {"choices": {"index": 0, "delta": {"tool_calls": [made()]}}},
    "an envelope data": {"code": 0, "data": {"choices": [{"message": {"tool_calls": [made()]}}]}},
    "an envelope result": {
        "success": True,
        "result": {"response": "", "tool_calls": [{"name": "send_message", "arguments": ARGUMENTS}]},
    },
    "an envelope output": {"output": {"choices": [{"message": {"tool_calls": [made()]}}]}, "request_id": "x"},
    "a list around the chunk": [delta(tool_calls=[made()])],
    "the finish in the delta": delta(tool_calls=[made()], finish_reason="tool_calls"),
}

FORMS: dict[str, dict[str, object]] = {
    "the function as its name": {"index": 0, "function": "send_message", "arguments": TEXT},
    "the function as JSON": {"index": 0, "function": json.dumps({"name": "send_message", "arguments": TEXT})},
    "args": {"name": "send_message", "args": ARGUMENTS, "id": "x"},
    "the name in the id": made(None, id="functions.send_message:0"),
    "arguments in arguments": made(arguments=json.dumps({"arguments": ARGUMENTS})),
    "parameters in arguments": made(arguments=json.dumps({"parameters": ARGUMENTS})),
    "the whole call in arguments": made(arguments=json.dumps({"name": "send_message", "arguments": ARGUMENTS})),
    "a plain text": made(arguments="Hello."),
    "the arguments in the name": made(f"send_message({TEXT})", ""),
    "the name as JSON": made('{"name": "send_message"}'),
    "the header in the name": made("assistant<|channel|>analysis to=functions.send_message"),
    "a family before the name": made("functions_send_message"),
    "a server before the name": made("mcp__memgpt__send_message"),
    "the constrained answer as a call": made("json_tool_call", json.dumps(ANSWER)),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_call_in_an_odd_place(place: str) -> None:
    assert calls(read([PLACES[place]])) == HELLO


@pytest.mark.parametrize("form", FORMS)
def test_a_call_in_an_odd_form(form: str) -> None:
    assert calls(read([delta(tool_calls=[FORMS[form]]), delta("tool_calls")])) == HELLO


JSON: dict[str, object] = {
    "decoded by the server": delta(content=ANSWER),
    "decoded beside the content": {"choices": [{"message": {"content": None, "parsed": ANSWER}}]},
    "encoded twice": delta(content=json.dumps(json.dumps(ANSWER))),
    "in the reasoning": delta("stop", reasoning_content=json.dumps(ANSWER)),
    "as in Python": delta(content=json.dumps({**ANSWER, "call": "send_message(message='Hello.')"})),
    "arguments as a text": delta(content=json.dumps({"call": {"function": "send_message", "arguments": "Hello."}})),
    "the text under the name": delta(content=json.dumps({"call": {"send_message": "Hello."}})),
}


@pytest.mark.parametrize("form", JSON)
def test_an_answer_in_json_in_an_odd_form(form: str) -> None:
    assert calls(read([JSON[form]], as_json=True)) == HELLO


def test_a_call_that_a_server_took_for_reasoning() -> None:
    written = f'I greet.\n<tool_call>\n{{"name": "send_message", "arguments": {TEXT}}}\n</tool_call>'
    assert calls(read([delta(reasoning_content=written), delta("stop")])) == HELLO
    with pytest.raises(MalformedError):
        read([delta(reasoning_content=written), delta("length")])  # perhaps a draft


UNENDED = {
    "hermes": f'<tool_call>{{"name": "send_message", "arguments": {TEXT}}}</tool_call>',
    "qwen": "<tool_call>\n<function=send_message>\n<parameter=message>\nHello.\n</parameter></function></tool_call>",
    "mistral": f"[TOOL_CALLS]send_message[ARGS]{TEXT}",
    "json": json.dumps(ANSWER),
}


@pytest.mark.parametrize("dialect", UNENDED)
@pytest.mark.parametrize("end", ["", "\n</think>"], ids=["unended", "ended after it"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_call_in_reasoning_that_was_not_ended_before_it(dialect: str, end: str, size: int) -> None:
    text = f"<think>\nShe said hello. I greet her.\n{UNENDED[dialect]}{end}"
    chunks = [delta(content=text[place : place + size]) for place in range(0, len(text), size)]
    assert calls(read([*chunks, delta("stop")], as_json=dialect == "json")) == HELLO


def test_reasoning_without_a_call_is_none() -> None:
    with pytest.raises(MalformedError, match="neither"):
        read([delta("stop", content="<think>I could call send_message with a greeting.")])


def test_what_is_no_message_is_not_sent() -> None:
    for arguments in ('{"message": "Hel', "null", "message=Hello", "('Hello')", "undefined"):
        found = read([delta("tool_calls", tool_calls=[made(arguments=arguments)])])
        assert found.call is not None
        assert "message" not in envelopes.parse(found.call.arguments), arguments


def test_a_text_that_was_cut_off_is_not_a_whole_message() -> None:
    with pytest.raises(MalformedError, match="cut off"):
        read([delta("length", tool_calls=[made(arguments="Hello, I")])])


def test_arguments_of_their_own_are_not_unwrapped() -> None:
    lookup = Function("look_up", "", (Parameter("input", "string", ""), Parameter("query", "string", "")))
    arguments = {"input": {"query": "a"}, "query": "b"}
    given = question(functions=(*BUILT_IN, lookup))
    assert calls(read([delta(tool_calls=[made("look_up", json.dumps(arguments))])], given)) == [("look_up", arguments)]


WRITTEN = {
    "tool_arguments": '<tool_call>{"tool_name": "send_message", "tool_arguments": {"message": "Hello."}}</tool_call>',
    "a parameter without its end": "<function=send_message>\n<parameter=message>\nHello.\n</function>",
    "the flowers of Qwen": '✿FUNCTION✿: send_message\n✿ARGS✿: {"message": "Hello."}',
    "an action with a text": "Thought: I greet.\nAction: send_message\nAction Input: Hello.",
    "an action with a quoted text": 'Action: send_message\nAction Input: "Hello."',
    "Python that awaits": '```python\nawait send_message(message="Hello.")\n```',
    "Nexus": 'Call: send_message(message="Hello.")<bot_end>',
    "Python in quotes": '`send_message(message="Hello.")`',
    "tags of Cline": "<send_message>\n<message>Hello.</message>\n</send_message>",
    "DeepSeek with spaces in its marks": '< | DSML | tool_calls>\n< | DSML | invoke name="send_message">\n< | DSML | parameter name="message" string="true">Hello.</ | DSML | parameter>\n</ | DSML | invoke>\n</ | DSML | tool_calls>',
    "GLM without its opening tag": "send_message\n<arg_key>message</arg_key>\n<arg_value>Hello.</arg_value>\n</tool_call>",
    "ChatGLM3": "send_message\n```python\ntool_call(message='Hello.')\n```",
    "LongCat": "<longcat_tool_call>send_message\n<longcat_arg_key>message</longcat_arg_key>\n<longcat_arg_value>Hello.</longcat_arg_value>\n</longcat_tool_call>",
    "gpt-oss without special tokens": 'commentary to=functions.send_messagejson{"message": "Hello."}',
    "the first models of Anthropic": "<function_calls>\n<invoke>\n<tool_name>send_message</tool_name>\n<parameters>\n<message>Hello.</message>\n</parameters>\n</invoke>\n</function_calls>",
    "Grok": '<xai:function_call name="send_message"><parameter name="message">Hello.</parameter></xai:function_call>',
    "a named tag": '<tool_call name="send_message">\n<argument name="message">Hello.</argument>\n</tool_call>',
    "keys of parameters": '<tool_call><tool_name>send_message</tool_name><parameter key="message">Hello.</parameter></tool_call>',
    "Python with a list around it": '<|python_start|>[send_message(message="Hello.")]<|python_end|>',
}


@pytest.mark.parametrize("dialect", WRITTEN)
def test_a_call_that_is_written_in_another_dialect(dialect: str) -> None:
    pieces = [WRITTEN[dialect][start : start + 5] for start in range(0, len(WRITTEN[dialect]), 5)]
    assert calls(read([*(delta(content=piece) for piece in pieces), delta("stop")])) == HELLO


@pytest.mark.parametrize(
    "text",
    [
        'You can use `send_message(message="x")` to reach them, but I will not.',
        "Action: I call send_message later.",
        "I write <name>send_message</name> into my notes.",
        "I mean send_message<arg_key> here.",
        "<send_message>\n<message>Hel",
        "<function=send_message>\n<parameter=message>\nHel",
    ],
)
def test_what_only_speaks_of_a_call_is_none(text: str) -> None:
    with suppress(MalformedError):
        assert calls(read([delta(content=text), delta("stop")])) == []


def saved(line: str) -> list[Message]:
    call = FunctionCall("c1", "core_memory_append", json.dumps({"name": "human", "content": line}))
    return [Message(Role.ASSISTANT, "", function_call=call), Message(Role.TOOL, "{}", call_id="c1")]


@pytest.mark.parametrize(
    "line",
    [
        "The user lives in Berlin.",
        "the user lives in Berlin",
        " The user  lives in Berlin!\nThe user lives in Berlin.",
        "The user lives in Paris.",
    ],
)
@pytest.mark.parametrize("learns", [True, False])
def test_a_fact_that_was_copied_from_an_earlier_answer_is_not_saved_again(line: str, learns: bool) -> None:
    """Endpoints without schemas let models copy the place of the facts; the fact may have been corrected since."""
    messages = [Message(Role.SYSTEM, ""), Message(Role.USER, "Hello?"), *saved("The user lives in Berlin.")]
    request = ModelRequest(messages, BUILT_IN, learns=learns)
    found = read([delta(content=json.dumps({"new_about_user": line, **ANSWER}))], request, as_json=True)
    copied = not learns and "Berlin" in line
    assert [name for name, _ in calls(found)] == ["core_memory_append"] * (not copied) + ["send_message"]


def test_the_only_call_of_an_answer_stays_if_the_fact_is_known() -> None:
    """Only what stands beside another call is left out."""
    request = ModelRequest([Message(Role.SYSTEM, ""), *saved("The user lives in Berlin.")], BUILT_IN)
    arguments = {"name": "human", "content": "The user lives in Berlin."}
    found = read([delta(tool_calls=[made("core_memory_append", json.dumps(arguments))])], request)
    assert calls(found) == [("core_memory_append", arguments)]


@pytest.mark.parametrize("line", ["", "The user lives in Berlin."])
def test_the_only_call_of_an_answer_in_json_stays_if_the_fact_is_known(line: str) -> None:
    request = ModelRequest([Message(Role.SYSTEM, ""), *saved("The user lives in Berlin.")], BUILT_IN)
    call = {"function": "core_memory_append", "arguments": {"name": "human", "content": "The user lives in Berlin."}}
    found = read([delta(content=json.dumps({"new_about_user": line, "call": call}))], request, as_json=True)
    assert calls(found) == [("core_memory_append", call["arguments"])]


@pytest.mark.parametrize("place", ["content", "parsed", "tool_calls"])
def test_an_object_that_is_too_deep_to_be_written_is_no_answer(place: str) -> None:
    """A parser may have read it with more of the stack left."""
    deep: dict[str, object] = {}
    for _ in range(sys.getrecursionlimit()):
        deep = {"a": deep}
    with pytest.raises(MalformedError, match="nested too deeply"):
        read([delta(None, **{place: [made(arguments=deep)] if place == "tool_calls" else deep})])


def test_a_text_that_is_too_deep_to_be_read_is_no_answer() -> None:
    """At some of these depths it can be read, but not be written."""
    for depth in range(sys.getrecursionlimit() - 100, sys.getrecursionlimit()):
        text = '{"function": "send_message", "arguments": ' + '{"a": ' * depth + "1" + "}" * (depth + 1)
        with suppress(MalformedError):
            completion(Answer(text), question(), as_json=True)
        is_whole(Answer(text), question(), as_json=True)


def test_a_message_may_have_words_that_end_the_reasoning_of_some_models() -> None:
    written = 'send_message(message="You asked me. Here is my response: fine.")'
    assert calls(read([delta(content=written), delta("stop")])) == [
        ("send_message", {"message": "You asked me. Here is my response: fine."})
    ]


def test_a_call_as_in_python_may_have_line_breaks_in_its_strings() -> None:
    written = '[archival_memory_insert(content="One.\n\nTwo.", request_heartbeat=true), send_message(message="Hello.")]'
    inserted = ("archival_memory_insert", {"content": "One.\n\nTwo.", "request_heartbeat": True})
    assert calls(read([delta(content=written), delta("stop")])) == [inserted, *HELLO]
    for other in (
        'send_message(message="a" + b)',
        'send_message(message=f"{a}\n")',
        'send_message(message="a\n" if b)',
    ):
        assert not calls_in(other, FunctionNames(BUILT_IN)).calls


UNREADABLE = [
    "<function=send_message>",
    "<function=send_message><parameter=x>",
    "send_message(",
    "send_message<arg_key>",
    "<name>send_message</name>",
    "send_message tool_call(",
]


@pytest.mark.parametrize("begun", UNREADABLE)
def test_many_calls_without_an_end_are_read_in_linear_time(begun: str) -> None:
    text = (begun * 100_000)[:100_000]
    used = time.process_time()
    assert not calls_in(text, FunctionNames(BUILT_IN)).calls
    assert time.process_time() - used < 10  # the first took 20 s, the others minutes


@pytest.mark.parametrize("blank", [" ", "; "])
def test_blank_space_beside_a_call_is_skipped_in_linear_time(blank: str) -> None:
    used = time.process_time()
    found = calls_in(f"{json.dumps(ANSWER)} All {blank * 50_000}done{blank}", FunctionNames(BUILT_IN))
    assert found.thought.startswith("I greet.\nAll")
    assert found.thought.endswith("done")
    assert time.process_time() - used < 5  # it took more than 15 s
