"""CSV and TSV: a row is a line that names its columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain

from memgpt_loader import decoding
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, broken
from memgpt_loader.notes import NoteKind, Notes
from memgpt_loader.tables import table_lines

CSV = "text/csv"
TSV = "text/tab-separated-values"

_SEPARATORS = (",;\t|", "^~\xa6")
"""Usual separators, and those to try if none of them fits."""
_SAMPLE_CHARS = 16 * 1024
_MOST_CELL_CHARS = 10_000_000
_MOST_CELL_LINES = 500
"""Maximum lines of a quoted cell. A quote left open for longer is treated as an ordinary character."""
_MOST_OPEN_CHARS = 1_000_000
_OPEN_QUOTE = "a quotation mark is never closed; read as it stands"
_DECLARED = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_ESCAPED_QUOTE = re.compile(r'\\"(?![,;\t|\r\n]|$)')

csv.field_size_limit(_MOST_CELL_CHARS)


def _parse(file: File, limits: FileLimits) -> Parsed:
    """Open a table. It is streamed, because it may be larger than memory."""
    notes = Notes()
    return Parsed(1, _pieces(file, notes), notes)


def _pieces(file: File, notes: Notes) -> Iterator[PageText]:
    pending: list[str] = []
    size = 0
    for line in table_lines(_rows(file, notes)):
        pending.append(line)
        size += len(line) + 1
        if size >= decoding.BLOCK_CHARS:
            yield PageText(0, "\n".join([*pending, ""]))
            size, pending = 0, []
    if pending:
        yield PageText(0, "\n".join(pending))


def _rows(file: File, notes: Notes) -> Iterator[list[str]]:
    blocks = decoding.blocks(file.open(), notes=notes)
    first = next(blocks, "")
    lines = _lines(chain((first,), blocks))
    separator = "\t" if file.media_type == TSV else ""
    if declared := _DECLARED.fullmatch(first[:20].partition("\n")[0]):
        separator = declared[1]
        next(lines)
    sample = first[:_SAMPLE_CHARS]
    separator = separator or _separator(sample)
    quote = "'" if '"' not in sample and _quotes_singly(sample, separator) else '"'
    dialect = _Dialect(separator, quote, escapes='""' not in sample and bool(_ESCAPED_QUOTE.search(sample)))
    number = 0
    for row, count, whole in dialect.rows(lines):
        number += 1
        if not whole:
            notes.add(NoteKind.BAD_RECORD, f"line {number}", reason=_OPEN_QUOTE)
        number += count - 1
        if row is None:
            raise broken(f"line {number:,} of the table")
        yield row


class _Dialect:
    def __init__(self, separator: str, quote: str, *, escapes: bool) -> None:
        self._separator = separator
        self._quote = quote
        self._escapes = escapes

    def rows(self, lines: Iterator[str]) -> Iterator[tuple[list[str] | None, int, bool]]:
        """Yield each row with its number of lines and whether all its quotes are closed; None for a broken row."""
        waiting: list[str] = []
        while True:
            line = waiting.pop(0) if waiting else next(lines, None)
            if line is None:
                return
            record = [line]
            size = len(line)
            open_ = self._ends_open(line, within=False)
            while open_ and len(record) < _MOST_CELL_LINES and size < _MOST_OPEN_CHARS:
                more = waiting.pop(0) if waiting else next(lines, None)
                if more is None:
                    break
                record.append(more)
                size += len(more)
                open_ = self._ends_open(more, within=True)
            if open_:
                waiting[:0] = record[1:]
                yield self._row(record[:1], quotes=False), 1, False
            else:
                yield self._row(record, quotes=True), len(record), True

    def _row(self, record: list[str], *, quotes: bool) -> list[str] | None:
        escape = "\\" if self._escapes else None
        try:
            rows = list(
                csv.reader(
                    record,
                    delimiter=self._separator,
                    quotechar=self._quote,
                    escapechar=escape,
                    doublequote=not self._escapes,
                    quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
                )
            )
        except csv.Error:
            return None
        return [cell for row in rows for cell in row]

    def _ends_open(self, line: str, *, within: bool) -> bool:
        """Whether a line ends within quotes; `within` says whether it begins within quotes."""
        if self._quote not in line:
            return within
        if line.count(self._quote) % 2 == 0 and not within and not self._escapes:
            return False
        at = -1
        while (at := line.find(self._quote, at + 1)) >= 0:
            if not within:
                within = at == 0 or line[at - 1] == self._separator
            elif self._escapes:
                within = line[at - 1] == "\\" and at > 0
            elif line[at + 1 : at + 2] == self._quote:
                at += 1
            else:
                within = False
        return within


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """Yield lines with their line ends, regardless of block boundaries."""
    rest = ""
    for block in blocks:
        *lines, rest = (rest + block).split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest


def _separator(sample: str) -> str:
    """Return the separator that splits the most lines into the same number of cells; ties go to more cells."""
    lines = [line for line in sample.split("\n")[:30] if line.strip()]
    if len(lines) > 1 and len(sample) == _SAMPLE_CHARS:
        lines = lines[:-1]  # it may be cut off
    found: dict[str, tuple[bool, float, int]] = {}
    for separators in _SEPARATORS:
        found |= {mark: _evenness([len(row) for row in csv.reader(lines, delimiter=mark)]) for mark in separators}
        best = max(separators, key=lambda mark: found[mark])
        if found[best][0]:
            return best
    return max(_SEPARATORS[0], key=lambda mark: found[mark])


def _quotes_singly(sample: str, separator: str) -> bool:
    """Whether a cell in single quotes contains the separator."""
    mark = re.escape(separator)
    return bool(
        re.search(rf"(?:^|{mark})'[^'\n{mark}]{{0,999}}{mark}[^'\n]{{0,999}}'(?={mark}|\r?$)", sample, re.MULTILINE)
    )


def _evenness(cells: list[int]) -> tuple[bool, float, int]:
    if not cells:
        return False, 0.0, 0
    usual = max((each for each in cells if each > 1), key=cells.count, default=1)
    even = sum(count == usual for count in cells) / len(cells)
    return usual > 1 and even >= 0.5, even, usual


FORMAT = Format(
    name="table",
    media_types={CSV: (".csv",), TSV: (".tsv", ".tab")},
    parse=_parse,
    reads="rows, each cell with the name of its column; the header row may follow a preamble",
    omits="unclosed quotation marks (their lines are read unchanged), bytes that cannot be decoded",
)
