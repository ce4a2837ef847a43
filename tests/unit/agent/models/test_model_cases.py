# ruff: noqa: E501 - an answer a line
"""Answers of endpoints that were reported to go wrong, each by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest
from memgpt_agent.models.base import ContextOverflowError, DeltaKind
from memgpt_agent.models.endpoint import CallMode
from memgpt_runtime import errors

from tests.support.scripted_llm import Completion, Raw, Reply, ScriptedLLM, Status, Stream, call, choose, chunk, say
from tests.unit.agent.models.asking import Sink, calls, model_at, question

Start = Callable[..., ScriptedLLM]
HI = ("send_message", {"message": "Hi"})
SAID = '{"message": "Hi"}'


def entry(arguments: object = SAID, name: str | None = "send_message", **more: object) -> dict[str, object]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"function": function, **more}


def body(message: Mapping[str, object], **more: object) -> str:
    return json.dumps({"object": "chat.completion", "choices": [{"index": 0, "message": message, **more}]})


async def ask(start: Start, *replies: Reply, mode: CallMode = CallMode.TOOLS):
    llm = start(replies)
    sink = Sink()
    async with model_at(llm, mode) as model:
        answer = await model.complete(question(), sink)
    return answer, sink, llm


# 1-6: shapes of streams.


async def test_thinking_then_the_only_call_with_index_1(scripted_llm: Start) -> None:
    reply = Stream((chunk(content="thinking"), chunk(tool_calls=[entry(index=1, id="c1")]), chunk("tool_calls")))
    answer, sink, _ = await ask(scripted_llm, reply)
    assert (answer.text, calls(answer)) == ("thinking", [HI])
    assert sink.text[DeltaKind.MESSAGE] == "Hi"


async def test_two_calls_in_one_chunk_without_index_or_id(scripted_llm: Start) -> None:
    two = [entry('{"message": "1"}'), entry('{"message": "2"}')]
    answer, _, _ = await ask(scripted_llm, Stream((chunk(tool_calls=two), chunk("tool_calls"))))
    assert calls(answer) == [("send_message", {"message": "1"}), ("send_message", {"message": "2"})]


async def test_a_whole_completion_where_a_stream_was_requested(scripted_llm: Start) -> None:
    messages: list[Mapping[str, object]] = [
        {"role": "assistant", "content": None, "tool_calls": [entry(id="c1", type="function")]},
        {"role": "assistant", "content": "", "function_call": {"name": "send_message", "arguments": SAID}},
    ]
    for message in messages:
        answer, sink, llm = await ask(scripted_llm, Raw(body(message, finish_reason="tool_calls")))
        assert calls(answer) == [HI]
        assert len(llm.requests) == 1
        assert sink.text[DeltaKind.MESSAGE] == "Hi"


async def test_the_legacy_function_call(scripted_llm: Start) -> None:
    pieces = ({"name": "send_message", "arguments": ""}, {"arguments": '{"mess'}, {"arguments": 'age": "Hi"}'})
    answer, _, _ = await ask(scripted_llm, Stream(tuple(chunk(function_call=piece) for piece in pieces)))
    assert calls(answer) == [HI]


async def test_an_error_inside_status_200(scripted_llm: Start) -> None:
    with pytest.raises(errors.FailedPrecondition, match="No endpoints found"):
        await ask(scripted_llm, Raw('{"error": {"message": "No endpoints found", "code": 404}}'))


async def test_an_empty_event_before_the_first_chunk(scripted_llm: Start) -> None:
    answer, _, _ = await ask(scripted_llm, Stream(("", " ", chunk(tool_calls=[entry(index=0)]))))
    assert calls(answer) == [HI]


async def test_a_byte_order_mark(scripted_llm: Start) -> None:
    event = f"\ufeffdata: {chunk(tool_calls=[entry(index=0)])}\n\ndata: [DONE]\n\n"
    answer, _, _ = await ask(scripted_llm, Raw(event, "text/event-stream"))
    assert calls(answer) == [HI]
    answer, _, _ = await ask(scripted_llm, Raw("\ufeff" + body({"tool_calls": [entry()]})))
    assert calls(answer) == [HI]


# 7-9: arguments and names.


@pytest.mark.parametrize(
    "arguments",
    [
        '{"message": "Hi",}',
        '```json\n{"message": "Hi"}\n```',
        "{'message': 'Hi'}",
        '{message: "Hi"}',
        json.dumps(SAID),
        json.dumps(json.dumps(SAID)),
        '{"message": "Hi"}<|im_end|>',
        '{"message": "Hi"}</tool_call>',
        '{"message": "Hi"}\n\n',
        ' {"message": "Hi"} // done',
        "{“message”: “Hi”}",
    ],
)
async def test_arguments_that_can_be_mended(scripted_llm: Start, arguments: str) -> None:
    answer, _, llm = await ask(scripted_llm, Stream((chunk(tool_calls=[entry(arguments, index=0)]),)))
    assert calls(answer) == [HI]
    assert len(llm.requests) == 1


async def test_arguments_with_quotation_marks_and_line_breaks(scripted_llm: Start) -> None:
    arguments = '{"message": "He said "hi" to me.\nThen he left.",}'
    answer, _, _ = await ask(scripted_llm, Stream((chunk(tool_calls=[entry(arguments, index=0)]),)))
    assert calls(answer) == [("send_message", {"message": 'He said "hi" to me.\nThen he left.'})]


async def test_half_of_the_arguments_is_not_completed(scripted_llm: Start) -> None:
    half = chunk(tool_calls=[entry('{"message": "Hi, half', index=0)])
    answer, _, _ = await ask(scripted_llm, Stream((half, chunk("tool_calls"))))
    assert answer.call is not None
    assert answer.call.arguments == '{"message": "Hi, half'  # told to the model as a failed call


@pytest.mark.parametrize(
    "name",
    ["functions.send_message", "sendMessage", " send_message\n", "SendMessage", "send-message", "functions.send_message:0",
     "default_api.send_message", "tools/send_message", "send_message<|channel|>", '"send_message"'],
)  # fmt: skip
async def test_names_as_models_write_them(scripted_llm: Start, name: str) -> None:
    answer, sink, _ = await ask(scripted_llm, Stream((chunk(tool_calls=[entry(name=name, index=0)]),)))
    assert calls(answer) == [HI]
    assert sink.text[DeltaKind.MESSAGE] == "Hi"


async def test_an_unknown_name_is_left_to_the_loop(scripted_llm: Start) -> None:
    answer, _, _ = await ask(scripted_llm, Stream((chunk(tool_calls=[entry(name="say", index=0)]),)))
    assert calls(answer) == [("say", {"message": "Hi"})]


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_an_unknown_name_in_text_is_as_short_as_others(scripted_llm: Start, mode: CallMode) -> None:
    llm = scripted_llm([say(json.dumps({"name": "x" * 200, "arguments": {"message": "Hi"}}))])
    async with model_at(llm, mode) as model:
        assert calls(await model.complete(question(), Sink())) == [("x" * 64, {"message": "Hi"})]


# 10: the prompt is too long, in other words; all are in tests/unit/runtime/test_refusals.py.


@pytest.mark.parametrize(
    "refusal",
    [
        Status(422, "`inputs` must have less than 1024 tokens"),
        Status(400, "Your request exceeded model token limit: 8192"),
        Status(400, "Range of input length should be [1, 30720]"),
        Status(400, "Please reduce the length of the messages"),
        Status(400, "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
        Status(400, "length of prompt_tokens (9000) must be less than max_seq_len (8192)."),
        Status(400, "prompt token count 33000 cannot exceed 32768 tokens"),
        Status(422, "Prompt length 9000 is greater than max_seq_len 8192"),
    ],
)
@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.AUTO])
async def test_a_prompt_that_is_too_long(scripted_llm: Start, refusal: Status, mode: CallMode) -> None:
    with pytest.raises(ContextOverflowError):
        await ask(scripted_llm, refusal, mode=mode)


# Further shapes of the same kinds.


async def test_a_call_whose_id_changes_with_every_piece(scripted_llm: Start) -> None:
    pieces = [entry('{"mess', index=0, id="a"), entry('age": ', None, index=0, id="b"), entry('"Hi"}', "", id="c")]
    answer, _, _ = await ask(scripted_llm, Stream(tuple(chunk(tool_calls=[piece]) for piece in pieces)))
    assert calls(answer) == [HI]
    named = [entry(piece, index=0, id=f"id{number}") for number, piece in enumerate(('{"mess', 'age": "H', 'i"}'))]
    answer, _, _ = await ask(scripted_llm, Stream(tuple(chunk(tool_calls=[piece]) for piece in named)))
    assert calls(answer) == [HI]


async def test_all_that_was_sent_before_once_more(scripted_llm: Start) -> None:
    pieces = ('{"message"', '{"message": "H', SAID)
    answer, sink, _ = await ask(scripted_llm, Stream(tuple(chunk(tool_calls=[entry(p, index=0)]) for p in pieces)))
    assert calls(answer) == [HI]
    assert sink.text[DeltaKind.MESSAGE] == "Hi"


async def test_calls_that_are_all_numbered_0(scripted_llm: Start) -> None:
    events = [chunk(tool_calls=[entry('{"message": "1"}', index=0, id="a")]),
              chunk(tool_calls=[entry('{"name": "human", "content": "x"}', "core_memory_append", index=0)])]  # fmt: skip
    answer, _, _ = await ask(scripted_llm, Stream(tuple(events)))
    assert [name for name, _ in calls(answer)] == ["send_message", "core_memory_append"]


async def test_interleaved_calls(scripted_llm: Start) -> None:
    events = [
        chunk(tool_calls=[entry("", index=1, id="b"), entry("", "core_memory_append", index=2, id="c")]),
        chunk(tool_calls=[entry('{"name": "human", ', None, index=2)]),
        chunk(tool_calls=[entry(SAID, None, index=1)]),
        chunk(tool_calls=[entry('"content": "x"}', None, index=2)]),
    ]
    answer, _, _ = await ask(scripted_llm, Stream(tuple(events)))
    assert calls(answer) == [HI, ("core_memory_append", {"name": "human", "content": "x"})]


async def test_a_placeholder_before_the_arguments(scripted_llm: Start) -> None:
    events = [chunk(tool_calls=[entry("{}", index=0, id="a")]), chunk(tool_calls=[entry(SAID, None, index=0)])]
    answer, _, _ = await ask(scripted_llm, Stream(tuple(events)))
    assert calls(answer) == [HI]


async def test_content_as_a_list_of_parts(scripted_llm: Start) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Secret."}]}
    chosen = choose("send_message", message="Hi").content
    parts = [thinking, {"type": "text", "text": chosen}]
    answer, sink, _ = await ask(scripted_llm, Stream((chunk(content=parts),)), mode=CallMode.JSON_SCHEMA)
    assert calls(answer) == [HI]
    assert "Secret" not in str(sink.text)


async def test_a_message_in_place_of_a_delta(scripted_llm: Start) -> None:
    event = json.dumps({"choices": [{"message": {"content": "I greet.", "tool_calls": [entry()]}}]})
    answer, _, _ = await ask(scripted_llm, Stream((event,)))
    assert (answer.text, calls(answer)) == ("I greet.", [HI])


async def test_a_whole_message_at_the_end_of_a_stream(scripted_llm: Start) -> None:
    end = json.dumps(
        {"choices": [{"message": {"content": "I greet.", "tool_calls": [entry()]}, "finish_reason": "stop"}]}
    )
    events = (chunk(content="I gre"), chunk(content="et."), chunk(tool_calls=[entry(index=0)]), end)
    answer, sink, _ = await ask(scripted_llm, Stream(events))
    assert (answer.text, calls(answer)) == ("I greet.", [HI])
    assert sink.text == {DeltaKind.THOUGHT: "I greet.", DeltaKind.MESSAGE: "Hi"}


async def test_a_refusal_beside_nothing_else(scripted_llm: Start) -> None:
    answer, _, _ = await ask(scripted_llm, Completion(refusal="I will not."))
    assert (answer.text, answer.call) == ("I will not.", None)


async def test_text_beside_a_call_and_two_calls(scripted_llm: Start) -> None:
    reply = Completion(
        "Note it.", (("core_memory_append", '{"name": "human", "content": "Ada"}'), ("send_message", SAID))
    )
    answer, _, llm = await ask(scripted_llm, reply)
    assert answer.text == "Note it."
    assert calls(answer) == [("core_memory_append", {"name": "human", "content": "Ada"}), HI]
    assert llm.requests[0].json["parallel_tool_calls"] is False


# Calls written as text, in the dialects of their models.

DIALECTS = {
    "hermes": '<tool_call>\n{"name": "send_message", "arguments": {"message": "Hi"}}\n</tool_call>',
    "hermes without an end": '<tool_call>\n{"name": "send_message", "arguments": {"message": "Hi"}}',
    "qwen coder": "<tool_call>\n<function=send_message>\n<parameter=message>\nHi\n</parameter>\n</function>\n</tool_call>",
    "qwen coder without the outer tag": "<function=send_message><parameter=message>Hi</parameter></function>",
    "llama 3 function": '<function=send_message>{"message": "Hi"}</function>',
    "groq": '<function=send_message {"message": "Hi"} </function>',
    "llama 3.1": '<|python_tag|>{"name": "send_message", "parameters": {"message": "Hi"}}<|eom_id|>',
    "llama 3.1 python": '<|python_tag|>send_message.call(message="Hi")',
    "llama 4": '[send_message(message="Hi")]',
    "llama 4 marks": '<|python_start|>[send_message(message="Hi")]<|python_end|>',
    "lfm2": '<|tool_call_start|>[send_message(message="Hi")]<|tool_call_end|>',
    "mistral": '[TOOL_CALLS][{"name": "send_message", "arguments": {"message": "Hi"}}]',
    "mistral small": '[TOOL_CALLS]send_message[ARGS]{"message": "Hi"}',
    "mistral with an id": '[TOOL_CALLS]send_message[CALL_ID]abcdefghi[ARGS]{"message": "Hi"}',
    "mistral nemo": '[TOOL_CALLS]send_message{"message": "Hi"}',
    "deepseek r1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>send_message\n```json\n"
    '{"message": "Hi"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek v3.1": '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>send_message<｜tool▁sep｜>{"message": "Hi"}<｜tool▁call▁end｜>',
    "deepseek v3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="send_message">\n<｜DSML｜parameter name="message"'
    ' string="true">Hi</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.send_message:0<|tool_call_argument_begin|>"
    '{"message": "Hi"}<|tool_call_end|><|tool_calls_section_end|>',
    "glm": "<tool_call>send_message\n<arg_key>message</arg_key>\n<arg_value>Hi</arg_value>\n</tool_call>",
    "gpt-oss": '<|channel|>commentary to=functions.send_message <|constrain|>json<|message|>{"message": "Hi"}<|call|>',
    "granite": '<|tool_call|>[{"name": "send_message", "arguments": {"message": "Hi"}}]',
    "phi 4": 'functools[{"name": "send_message", "arguments": {"message": "Hi"}}]',
    "command r": 'Action: ```json\n[{"tool_name": "send_message", "parameters": {"message": "Hi"}}]\n```',
    "command a": '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "send_message", "parameters": {"message": "Hi"}}]'
    "<|END_ACTION|>",
    "claude": '<function_calls>\n<invoke name="send_message">\n<parameter name="message">Hi</parameter>\n</invoke>\n'
    "</function_calls>",
    "minimax": '<minimax:tool_call>\n<invoke name="send_message">\n<parameter name="message">Hi</parameter>\n</invoke>\n'
    "</minimax:tool_call>",
    "functiongemma": "<start_function_call>call:send_message{message:<escape>Hi<escape>}<end_function_call>",
    "gemma": "```tool_code\nsend_message(message='Hi')\n```",
    "gemini": '```tool_code\nprint(default_api.send_message(message="Hi"))\n```',
    "react": 'Thought: I greet.\nAction: send_message\nAction Input: {"message": "Hi"}',
    "a fence": '```json\n{"name": "send_message", "arguments": {"message": "Hi"}}\n```',
    "a fence with words": 'Sure! I call it:\n```json\n{"name": "send_message", "arguments": {"message": "Hi"}}\n```\nDone.',
    "bare": '{"name": "send_message", "arguments": {"message": "Hi"}}',
    "bare parameters": '{"name": "send_message", "parameters": {"message": "Hi"}}',
    "arguments as text": '{"name": "send_message", "arguments": "{\\"message\\": \\"Hi\\"}"}',
    "openai": '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "send_message", "arguments":'
    ' "{\\"message\\": \\"Hi\\"}"}}]}',
    "type and function": '{"type": "function", "function": {"name": "send_message", "arguments": {"message": "Hi"}}}',
    "the name as the key": '{"send_message": {"message": "Hi"}}',
    "flat": '{"function": "send_message", "message": "Hi"}',
    "ours": '{"inner_thoughts": "I greet.", "call": {"function": "send_message", "arguments": {"message": "Hi"}}}',
    "ours of old": '{"inner_thoughts": "I greet.", "function": "send_message", "arguments": {"message": "Hi"}}',
    "python": 'send_message(message="Hi")',
    "python, by position": "send_message('Hi')",
    "single quotes": "{'name': 'send_message', 'arguments': {'message': 'Hi'}}",
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("pieces", [1, 9])
async def test_a_call_written_as_text(scripted_llm: Start, dialect: str, pieces: int) -> None:
    answer, sink, llm = await ask(scripted_llm, say(DIALECTS[dialect], pieces=pieces))
    assert calls(answer) == [HI]
    assert len(llm.requests) == 1
    for marks in ("<", "[TOOL", "```", "{"):
        assert marks not in answer.text
        assert marks not in sink.text[DeltaKind.THOUGHT]


async def test_several_calls_written_as_text(scripted_llm: Start) -> None:
    two = (
        'I note it.<tool_call>{"name": "core_memory_append", "arguments": {"name": "human", "content": "Ada"}}</tool_call>'
        '\n<tool_call>{"name": "send_message", "arguments": {"message": "Hi"}}</tool_call>'
    )
    answer, _, _ = await ask(scripted_llm, say(two))
    assert calls(answer) == [("core_memory_append", {"name": "human", "content": "Ada"}), HI]
    assert answer.text == "I note it."
    python = '[core_memory_append(name="human", content="Ada", request_heartbeat=True), send_message(message="Hi")]'
    answer, _, _ = await ask(scripted_llm, say(python))
    assert [name for name, _ in calls(answer)] == ["core_memory_append", "send_message"]


async def test_a_parameter_ends_at_its_own_closing_tag(scripted_llm: Start) -> None:
    code = 'Use this:\n/// <param name="x">The x.</param>\nDone.'
    text = f"<function=send_message><parameter=message>{code}</parameter></function>"
    answer, _, _ = await ask(scripted_llm, say(text))
    assert calls(answer) == [("send_message", {"message": code})]


async def test_a_message_may_begin_like_reasoning_in_words(scripted_llm: Start) -> None:
    message = "Here are my reasoning steps:\n1. Ask.\n2. Answer."
    text = f"<function=send_message><parameter=message>{message}</parameter></function>"
    answer, _, _ = await ask(scripted_llm, say(text))
    assert calls(answer) == [("send_message", {"message": message})]


async def test_parameters_have_their_types(scripted_llm: Start) -> None:
    text = (
        "<tool_call><function=archival_memory_search><parameter=query>12</parameter><parameter=page>2</parameter>"
        "<parameter=request_heartbeat>true</parameter></function></tool_call>"
    )
    answer, _, _ = await ask(scripted_llm, say(text))
    assert calls(answer) == [("archival_memory_search", {"query": "12", "page": 2, "request_heartbeat": True})]


@pytest.mark.parametrize(
    "prose",
    [
        "I could call send_message(message='x') later, or not.",
        "The function send_message takes a message.",
        "Use {braces} and [brackets] and <tags>.",
        'He wrote {"name": "Ada"} to me.',
    ],
)
async def test_prose_is_not_a_call(scripted_llm: Start, prose: str) -> None:
    answer, _, _ = await ask(scripted_llm, say(prose))
    assert (answer.call, answer.text) == (None, prose)


async def test_what_a_model_imagines_after_its_call_is_not_run(scripted_llm: Start) -> None:
    chosen = choose("archival_memory_search", query="x", page=0, request_heartbeat=True).content
    imagined = (
        f'{chosen}\n{{"type": "function_result"}} I found it.\n{choose("send_message", message="Made up").content}'
    )
    answer, _, _ = await ask(scripted_llm, say(imagined), mode=CallMode.JSON_SCHEMA)
    assert [name for name, _ in calls(answer)] == ["archival_memory_search"]


@pytest.mark.parametrize(
    ("begin", "end"), [("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<reasoning>", "</reasoning>")]
)
async def test_reasoning_never_reaches_the_user(scripted_llm: Start, begin: str, end: str) -> None:
    inside = call("send_message", message=f"{begin}They want a greeting.{end}\nHi")
    answer, sink, _ = await ask(scripted_llm, inside)
    assert calls(answer) == [HI]
    assert sink.text[DeltaKind.MESSAGE] == "Hi"
    before = say(
        f'{begin}I call {{"name": "x"}}.{end}{{"name": "send_message", "arguments": {{"message": "Hi"}}}}', pieces=30
    )
    answer, sink, _ = await ask(scripted_llm, before)
    assert (answer.text, calls(answer)) == ("", [HI])
    assert sink.text[DeltaKind.THOUGHT] == ""
