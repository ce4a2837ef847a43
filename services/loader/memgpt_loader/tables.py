"""Tables as self-contained lines (`name: Ada | born: 1815`), with detection of the header rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from memgpt_loader.markup import one_line

_LOOKED_AT = 50
"""Rows inspected to find the header; a table may be larger than memory."""
_MAX_LABEL_CHARS = 80


@dataclass(frozen=True)
class TableRow:
    """A row of a table."""

    cells: Sequence[str]
    """The cells from the first column on."""
    heading: bool = False
    """Whether it is formatted like a header, for example in bold."""
    spans: Mapping[int, int] = field(default_factory=dict)
    """Column spans of merged cells, by the index of the first cell."""


def column_letters(column: int) -> str:
    """Return the letters of a column, which is counted from 0: "A", "Z", "AA"."""
    letters = ""
    while column >= 0:
        letters = chr(ord("A") + column % 26) + letters
        column = column // 26 - 1
    return letters


def table_lines(rows: Iterable[Sequence[str] | TableRow]) -> Iterator[str]:
    """Yield the lines of one table, or of several separated by empty rows.

    A header names the columns of the rows below it, until a table with its own header begins. Rows above the header
    are a title or a preamble.
    """
    source = (_tidied(row) for row in rows)
    head = list(islice(source, _LOOKED_AT))
    preamble = _preamble(head)
    yield from (_plain(row) for row in head[:preamble] if any(row.cells))
    labels = _Labels()
    for block in _blocks(chain(head[preamble:], source)):
        yield from labels.lines(block)


def _preamble(rows: Sequence[TableRow]) -> int:
    """Return the number of preamble rows: narrow, separate rows above the first table, as in bank statements."""
    widest = _usual_width(rows)
    at = 0
    while at < len(rows):
        end = next((index for index in range(at, len(rows)) if not any(rows[index].cells)), len(rows))
        block = rows[at:end]
        if end == len(rows) or _usual_width(block) >= widest or _is_evident(block):
            return at
        at = end + 1
    return 0


def _is_evident(rows: Sequence[TableRow]) -> bool:
    """Whether rows are clearly a table: names above values."""
    labels = _labels(rows[0].cells, rows[1:]) if rows else []
    return bool(labels) and any(
        cell and is_value(cell) and index < len(labels) for row in rows[1:] for index, cell in enumerate(row.cells)
    )


def _blocks(source: Iterator[TableRow]) -> Iterator[Iterator[TableRow]]:
    """Yield runs of rows without an empty row; each must be consumed before the next is requested."""
    for first in source:
        if any(first.cells):
            yield _run(first, source)


def _run(first: TableRow, source: Iterator[TableRow]) -> Iterator[TableRow]:
    yield first
    for row in source:
        if not any(row.cells):
            return
        yield row


def _tidied(row: Sequence[str] | TableRow) -> TableRow:
    if isinstance(row, TableRow):
        return TableRow([one_line(cell) for cell in row.cells], row.heading, row.spans)
    return TableRow([one_line(cell) for cell in row])


class _Labels:
    """Tracks the column labels while rows are read."""

    def __init__(self) -> None:
        self._labels: list[str] = []
        self._values: set[int] = set()
        """Columns of the previous table that hold values such as numbers and dates."""
        self._begun = False
        self._width = 0

    def lines(self, rows: Iterator[TableRow]) -> Iterator[str]:
        """Yield the lines of a block."""
        seen = list(islice(rows, _LOOKED_AT))
        width = _usual_width(seen)
        header = next((at for at, row in enumerate(seen) if _width(row) >= max(width, 2)), None)
        if header is not None:
            labels, used = _labels_at(seen, header)
            if labels and self._is_new(seen, header, used, labels):
                yield from (_plain(row) for row in seen[: header + used])
                seen = seen[header + used :]
                self._labels, self._values, self._width = labels, set(), len(labels)
            elif not self._begun and header:
                yield from (_plain(row) for row in seen[:header])
                seen = seen[header:]
            self._begun = True
        for row in seen:
            yield self._line(row)
        for row in rows:
            yield self._line(row)

    def _line(self, row: TableRow) -> str:
        if len(self._values) < len(row.cells):
            self._values.update(at for at, cell in enumerate(row.cells) if cell and is_value(cell))
        pieces = []
        for index, cell in enumerate(row.cells):
            label = self._labels[index] if index < len(self._labels) else ""
            if cell:
                pieces.append(f"{label}: {cell}" if label else cell)
        return " | ".join(pieces)

    def _is_new(self, rows: Sequence[TableRow], header: int, used: int, labels: Sequence[str]) -> bool:
        """Whether a header candidate is one: always in the first table, later only with further evidence."""
        if not self._begun:
            return True
        if header + used >= len(rows) and header == 0:
            return False  # a single row
        row, below = rows[header], rows[header + used :]
        return (
            row.heading
            or header > 0  # below a title
            or labels == self._labels
            or len(labels) != self._width
            or any(index < len(labels) and labels[index] for index in self._values)
            or any(cell and is_value(cell) for each in below for cell in each.cells)
        )


def _usual_width(rows: Sequence[TableRow]) -> int:
    widths = Counter(width for row in rows if (width := _width(row)) > 1)
    return max(widths, key=lambda width: (widths[width], width), default=1)


def _width(row: TableRow) -> int:
    filled = [index for index, cell in enumerate(row.cells) if cell]
    return filled[-1] + 1 if len(filled) > 1 else 1


def _plain(row: TableRow) -> str:
    return " | ".join(filter(None, row.cells))


def _labels_at(rows: Sequence[TableRow], at: int) -> tuple[list[str], int]:
    """Return the labels that start at a row, and the number of header rows: none, one or two."""
    for first in (at - 1, at):
        if first >= 0 and first + 1 < len(rows) and (labels := _two_rows(rows[first], rows[first + 1])):
            return labels, first + 2 - at
    labels = _labels(rows[at].cells, rows[at + 1 :])
    return labels, 1 if labels else 0


def _two_rows(upper: TableRow, lower: TableRow) -> list[str]:
    """Combine two header rows, where cells of the upper one span several columns of the lower one."""
    last = max((index for index, cell in enumerate(lower.cells) if cell), default=-1) + 1
    names = list(lower.cells[:last])
    if sum(map(bool, upper.cells)) < 2 or sum(map(bool, names)) <= sum(map(bool, upper.cells)):
        return []
    if any(map(is_value, filter(None, names))) or (not upper.spans and len(set(names)) == len(names)):
        return []
    above = _spread(upper, last)
    labels = [" ".join(filter(None, pair)) for pair in zip(above, names, strict=True)]
    return labels if len(set(labels)) == len(labels) else []


def _spread(row: TableRow, width: int) -> list[str]:
    """Repeat each cell over the columns that it spans: merged ones, or else all empty cells to its right."""
    spread: list[str] = []
    last, left = "", 0
    for index in range(width):
        cell = row.cells[index] if index < len(row.cells) else ""
        if cell:
            last, left = cell, row.spans.get(index, 1) if row.spans else width
        spread.append(last if left > 0 else "")
        left -= 1
    return spread


def _labels(cells: Sequence[str], below: Sequence[TableRow]) -> list[str]:
    """Return the cells of a row if they may be labels: almost all filled, all different, and none a value.

    Columns without any cell separate tables that stand side by side and may repeat their labels.
    """
    last = max((index for index, cell in enumerate(cells) if cell), default=-1) + 1
    labels = list(cells[:last])
    used = {index for row in below for index, cell in enumerate(row.cells) if cell}
    tables: list[list[str]] = [[]]
    unnamed = 0
    for index, label in enumerate(labels):
        if label:
            tables[-1].append(label)
        elif index in used or not below:
            unnamed += 1
        else:
            tables.append([])
    filled = [label for table in tables for label in table]
    if len(filled) < 2 or unnamed > 1 or any(len(set(each)) < len(each) for each in tables):
        return []
    return [] if any(map(is_value, filled)) else labels


def is_value(text: str) -> bool:
    """Whether a cell is a number, a date, an address or a long text rather than a label."""
    return len(text) > _MAX_LABEL_CHARS or not any(char.isalpha() for char in text) or "@" in text or "://" in text
