"""Reasoning that models write before their answer, between ``<think>`` and ``</think>``.

It is left out, like the reasoning that endpoints send in a field of its own: it is long, it is meant for nobody, and
the thought that belongs to the answer stands in the answer.
"""

from __future__ import annotations

_BEGIN, _END = "<think>", "</think>"


class WithoutReasoning:
    """Passes an answer on, piece by piece, without the reasoning at its beginning."""

    def __init__(self) -> None:
        self._held = ""
        self._state = self._beginning

    def feed(self, piece: str) -> str:
        """What of the answer is sure to be no reasoning, now that ``piece`` has come."""
        return self._state(piece)

    def end(self) -> str:
        """What was held back, since it could have become reasoning and did not."""
        return self._held if self._state == self._beginning else ""

    def _beginning(self, piece: str) -> str:
        self._held += piece
        begun = self._held.lstrip()
        if begun.startswith(_BEGIN):
            self._state = self._reasoning
            rest, self._held = begun[len(_BEGIN) :], ""
            return self._reasoning(rest)
        if _BEGIN.startswith(begun):
            return ""
        self._state = self._answer
        held, self._held = self._held, ""
        return held

    def _reasoning(self, piece: str) -> str:
        text = self._held + piece
        _, end, rest = text.partition(_END)
        if not end:
            self._held = text[-len(_END) + 1 :]
            return ""
        self._state = self._answer
        self._held = ""
        return rest.lstrip()

    def _answer(self, piece: str) -> str:
        return piece


def without_reasoning(text: str) -> str:
    """A whole answer without what stands before ``</think>``: some templates write the beginning themselves."""
    begins_with_answer = text.lstrip().startswith("{")
    return text if begins_with_answer or _END not in text else text.partition(_END)[2].lstrip()
