"""Reasoning that models write into their text, between marks such as ``<think>`` and ``</think>``.

It is left out, like the reasoning that endpoints send in a field of its own: it is long, it is not meant for readers,
and the answer has its own thought.
"""

from __future__ import annotations

import re

_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)
_LONGEST = max(len(begin) for begin, _ in _MARKS)
_BLOCK = re.compile("|".join(f"{re.escape(a)}.*?{re.escape(b)}" for a, b in _MARKS), re.DOTALL)
_ENDS = re.compile("|".join(re.escape(end) for _, end in _MARKS if end != "<|end|>"))


class ReasoningFilter:
    """Removes the reasoning at the beginning of an answer, piece by piece."""

    def __init__(self) -> None:
        self._held = ""
        self._end = ""
        self._answering = False

    def feed(self, piece: str) -> str:
        """Add a piece, and return the text that certainly is not reasoning."""
        if self._answering:
            return piece
        self._held += piece
        while True:
            if self._end:
                _, found, rest = self._held.partition(self._end)
                if not found:
                    self._held = self._held[-len(self._end) + 1 :]
                    return ""
                self._held, self._end = rest.lstrip(), ""
            begun = self._held.lstrip()
            mark = next((pair for pair in _MARKS if begun.startswith(pair[0])), None)
            if mark is not None:
                self._end, self._held = mark[1], begun[len(mark[0]) :]
                continue
            if len(begun) < _LONGEST and any(begin.startswith(begun) for begin, _ in _MARKS):
                return ""
            self._answering = True
            held, self._held = self._held, ""
            return held

    def end(self) -> str:
        """Return the text that was held back because it could have been reasoning."""
        return "" if self._end or self._answering else self._held


def without_reasoning(text: str) -> str:
    """Return a whole text without its reasoning; some chat templates already write the opening mark."""
    if text.lstrip().startswith("{"):
        return text
    text = _BLOCK.sub("", text)
    reader = ReasoningFilter()
    text = reader.feed(text) + reader.end()
    ends = [match.end() for match in _ENDS.finditer(text)]
    return text[ends[-1] :].lstrip() if ends else text


def spoken(message: str) -> str:
    """Return a message to the user without the reasoning at its beginning."""
    reader = ReasoningFilter()
    return reader.feed(message) + reader.end()
