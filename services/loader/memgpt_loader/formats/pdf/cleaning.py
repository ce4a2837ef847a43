"""Clean-up of text that was extracted from a PDF.

Offsets of passages refer to the text that `PageCleaner.clean` returns, not to the raw extraction.
"""

from __future__ import annotations

import re
import unicodedata

# Surrogates cannot be encoded as UTF-8; other controls than tab and line feed are font artifacts.
_DEBRIS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# Characters to decompose (NFKC): ligatures and letters drawn as mathematical symbols. Superscripts,
# fractions and full-width forms stay, because they carry meaning or are what the author wrote.
# Presentation forms of Hebrew and Arabic become plain letters.
_COMPATIBILITY = re.compile(r"[\ufb00-\ufb06\ufb1d-\ufdcf\ufe70-\ufefc\U0001d400-\U0001d7ff]")
_SPACES = re.compile(r"[^\S\n]+")
_LINE_EDGES = re.compile(r" *\n *")
_BLANK_LINES = re.compile(r"\n{3,}")
_BROKEN_WORD = re.compile(r"([^\W\d_]+)[-\u2010]\n([^\W\d_]+)")
_BROKEN_ADDRESS = re.compile(r"(\S*(?://|www\.|@)\S*-)\n(?=\w)|(?<=\w)-\n(?=[\w.%+-]*@\w)")
_BROKEN_NUMBER = re.compile(r"(?<=\d{4}[-\u2010])\n(?=\d\d\b)")
_FIRST_HALVES = frozenset(
    """
    well part self full half high low long short old new all ever far fast slow first second third
    fourth fifth two three four five six seven eight nine ten twenty thirty forty fifty sixty seventy
    eighty ninety hundred state real large small double triple cross quasi mid open closed free
    world year day week month decision time data left right hard soft wide deep best better user domain
    task context word sentence question multi pre so
    """.split()  # noqa: SIM905 - as a list it fills a page
)
"""Prefixes that usually keep their hyphen; used if the document does not spell out the word elsewhere."""
_ENDINGS = frozenset(
    """
    ness ing ings ed er ers est age ages ly ward wards ment ments en ens ish ism ist ists able ible tion
    tions sion ful less al ial ous ive ity ities ence ance ant ent ure
    """.split()  # noqa: SIM905 - as a list it fills a page
)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


class PageCleaner:
    r"""Cleans the pages of one document, in order.

    Removes lone surrogates, NULs and other controls, turns ligatures and mathematical letters into plain letters,
    normalizes to NFC, collapses runs of blanks, and joins words that are broken at the end of a line. `long-\nterm`
    becomes "long-term" or "longterm", whichever this page or an earlier one spells out. If neither is, words with a
    usual first half of a compound keep the hyphen, and others are joined.
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
        text = _BROKEN_ADDRESS.sub(lambda match: match[1] or "-", text)
        return _BROKEN_WORD.sub(self._join, _BROKEN_NUMBER.sub("", text))

    def _join(self, match: re.Match[str]) -> str:
        left, right = match.group(1), match.group(2)
        hyphenated = f"{left}-{right}"
        if not right[0].islower():
            return hyphenated  # a name such as Jean-Luc, or a code
        joined = left + right
        if joined.lower() in self._seen:
            return joined
        if hyphenated.lower() in self._seen:
            return hyphenated
        compound = left.lower() in _FIRST_HALVES and len(right) > 2 and right not in _ENDINGS
        return hyphenated if compound else joined
