"""Excel workbooks: a sheet is a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import ZIP
from memgpt_loader.formats.office.packages import open_package
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, too_many_pages
from memgpt_loader.formats.workbook import Sheet, WorkbookReader
from memgpt_loader.notes import Notes

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_WHAT = "the workbook"
_BINARY = "xl/workbook.bin"


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    with open_package(file, _WHAT, limits) as package:
        if _BINARY in package.names:
            message = "the file is a binary workbook (.xlsb), which the Loader does not read; save it as .xlsx"
            raise FileFailure(FailureReason.UNSUPPORTED, message)
        sheets = WorkbookReader(package, notes).sheets()
    if not sheets:
        raise FileFailure(FailureReason.EMPTY, "the workbook has no sheets; check that it was saved completely")
    if len(sheets) > limits.max_pages:
        raise too_many_pages(len(sheets), "sheets", limits)
    return Parsed(len(sheets), _pages(file, sheets, limits, notes), notes)


def _pages(file: File, sheets: Sequence[Sheet], limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    chars = 0
    any_text = False
    with open_package(file, _WHAT, limits) as package:
        reader = WorkbookReader(package, notes)
        reader.sheets()
        for number, sheet in enumerate(sheets, start=1):
            lines = []
            for line in reader.lines(sheet):
                chars += len(line)
                lines.append(line)
                if chars > limits.max_chars:  # the character limit reports it
                    break
            any_text = any_text or bool(lines)
            yield PageText(number, f"# {sheet.name}\n\n" + "\n".join(lines) if lines else "")
    if not any_text:
        raise FileFailure(FailureReason.EMPTY, "the workbook's cells are all empty; check that it was saved")


FORMAT = Format(
    name="workbook",
    media_types={XLSX: (".xlsx", ".xlsm", ".xltx", ".xltm")},
    parse=_parse,
    reads="rows as displayed, each cell with the name of its column; links, comments, text boxes, form "
    "controls, charts, headers, footers and alternative texts",
    omits="formulas without a stored result (their text is read), images without alternative text, embedded objects",
    pages="sheets",
    signature=lambda inspected: XLSX if inspected.is_office("xl/") else "",
    first_bytes=ZIP,
)
