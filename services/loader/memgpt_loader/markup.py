"""Structure as readable text: headings, lists, links and tables, much as Markdown has them.

Blocks are set apart by blank lines, where passages may be cut; items of a list and rows of a table are lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPACES = re.compile(r"[^\S\n]+")
_LINE_EDGES = re.compile(r" ?\n ?")
_BLANK_LINES = re.compile(r"\n{3,}")
_ALL_SPACES = re.compile(r"\s+")
# Where a word may be broken: soft hyphens, spaces without width, joiners of words, stray byte order marks.
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))
_WORTH_KEEPING = ("http://", "https://", "mailto:")
_MOST_LEVELS = 6


class Blocks:
    """A text that grows block by block."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._last_is_line = False

    def paragraph(self, text: str) -> None:
        """Adds a paragraph; its lines stay lines."""
        self._add(tidy(text), line=False)

    def heading(self, level: int, text: str) -> None:
        """Adds a heading of a level from 1."""
        if words := one_line(text):
            self._add(f"{'#' * min(level, _MOST_LEVELS)} {words}", line=False)

    def item(self, depth: int, text: str, marker: str = "-") -> None:
        """Adds an item of a list, at a depth from 0, with a number or "-" before it."""
        if words := one_line(text):
            self._add(f"{'  ' * min(depth, 8)}{marker} {words}", line=True)

    def row(self, cells: Sequence[str]) -> None:
        """Adds a row of a table; one whose cells are all empty is left out."""
        words = [one_line(cell) for cell in cells]
        if any(words):
            self._add(" | ".join(words).strip(), line=True)

    def verbatim(self, text: str) -> None:
        """Adds text whose white space counts."""
        self._add(text.strip("\n").rstrip(), line=False)

    def gap(self) -> None:
        """Ends a list or a table: what follows is another one."""
        self._last_is_line = False

    def text(self) -> str:
        """All blocks."""
        return "".join(self._pieces)

    def _add(self, text: str, *, line: bool) -> None:
        if not text.strip():
            return
        if self._pieces:
            self._pieces.append("\n" if line and self._last_is_line else "\n\n")
        self._pieces.append(text)
        self._last_is_line = line


def link(words: str, target: str) -> str:
    """A link: its words, and its target where that means something outside the document."""
    target = target.strip()
    words = words.strip()
    if not target.lower().startswith(_WORTH_KEEPING):
        return words
    shown = target.removeprefix("mailto:")
    if not words or words in (target, shown):
        return shown
    return f"[{words}]({target})"


def tidy(text: str) -> str:
    """Runs of blanks become one, of blank lines as well."""
    text = _LINE_EDGES.sub("\n", _SPACES.sub(" ", text.translate(_INVISIBLE)))
    return _BLANK_LINES.sub("\n\n", text).strip()


def one_line(text: str) -> str:
    """All white space becomes single blanks."""
    return _ALL_SPACES.sub(" ", text.translate(_INVISIBLE)).strip()
