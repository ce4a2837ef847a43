"""Hits of a search, as excerpts with highlighted matches."""

from __future__ import annotations

import re
from bisect import bisect_left

from rich.text import Text

EXCERPT_CHARACTERS = 360
"""Maximum characters of an excerpt."""

_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts without blanks between words: Thai, Kana, Han."""

_WORD = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])\w)+")
_SHORT = 3
"""Minimum characters of a highlighted word; shorter ones match too much."""


def query_words(query: str) -> frozenset[str]:
    """Return what to highlight for a query, in lower case: words without inflectional endings.

    In scripts without blanks between words, these are pairs of characters.
    """
    words: set[str] = set()
    for word in _WORD.findall(query.lower()):
        if re.match(f"[{_UNSPACED}]", word):
            words.update(word[place : place + 2] for place in range(max(1, len(word) - 1)))
        elif len(word) >= _SHORT or not word.isascii():
            words.add(_stem(word))
    return frozenset(words)


def excerpt(text: str, words: frozenset[str], limit: int = EXCERPT_CHARACTERS) -> str:
    """Return the excerpt of a text with the most matches, cut between words."""
    if len(text) <= limit:
        return text
    places = [start for start, _ in _matches(text, words)]
    best, most = 0, 0
    for number, place in enumerate(places):
        found = bisect_left(places, place + limit) - number
        if found > most:
            best, most = place, found
    start = max(0, min(best - limit // 4, len(text) - limit))
    if start:
        blank = text.find(" ", start, start + limit // 4)
        start = blank + 1 if blank >= 0 else start
    end = min(len(text), start + limit)
    if end < len(text):
        blank = text.rfind(" ", end - limit // 4, end)
        end = blank if blank >= 0 else end
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def highlighted(text: str, words: frozenset[str]) -> Text:
    """Return a text with its matches highlighted."""
    shown = Text(text)
    for start, end in _matches(text, words):
        shown.stylize("bold yellow", start, end)
    return shown


def _matches(text: str, words: frozenset[str]) -> list[tuple[int, int]]:
    """Return where a text matches, in order; neighboring matches of one script without blanks are one."""
    found: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        start, word = match.start(), match[0].lower()
        if not re.match(f"[{_UNSPACED}]", word):
            if _stem(word) in words:
                found.append(match.span())
            continue
        end = 0
        for place in range(len(word)):
            size = 2 if word[place : place + 2] in words else int(word[place] in words)
            if not size:
                continue
            if place < end:
                found[-1] = (found[-1][0], start + place + size)
            else:
                found.append((start + place, start + place + size))
            end = place + size
    return found


def _stem(word: str) -> str:
    for end in ("ing", "ed", "es", "s"):
        if word.isascii() and word.endswith(end) and len(word) - len(end) >= _SHORT:
            return word[: -len(end)]
    return word
