"""Splitting text into passages: at headings, between paragraphs, at the ends of sentences.

Sentences are found by rules, without a model. A sentence ends at a period, question or exclamation mark (with closing
quotes or brackets) before white space, at the marks of scripts without spaces, or at a blank line. It does not end at
an abbreviation, an initial, a heading's number, or a period before a lower-case letter. Sentences are added in order as
long as they fit; a full passage ends at the strongest boundary in its second half.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from memgpt_runtime import graphemes
from memgpt_runtime.tokens import count_tokens, piece_weights

VERSION = 4
"""Part of the ids of loaded passages. Increase it when the same text is split in another way."""

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
# Possessive, and tried only at the beginning of a run of stops, so that it is linear for any text.
_BOUNDARY = re.compile(
    rf"(?<![.!?…])(?P<stop>[.!?…]++)[{_CLOSING}]*+(?=\s|\Z)"  # an end that white space must follow
    rf"|[。！？｡]++[{_CLOSING}]*+"  # an end in a script without spaces
    r"|\n[^\S\n]*+(?=\n)"  # a blank line
    r"|(?:\A|\n)(?P<heading>\#{1,6}[^\S\n][^\n]*+)",  # a heading: the end of what is before it, and of itself
)
_ABBREVIATIONS = frozenset(
    {"al", "a.k.a", "a.m", "approx", "ca", "cf", "dept", "dr", "ed", "eds", "e.g", "esp", "etc", "gov", "hon", "i.e"}
    | {"inc", "jr", "lt", "ltd", "mr", "mrs", "messrs", "p.m", "ph.d", "prof", "resp", "rev", "sen", "sgt", "sr", "st"}
    | {"u.k", "u.n", "u.s", "viz", "vs"}
)
# Those that may also end a sentence, if a capital letter follows.
_MAY_END = frozenset({"al", "a.m", "etc", "inc", "jr", "ltd", "p.m", "ph.d", "sr", "u.k", "u.n", "u.s"})
# Abbreviations before a number; elsewhere, ordinary words.
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


class _Boundary(IntEnum):
    """Boundaries at which a passage may end; a higher one is better."""

    WITHIN = 0
    """Within a sentence that is over the limit, or between a heading and its text."""
    SENTENCE = 1
    PARAGRAPH = 2
    HEADING = 3
    """Before a heading."""


class _Unit(NamedTuple):
    """A unit that must not be split. Tokens of adjacent units add up, since only parts of a word may share a token.

    Attributes:
        start: Offset of its first character.
        stop: Offset after its last character.
        tokens: Its tokens; for a part of a word, at least as many as it adds to a piece.
        before: The boundary before it.
        is_part: Whether it is a part of a word.
    """

    start: int
    stop: int
    tokens: int
    before: _Boundary
    is_part: bool = False


def chunk(text: str, max_tokens: int = MAX_TOKENS, overlap: int = 0) -> Iterator[Chunk]:
    """Split a text into pieces of whole sentences.

    Each piece is as long as the limit allows, or ends earlier, after its middle, with a section or a paragraph.
    A sentence is split only if it alone is over the limit: between lines, such as the rows of a table; a line that is
    too long between words; and a word that is too long between what readers see as characters. Together the pieces
    contain everything except white space, in order; without an overlap, nothing twice. The same text always gives the
    same pieces.

    Args:
        text: Any text; blank text gives nothing.
        max_tokens: The limit, as counted by `memgpt_runtime.tokens.count_tokens`; at least 1.
        overlap: The most tokens that a piece repeats from the one before it, from 0 to half of the limit: whole
            sentences if they fit, else words. Nothing is repeated before a heading.

    Yields:
        Pieces that are not empty.

    Raises:
        ValueError: The limit is below 1, or the overlap is out of its range.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
    if not 0 <= overlap <= max_tokens // 2:
        raise ValueError(f"overlap must be from 0 to half of max_tokens, not {overlap}")
    pending: list[_Unit] = []
    repeated = used = 0  # units in `pending` that repeat the previous piece; tokens of all units
    for unit in _units(text, max_tokens):
        while used + unit.tokens > max_tokens and len(pending) > repeated:
            if _tokens(text, [*pending, unit]) <= max_tokens:  # parts of words add up to too much
                break
            cut = _cut(text, pending, unit, repeated, max_tokens)
            yield _joined(text, pending[:cut])
            following = [*pending[cut:], unit]
            tail = [] if following[0].before is _Boundary.HEADING else _tail(text, pending[:cut], overlap)
            pending, repeated = [*tail, *pending[cut:]], len(tail)
            used = sum(each.tokens for each in pending)
        while repeated and used + unit.tokens > max_tokens:  # less overlap is better than a split sentence
            used -= pending.pop(0).tokens
            repeated -= 1
        pending.append(unit)
        used += unit.tokens
    if len(pending) > repeated:
        yield _joined(text, pending)


def _joined(text: str, units: Sequence[_Unit]) -> Chunk:
    start, stop = units[0].start, units[-1].stop
    return Chunk(text[start:stop], start, stop)


def _tokens(text: str, units: Sequence[_Unit]) -> int:
    """Return the tokens of consecutive units."""
    if any(unit.is_part for unit in units):
        return count_tokens(text[units[0].start : units[-1].stop])
    return sum(unit.tokens for unit in units)


def _cut(text: str, pending: Sequence[_Unit], following: _Unit, repeated: int, limit: int) -> int:
    """Return how many units make the next piece, up to the last of the strongest boundaries past half of the limit."""
    best, strongest, used = len(pending), following.before, sum(each.tokens for each in pending)
    for index in range(len(pending) - 1, repeated, -1):
        used -= pending[index].tokens
        if 2 * used < limit:
            break
        if pending[index].before > strongest:
            if 2 * _tokens(text, pending[:index]) < limit:
                break
            best, strongest = index, pending[index].before
    return best


def _tail(text: str, units: Sequence[_Unit], overlap: int) -> list[_Unit]:
    """Return the last units, or the last words of the last one, that fit into the overlap; never the whole piece."""
    found: list[_Unit] = []
    left = overlap
    for unit in reversed(units[1:]):
        if unit.tokens > left:
            break
        found.append(unit)
        left -= unit.tokens
    if not found and overlap:
        last = units[-1]
        for start, stop, tokens in reversed([*_words(text, last.start, last.stop, overlap, whole=True)]):
            # What follows in the word may make the repeated part count more than it does here.
            share = _share(last.tokens, stop - start, last.stop - last.start) if last.is_part else 0
            tokens = max(tokens, share)
            if tokens > left or start == units[0].start:
                break
            found.append(_Unit(start, stop, tokens, _Boundary.WITHIN, last.is_part))
            left -= tokens
    return found[::-1]


def _units(text: str, limit: int) -> Iterator[_Unit]:
    for start, stop, before in _sentences(text):
        for first, last, tokens in _within(text, start, stop, limit):
            is_part = (first > start and not text[first - 1].isspace()) or (last < stop and not text[last].isspace())
            yield _Unit(first, last, tokens, before, is_part)
            before = _Boundary.WITHIN


def _within(text: str, start: int, stop: int, limit: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and tokens of the pieces of a sentence, which is one piece if it fits."""
    tokens = count_tokens(text[start:stop])
    if tokens <= limit:
        yield start, stop, tokens
        return
    for line in _LINE.finditer(text, start, stop):
        tokens = count_tokens(line[0])
        if tokens <= limit:
            yield line.start(), line.end(), tokens
        else:
            yield from _words(text, line.start(), line.end(), limit)


def _words(text: str, start: int, stop: int, limit: int, *, whole: bool = False) -> Iterator[tuple[int, int, int]]:
    """Yield words, and the pieces of those over the limit; with `whole`, characters over it stay whole."""
    for word in _WORD.finditer(text, start, stop):
        tokens = count_tokens(word[0])
        if tokens <= limit:
            yield word.start(), word.end(), tokens
        else:
            yield from _pieces(word[0], word.start(), 2 * tokens if whole else limit)


def _pieces(word: str, offset: int, limit: int) -> Iterator[tuple[int, int, int]]:
    """Yield the tokens of a word that is over the limit, merged where they are one character to a reader."""
    ends = [*graphemes.ends(word)]
    whole = frozenset(ends)
    begin = used = 0
    run: list[tuple[int, int]] = []
    for end, tokens in _split(word, ends):
        run.append((end, tokens))
        used += tokens
        if end not in whole:
            continue
        # A character that alone is over the limit, such as a letter with thousands of marks, is split anyway.
        for stop, weight in [(end, used)] if used <= limit else run:
            if weight <= limit:
                yield offset + begin, offset + stop, weight
            else:
                yield from _steps(word, begin, stop, weight, limit, ends, offset)
            begin = stop
        run, used = [], 0


def _split(word: str, ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the end and weight of a word's tokens, cut where they share a character with their neighbors."""
    begin = 0
    for end, tokens in piece_weights(word):
        first, last = bisect_left(ends, begin), bisect_right(ends, end) - 1
        stops = {end}
        if begin and ends[first] != begin:
            stops.add(ends[first])
        if last >= 0:
            stops.add(ends[last])
        at = begin
        for stop in sorted(each for each in stops if begin < each <= end):
            yield stop, _share(tokens, stop - at, end - begin)
            at = stop
        begin = end


def _share(tokens: int, part: int, whole: int) -> int:
    """Return a part's share of a token's weight, by characters; rounded up, so that the parts do not weigh less."""
    return -(-tokens * part // whole)


def _steps(
    word: str, begin: int, end: int, tokens: int, limit: int, ends: Sequence[int], offset: int
) -> Iterator[tuple[int, int, int]]:
    """Yield a token that is over the limit in about equal steps that end at the ends of characters."""
    first, step = begin, max(1, (end - begin) * limit // tokens)
    while begin < end:
        stop = min(end, begin + step)
        nearest = ends[bisect_right(ends, stop) - 1] if ends[0] <= stop else 0
        stop = nearest if nearest > begin else stop
        yield offset + begin, offset + stop, _share(tokens, stop - begin, end - first)
        begin = stop


def _sentences(text: str) -> Iterator[tuple[int, int, _Boundary]]:
    """Yield the offsets of the sentences, without white space around them, and the boundary before each."""
    begin, before = 0, _Boundary.SENTENCE
    for match in _BOUNDARY.finditer(text):
        end = match.end()
        if match["heading"] is not None:
            if span := _strip(text, begin, match.start("heading")):
                yield *span, before
            if span := _strip(text, match.start("heading"), end):
                yield *span, _Boundary.HEADING
            begin, before = end, _Boundary.WITHIN
            continue
        if match["stop"] is not None and not _ends_sentence(text, match):
            continue
        if end < len(text) and graphemes.joined(text[end - 1], text[end]):
            continue
        if span := _strip(text, begin, end):
            yield *span, before
            before = _Boundary.SENTENCE
        if match[0].isspace() and before is _Boundary.SENTENCE:
            before = _Boundary.PARAGRAPH
        begin = end
    if span := _strip(text, begin, len(text)):
        yield *span, before


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether a run of stops ends a sentence, judged by the word before it and the text after it."""
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
        # An initial: "J. Doe". "Plan B. Then" looks the same, but too long a sentence does less harm.
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
