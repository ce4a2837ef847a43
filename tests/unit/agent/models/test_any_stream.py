# ruff: noqa: E501 - a shape a line
"""Random answer streams: cut anywhere, with fields missing, null or repeated. No crash, no hang, no lost call."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.models.answer.answer import Answer, MalformedError
from memgpt_agent.models.answer.completion import completion, cut_short, repair
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.reader import AnswerReader
from memgpt_agent.models.base import Completion

from tests.unit.agent.models.asking import Sink, calls, question

NAMES = FunctionNames(BUILT_IN)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MESSAGE = TEXT.filter(lambda text: text.strip() and "<" not in text and "[" not in text and "◁" not in text)


@st.composite
def made_calls(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    one = st.one_of(
        st.tuples(st.just("send_message"), st.fixed_dictionaries({"message": MESSAGE})),
        st.tuples(
            st.just("archival_memory_insert"),
            st.fixed_dictionaries({"content": MESSAGE, "request_heartbeat": st.booleans()}),
        ),
    )
    return draw(st.lists(one, min_size=1, max_size=3))


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True) if a < b]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Any], list[tuple[str, dict[str, Any]]]]:
    """A stream of calls, in one of the ways in which servers send them, and the calls in it."""
    made = draw(made_calls())
    first = draw(st.sampled_from([0, 0, 1, None]))
    ids = draw(st.sampled_from(["none", "empty", "first", "all"]))
    repeat_name = draw(st.booleans())
    as_object, whole = draw(st.booleans()), draw(st.booleans())
    chunks: list[Any] = []
    if thought := draw(st.none() | MESSAGE.filter(lambda t: t[0].isalpha())):
        chunks += [{"choices": [{"delta": {"content": piece}}]} for piece in pieces(draw, thought)]
    for number, (name, values) in enumerate(made):
        text = json.dumps(values, ensure_ascii=draw(st.booleans()))
        entries: list[dict[str, Any]] = []
        if as_object or whole:
            entries.append({"function": {"name": name, "arguments": values if as_object else text}})
        else:
            parts = pieces(draw, text)
            entries.append({"function": {"name": name, "arguments": draw(st.sampled_from(["", None]))}})
            entries += [{"function": {"arguments": part}} for part in parts]
        for place, entry in enumerate(entries):
            if first is not None:
                entry["index"] = first + number
            if ids == "all" or (ids == "first" and place == 0):
                entry["id"] = f"call_{number}"
            elif ids == "empty":
                entry["id"] = draw(st.sampled_from(["", None]))
            if repeat_name and place and (first is not None or ids == "all"):
                entry["function"]["name"] = name
        chunks += [
            {"choices": [{"index": 0, "delta": {"tool_calls": [entry]}, "finish_reason": None}]} for entry in entries
        ]
    noise: st.SearchStrategy[Any] = st.sampled_from(
        [{}, {"choices": []}, {"choices": None}, {"choices": [{}]}, {"choices": [{"delta": None}]}, [], None, 7,
         {"choices": [{"delta": {"content": None, "tool_calls": None, "role": "assistant"}}]},
         {"choices": [{"delta": {"tool_calls": []}}]}, {"usage": None}, {"choices": [{"delta": {"content": ""}}]}]
    )  # fmt: skip
    for _ in range(draw(st.integers(0, 4))):
        chunks.insert(draw(st.integers(0, len(chunks))), draw(noise))
    if draw(st.booleans()):
        chunks.append(
            {"choices": [{"delta": {}, "finish_reason": draw(st.sampled_from(["tool_calls", "stop", None]))}]}
        )
    return chunks, made


def read(chunks: list[Any], *, as_json: bool) -> Answer:
    reader = AnswerReader(Sink(), NAMES, as_json=as_json)
    for chunk in chunks:
        reader.chunk(chunk)
    return reader.answer()


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams())
def test_no_call_is_lost(stream: tuple[list[Any], list[tuple[str, dict[str, Any]]]]) -> None:
    chunks, made = stream
    answer = completion(read(chunks, as_json=False), question(), as_json=False)
    assert calls(answer) == made


KEYS = st.sampled_from(
    ["choices", "delta", "message", "content", "tool_calls", "function", "name", "arguments", "index", "id", "finish_reason",
     "refusal", "usage", "function_call", "type", "text", "reasoning_content", "error", "thinking", "call", "prompt_tokens"]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**12), st.floats(), TEXT,
    st.sampled_from(["send_message", '{"message": "Hi"}', '{"mess', "<think>", "</think>", "<tool_call>", "length", "stop",
                     "\ud83d", "[TOOL_CALLS]send_message{", "```json\n{", "send_message(", "functions.send_message:0", "}" * 9]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
CHUNKS = st.lists(
    VALUES | st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"delta": VALUES}), min_size=1, max_size=2)})
    | st.fixed_dictionaries({"choices": st.tuples(st.fixed_dictionaries({"delta": st.dictionaries(KEYS, VALUES, max_size=4)}))
                             .map(list)}),
    max_size=6,
)  # fmt: skip


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHUNKS, st.booleans())
def test_any_stream_has_an_outcome(chunks: list[Any], as_json: bool) -> None:
    """A thought, a call, or a named fault; never a crash, and never nothing."""
    begin = time.process_time()
    asked = question()
    try:
        answer = read(chunks, as_json=as_json)
        made: Completion = completion(answer, asked, as_json=as_json)
        assert made.text.strip() or made.call is not None
        for name, _ in ((call.name, call.arguments.encode()) for call in (made.call, *made.further) if call):
            assert name.strip()
            name.encode()
        made.text.encode()
    except MalformedError as error:
        cut_short(error.answer, as_json=as_json)
        repair(asked, error)
    assert time.process_time() - begin < 5
