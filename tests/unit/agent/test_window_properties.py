"""What holds for any context in any window: it fits or says that it cannot, and an eviction leaves whole pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgpt.config import ConfigError
from memgpt_agent import envelopes
from memgpt_agent.config import AgentSettings
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.tokens import TokenCalibration, TokenCounter
from memgpt_agent.context_window.window import KEEP_LAST, ContextWindow, WindowTooSmallError
from memgpt_agent.domain import Agent, Block, Context, FunctionCall, Message, Role
from memgpt_agent.functions import functions_of
from memgpt_agent.loop import summary
from memgpt_agent.models.base import BadAnswerError, Completion, ModelRequest, Sink

from tests.unit.agent.fakes import user

TEXTS = st.one_of(st.text(max_size=40), st.sampled_from(["word ", "字", "\x1f", '"\\', "🦊", "x" * 37, ""]))


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """Contexts with calls and results in pairs, of texts from nothing to far more than a window."""
    messages: list[Message] = []
    for number in range(draw(st.integers(0, 14))):
        text = draw(TEXTS) * draw(st.sampled_from([1, 3, 50, 4000]))
        match draw(st.sampled_from(["user", "thought", "call", "call"])):
            case "user":
                messages.append(user(text))
            case "thought":
                messages.append(Message(Role.ASSISTANT, text))
            case _:
                call = FunctionCall(f"c{number}", "archival_memory_insert", json.dumps({"content": text}))
                result = envelopes.function_result(draw(st.booleans()), draw(TEXTS) * 60, "now")
                messages.append(Message(Role.ASSISTANT, "Note.", function_call=call))
                messages.append(Message(Role.TOOL, result, call_id=f"c{number}"))
    system = "Be yourself. " * draw(st.sampled_from([1, 60]))
    human = Block("human", draw(TEXTS) * 20)
    stored = tuple(replace(message, sequence=number) for number, message in enumerate(messages))
    return Context(Agent("a", system=system), (Block("persona", "I am Sam."), human), draw(TEXTS) * 10, stored, 99)


windows = st.builds(
    lambda tokens, keep, scale: ContextWindow(tokens, min(1024, tokens // 4), 0.75, keep, TokenCounter(), scale),
    st.sampled_from([1024, 2048, 4096, 8192, 1_000_000]),
    st.sampled_from([0.0, 0.5, 0.75]),
    st.sampled_from([0.6, 1.0, 1.37]),
)


@settings(deadline=None, max_examples=150)
@given(contexts(), windows)
def test_a_prompt_fits_or_cannot(context: Context, window: ContextWindow) -> None:
    shaped = window.shaped(context)
    functions = functions_of(shaped)
    count = window.plan_eviction(shaped, functions)
    assert 0 <= count <= max(len(shaped.messages) - KEEP_LAST, 0)
    kept = replace(shaped, messages=shaped.messages[count:])
    if count:
        assert kept.messages[0].role is not Role.TOOL
    try:
        fitted = window.fit(kept, functions)
    except WindowTooSmallError:
        # Every message would have to be shorter than what is left of one that is elided.
        assert window.fixed(kept, functions) > window.limit - 160 * max(len(kept.messages), 1)
        return
    assert window.total(fitted, functions) <= window.limit
    shown = prompt.compose(fitted)
    assert sum(map(window.size, shown)) + window.function_tokens(functions) + window.reserve <= window.tokens
    # Only texts were shortened.
    assert [m.role for m in fitted.messages] == [m.role for m in kept.messages]
    assert [m.sequence for m in fitted.messages] == [m.sequence for m in kept.messages]


class _Talker:
    """A model whose summaries do not shrink."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.request: ModelRequest | None = None

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        self.request = request
        return Completion(self.text)


@settings(deadline=None, max_examples=80)
@given(contexts(), windows, TEXTS)
async def test_a_summary_is_asked_for_within_the_window_and_cut(
    context: Context, window: ContextWindow, text: str
) -> None:
    shaped = window.shaped(context)
    count = window.plan_eviction(shaped, functions_of(shaped))
    if not count:
        return
    model = _Talker(text * 3000)
    if not text.strip():
        # What leaves the window must not be forgotten for want of a summary.
        with pytest.raises(BadAnswerError):
            await summary.evict(shaped, count, model, window, always=False)
        eviction, _ = await summary.evict(shaped, count, model, window)
        assert "could not be summarized" in eviction.summary
        return
    eviction, _ = await summary.evict(shaped, count, model, window)
    assert model.request is not None
    asked = sum(map(window.size, model.request.messages))
    # What marks the left-out middle may be more than what little room there is.
    assert asked + model.request.max_tokens <= window.tokens + 64
    assert window.text_size(eviction.summary) <= 2 * (window.summary_tokens + 64)
    assert eviction.before_sequence == shaped.messages[count].sequence


def test_texts_are_counted_once() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    counter = TokenCounter(count)
    window = ContextWindow(1_000_000, 1024, 0.75, 0.75, counter)
    stored = tuple(replace(user(f"message {number} " + "word " * 30), sequence=number) for number in range(2000))
    context = Context(Agent("a"), (), "", stored, 2000)
    functions = functions_of(context)
    window.total(context, functions)
    long = [text for text in counted if "message 7 " in text]
    counted.clear()
    window.plan_eviction(context, functions)
    window.under_pressure(context, functions)
    window.fit(context, functions)
    assert len(long) == 1
    assert not [text for text in counted if "message" in text and len(text) > 100]


@pytest.mark.parametrize(("reported", "scale"), [(2000, 2.0), (100_000, 4.0), (100, 1.0), (700, 0.7), (550, 0.6)])
def test_the_first_report_is_taken_within_bounds(reported: int, scale: float) -> None:
    calibration = TokenCalibration()
    calibration.observe("m", 1000, reported)
    assert calibration.scale("m") == scale
    assert calibration.scale("other") == 1.0


def test_a_correction_rises_at_once_and_falls_slowly() -> None:
    calibration = TokenCalibration()
    for reported in (900, 1500, 900):
        calibration.observe("m", 1000, reported)
    assert 1.3 < calibration.scale("m") < 1.5


def settings_with(tokenizer: str) -> AgentSettings:
    return AgentSettings.model_validate({"tokenizer": tokenizer})


def test_a_model_of_its_own_tokenizer_is_counted_exactly(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    counts = settings_with(str(path)).counts()
    assert counts("one two extraordinarily") == 3
    assert settings_with("").counts()("extraordinarily") > 1
    with pytest.raises(ConfigError, match=r"not a readable tokenizer\.json"):
        settings_with(str(tmp_path)).counts()
