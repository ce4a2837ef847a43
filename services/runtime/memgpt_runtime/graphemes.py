"""Grapheme clusters, which readers see as one character: a letter with its marks, a flag, joined emoji.

By the rules of Unicode's UAX #29, as far as the standard library has the properties of characters; in doubt, two
characters are joined.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_JOINER = "\u200d"
_VIRAMA = 9
"""Canonical combining class of the signs that tie consonants of Indic scripts together."""
# Join the character before, though not marks by category: joiners, skin tones, tags of flags, half-width voicing
# marks, and the Thai and Lao vowels that are drawn around a consonant.
_JOINING = frozenset(
    {"\u200c", _JOINER, "\uff9e", "\uff9f", "\u0e33", "\u0eb3"}
    | {chr(code) for code in range(0x1F3FB, 0x1F400)}
    | {chr(code) for code in range(0xE0020, 0xE0080)}
)
# Join the character after: signs before numbers.
_LEADING = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd")
_FLAGS = range(0x1F1E6, 0x1F200)


def ends(text: str) -> Iterator[int]:
    """Yield the offsets at which clusters end, in ascending order; the last is the end of the text."""
    flags = 0
    for at in range(1, len(text)):
        before, after = text[at - 1], text[at]
        if before.isascii() and after.isascii():
            yield at
            continue
        flags = flags + 1 if ord(before) in _FLAGS else 0
        if not joined(before, after) and not (flags % 2 and ord(after) in _FLAGS):
            yield at
    if text:
        yield len(text)


def joined(before: str, after: str) -> bool:
    """Whether two adjacent characters belong together; `ends` counts flags, which come in pairs."""
    if after.isascii() or before.isspace():
        return False
    if after in _JOINING or before == _JOINER or before in _LEADING or unicodedata.category(after)[0] == "M":
        return True
    if unicodedata.combining(before) == _VIRAMA:
        return after.isalpha()
    first = _hangul(before)
    return bool(first) and _hangul(after) in _HANGUL_JOINED[first]


# Hangul syllables consist of a lead, a vowel and a tail; a complete one may still take a missing part.
_HANGUL_JOINED = {"lead": ("lead", "vowel", "open", "closed"), "vowel": ("vowel", "tail"), "open": ("vowel", "tail")}
_HANGUL_JOINED |= {"tail": ("tail",), "closed": ("tail",)}


def _hangul(char: str) -> str:
    code = ord(char)
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "lead"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "vowel"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "tail"
    if 0xAC00 <= code <= 0xD7A3:
        return "closed" if (code - 0xAC00) % 28 else "open"
    return ""
