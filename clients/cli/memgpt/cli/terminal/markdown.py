"""Markdown for the terminal, while it comes in pieces.

Headings, lists, bold text and code are shown as such; everything else stays as it is written. Libraries parse a whole
text, and would show an answer only when it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from memgpt.cli.terminal.wrapping import Wrapper
from rich.text import Text

_BULLET = re.compile(r"([ \t]*)([-*+]|\d{1,3}[.)])[ \t]+")
_HEADING = re.compile(r"(#{1,6})[ \t]+")
_LINE_START = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)]?|#{1,6}|`{1,2})?[ \t]*")
_FENCE = "```"
_MARK = re.compile(r"(\*\*|`)")

# Stand for the marks in text that is being wrapped: they take no room. Text for people never holds these controls.
BOLD_MARK, CODE_MARK = "\x01", "\x02"
_PLACED = re.compile("([\x01\x02])")

_BOLD, _CODE, _HEADING_STYLE = "bold", "cyan", "bold underline"


class MarkdownStream:
    """Turns pieces of Markdown into styled text that breaks between words."""

    def __init__(self, width: int, style: str = "", *, column: int = 0, indent: int = 0) -> None:
        """Begin an answer.

        Args:
            width: Cells of a line; 0 for no limit.
            style: Style of all of it.
            column: Cells that are taken in the first line.
            indent: Cells that the other lines begin with.
        """
        self._width = width
        self._style = style
        self._indent = indent
        self._wrapper = Wrapper(width, column=column, indent=indent)
        self._pending = ""
        self._at_start = True
        self._first = True
        self._fenced = False
        self._coding = self._bold = self._code = self._heading = False

    def feed(self, text: str) -> Text:
        """Return what can be shown now."""
        self._pending += text
        return _joined(self._parts(last=False))

    def end(self, text: str = "") -> Text:
        """Return the rest, with a last piece."""
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
            if not feed and not last and (whole := line.rstrip("*`")) != line:  # half of a mark, maybe
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
        """Whether more text may still make a heading, a list or a fence of the line."""
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
            self._wrapper = Wrapper(self._width, column=column + 2, indent=column + 2)
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
        self._wrapper = Wrapper(self._width, column=column, indent=column)

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
        """The text with its marks turned into styles: only here it is known what stands in which line."""
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
    """The parts as one text; neighbors of one style are one span."""
    grouped = groupby(parts, key=lambda part: part[1])
    return Text.assemble(*(("".join(text for text, _ in group), style) for style, group in grouped))
