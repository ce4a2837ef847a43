"""Workbooks as XML (Excel 2003), which many programs export with the extension of a workbook: a sheet is a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import Element

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import InspectedFile, after_prolog
from memgpt_loader.formats.office.number_format import displayed
from memgpt_loader.formats.office.packages import attribute, local, parse_elements
from memgpt_loader.formats.spec import MARKDOWN, File, FileLimits, Format, PageText, Parsed, too_many_pages
from memgpt_loader.markup import link, one_line
from memgpt_loader.notes import NoteKind, Notes
from memgpt_loader.tables import TableRow, column_letters, table_lines

SPREADSHEET_XML = "application/vnd.ms-excel.sheet+xml"

_WHAT = "the workbook"
_START = re.compile(rb"<(?:\w+:)?Workbook\s[^>]*urn:schemas-microsoft-com:office:spreadsheet")
_SHEET = re.compile(rb"<(?:\w+:)?Worksheet[\s>]")
_MOST_COLUMNS = 16_384
_EPOCH = datetime(1899, 12, 30)
_NAMED_FORMATS = {
    "General Number": "General", "General Date": "yyyy-mm-dd h:mm", "Long Date": "d mmmm yyyy",
    "Medium Date": "d-mmm-yy", "Short Date": "yyyy-mm-dd", "Long Time": "h:mm:ss", "Medium Time": "h:mm AM/PM",
    "Short Time": "h:mm", "Currency": "#,##0.00", "Euro Currency": "#,##0.00 €", "Fixed": "0.00",
    "Standard": "#,##0.00", "Percent": "0.00%", "Scientific": "0.00E+00",
}  # fmt: skip


@dataclass(frozen=True)
class _Style:
    format: str = ""
    bold: bool = False


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    count = len(_SHEET.findall(file.read()))
    if not count:
        raise FileFailure(FailureReason.EMPTY, "the workbook has no sheets; check that it was saved completely")
    if count > limits.max_pages:
        raise too_many_pages(count, "sheets", limits)
    return Parsed(count, _pages(file, limits, notes), notes)


def _pages(file: File, limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    reader = _Reader(notes)
    chars = number = 0
    any_text = False
    with file.open() as stream:
        events = parse_elements(stream, _WHAT)
        for event, element in events:
            if event == "end" and local(element) == "Style":
                reader.add_style(element)
            if event != "start" or local(element) != "Worksheet":
                continue
            number += 1
            lines: list[str] = []
            for line in reader.lines(events, one_line(attribute(element, "Name"))):
                chars += len(line)
                lines.append(line)
                if chars > limits.max_chars:  # the character limit reports it
                    break
            any_text = any_text or bool(lines)
            yield PageText(number, f"# {reader.sheet}\n\n" + "\n".join(lines) if lines else "")
    if not any_text:
        raise FileFailure(FailureReason.EMPTY, "the workbook's cells are all empty; check that it was saved")


class _Reader:
    def __init__(self, notes: Notes) -> None:
        self.sheet = ""
        self._notes = notes
        self._styles: dict[str, _Style] = {}
        self._comments: list[str] = []

    def add_style(self, element: Element) -> None:
        """Keep a style for the cells that refer to it."""
        parent = self._styles.get(attribute(element, "Parent") or "Default", _Style())
        code, bold = parent.format, parent.bold
        for each in element:
            match local(each):
                case "NumberFormat":
                    name = attribute(each, "Format")
                    code = _NAMED_FORMATS.get(name, name)
                case "Font":
                    bold = attribute(each, "Bold") == "1"
        self._styles[attribute(element, "ID")] = _Style(code, bold)

    def lines(self, events: Iterator[tuple[str, Element]], name: str) -> Iterator[str]:
        """Yield the lines of the sheet whose start was read last, up to its end."""
        self.sheet = name
        self._comments = []
        yield from table_lines(self._rows(events))
        yield from self._comments

    def _rows(self, events: Iterator[tuple[str, Element]]) -> Iterator[TableRow]:
        last = 0
        table: Element | None = None
        going_down: dict[int, tuple[int, str]] = {}
        for event, element in events:
            kind = local(element)
            if event == "start":
                table = element if kind == "Table" else table
            elif kind == "Worksheet":
                element.clear()
                return
            elif kind == "Row":
                number = _number(attribute(element, "Index")) or last + 1
                if number > last + 1 and last:
                    yield TableRow([])  # empty rows are not stored
                last = number
                yield self._row(element, number, going_down)
                if table is not None:
                    table.clear()

    def _row(self, row: Element, number: int, going_down: dict[int, tuple[int, str]]) -> TableRow:
        cells: list[str] = []
        spans: dict[int, int] = {}
        bold = filled = column = 0
        for cell in row:
            if local(cell) != "Cell":
                continue
            column = min((_number(attribute(cell, "Index")) or column + 1), _MOST_COLUMNS)
            cells += [""] * (column - len(cells))
            style = self._styles.get(attribute(cell, "StyleID"), self._styles.get("Default", _Style()))
            text = self._cell(cell, style, f"{column_letters(column - 1)}{number}")
            cells[column - 1] = text
            filled += bool(text)
            bold += bool(text) and style.bold
            across, down = _number(attribute(cell, "MergeAcross")), _number(attribute(cell, "MergeDown"))
            if across:
                spans[column - 1] = across + 1
            if down:
                going_down[column - 1] = (number + down, text)
            column += across
        for at, (until, text) in list(going_down.items()):
            if number > until:
                del going_down[at]
            elif at >= len(cells) or not cells[at]:
                cells += [""] * (at + 1 - len(cells))
                cells[at] = text
        return TableRow(cells, bool(filled) and bold == filled, spans)

    def _cell(self, cell: Element, style: _Style, reference: str) -> str:
        data = next((each for each in cell if local(each) == "Data"), None)
        for each in cell:
            if local(each) == "Comment" and (words := one_line("".join(each.itertext()))):
                author = one_line(attribute(each, "Author"))
                self._comments.append(f"Comment on {reference}{f' ({author})' if author else ''}: {words}")
        formula = one_line(attribute(cell, "Formula"))
        if data is None or not (text := "".join(data.itertext())):
            if formula and data is None:
                self._notes.add(NoteKind.UNCALCULATED, f"sheet {self.sheet}, {reference}")
            return formula if data is None else ""
        return link(_displayed(text, attribute(data, "Type"), style.format), attribute(cell, "HRef")) or text


def _displayed(text: str, kind: str, code: str) -> str:
    try:
        match kind:
            case "Number":
                return displayed(float(text), code or "General")
            case "DateTime":
                days = (datetime.fromisoformat(text.strip()) - _EPOCH).total_seconds() / 86_400
                return displayed(days, code or "yyyy-mm-dd h:mm")
            case "Boolean":
                return "yes" if text.strip() == "1" else "no"
    except (ValueError, TypeError, OverflowError):
        return text
    return text


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def _signature(inspected: InspectedFile) -> str:
    return SPREADSHEET_XML if inspected.named != MARKDOWN and _START.match(after_prolog(inspected.head)) else ""


FORMAT = Format(
    name="XML workbook",
    media_types={SPREADSHEET_XML: ()},
    parse=_parse,
    reads="rows as displayed, each cell with the name of its column; links and comments",
    omits="formulas without a stored result (their text is read)",
    pages="sheets",
    signature=_signature,
)
