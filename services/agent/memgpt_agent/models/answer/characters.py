"""Texts that can be written as UTF-8: models and their servers cut characters beyond the basic plane in half."""

from __future__ import annotations


def whole(text: str) -> str:
    """The text with halves that belong together joined, and each that stands alone replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Pieces:
    """A text in pieces, of which one may end with half a character and the next begin with the other."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """The piece; a half at its end is held back for the next one."""
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] < "\udc00" else ""
        return whole(text.removesuffix(self._half))
