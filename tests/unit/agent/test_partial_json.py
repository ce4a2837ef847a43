"""Text out of JSON that comes in pieces: whatever the JSON, and wherever it is cut."""

from __future__ import annotations

import itertools
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from memgpt_agent.models.answer.partial_json import PartialCall, StringReader
from memgpt_agent.models.base import DeltaKind

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
WHOLE_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


class Sink:
    def __init__(self) -> None:
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}

    def delta(self, kind: DeltaKind, text: str) -> None:
        self.text[kind] += text

    def restart(self, reason: str) -> None:
        raise AssertionError(reason)


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


@settings(deadline=None)
@given(WHOLE_TEXTS, WHOLE_TEXTS, VALUES, st.booleans(), st.booleans(), st.lists(st.integers(0, 10_000), max_size=12))
@example("I", "🐝 \\u 字\n", None, True, True, list(range(200)))
@example("I", " ", None, True, True, [])
@example("I", "[THIN", None, True, False, [90])
def test_an_answer_in_pieces(
    thought: str, message: str, other: object, ascii_only: bool, function_last: bool, places: list[int]
) -> None:
    call = {"function": "send_message"}
    answer = {"other": other, "inner_thoughts": thought, "arguments": {"other": [other], "message": message}}
    whole = {**answer, **call} if function_last else {**call, **answer}
    text = f"```json\n{json.dumps(whole, ensure_ascii=ascii_only)}\n``` Done: {{}}"
    sink = Sink()
    partial = PartialCall(sink)
    for piece in cut(text, places):
        partial.answer(piece)
    assert sink.text == {DeltaKind.THOUGHT: thought, DeltaKind.MESSAGE: message}


@settings(deadline=None)
@given(st.text(max_size=200), st.lists(st.integers(0, 300), max_size=8))
@example('{"a": "\\ud83d"}', [])
@example('{"a": "\\uZZZZ"}}]', [])
@example('{]":,[}}{"', [])
def test_nonsense_breaks_nothing(text: str, places: list[int]) -> None:
    reader = StringReader()
    for piece in cut(text, places):
        for _, told in reader.feed(piece):
            told.encode()


def test_only_the_message_of_send_message_is_one() -> None:
    sink = Sink()
    PartialCall(sink).arguments("archival_memory_insert", '{"message": "no", "x": {"inner_thoughts": "no"}}')
    partial = PartialCall(sink)
    partial.answer('{"function": "other", "arguments": {"message": "no"}}')
    assert sink.text == {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}


def test_a_piece_costs_its_own_length() -> None:
    """Read again from the beginning with every piece, this would take hours."""
    reader = StringReader()
    list(reader.feed('{"message": "'))
    told = sum(len(text) for _ in range(200_000) for _, text in reader.feed("word "))
    assert told == 1_000_000
