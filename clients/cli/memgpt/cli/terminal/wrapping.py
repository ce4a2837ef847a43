"""Word wrapping of text, also while it is streamed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, split_graphemes

_WIDE = r"\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_COMBINING = r"\u0300-\u036f\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"

# A word, a run of blanks, a line feed, or one character of a script without blanks.
_TOKENS = re.compile(rf"\n|[^\S\n]+|[{_WIDE}][{_COMBINING}]*|[^\s{_WIDE}]+")
_WIDE_CHARACTER = re.compile(rf"[{_WIDE}][{_COMBINING}]*")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")

# No line starts with these, because they close the text before them.
_CLOSING = frozenset("，。！？；：、）」』】》〉”’…％,.!?;:)]}")


_MARKS = str.maketrans("", "", "\x01\x02")
"""Zero-width placeholders; see `memgpt.cli.terminal.markdown`."""


def _size(text: str) -> int:
    return cell_len(text.translate(_MARKS))


def is_wide(text: str) -> bool:
    """Whether a piece of text is a character after which a line may break without a blank."""
    return _WIDE_CHARACTER.fullmatch(text) is not None


def _graphemes(word: str) -> Iterator[str]:
    """Yield the characters of a word as people see them: an emoji or a letter with its marks is one."""
    spans, _ = split_graphemes(word)
    flag = ""
    for start, end, _ in spans:
        grapheme = flag + word[start:end]
        # Two letters of a flag are one character.
        flag = grapheme if not flag and _FLAG.fullmatch(grapheme) else ""
        if not flag:
            yield grapheme
    if flag:
        yield flag


class WordWrapper:
    """Wraps text to a width; text may arrive in pieces of any size.

    A word is held back until it is complete. Only a word that is longer than a line is broken.
    """

    def __init__(self, width: int, *, column: int = 0, indent: int = 0) -> None:
        """Start a paragraph.

        Args:
            width: Maximum cells of a line; 0 for no limit.
            column: Cells already used in the first line.
            indent: Cells of indentation of the other lines.
        """
        self._width = width
        self._column = column
        self.indent = min(indent, width // 3) if width else indent
        self._held = ""
        self._blank = ""
        self._start = column

    def feed(self, text: str) -> str:
        """Add a piece, and return the wrapped text up to the last complete word."""
        tokens = _TOKENS.findall(self._held + text)
        self._held = ""
        if tokens and not tokens[-1].isspace():
            self._held = tokens.pop()
            # A closing mark may follow, which belongs to the same line.
            if tokens and is_wide(tokens[-1]) and self._held[0] in _CLOSING:
                self._held = tokens.pop() + self._held
        return "".join(self._placed(tokens))

    def end(self) -> str:
        """Return the text that was held back."""
        tokens, self._held = _TOKENS.findall(self._held), ""
        return "".join(self._placed(tokens))

    def _placed(self, tokens: list[str]) -> Iterator[str]:
        for place, piece in enumerate(tokens):
            if piece == "\n":
                self._column, self._blank = 0, ""
                self._start = 0
                yield "\n"
            elif piece.isspace():
                self._blank += piece.expandtabs(4)
            else:
                following = tokens[place + 1] if place + 1 < len(tokens) else ""
                yield from self._word(piece, _size(following) if following[:1] in _CLOSING else 0)

    def _word(self, word: str, closing: int) -> Iterator[str]:
        size = _size(word)
        if (
            self._width
            and self._column > self._start
            and self._column + len(self._blank) + size + closing > self._width
        ):
            yield "\n" + " " * self.indent
            self._column = self._start = self.indent
            self._blank = ""
        yield self._blank
        self._column += len(self._blank)
        self._blank = ""
        yield from self._fitting(word) if self._width else (word,)

    def _fitting(self, word: str) -> Iterator[str]:
        """Yield the word, broken only if it is longer than a line."""
        line = ""
        for grapheme in _graphemes(word):
            size = _size(grapheme)
            if self._column + size > self._width:
                yield line + "\n" + " " * self.indent
                line, self._column = "", self.indent
            line += grapheme
            self._column += size
        yield line


def wrap(text: str, width: int, *, column: int = 0, indent: int = 0) -> str:
    """Return a whole text with line feeds between words; see `WordWrapper`."""
    wrapper = WordWrapper(width, column=column, indent=indent)
    return wrapper.feed(text) + wrapper.end()
