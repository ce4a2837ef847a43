"""Markdown for the terminal, rendered while it is streamed.

Headings, lists, bold text and code are styled; everything else is shown as written. Libraries parse whole texts, and
would show an answer only when it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from memgpt.cli.terminal.wrapping import WordWrapper
from rich.text import Text

_BULLET = re.compile(r"([ \t]*)([-*+]|\d{1,3}[.)])[ \t]+")
_HEADING = re.compile(r"(#{1,6})[ \t]+")
_LINE_START = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)]?|#{1,6}|`{1,2})?[ \t]*")
_FENCE = "```"
_MARK = re.compile(r"(\*\*|`)")

# Zero-width placeholders for Markdown marks while text is wrapped; printable text never contains these controls.
BOLD_MARK, CODE_MARK = "\x01", "\x02"
_PLACED = re.compile("([\x01\x02])")

_BOLD, _CODE, _HEADING_STYLE = "bold", "cyan", "bold underline"


class MarkdownStream:
    """Converts pieces of Markdown to styled text that is wrapped between words."""

    def __init__(self, width: int, style: str = "", *, column: int = 0, indent: int = 0) -> None:
        """Start an answer.

        Args:
            width: Maximum cells of a line; 0 for no limit.
            style: Style of the whole text.
            column: Cells already used in the first line.
            indent: Cells of indentation of the other lines.
        """
        self._width = width
        self._style = style
        self._indent = indent
        self._wrapper = WordWrapper(width, column=column, indent=indent)
        self._pending = ""
        self._at_start = True
        self._first = True
        self._fenced = False
        self._coding = self._bold = self._code = self._heading = False

    def feed(self, text: str) -> Text:
        """Add a piece, and return the text that can be shown now."""
        self._pending += text
        return _joined(self._parts(last=False))

    def end(self, text: str = "") -> Text:
        """Add the last piece, and return the remaining text."""
        self._pending += text
        return _joined([*self._parts(last=True), *self._rest()])

    def _rest(self) -> Iterator[tuple[str, str]]:
        yield from self._styled(self._wrapper.end())

    def _parts(self, *, last: bool) -> Iterator[tuple[str, str]]:
        while self._pending:
            if self._at_start:
                if not last and self._undecided():
                    return
                yield from self._begin_line()
                continue
            line, feed, rest = self._pending.partition("\n")
            if not feed and not last and (whole := line.rstrip("*`")) != line:  # may be half of a mark
                yield from self._inline(whole)
                self._pending = line[len(whole) :]
                return
            yield from self._inline(line)
            self._pending = rest
            if not feed:
                return
            yield from self._styled(self._wrapper.end() + "\n")
            self._heading = self._bold = self._code = self._coding = False
            self._at_start = True

    def _undecided(self) -> bool:
        """Whether the line may still become a heading, a list item or a fence."""
        line, feed, _ = self._pending.partition("\n")
        return not feed and (_LINE_START.fullmatch(line) is not None or line.lstrip().startswith(_FENCE))

    def _begin_line(self) -> Iterator[tuple[str, str]]:
        self._at_start = False
        line, _, rest = self._pending.partition("\n")
        margin = "" if self._first or not line.strip() else " " * self._indent
        column = self._indent
        self._first = False
        if line.lstrip().startswith(_FENCE):
            self._fenced = not self._fenced
            self._pending, self._at_start = rest, True
            return
        if self._fenced:
            self._wrapper = WordWrapper(self._width, column=column + 2, indent=column + 2)
            yield margin + "  ", self._current()
            return
        shown = ""
        if heading := _HEADING.match(line):
            self._heading = True
            self._pending = self._pending[heading.end() :]
        elif bullet := _BULLET.match(line):
            mark = bullet[2] if bullet[2][0].isdigit() else "•"
            shown = f"{bullet[1]}{mark} "
            self._pending = self._pending[bullet.end() :]
        yield margin + shown, self._current()
        column += len(shown)
        self._wrapper = WordWrapper(self._width, column=column, indent=column)

    def _inline(self, text: str) -> Iterator[tuple[str, str]]:
        if self._fenced:
            yield self._wrapper.feed(text), self._current()
            return
        marked = ""
        for part in _MARK.split(text):
            if part == "`":
                self._coding = not self._coding
                marked += CODE_MARK
            elif part == "**" and not self._coding:
                marked += BOLD_MARK
            else:
                marked += part
        yield from self._styled(self._wrapper.feed(marked))

    def _styled(self, text: str) -> Iterator[tuple[str, str]]:
        """Convert marks to styles, which is only possible once lines are known."""
        for part in _PLACED.split(text):
            if part == BOLD_MARK:
                self._bold = not self._bold
            elif part == CODE_MARK:
                self._code = not self._code
            elif part:
                yield part, self._current()

    def _current(self) -> str:
        styles = [self._style]
        if self._heading:
            styles.append(_HEADING_STYLE)
        if self._bold:
            styles.append(_BOLD)
        if self._code or self._fenced:
            styles.append(_CODE)
        return " ".join(style for style in styles if style)


def _joined(parts: Iterable[tuple[str, str]]) -> Text:
    """Join the parts into one text, merging neighbors with the same style."""
    grouped = groupby(parts, key=lambda part: part[1])
    return Text.assemble(*(("".join(text for text, _ in group), style) for style, group in grouped))
