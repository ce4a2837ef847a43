"""Splitting text into passages at the ends of sentences.

Sentences are found by rules, without a model: a full stop, question or exclamation mark and whatever closes after it,
followed by space; the marks of scripts without spaces, followed by anything; a blank line. An abbreviation, an initial,
a heading's number, or a stop before a small letter ends no sentence. Then sentences are taken in order as long as they
fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from memgpt_runtime.tokens import count_tokens, piece_weights

VERSION = 2
"""Part of the ids of loaded passages. Raise it when the same text would be split in another way."""

MAX_TOKENS = 300
"""Default size of a passage."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text.

    Attributes:
        text: The piece, which neither begins nor ends with white space.
        start: Offset of its first character.
        end: Offset after its last character: ``source[start:end] == text``.
    """

    text: str
    start: int
    end: int


_CLOSING = "\"'”’»)\\]}›」』）】》"
# Possessive, and tried only at the beginning of a run of stops: linear whatever the text.
_BOUNDARY = re.compile(
    rf"(?<![.!?…])(?P<stop>[.!?…]++)[{_CLOSING}]*+(?=\s|\Z)"  # an end that white space must follow
    rf"|[。！？｡]++[{_CLOSING}]*+"  # an end in a script without spaces
    r"|\n[^\S\n]*+(?=\n)",  # a blank line
)
_ABBREVIATIONS = frozenset(
    {"al", "a.k.a", "a.m", "approx", "ca", "cf", "dept", "dr", "ed", "eds", "e.g", "esp", "etc", "gov", "hon", "i.e"}
    | {"inc", "jr", "lt", "ltd", "mr", "mrs", "messrs", "p.m", "ph.d", "prof", "resp", "rev", "sen", "sgt", "sr", "st"}
    | {"u.k", "u.n", "u.s", "viz", "vs"}
)
# Those of them that may stand at the end of a sentence; a capital decides.
_MAY_END = frozenset({"al", "a.m", "etc", "inc", "jr", "ltd", "p.m", "ph.d", "sr", "u.k", "u.n", "u.s"})
# Abbreviations before a number, and words like any other elsewhere.
_BEFORE_NUMBER = frozenset(
    {"art", "ch", "col", "eq", "eqs", "ex", "fig", "figs", "no", "nos", "op", "p", "par", "pp", "pt", "ref", "refs"}
    | {"sec", "sect", "tab", "vol", "vols"}
    | {"jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"}
)
# "3." and "Figure 1." at the beginning of a line belong to what follows.
_LABEL = re.compile(r"(?:\A|\n)[^\S\n]*(?:[A-Z][a-z]+[^\S\n]+)?\d[\d.]*\Z")
_WORD_BEFORE = re.compile(r"[^\W_][\w.]*\Z")
_WORD = re.compile(r"\S+")
_LINE = re.compile(r"\S(?:[^\n]*\S)?")
_LOOK = 24
"""Characters looked at on either side of a stop: longer than any abbreviation."""


def chunk(text: str, max_tokens: int = MAX_TOKENS) -> Iterator[Chunk]:
    """Splits a text into pieces of whole sentences, each as long as the limit allows.

    A sentence is broken only if it is over the limit by itself: between lines, such as the rows of a table; a single
    such line between words, and a single such word between characters. Together the pieces hold everything but white
    space, in order, nothing twice. The same text always gives the same pieces.

    Args:
        text: Any text; blank text gives nothing.
        max_tokens: The limit by `memgpt_runtime.tokens.count_tokens`, at least 1.

    Yields:
        Pieces that are not empty.

    Raises:
        ValueError: A limit below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    begin = end = used = 0
    for start, stop, tokens in _units(text, max_tokens):
        if used and used + tokens > max_tokens:
            yield Chunk(text[begin:end], begin, end)
            used = 0
        if not used:
            begin = start
        end, used = stop, used + tokens
    if used:
        yield Chunk(text[begin:end], begin, end)


def _units(text: str, limit: int) -> Iterator[tuple[int, int, int]]:
    """What must not be broken: start, end and tokens of each. Tokens of neighbours add up, for no token spans two."""
    for start, stop in _sentences(text):
        tokens = count_tokens(text[start:stop])
        if tokens <= limit:
            yield start, stop, tokens
            continue
        for line in _LINE.finditer(text, start, stop):
            tokens = count_tokens(line[0])
            if tokens <= limit:
                yield line.start(), line.end(), tokens
            else:
                yield from _words(text, line.start(), line.end(), limit)


def _words(text: str, start: int, stop: int, limit: int) -> Iterator[tuple[int, int, int]]:
    for word in _WORD.finditer(text, start, stop):
        tokens = count_tokens(word[0])
        if tokens <= limit:
            yield word.start(), word.end(), tokens
        else:
            yield from _pieces(word[0], word.start(), limit)


def _pieces(word: str, offset: int, limit: int) -> Iterator[tuple[int, int, int]]:
    """The tokens of a word that is over the limit; one that is over the limit by itself, in equal steps."""
    begin = 0
    for end, tokens in piece_weights(word):
        if tokens <= limit:
            yield offset + begin, offset + end, tokens
        else:
            step = max(1, (end - begin) * limit // tokens)
            for at in range(begin, end, step):
                stop = min(end, at + step)
                yield offset + at, offset + stop, count_tokens(word[at:stop])
        begin = end


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of the sentences, white space around them left out."""
    begin = 0
    for match in _BOUNDARY.finditer(text):
        if match["stop"] is not None and not _ends_sentence(text, match):
            continue
        if span := _strip(text, begin, match.end()):
            yield span
        begin = match.end()
    if span := _strip(text, begin, len(text)):
        yield span


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether a run of stops ends a sentence; looks at the word before and at what follows."""
    stop = match["stop"]
    if "!" in stop or "?" in stop:
        return True
    following = text[match.end() : match.end() + _LOOK].lstrip()[:1]
    if following.islower():
        return False
    before = _WORD_BEFORE.search(text, max(0, match.start() - _LOOK), match.start())
    if stop != "." or before is None:
        return True
    word = before[0].lower()
    if len(word) == 1 and before[0].isupper():
        # An initial: "J. Doe". "Plan B. Then" looks the same; a sentence too long does less harm.
        return False
    if word[0].isdigit() and _LABEL.search(text, max(0, match.start() - _LOOK), match.start()):
        return False
    if word in _BEFORE_NUMBER:
        return not following.isdigit()
    return word not in _ABBREVIATIONS or (word in _MAY_END and following.isupper())


def _strip(text: str, start: int, stop: int) -> tuple[int, int] | None:
    piece = text[start:stop]
    stripped = piece.strip()
    if not stripped:
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(stripped)
