"""Reasoning that models write into their text, between marks such as ``<think>`` and ``</think>``.

It is left out, like the reasoning that endpoints send in a field of its own: it is long, it is not meant for readers,
and the answer has its own thought.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from memgpt_agent.models.answer.lenient_json import decode

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
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<mm:think>", "</mm:think>"),
    ("<think:opensource>", "</think:opensource>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|thought_start|>", "<|thought_end|>"),
    ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    ("Here is my thought process:", "Here is my response:"),
)
_IN_MESSAGES = tuple(pair for pair in _MARKS if not pair[0][0].isalpha())
"""Those that an argument of a function may have: a message to the user may begin with any words."""

_FRAMES = (
    ("<|start|>assistant", ""),
    ("<|channel|>final<|message|>", "<|return|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
)
"""Marks around the answer itself, of models that mark both."""

_FRAMES_AFTER_REASONING = (("<answer>", "</answer>"), ("<response>", "</response>"))
"""Marks that mean something else in an answer without reasoning."""

_BLOCK_TEXTS = ("text", "thinking", "summary")
_LONGEST = max(len(begin) for begin, _ in (*_MARKS, *_FRAMES))
_BLOCK = re.compile("|".join(f"{re.escape(a)}.*?{re.escape(b)}" for a, b in _MARKS), re.DOTALL)
_ENDS = re.compile("|".join(re.escape(end) for _, end in _MARKS if end != "<|end|>" and not end[0].isalpha()))
"""Ends of reasoning whose beginning is missing; words alone may be part of an answer."""
_ANY_MARK = re.compile("|".join(re.escape(mark) for pair in _MARKS for mark in pair))
_MENTIONED = re.compile(
    rf"(?P<quote>[`\"'])(?:{_ANY_MARK.pattern})(?P=quote)"
    r"|<(?P<tag>param(?:eter)?|arg_value)\b[^<>]{0,80}>(?:(?!<(?:param|arg_value)).)*?</(?P=tag)>"
    r"|(?P<json>\{)(?=\s*[\"'])",
    re.DOTALL,
)
"""A mark in quotes, or what may contain one: an argument of a call in a tag of its own, or the beginning of JSON."""

_MAX_MENTIONS = 200
_MAX_TRIED = 2_000_000
"""Total of characters read for JSON, after which what follows counts as text."""

_PLACEHOLDER = re.compile("\0([0-9]{1,3})\0")


class ReasoningFilter:
    """Removes the reasoning at the beginning of an answer, and the marks around the rest, piece by piece.

    Attributes:
        removed: The pieces of the reasoning.
    """

    def __init__(self, *, reasoned: bool = False, in_message: bool = False) -> None:
        """Begin an answer.

        Args:
            reasoned: Whether reasoning was removed from it before.
            in_message: Whether it is the argument of a function, rather than the whole answer.
        """
        self._marks = _IN_MESSAGES if in_message else _MARKS
        self._held = ""
        self._end = ""
        self._closings: list[str] = []
        self._reasoned = reasoned
        self._answering = False
        self.removed: list[str] = []

    def feed(self, piece: str) -> str:
        """Add a piece, and return the text that certainly is not reasoning."""
        self._held += piece
        if self._answering:
            return self._answer()
        while True:
            if self._end:
                thought, found, rest = self._held.partition(self._end)
                if not found:
                    sure = max(len(self._held) - len(self._end) + 1, 0)
                    self.removed.append(self._held[:sure])
                    self._held = self._held[sure:]
                    return ""
                self.removed.append(thought)
                self._held, self._end, self._reasoned = rest.lstrip(), "", True
            begun = self._held.lstrip()
            mark = next((pair for pair in self._marks if begun.startswith(pair[0])), None)
            if mark is not None:
                self._end, self._held = mark[1], begun[len(mark[0]) :]
                continue
            frames = (*_FRAMES, *(_FRAMES_AFTER_REASONING if self._reasoned else ()))
            frame = next((pair for pair in frames if begun.startswith(pair[0])), None)
            if frame is not None:
                self._held = begun[len(frame[0]) :].lstrip()
                self._closings += filter(None, frame[1:])
                continue
            if len(begun) < _LONGEST and any(begin.startswith(begun) for begin, _ in (*self._marks, *frames)):
                return ""
            self._answering = True
            return self._answer()

    def end(self) -> str:
        """Return the text that was held back because it could have been a mark."""
        held, self._held = self._held, ""
        if self._end:
            self.removed.append(held)
            return ""
        return held

    def _answer(self) -> str:
        """Return the text of the answer that certainly is not its closing mark."""
        held, self._held = self._held, ""
        while self._closings:
            closing = self._closings[-1]
            text, found, rest = held.partition(closing)
            if not found:
                begun = next((n for n in range(len(closing), 0, -1) if held.endswith(closing[:n])), 0)
                self._held = held[len(held) - begun :]
                return held[: len(held) - begun]
            self._closings.pop()
            held = text + rest
        return held


def without_reasoning(text: str) -> str:
    """Return a whole text without its reasoning; some chat templates already write the opening mark.

    Marks that the text speaks of stay.
    """
    original = text
    if text.lstrip().startswith("{"):
        return text
    mentions = list(_mentions(text))
    for number, (start, end) in reversed(list(enumerate(mentions))):
        text = f"{text[:start]}\0{number}\0{text[end:]}"
    told = [original[start:end] for start, end in mentions]
    outside = _BLOCK.sub("", text)
    reader = ReasoningFilter(reasoned=outside != text)
    text = reader.feed(outside) + reader.end()
    ends = [match.end() for match in _ENDS.finditer(text)]
    text = text[ends[-1] :].lstrip() if ends else text
    return _PLACEHOLDER.sub(lambda match: told[int(match[1])] if int(match[1]) < len(told) else match[0], text)


def _mentions(text: str) -> Iterator[tuple[int, int]]:
    """Yield where a text speaks of marks: in quotes, and in the arguments of calls that were written as text."""
    if not _ANY_MARK.search(text):
        return
    place, found, budget = 0, 0, _MAX_TRIED
    while found < _MAX_MENTIONS and budget > 0 and (match := _MENTIONED.search(text, place)) is not None:
        start, place = match.span()
        if match["json"]:
            try:
                _, place = decode(text, start)
            except ValueError:
                budget -= len(text) - start
                continue
        found += 1
        if _ANY_MARK.search(text, start, place):
            yield start, place


def spoken(message: str) -> str:
    """Return a message to the user without the reasoning at its beginning."""
    reader = ReasoningFilter(in_message=True)
    return reader.feed(message) + reader.end()


def join_blocks(blocks: list[dict[str, object]], pieces: list[object]) -> None:
    """Add the blocks of reasoning in a chunk; the first one may continue the last block of the chunk before."""
    for place, piece in enumerate(pieces):
        if not isinstance(piece, dict):
            continue
        last = blocks[-1] if blocks and not place else None
        if last is None or last.get("signature") or _block(last) != _block(piece) or "data" in piece:
            blocks.append(dict(piece))
            continue
        for key, value in piece.items():
            before = last.get(key)
            joined = key in _BLOCK_TEXTS and isinstance(before, str) and isinstance(value, str)
            last[key] = f"{before}{value}" if joined else value or before


def _block(piece: dict[str, object]) -> tuple[object, object]:
    return piece.get("type"), piece.get("index")
