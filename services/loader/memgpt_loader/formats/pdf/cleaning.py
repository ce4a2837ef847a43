"""Clean-up of text that was extracted from a PDF.

Offsets of passages refer to the text that `PageCleaner.clean` returns, not to the raw extraction.
"""

from __future__ import annotations

import re
import unicodedata

# Surrogates cannot be encoded as UTF-8; controls other than tab and line feed are debris of fonts.
_DEBRIS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# What compatibility decomposition may touch: ligatures and letters drawn as mathematical symbols. Superscripts,
# fractions and full-width forms carry meaning, or are what the author wrote.
_COMPATIBILITY = re.compile(r"[\ufb00-\ufb06\U0001d400-\U0001d7ff]")
_SPACES = re.compile(r"[^\S\n]+")
_LINE_EDGES = re.compile(r" *\n *")
_BLANK_LINES = re.compile(r"\n{3,}")
_BROKEN_WORD = re.compile(r"([^\W\d_]+)[-\u2010]\n([^\W\d_]+)")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


class PageCleaner:
    r"""Cleans the pages of one document, in order.

    Lone surrogates, NULs and other controls vanish; ligatures and mathematical letters become letters; NFC; runs of
    blanks become one; a word that was broken at the end of a line is joined. Whether `long-\nterm` is "long-term" or
    "longterm" is decided by which of them this page, or an earlier one, spells out; failing that it is joined.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def clean(self, raw: str) -> str:
        """Cleans the next page.

        Args:
            raw: The page's text as extracted.

        Returns:
            The page's text as loaded; empty when there is none.
        """
        text = raw.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n").replace("\u00ad\n", "-\n")
        text = _DEBRIS.sub("", text).replace("\u00ad", "")
        text = _COMPATIBILITY.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
        text = unicodedata.normalize("NFC", text)
        text = _LINE_EDGES.sub("\n", _SPACES.sub(" ", text))
        text = _BLANK_LINES.sub("\n\n", text).strip()
        self._seen.update(word.lower() for word in _WORD.findall(text))
        return _BROKEN_WORD.sub(self._join, text)

    def _join(self, match: re.Match[str]) -> str:
        left, right = match.group(1), match.group(2)
        hyphenated = f"{left}-{right}"
        if not right[0].islower():
            return hyphenated  # a name such as Jean-Luc, or a code
        joined = left + right
        if joined.lower() not in self._seen and hyphenated.lower() in self._seen:
            return hyphenated
        return joined
