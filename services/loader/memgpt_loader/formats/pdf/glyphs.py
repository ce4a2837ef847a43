"""Characters of a page with their positions from PDFium, for pages that are not drawn in reading order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pypdfium2 import raw

_QUARTER = math.pi / 2
_MOST_SKEW = 0.1
"""In quarter turns."""
SKEWED = -1
"""The direction of lines that run neither across nor up or down the page."""
UNKNOWN = "\ufffd"
"""Replaces a character that cannot be decoded."""
_HYPHEN = 2
"""The character that PDFium returns for a hyphen at the end of a line."""


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character and its box, in points, with the origin at the lower left."""

    char: str
    left: float
    bottom: float
    right: float
    top: float
    turns: int
    """Rotation of its line in counter-clockwise quarter turns, 0 to 3, or `SKEWED`."""
    made_up: bool
    """Whether it is a space or line end that PDFium inserted."""

    @property
    def height(self) -> float:
        """Height of the box, including ascent and descent."""
        return self.top - self.bottom


def glyphs(text_page: Any) -> tuple[list[Glyph], int]:
    """Read the characters of a page.

    Returns:
        All characters in drawing order, and the number of those that cannot be decoded (see `UNKNOWN`).
    """
    found: list[Glyph] = []
    doubtful: list[int] = []
    box, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
    for index in range(raw.FPDFText_CountChars(text_page)):
        code = raw.FPDFText_GetUnicode(text_page, index)
        made_up = raw.FPDFText_IsGenerated(text_page, index) == 1
        if not made_up and raw.FPDFText_HasUnicodeMapError(text_page, index) == 1:
            doubtful.append(index)
        raw.FPDFText_GetLooseCharBox(text_page, index, box)
        known = not made_up and raw.FPDFText_GetMatrix(text_page, index, matrix)
        turns = _turns(matrix.a, matrix.b) if known else 0
        char = "-" if code == _HYPHEN else chr(code)
        found.append(Glyph(char, box.left, box.bottom, box.right, box.top, turns, made_up))
    if reads_like_text("".join(found[index].char for index in doubtful)):
        return found, 0
    for index in doubtful:
        found[index] = replace(found[index], char=UNKNOWN)
    return found, len(doubtful)


def _turns(a: float, b: float) -> int:
    # The direction of the base line: PDFium's angle of a character takes the slant of artificial italics for a turn.
    quarters = math.atan2(b, a) / _QUARTER
    return round(quarters) % 4 if abs(quarters - round(quarters)) < _MOST_SKEW else SKEWED


def skewed_lines(found: Sequence[Glyph]) -> list[str]:
    """Return the lines of skewed text, such as diagonal watermarks, in drawing order."""
    text = "".join(each.char for each in _by_turns(found).get(SKEWED, []))
    return [line for each in text.splitlines() if (line := " ".join(each.split()))]


def reads_like_text(chars: str) -> bool:
    """Whether the codes of a font without a Unicode map happen to be ASCII, as in many plots."""
    if not chars.isascii() or not chars.isprintable():
        return False
    letters = [char for char in chars.lower() if char.isalpha()]
    vowels = sum(char in "aeiouy" for char in letters)
    others = sum(not char.isalnum() and char not in " .,-()" for char in chars)
    return others * 4 < len(chars) and (len(letters) < 4 or 0.2 < vowels / len(letters) < 0.65)


def upright(found: Sequence[Glyph]) -> Iterator[list[Glyph]]:
    """Rotate the glyphs of each direction so that lines run from left to right, most common direction first."""
    groups = _by_turns(found)
    groups.pop(SKEWED, None)
    for turns, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        yield [_turned(glyph, turns) for glyph in group] if turns else group


def _by_turns(found: Sequence[Glyph]) -> dict[int, list[Glyph]]:
    """Group glyphs by their direction; inserted ones belong to the glyph before them."""
    groups: dict[int, list[Glyph]] = {}
    turns = 0
    for glyph in found:
        if not glyph.made_up:
            turns = glyph.turns
        groups.setdefault(turns, []).append(glyph)
    return groups


def laid_flat(found: Sequence[Glyph]) -> list[Glyph]:
    """Turn vertical lines (rightmost first) into horizontal ones (topmost first)."""
    return [replace(each, left=-each.top, right=-each.bottom, bottom=each.left, top=each.right) for each in found]


def is_vertical(found: Sequence[Glyph]) -> bool:
    """Whether most characters are below their predecessor, as in vertical Japanese and Chinese text."""
    down = across = 0
    drawn = [each for each in found if not each.made_up]
    for before, after in pairwise(drawn):
        size = before.height
        if abs(after.top - before.bottom) < size / 2 and abs(after.left - before.left) < size:
            down += 1
        elif abs(after.bottom - before.bottom) < size / 2:
            across += 1
    return down > across


def _turned(glyph: Glyph, turns: int) -> Glyph:
    left, bottom, right, top = glyph.left, glyph.bottom, glyph.right, glyph.top
    match turns:
        case 1:
            left, bottom, right, top = bottom, -right, top, -left
        case 2:
            left, bottom, right, top = -right, -top, -left, -bottom
        case 3:
            left, bottom, right, top = -top, left, -bottom, right
    return replace(glyph, left=left, bottom=bottom, right=right, top=top)
