"""Hits of a search, as excerpts with highlighted matches."""

from __future__ import annotations

import re

from rich.text import Text

EXCERPT_CHARACTERS = 360
"""Maximum characters of an excerpt."""

_WORD = re.compile(r"\w+")
_SHORT = 3
"""Minimum characters of a highlighted word; shorter ones match too much."""


def query_words(query: str) -> frozenset[str]:
    """Return the words of a query to highlight, in lower case and without inflectional endings."""
    words = (word.lower() for word in _WORD.findall(query))
    return frozenset(_stem(word) for word in words if len(word) >= _SHORT or not word.isascii())


def excerpt(text: str, words: frozenset[str], limit: int = EXCERPT_CHARACTERS) -> str:
    """Return the excerpt of a text with the most matches, cut between words."""
    if len(text) <= limit:
        return text
    places = [match.start() for match in _WORD.finditer(text) if _matches(match[0], words)]
    best, most = 0, 0
    for place in places:
        found = sum(place <= other < place + limit for other in places)
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
    for match in _WORD.finditer(text):
        if _matches(match[0], words):
            shown.stylize("bold yellow", match.start(), match.end())
    return shown


def _matches(word: str, words: frozenset[str]) -> bool:
    lower = word.lower()
    if _stem(lower) in words:
        return True
    # In scripts without blanks, a "word" is a whole sentence.
    return not word.isascii() and any(each in lower for each in words if not each.isascii())


def _stem(word: str) -> str:
    for end in ("ing", "ed", "es", "s"):
        if word.isascii() and word.endswith(end) and len(word) - len(end) >= _SHORT:
            return word[: -len(end)]
    return word
