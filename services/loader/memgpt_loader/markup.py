"""Document structure as readable text: headings, lists, links and tables in a Markdown-like form.

Blocks are separated by blank lines, where passages may be cut; list items and table rows are lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

_SPACES = re.compile(r"[^\S\n]+")
_LINE_EDGES = re.compile(r" ?\n ?")
_BLANK_LINES = re.compile(r"\n{3,}")
_ALL_SPACES = re.compile(r"\s+")
# Invisible characters: soft hyphens, zero-width spaces, word joiners, stray byte order marks.
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))
_EXPONENT = re.compile(r"[+\u2212\u2013-]?(?:\d+(?:[.,/]\d+)?|[ijkmnxyt])(?:[+\u2212\u2013-]\d+)?[+\u2212\u2013-]?")
"""Superscripts that change what stands before them: not the letters of ordinals such as 1st, nor trademarks."""
_CLOSING = (")", "]", "}")
_WORTH_KEEPING = ("http://", "https://", "mailto:")
_MOST_LEVELS = 6


class Blocks:
    """Builds a text block by block."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._last_is_line = False

    def paragraph(self, text: str) -> None:
        """Add a paragraph; line breaks are kept."""
        self._add(tidy(text), line=False)

    def heading(self, level: int, text: str) -> None:
        """Add a heading; levels start at 1."""
        if words := one_line(text):
            self._add(f"{'#' * min(level, _MOST_LEVELS)} {words}", line=False)

    def item(self, depth: int, text: str, marker: str = "-") -> None:
        """Add a list item with a marker (a number or "-"); depths start at 0."""
        if words := one_line(text):
            self._add(f"{'  ' * min(depth, 8)}{marker} {words}", line=True)

    def row(self, cells: Sequence[str]) -> None:
        """Add a table row, unless all its cells are empty."""
        words = [one_line(cell) for cell in cells]
        if any(words):
            self._add(" | ".join(words).strip(), line=True)

    def verbatim(self, text: str) -> None:
        """Add preformatted text."""
        self._add(text.strip("\n").rstrip(), line=False)

    def gap(self) -> None:
        """End the current list or table, so that the next item or row starts a new one."""
        self._last_is_line = False

    def text(self) -> str:
        """Return all blocks as one text."""
        return "".join(self._pieces)

    def _add(self, text: str, *, line: bool) -> None:
        if not text.strip():
            return
        if self._pieces:
            self._pieces.append("\n" if line and self._last_is_line else "\n\n")
        self._pieces.append(text)
        self._last_is_line = line


def raised(words: str, before: str) -> str:
    """Return a superscript, marked if it is an exponent, so that 10⁶ is not read as 106.

    Args:
        words: The superscript.
        before: The text that it follows.
    """
    stripped = words.strip()
    base = before[-1:]
    return f"^{stripped}" if _EXPONENT.fullmatch(stripped) and (base.isalnum() or base in _CLOSING) else words


class Struck(str):
    """A piece of text that is struck through."""

    __slots__ = ()


def joined(pieces: Iterable[str]) -> str:
    """Join pieces of text; mark those struck through as in Markdown, apart from what replaces them: ~~old~~new."""
    found = []
    for struck, group in groupby(filter(None, pieces), lambda piece: isinstance(piece, Struck)):
        words = "".join(group)
        core = words.strip()
        if struck and core:
            words = words.replace(core, f"~~{core}~~", 1)
        found.append(words)
    return "".join(found)


def link(words: str, target: str) -> str:
    """Return a link: its text, and its target if that is meaningful outside of the document."""
    target = target.strip()
    words = words.strip()
    if not target.lower().startswith(_WORTH_KEEPING):
        return words
    shown = target.removeprefix("mailto:")
    if not words or words in (target, shown):
        return shown
    return f"[{words}]({target})"


def tidy(text: str) -> str:
    """Collapse runs of blanks and runs of blank lines."""
    text = _LINE_EDGES.sub("\n", _SPACES.sub(" ", text.translate(_INVISIBLE)))
    return _BLANK_LINES.sub("\n\n", text).strip()


def one_line(text: str) -> str:
    """Collapse all white space to single blanks."""
    return _ALL_SPACES.sub(" ", text.translate(_INVISIBLE)).strip()
