"""Legacy Excel workbooks, read with xlrd: a sheet is a page."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Any

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import OLE, InspectedFile
from memgpt_loader.formats.office.number_format import displayed, displayed_text
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, broken, encrypted, too_many_pages
from memgpt_loader.formats.workbook import printed_words
from memgpt_loader.markup import link, one_line
from memgpt_loader.notes import NoteKind, Notes
from memgpt_loader.tables import TableRow, column_letters, table_lines

XLS = "application/vnd.ms-excel"

_WHAT = "the workbook"
_MOST_COLUMNS = 16_384
_TEXT_CELL = 1
"""The type of a cell, as xlrd numbers them."""
_FORMULA, _FORMULA_BYTES, _EMPTY = 0x0006, 20, 3
"""The record of a formula, its least size, and the mark of an empty result ([MS-XLS] 2.4.127, 2.5.133)."""
_CHART = bytes.fromhex("0908100000062000")
"""Begins a chart: a record that declares its kind ([MS-XLS] 2.4.21)."""
_BEGIN, _END, _CONTINUE = 0x0809, 0x000A, 0x003C
_HEADER, _FOOTER, _OBJECT, _TEXT_BOX = 0x0014, 0x0015, 0x005D, 0x01B6
"""Records of a sheet beside its cells ([MS-XLS] 2.4.136, 2.4.124, 2.4.181, 2.4.329)."""
_PICTURE_OBJECT, _COMMENT_OBJECT = 0x08, 0x19
_UNICODE_VERSION = 80
"""The first version whose texts are Unicode, as xlrd numbers them."""


def _parse(file: File, limits: FileLimits) -> Parsed:
    import xlrd

    notes = Notes()
    data = file.read()
    try:
        # Formats are needed to display cells; the library's messages about irregularities are dropped.
        book = xlrd.open_workbook(file_contents=data, formatting_info=True, on_demand=True, logfile=io.StringIO())
        count = book.nsheets
    except MemoryError:
        raise
    except Exception as error:  # on a malformed structure the library raises arbitrary exceptions
        if "encrypted" in str(error).lower():
            raise encrypted() from error
        raise broken(_WHAT, error) from error
    if not count:
        raise FileFailure(FailureReason.EMPTY, "the workbook has no sheets; check that it was saved completely")
    if count > limits.max_pages:
        raise too_many_pages(count, "sheets", limits)
    if charts := data.count(_CHART):
        notes.add(NoteKind.OBJECT, count=charts, reason="charts of legacy workbooks are not read; save it as .xlsx")
    return Parsed(count, _pages(book, limits, notes), notes)


def _pages(book: Any, limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    blanks = _Blanks(memoryview(book.mem)[book.base : book.base + book.stream_len])
    chars = 0
    any_text = False
    for index in range(book.nsheets):
        lines: list[str] = []
        try:
            sheet = book.sheet_by_index(index)
            for line in chain(_lines(book, sheet, blanks, notes), _beside(book, index, one_line(sheet.name), notes)):
                chars += len(line)
                lines.append(line)
                if chars > limits.max_chars:  # the character limit reports it
                    break
            name = one_line(sheet.name)
            book.unload_sheet(index)
        except (FileFailure, MemoryError):
            raise
        except Exception as error:
            raise broken(f"sheet {index + 1} of the workbook", error) from error
        any_text = any_text or bool(lines)
        yield PageText(index + 1, f"# {name}\n\n" + "\n".join(lines) if lines else "")
    if not any_text:
        raise FileFailure(FailureReason.EMPTY, "the workbook's cells are all empty; check that it was saved")


class _Blanks:
    """Tells whether cells whose text is empty hold formulas that were never calculated."""

    def __init__(self, stream: memoryview) -> None:
        self._stream = stream

    @cached_property
    def are_uncalculated(self) -> bool:
        """Whether the stored result of every formula is empty, as libraries write them; programs calculate them."""
        at, end = 0, len(self._stream)
        found = False
        while at + 4 <= end:
            kind, size = struct.unpack_from("<HH", self._stream, at)
            if kind == _FORMULA and size >= _FORMULA_BYTES:
                if self._stream[at + 10] != _EMPTY or bytes(self._stream[at + 16 : at + 18]) != b"\xff\xff":
                    return False
                found = True
            at += 4 + size
        return found


def _lines(book: Any, sheet: Any, blanks: _Blanks, notes: Notes) -> Iterator[str]:
    yield from table_lines(_rows(book, sheet, blanks, notes))
    for (row, column), note in sorted(sheet.cell_note_map.items()):
        if words := one_line(note.text):
            author = f" ({one_line(note.author)})" if note.author.strip() else ""
            yield f"Comment on {column_letters(column)}{row + 1}{author}: {words}"


def _beside(book: Any, index: int, name: str, notes: Notes) -> Iterator[str]:
    """Yield the header, the footer and the text boxes of a sheet; pictures are noted."""
    depth = kind_of_object = 0
    records = _records(book.mem, book._sh_abs_posn[index])  # the library tells where a sheet begins in no other way
    for kind, body in records if book.biff_version >= _UNICODE_VERSION else ():
        if kind in (_BEGIN, _END):
            depth += 1 if kind == _BEGIN else -1
            if not depth:
                return
        elif kind in (_HEADER, _FOOTER) and len(body) > 3:
            words = printed_words(_characters(body[2:], int.from_bytes(body[:2], "little")))
            if words and depth == 1:
                yield f"{'Header' if kind == _HEADER else 'Footer'}: {words}"
        elif kind == _OBJECT:
            kind_of_object = int.from_bytes(body[4:6], "little")
            if kind_of_object == _PICTURE_OBJECT:
                notes.add(NoteKind.PICTURE, f"sheet {name}")
        elif kind == _TEXT_BOX and kind_of_object != _COMMENT_OBJECT:
            words = one_line(_boxed(records, int.from_bytes(body[10:12], "little")))
            if words:
                yield words


def _records(data: Any, at: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("<HH", data, at)
        yield kind, bytes(data[at + 4 : at + 4 + size])
        at += 4 + size


def _boxed(records: Iterator[tuple[int, bytes]], count: int) -> str:
    """Return the text of a box, which follows its record in pieces."""
    words = ""
    while len(words) < count:
        kind, body = next(records, (0, b""))
        if kind != _CONTINUE:
            break
        words += _characters(body, count - len(words))
    return words


def _characters(body: bytes, count: int) -> str:
    """Decode ``count`` characters, after the flag byte that tells their width."""
    wide = bool(body[:1] and body[0] & 1)
    return body[1 : 1 + count * (2 if wide else 1)].decode("utf-16-le" if wide else "latin-1", "replace")


def _rows(book: Any, sheet: Any, blanks: _Blanks, notes: Notes) -> Iterator[TableRow]:
    merged = {(first, left): (last, right) for first, last, left, right in sheet.merged_cells}
    going_down: dict[int, tuple[int, str]] = {}
    for row in range(sheet.nrows):
        cells: list[str] = []
        spans: dict[int, int] = {}
        bold = filled = 0
        for column in range(min(sheet.row_len(row), _MOST_COLUMNS)):
            cell = sheet.cell(row, column)
            text = _text(book, cell)
            if not text and cell.ctype == _TEXT_CELL and blanks.are_uncalculated:
                notes.add(NoteKind.UNCALCULATED, f"sheet {one_line(sheet.name)}, {column_letters(column)}{row + 1}")
            target = sheet.hyperlink_map.get((row, column))
            if text and target is not None and target.url_or_path:
                address = target.url_or_path
                text = link(text, address if isinstance(address, str) else address.decode("latin-1"))
            filled += bool(text)
            bold += bool(text) and _is_bold(book, cell)
            if (end := merged.get((row, column))) is not None:
                if end[0] - row > 1:
                    going_down[column] = (end[0], text)
                if end[1] - column > 1:
                    spans[column] = end[1] - column
            elif not text and (above := going_down.get(column)) is not None and row < above[0]:
                text = above[1]
            cells.append(text)
        yield TableRow(cells, bool(filled) and bold == filled, spans)


def _text(book: Any, cell: Any) -> str:
    import xlrd

    match cell.ctype:
        case xlrd.XL_CELL_TEXT:
            return displayed_text(str(cell.value), _format(book, cell))
        case xlrd.XL_CELL_NUMBER | xlrd.XL_CELL_DATE:
            return displayed(float(cell.value), _format(book, cell), from_1904=book.datemode == 1)
        case xlrd.XL_CELL_BOOLEAN:
            return "yes" if cell.value else "no"
        case xlrd.XL_CELL_ERROR:
            return str(xlrd.error_text_from_code.get(cell.value, ""))
        case _:
            return ""


def _format(book: Any, cell: Any) -> str:
    index = cell.xf_index
    if index is None or not 0 <= index < len(book.xf_list):
        return "General"
    found = book.format_map.get(book.xf_list[index].format_key)
    return "General" if found is None else str(found.format_str)


def _is_bold(book: Any, cell: Any) -> bool:
    index = cell.xf_index
    if index is None or not 0 <= index < len(book.xf_list):
        return False
    font = book.xf_list[index].font_index
    return font < len(book.font_list) and bool(book.font_list[font].bold)


def _signature(inspected: InspectedFile) -> str:
    if inspected.holds_stream("Workbook") or (inspected.named == XLS and inspected.holds_stream("Book")):
        return XLS
    return ""


FORMAT = Format(
    name="legacy workbook",
    media_types={XLS: (".xls", ".xlt")},
    parse=_parse,
    reads="rows as displayed, each cell with the name of its column; links, comments, text boxes, headers and footers",
    omits="charts, pictures, embedded objects, formulas without a stored result",
    pages="sheets",
    signature=_signature,
    first_bytes=OLE,
    also_text="text/csv",
)
