"""Folding of texts and queries, so that different spellings of a word compare equal."""

from __future__ import annotations

import re
import unicodedata

# Letters that Unicode does not decompose into a base letter and a mark.
_LETTERS = str.maketrans(
    {"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th", "ё": "е"}
)
# Marks after Latin and Greek letters. Those of other scripts make other letters: й is not и, and が is not か.
_MARKS = re.compile(
    "(?<=[A-Za-z\u00c6-\u024f\u0370-\u03ff])[\u0300-\u036f]+"
    "|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"  # Hebrew points
    "|[\u0640\u064b-\u0652\u0670]"  # Arabic tatweel and vowel signs
)


def fold(text: str) -> str:
    """Return a text without case, diacritics and compatibility forms: "Café" and "CAFE" both become "cafe"."""
    return fold_case(without_marks(text))


def without_marks(text: str) -> str:
    """Return a text without diacritics and compatibility forms, in its case."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFC", _MARKS.sub("", decomposed))


def fold_case(text: str) -> str:
    """Return a text `without_marks` without case."""
    return text.lower() if text.isascii() else text.casefold().translate(_LETTERS)
