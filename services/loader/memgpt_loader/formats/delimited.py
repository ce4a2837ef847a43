"""CSV and TSV: a row is a line that names its columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from memgpt_loader import text
from memgpt_loader.formats.spec import File, Format, Limits, PageText, Parsed, broken
from memgpt_loader.markup import table_lines

CSV = "text/csv"
TSV = "text/tab-separated-values"

_SEPARATORS = ",;\t|"
_SAMPLE_CHARS = 16 * 1024
_MOST_CELL_CHARS = 10_000_000

csv.field_size_limit(_MOST_CELL_CHARS)


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a table. It may be very long: its text is never in memory as a whole."""
    return Parsed(1, _pieces(file))


def _pieces(file: File) -> Iterator[PageText]:
    pending: list[str] = []
    size = 0
    for line in _lines(file, "\t" if file.media_type == TSV else ""):
        pending.append(line)
        size += len(line) + 1
        if size >= text.BLOCK_CHARS:
            yield PageText(0, "\n".join([*pending, ""]))
            size, pending = 0, []
    if pending:
        yield PageText(0, "\n".join(pending))


def _lines(file: File, separator: str) -> Iterator[str]:
    blocks = text.blocks(file.open())
    first = next(blocks, "")
    rows = csv.reader(_source(first, blocks), delimiter=separator or _separator(first[:_SAMPLE_CHARS]))
    try:
        yield from table_lines(rows)
    except csv.Error as error:
        raise broken(f"Line {rows.line_num:,} of the table", error) from error


def _source(first: str, others: Iterator[str]) -> Iterator[str]:
    """Lines with their ends, whatever blocks they come in."""
    rest = ""
    for block in _chain(first, others):
        lines = (rest + block).splitlines(keepends=True) if "\n" in block else [rest + block]
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def _chain(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _separator(sample: str) -> str:
    """The character that cuts the first lines into the same number of cells, and into the most of them."""
    lines = [line for line in sample.split("\n")[:20] if line.strip()]
    if len(lines) > 1:
        lines = lines[:-1]  # it may be cut off
    counts = {mark: [len(row) for row in csv.reader(lines, delimiter=mark)] for mark in _SEPARATORS}
    return max(_SEPARATORS, key=lambda mark: (min(counts[mark], default=1) > 1, *_evenness(counts[mark])))


def _evenness(cells: list[int]) -> tuple[float, int]:
    if not cells:
        return 0.0, 0
    return sum(count == cells[0] for count in cells) / len(cells), cells[0]


FORMAT = Format(
    name="table",
    media_types={CSV: (".csv",), TSV: (".tsv",)},
    parse=parse,
    reads="rows, each with the names of its columns",
    omits="bytes that cannot be decoded",
)
