"""Repair of texts with halves of surrogate pairs: models and servers split characters beyond the basic plane."""

from __future__ import annotations


def whole(text: str) -> str:
    """Return the text with matching halves joined, and each single half replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class SurrogateJoiner:
    """A text in pieces: one may end with half a character, and the next begin with the other half."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """Return the piece; half a character at its end is held back for the next one."""
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] < "\udc00" else ""
        return whole(text.removesuffix(self._half))
