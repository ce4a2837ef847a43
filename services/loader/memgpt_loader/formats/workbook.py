"""Excel workbooks, by openpyxl: a sheet is a page, a row is a line that names its columns."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from defusedxml import DefusedXmlException
from openpyxl import load_workbook

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.office.packages import declares_entities, open_package
from memgpt_loader.formats.spec import File, Limits, PageText, Parsed, broken, closing, too_many_pages
from memgpt_loader.markup import table_lines

_WHAT = "the workbook"


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a workbook; cells hold the values that were last computed, not their formulas."""
    with open_package(file, _WHAT, limits) as package:
        package.main_part()
    warnings.simplefilter("ignore")  # of parts that openpyxl does not know, and that hold no cells
    stream = file.open()
    try:
        # Read as it is needed; links to other workbooks are not followed.
        book = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        sheets = book.worksheets
        if not sheets:
            raise FileFailure(FailureReason.EMPTY, "The workbook has no sheets. Check that it was saved completely.")
        if len(sheets) > limits.max_pages:
            raise too_many_pages(len(sheets), "sheets", limits)
    except BaseException as error:
        stream.close()
        if isinstance(error, Exception) and not isinstance(error, FileFailure | MemoryError):
            raise _failure(_WHAT, error) from error
        raise
    return Parsed(len(sheets), closing(stream, _pages(sheets, limits)))


def _pages(sheets: Iterable[Any], limits: Limits) -> Iterator[PageText]:
    chars = 0
    any_text = False
    for number, sheet in enumerate(sheets, start=1):
        lines = []
        for line in table_lines(_rows(sheet)):
            chars += len(line)
            lines.append(line)
            if chars > limits.max_chars:  # told by whoever counts them
                break
        any_text = any_text or bool(lines)
        yield PageText(number, f"# {sheet.title}\n\n" + "\n".join(lines) if lines else "")
    if not any_text:
        raise FileFailure(FailureReason.EMPTY, "The workbook's cells are all empty. Check that it was saved.")


def _rows(sheet: Any) -> Iterator[list[str]]:
    sheet.reset_dimensions()  # what a sheet claims to have: else each of its rows would be filled up to that
    try:
        for values in sheet.iter_rows(values_only=True):
            yield [_text(value) for value in values]
    except MemoryError:
        raise
    except Exception as error:
        raise _failure(f"Sheet {sheet.title!r} of the workbook", error) from error


def _failure(what: str, error: Exception) -> FileFailure:
    """Looks below what openpyxl makes of an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DefusedXmlException):
            return declares_entities(what, cause)
        cause = cause.__cause__ or cause.__context__
    return broken(what, error)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case float():
            return f"{value:.12g}"
        case dt.datetime() if value.time() == dt.time():
            return value.date().isoformat()
        case dt.datetime():
            return value.isoformat(" ", "seconds")
        case _:
            return str(value)
