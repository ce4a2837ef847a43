"""Reading order: rows from top to bottom, columns of prose one after the other, right-to-left scripts as read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from memgpt_loader.formats.pdf.glyphs import Glyph

RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_GAP = 0.9
"""Minimum gap within a row, in line heights, that may separate two columns."""
LEAST_ROWS = 3
"""Minimum number of rows with text on both sides of a gap for two columns."""
_LEAST_WIDTH = 4.5
"""Minimum width of a column of prose, in line heights; table cells and form labels are mostly narrower."""
_SUPERSCRIPTS = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_RAISED = re.compile(r"[0-9+\-−=()n]{1,6}")
_BRACKETS = str.maketrans("()[]{}<>", ")(][}{><")


@dataclass(frozen=True, slots=True)
class TextRun:
    """A piece of a row that is drawn without a gap."""

    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        """Height of the box."""
        return self.top - self.bottom


TableRow = list[TextRun]


def segments(found: Sequence[Glyph]) -> list[TextRun]:
    """Group upright glyphs, in drawing order, into segments."""
    pieces: list[TextRun] = []
    run: list[Glyph] = []
    for glyph in found:
        if glyph.char in "\r\n":
            pieces += _segment(run)
            run = []
        elif glyph.char.isspace():
            run.append(glyph)
        else:
            if run and _breaks(run, glyph):
                pieces += _segment(run)
                run = []
            run.append(glyph)
    return pieces + _segment(run)


def _breaks(run: Sequence[Glyph], glyph: Glyph) -> bool:
    last = next((each for each in reversed(run) if not each.char.isspace()), None)
    if last is None:
        return False
    size = max(last.height, 1.0)
    raised = abs(glyph.bottom - last.bottom) > size * 0.2 or abs(glyph.height - last.height) > size * 0.2
    return raised or not -size < glyph.left - last.right < size * _GAP


def _segment(run: Sequence[Glyph]) -> list[TextRun]:
    drawn = [each for each in run if not each.char.isspace()]
    if not drawn:
        return []
    text = "".join(each.char for each in run)
    if RIGHT_TO_LEFT.search(text):
        text = _in_order(run)
    box = (
        min(each.left for each in drawn),
        min(each.bottom for each in drawn),
        max(each.right for each in drawn),
        max(each.top for each in drawn),
    )
    return [TextRun(" ".join(text.split()), *box)]


def _in_order(run: Sequence[Glyph]) -> str:
    """Return the glyphs of a run from left to right, with spaces where there is white space."""
    drawn = sorted((each for each in run if not each.char.isspace()), key=lambda each: each.left + each.right)
    pieces = [drawn[0].char]
    for before, after in pairwise(drawn):
        if after.left - before.right > before.height * 0.1:
            pieces.append(" ")
        pieces.append(after.char)
    return "".join(pieces)


def lines(pieces: Sequence[TextRun], *, from_top: bool) -> list[str]:
    """Return the lines of a page in reading order.

    Args:
        pieces: The segments in drawing order.
        from_top: Whether rows are read from top to bottom regardless of drawing order.
    """
    rows = _rows_from_top(pieces) if from_top else rows_as_drawn(pieces)
    return [text for row in _ordered(rows) if (text := row_text(row))]


def rows_as_drawn(pieces: Sequence[TextRun]) -> list[TableRow]:
    """Group segments that are drawn consecutively and side by side into rows."""
    rows: list[TableRow] = []
    for piece in pieces:
        before = rows[-1][-1] if rows else None
        if before is None or _overlap(piece, before) < 0.5 * min(piece.height, before.height):
            rows.append([piece])
        elif piece.left > before.left or RIGHT_TO_LEFT.search(piece.text) or RIGHT_TO_LEFT.search(before.text):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda each: each.left) for row in rows]


def _rows_from_top(pieces: Sequence[TextRun]) -> list[TableRow]:
    rows: list[TableRow] = []
    for piece in sorted(pieces, key=lambda each: -(each.top + each.bottom)):
        if rows and _overlap(piece, rows[-1][0]) > 0.5 * min(piece.height, rows[-1][0].height):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda each: each.left) for row in rows]


def _overlap(one: TextRun, other: TextRun) -> float:
    return min(one.top, other.top) - max(one.bottom, other.bottom)


def _ordered(rows: Sequence[TableRow]) -> Iterator[TableRow]:
    """Yield the rows with columns of prose one after the other."""
    at = 0
    while at < len(rows):
        end, gutter = column_block(rows, at)
        if end > at:
            block = rows[at:end]
            middle = sum(gutter) / 2
            sides = (
                [[each for each in row if each.right <= middle] for row in block],
                [[each for each in row if each.left >= middle] for row in block],
            )
            if any(RIGHT_TO_LEFT.search(each.text) for row in block for each in row):
                sides = sides[1], sides[0]
            for side in sides:
                yield from _ordered([row for row in side if row])
            at = end
        else:
            yield rows[at]
            at += 1


def column_block(rows: Sequence[TableRow], first: int) -> tuple[int, tuple[float, float]]:
    """Find the rows from `first` on that form two or more columns of prose.

    Returns:
        The index after the last such row (`first` if there are none), and the gap between the first two columns.
    """
    for gap in gaps(rows[first]):
        left, right = gap
        end, both = first, 0
        for row in rows[first:]:
            inner = _narrowed(row, left, right)
            if inner is None:
                break
            left, right = inner
            end += 1
            both += any(each.right <= left + 1 for each in row) and any(each.left >= right - 1 for each in row)
        if both >= LEAST_ROWS and _is_prose(rows[first:end], (left + right) / 2):
            return end, (left, right)
    return first, (0.0, 0.0)


def gaps(row: TableRow) -> Iterator[tuple[float, float]]:
    """Yield the gaps within a row that may separate columns."""
    for before, after in pairwise(row):
        if after.left - before.right > before.height * _GAP:
            yield before.right, after.left


def _narrowed(row: TableRow, left: float, right: float) -> tuple[float, float] | None:
    """Return the part of a column gap that a row leaves free; None if the row crosses it."""
    middle = (left + right) / 2
    for each in row:
        if each.right <= middle:
            left = max(left, each.right)
        elif each.left >= middle:
            right = min(right, each.left)
        else:
            return None
    return (left, right) if right - left > row[0].height * _GAP / 2 else None


def _is_prose(rows: Sequence[TableRow], middle: float) -> bool:
    """Whether both sides are as wide and as filled as columns of prose, unlike table cells."""
    for side in (
        [[each for each in row if each.right <= middle] for row in rows],
        [[each for each in row if each.left >= middle] for row in rows],
    ):
        filled = [row for row in side if row]
        widths = [row[-1].right - row[0].left for row in filled]
        height = median(row[0].height for row in filled)
        full = max(widths)
        if median(widths) < height * _LEAST_WIDTH or median(widths) < full * 0.55:
            return False
        texts = [" ".join(each.text for each in row).strip() for row in filled]
        if any(texts) and sum(map(_is_line, texts)) < 0.6 * len(texts):  # segments without text give no evidence
            return False
    return True


def _is_line(text: str) -> bool:
    """Whether text may be a line of prose rather than a table cell."""
    return len(text.split()) > 2 or len(_WIDE.findall(text)) > 5


_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")


def row_text(row: TableRow) -> str:
    """Return the text of a row in reading order."""
    pieces: list[str] = []
    before: TextRun | None = None
    for each in row:
        text = each.text
        if before is not None:
            if is_superscript(before, each):
                text = text.translate(_SUPERSCRIPTS)
            elif each.left - before.right > min(before.height, each.height) * 0.12:
                text = f" {text}"
        pieces.append(text)
        before = each
    text = "".join(pieces)
    return _logical(text) if _is_right_to_left(text) else _RUN_TO_LEFT.sub(lambda run: _logical(run[0]), text)


def is_superscript(before: TextRun, each: TextRun) -> bool:
    """Whether a segment is an exponent or a footnote mark: smaller and higher than the segment before it."""
    return (
        each.height < before.height * _MOST_RAISED
        and each.bottom > before.bottom + before.height * 0.15
        and each.top > before.top - before.height * 0.25
        and -before.height * 0.2 < each.left - before.right < before.height * 0.35
        and _RAISED.fullmatch(each.text.strip()) is not None
        and before.text[-1:].isalnum()
    )


_MOST_RAISED = 0.85
"""Height of a superscript in that of its line; programs write them at 58 to 80 percent."""


def superscript(text: str) -> str:
    """Return digits and signs as Unicode superscripts."""
    return text.translate(_SUPERSCRIPTS)


_RUN_TO_LEFT = re.compile(rf"{RIGHT_TO_LEFT.pattern}+(?:[^\w(\n]{{1,3}}{RIGHT_TO_LEFT.pattern}+)*")
"""Words of a right-to-left script in a line of another."""


def _is_right_to_left(text: str) -> bool:
    return len(RIGHT_TO_LEFT.findall(text)) * 2 > sum(map(str.isalpha, text))


def _logical(text: str) -> str:
    """Convert a line of a right-to-left script from visual (left to right) to reading order."""
    reversed_text = text[::-1]
    runs = re.sub(
        r"[^\W\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc](?:[^\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]*"
        r"[^\W\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc])?",
        lambda match: match.group()[::-1],
        reversed_text,
    )
    # A combining mark follows its letter.
    ordered = re.sub(r"([\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]+)(\w)", _behind, runs)
    opening, closing = ordered.find("("), ordered.find(")")
    return ordered.translate(_BRACKETS) if closing >= 0 and (opening < 0 or closing < opening) else ordered


def _behind(match: re.Match[str]) -> str:
    marks, letter = match.groups()
    return match.group() if unicodedata.combining(letter) else f"{letter}{marks}"
