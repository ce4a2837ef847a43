"""Structure as readable text: headings, lists, links and tables, much as Markdown has them.

Blocks are set apart by blank lines, where passages may be cut; items of a list and rows of a table are lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

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


def table_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a long table, each of which is understood on its own: `name: Ada | born: 1815`.

    The first row with more than one cell gives the labels, if it looks like it; what is above it is a title.
    """
    labels: list[str] | None = None
    for row in rows:
        cells = [one_line(cell) for cell in row]
        filled = sum(map(bool, cells))
        if not filled:
            continue
        if labels is None and filled > 1:
            labels = _labels(cells)
            if labels:
                yield " | ".join(filter(None, labels))
                continue
        yield _labelled(labels or [], cells)


def _labelled(labels: Sequence[str], cells: Sequence[str]) -> str:
    pieces = []
    for index, cell in enumerate(cells):
        label = labels[index] if index < len(labels) else ""
        if cell:
            pieces.append(f"{label}: {cell}" if label else cell)
    return " | ".join(pieces)


def _labels(cells: list[str]) -> list[str]:
    """The cells of a row, if they may be labels: almost all filled, all different, none of them a value."""
    last = max(index for index, cell in enumerate(cells) if cell) + 1
    cells = cells[:last]
    filled = [cell for cell in cells if cell]
    if len(filled) < len(cells) - 1 or len(set(filled)) < len(filled) or any(map(_is_value, filled)):
        return []
    return cells


def _is_value(text: str) -> bool:
    return len(text) > 80 or not any(char.isalpha() for char in text) or "@" in text or "://" in text
