"""Detection of a model that repeats itself endlessly, while its answer streams."""

from __future__ import annotations

_BLANK = 256
"""Blank characters in a row: a constrained model that has nothing to say writes line breaks."""

_WINDOW = 3072
"""Characters that consist of one repeated piece."""

_PIECE = 256
"""The longest repeated piece to look for, in characters."""

_SAMPLE = 32
_EVERY = 512


class RepetitionDetector:
    """Looks at an answer's end every few hundred characters."""

    def __init__(self) -> None:
        self._end = ""
        self._unseen = 0
        self._blank = 0

    def feed(self, piece: str) -> bool:
        """Add a piece, and return whether the answer repeats itself endlessly."""
        kept = piece.rstrip()
        self._blank = len(piece) - len(kept) + (0 if kept else self._blank)
        if self._blank >= _BLANK:
            return True
        self._end = (self._end + piece)[-_WINDOW:]
        self._unseen += len(piece)
        if self._unseen < _EVERY or len(self._end) < _WINDOW:
            return False
        self._unseen = 0
        return _repeats(self._end)


def _repeats(text: str) -> bool:
    """Whether the text is one repeated piece."""
    before = text.rfind(text[-_SAMPLE:], 0, len(text) - 1)
    period = len(text) - _SAMPLE - before
    return before >= 0 and period <= _PIECE and text[period:] == text[:-period]
