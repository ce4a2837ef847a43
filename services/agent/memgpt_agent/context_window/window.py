"""The size rules of a context window: token counts, limits, and which messages an eviction takes out.

Only arithmetic: ``view`` decides whether an agent's context needs an alert, an eviction, or shorter messages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.note import note_message
from memgpt_agent.context_window.tokens import CountTokens
from memgpt_agent.domain import Context, Message, Role
from memgpt_agent.functions import Function, functions_of, parameters_schema
from memgpt_agent.functions.send_message import SENT

KEEP_LAST = 3
"""Messages that are never evicted."""

_MESSAGE_OVERHEAD = 4
"""Tokens that a message takes in addition to its text, as in OpenAI's chat format."""

_CALL_OVERHEAD, _RESULT_OVERHEAD = 16, 12
"""Tokens of the JSON around a call, and of the function's name in a result."""

_FUNCTION_OVERHEAD, _PARAMETER_OVERHEAD, _NAME_OVERHEAD = 12, 8, 4

_REMINDER = 140
"""Tokens of the text at the end of a prompt, and of the text around a list of functions."""

_SUMMARY = 250
"""The most tokens of a summary: 100 words and some room. A longer one is cut, so that an eviction always shrinks."""

_BRIEF = 0.5
"""The fraction of a prompt that instructions, core memory and functions may take before they are abbreviated."""

_IN_FORCE = 0.9
"""See ``Window.alerted``: how far below the alert's threshold an eviction goes, and the alert below the limit."""

_BRIEF_KEEP = 0.5
"""In a small window an eviction goes further, as in the paper: each one costs a call of the model."""

_ROOM_TO_SAVE = 256
"""Tokens that an agent needs after an alert to save what matters: the alert itself, a call or two, their results."""

_SMALLEST_ELIDED = 32
"""The fewest tokens to which a message is shortened."""


class WindowTooSmallError(Exception):
    """The content that cannot be evicted (instructions, core memory, functions) leaves no room for messages."""


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """A context window and its fractions.

    Attributes:
        tokens: The size of the model's context window.
        reserve: Tokens kept free for the model's answer.
        pressure: The fraction of the window from which on the agent is alerted (default 0.75; the paper: 0.7).
        keep: The largest fraction of the messages' tokens that an eviction leaves (default 0.75; the paper: 0.5).
        count: Counts the tokens of a text.
        scale: The factor for these counts, see `tokens.TokenCalibration`.
        reasoning: The part of ``reserve`` that only a reasoning model takes.
    """

    tokens: int
    reserve: int
    pressure: float
    keep: float
    count: CountTokens
    scale: float = 1.0
    reasoning: int = 0

    @property
    def summary_tokens(self) -> int:
        """The most tokens of a summary."""
        return min(_SUMMARY, self.limit // 8)

    @property
    def answer_tokens(self) -> int:
        """The most tokens of an answer, without reasoning."""
        return self.reserve - self.reasoning

    @property
    def limit(self) -> int:
        """Token limit of a prompt."""
        return self.tokens - self.reserve

    @property
    def threshold(self) -> int:
        """Tokens of a prompt above which the agent is alerted."""
        return min(int(self.tokens * self.pressure), int(self.limit * _IN_FORCE))

    def size(self, message: Message) -> int:
        """Tokens of one message."""
        return self._scaled(raw_size(message, self.count))

    def text_size(self, text: str) -> int:
        """Tokens of a text."""
        return self._scaled(self.count(text))

    def function_tokens(self, functions: Sequence[Function]) -> int:
        """Return an estimate of the tokens of the functions' schemas."""
        return self._scaled(raw_function_tokens(functions, self.count))

    def shaped(self, context: Context) -> Context:
        """Return the context, abbreviated if the window is too small for all of it.

        The stored messages stay whole.
        """
        whole = replace(context, brief=False)
        tokens = raw_size(prompt.compose(replace(whole, summary="", messages=()))[0], self.count)
        tokens += raw_function_tokens(functions_of(whole), self.count)
        # In coarse steps of the scale, since every change of form makes the endpoint read the whole prompt again.
        if tokens * max(1.0, math.floor(self.scale * 2) / 2) <= self.limit * _BRIEF:
            return whole
        return replace(whole, brief=True, messages=tuple(map(in_short, context.messages)))

    def fixed(self, context: Context, functions: Sequence[Function]) -> int:
        """Return the tokens of all but the messages: system message, summary, functions, note."""
        # Without messages, all of core memory is in the system message, and none of it in the note.
        bare = replace(context, messages=())
        head = [*prompt.compose(bare), note_message(bare)]
        return sum(map(self.size, head)) + self.function_tokens(functions)

    def total(self, context: Context, functions: Sequence[Function]) -> int:
        """Tokens of the whole prompt."""
        return self.fixed(context, functions) + sum(map(self.size, context.messages))

    def alerted(self, context: Context, functions: Sequence[Function]) -> bool:
        """Whether the window holds an alert of this cycle.

        A cycle ends with an eviction, which takes the prompt to at most nine tenths of the threshold. So an alert is of
        this cycle if the prompt up to it is larger than that; no separate flag is needed.
        """
        size = self.fixed(context, functions)
        for message in context.messages:
            size += self.size(message)
            if size > self.threshold * _IN_FORCE and is_pressure_alert(message):
                return True
        return False

    def under_pressure(self, context: Context, functions: Sequence[Function]) -> bool:
        """Whether the agent must be alerted now.

        Never in a window so small that an alert and its answer would take the remaining room.
        """
        if self.limit - self.threshold < _ROOM_TO_SAVE or self.total(context, functions) < self.threshold:
            return False
        return not self.alerted(context, functions)

    def overflows(self, context: Context, functions: Sequence[Function]) -> bool:
        """Whether the prompt leaves too little room for an answer."""
        return self.total(context, functions) > self.limit

    def plan_eviction(self, context: Context, functions: Sequence[Function]) -> int:
        """Return how many of the oldest messages to evict; 0 if none can go.

        At most ``keep`` of the messages' tokens remain, and the prompt with its new summary falls clearly
        below the alert's threshold, as far as the last three messages allow. A function's result never stays
        without its call.
        """
        sizes = [self.size(message) for message in context.messages]
        fixed = self.fixed(replace(context, summary=""), functions) + self.summary_tokens
        keep = min(self.keep, _BRIEF_KEEP) if context.brief else self.keep
        target = min(int(sum(sizes) * keep), int(self.threshold * _IN_FORCE) - fixed)
        remaining = sum(sizes)
        best = 0
        for index in range(len(sizes) - KEEP_LAST + 1):
            if context.messages[index].role is not Role.TOOL:
                best = index
                if index > 0 and remaining <= target:
                    break
            remaining -= sizes[index]
        return best

    def fit(self, context: Context, functions: Sequence[Function]) -> Context:
        """Return the context with its largest messages shortened as little as it takes to fit the window.

        The stored messages stay whole: only this prompt is shortened.

        Raises:
            WindowTooSmallError: It does not fit even then.
        """
        if not self.overflows(context, functions):
            return context
        room = self.limit - self.fixed(context, functions)
        sizes = [self.size(message) for message in context.messages]
        cap, step = _level(sizes, room), 1
        while cap >= _SMALLEST_ELIDED:
            messages = tuple(
                message if size <= cap else self._elide(message, cap)
                for message, size in zip(context.messages, sizes, strict=True)
            )
            excess = sum(map(self.size, messages)) - room
            if excess <= 0:
                return replace(context, messages=messages)
            if cap == _SMALLEST_ELIDED:
                break
            # The shares of a call are rounded, and some messages have little that can be left out. Each try looks at
            # every message, so that the steps grow.
            step = max(2 * step, excess // len(messages))
            cap = max(cap - step, _SMALLEST_ELIDED)
        raise WindowTooSmallError(
            f"the context window of {self.tokens} tokens has no room for messages: instructions, core memory and"
            f" functions take {self.limit - room}, and {self.reserve} are kept for the answer"
        )

    def shorten(self, text: str, tokens: int) -> str:
        """Return ``text`` with its middle left out, to at most ``tokens`` tokens if possible."""
        return _shorten(text, tokens, self.text_size)

    def _scaled(self, tokens: int) -> int:
        return tokens if self.scale == 1.0 else math.ceil(tokens * self.scale)

    def _elide(self, message: Message, cap: int) -> Message:
        overhead = self.size(message) - self.text_size(message.text)
        call = message.function_call
        if call is not None:
            overhead -= self.text_size(call.arguments)
            # In proportion; rounding errors are within the message's own overhead.
            whole = self.text_size(call.arguments) + self.text_size(message.text) or 1
            share = max(cap - overhead, 1)
            arguments = self._elide_json(call.arguments, share * self.text_size(call.arguments) // whole)
            message = replace(message, function_call=replace(call, arguments=arguments))
            return replace(message, text=self._elide_json(message.text, share * self.text_size(message.text) // whole))
        return replace(message, text=self._elide_json(message.text, max(cap - overhead, 1)))

    def _elide_json(self, text: str, tokens: int) -> str:
        """Shorten the longest string of a JSON object, which stays valid, or any other text as a whole."""
        if self.text_size(text) <= tokens:
            return text
        envelope = dict(envelopes.parse(text))
        strings = {key: value for key, value in envelope.items() if isinstance(value, str)}
        if not strings:
            return self.shorten(text, tokens)
        key = max(strings, key=lambda name: len(strings[name]))
        # Measured as JSON, since an escaped character takes more room.
        return envelopes.dumps(
            {
                **envelope,
                key: _shorten(
                    strings[key], tokens, lambda value: self.text_size(envelopes.dumps({**envelope, key: value}))
                ),
            }
        )


def raw_size(message: Message, count: CountTokens) -> int:
    """Return the tokens of a message by ``count``."""
    size = count(message.text) + _MESSAGE_OVERHEAD
    if message.function_call is not None:
        size += count(message.function_call.name) + count(message.function_call.arguments) + _CALL_OVERHEAD
    elif message.role is Role.TOOL:
        size += _RESULT_OVERHEAD
    return size


def raw_function_tokens(functions: Sequence[Function], count: CountTokens) -> int:
    """Return the tokens of functions by ``count``; 0 for none."""
    tokens = sum(_function_size(function, count) for function in functions)
    return tokens + _REMINDER if tokens else 0


@lru_cache(maxsize=1024)
def _function_size(function: Function, count: CountTokens) -> int:
    properties = parameters_schema(replace(function, schema=None), inner_thoughts=True)["properties"]
    tokens = 0 if function.schema is None else count(envelopes.dumps(function.schema))
    tokens += count(f"{function.name} {function.description}") + _FUNCTION_OVERHEAD
    for name, schema in cast(dict[str, dict[str, str]], properties).items():
        description = schema.get("description", "")
        tokens += count(f"{name} {description}") + (_PARAMETER_OVERHEAD if description else _NAME_OVERHEAD)
    return tokens


def in_short(message: Message) -> Message:
    """Return the message without its time, and without the text of a successful ``send_message`` result."""
    if message.role not in (Role.USER, Role.TOOL):
        return message
    envelope = {key: value for key, value in envelopes.parse(message.text).items() if key != "time"}
    if message.role is Role.TOOL and envelope.get("message") == SENT and envelope.get("status") == "OK":
        del envelope["message"]
    return replace(message, text=envelopes.dumps(envelope)) if envelope else message


def is_pressure_alert(message: Message) -> bool:
    """Whether the message is an alert of memory pressure."""
    # Not every text is parsed: windows of a million tokens hold thousands of them.
    return (
        message.role is Role.USER and "system_alert" in message.text and envelopes.kind(message.text) == "system_alert"
    )


def _level(sizes: Sequence[int], room: int) -> int:
    """Return the largest cap with ``sum(min(size, cap)) <= room``: large ones shrink first, small ones stay whole."""
    left = room
    for position, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - position)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def _shorten(text: str, tokens: int, measure: CountTokens) -> str:
    """Leave out the middle of ``text`` until ``measure`` gives at most ``tokens``, or nothing more can be left out."""
    size = measure(text)
    if size <= tokens:
        return text
    keep = len(text)
    shortened = _leave_out_middle(text, 0)
    least = measure(shortened)  # the frame of the text, and the mark
    while size > tokens > least and keep > 0:
        keep = max(min(int(keep * (tokens - least) / (size - least) * 0.95), keep - 1), 0)
        shortened = _leave_out_middle(text, keep)
        size = measure(shortened)
    return shortened


def _leave_out_middle(text: str, keep: int) -> str:
    head = text[: keep * 2 // 3]
    tail = text[len(text) - (keep - len(head)) :]
    return f"{head} […{len(text) - keep:,} characters left out…] {tail}"
