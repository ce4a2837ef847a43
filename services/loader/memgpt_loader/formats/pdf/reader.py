"""PDF files: a page is a document. Runs in a parser process only, since its libraries block and one may crash.

pypdf reads the structure: it says what is wrong with a file, and refuses what nests or expands beyond its limits.
PDFium then gives the text, ten times faster; for a page that it cannot open, pypdf does that as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import cast

from pypdf import PageObject, PasswordType, PdfReader
from pypdf.errors import EmptyFileError, FileNotDecryptedError, LimitReachedError
from pypdf.generic import DictionaryObject, IndirectObject, StreamObject

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.notes import NoteKind, Notes
from memgpt_loader.formats.pdf.cleaning import PageCleaner
from memgpt_loader.formats.pdf.pdfium import PdfiumTexts
from memgpt_loader.formats.pdf.running_headers import without_furniture
from memgpt_loader.formats.spec import File, Limits, PageText, Parsed, closing, too_many_pages

# pypdf reports every oddity of a file that it can read all the same.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a PDF; one that is encrypted is tried with the empty password."""
    stream = file.open()
    try:
        reader = PdfReader(stream, strict=False)
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise _encrypted()
        pages = len(reader.pages)
        if not pages:
            raise FileFailure(FailureReason.EMPTY, "The PDF has no pages. Export it again from its source.")
        if pages > limits.max_pages:
            raise too_many_pages(pages, "pages", limits)
    except BaseException as error:
        stream.close()
        if isinstance(error, Exception) and not isinstance(error, FileFailure | MemoryError):
            raise _failure(error, "The file cannot be read as a PDF") from error
        raise
    notes = Notes()
    return Parsed(pages, closing(stream, _pages(file, reader, pages, notes)), notes)


def _pages(file: File, reader: PdfReader, pages: int, notes: Notes) -> Iterator[PageText]:
    any_text = False
    scanned: list[int] = []
    for number, text in enumerate(without_furniture(_texts(file, reader, pages, scanned), pages), start=1):
        any_text = any_text or bool(text)
        yield PageText(number, text)
    if not any_text:
        raise FileFailure(
            FailureReason.NO_TEXT,
            f"None of the PDF's {pages:,} page(s) holds text: it is probably a scan. "
            "Run OCR on it (for instance with ocrmypdf) and load the result.",
        )
    for number in scanned:
        notes.add(NoteKind.SCANNED_PAGE, page=number)


def _texts(file: File, reader: PdfReader, pages: int, scanned: list[int]) -> Iterator[str]:
    """Cleaned texts of the pages; the numbers of those that are pictures only are added to `scanned`."""
    cleaner = PageCleaner()
    seen: set[int] = set()
    with PdfiumTexts(file) as texts:
        for number in range(1, pages + 1):
            try:
                page = reader.pages[number - 1]
                _expand(page, seen)
                drawn = texts.page(number)
                text = cleaner.clean(page.extract_text() if drawn is None else drawn)
            except MemoryError:
                raise
            except Exception as error:
                raise _failure(error, f"Page {number} of the PDF cannot be read") from error
            if not text and any(each.get("/Subtype") == "/Image" for _, each in _painted(page)):
                scanned.append(number)
            yield text


def _expand(page: DictionaryObject, seen: set[int]) -> None:
    """Unpacks what is painted on a page within pypdf's limits, which PDFium has not.

    Args:
        page: The page, or a form that is painted on one.
        seen: Numbers of the forms that need no second look; grows.

    Raises:
        LimitReachedError: It expands too far.
    """
    try:
        if isinstance(page, PageObject):
            page.get_contents()
        elif isinstance(page, StreamObject):
            page.get_data()
    except (LimitReachedError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - something that pypdf does not know; PDFium may
        return
    for number, each in _painted(page):
        if each.get("/Subtype") == "/Form" and number not in seen:
            seen.add(number)
            _expand(each, seen)


def _painted(page: DictionaryObject) -> list[tuple[int, DictionaryObject]]:
    """Pictures and forms that may be painted on a page, with the numbers of their objects."""
    try:
        resources = cast("DictionaryObject", page["/Resources"].get_object())
        listed = cast("DictionaryObject", resources["/XObject"].get_object()).values()
        return [
            (each.idnum if isinstance(each, IndirectObject) else 0, cast("DictionaryObject", each.get_object()))
            for each in listed
        ]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a page without resources, or with odd ones: it is read as far as it can be
        return []


def _encrypted() -> FileFailure:
    return FileFailure(
        FailureReason.ENCRYPTED,
        "The PDF is protected by a password. Save a copy without the password and load that.",
    )


def _failure(error: Exception, what: str) -> FileFailure:
    detail = f"{type(error).__name__}: {error}"[:500]
    match error:
        case FileNotDecryptedError():
            return _encrypted()
        case EmptyFileError():
            return FileFailure(FailureReason.EMPTY, "The file is empty. Check that it was downloaded completely.")
        case LimitReachedError():
            return FileFailure(
                FailureReason.TOO_LARGE,
                f"{what}: it expands, or nests, beyond the parser's limits, as bombs do. "
                "If the file is to be trusted, print it to a new PDF and load that.",
                detail=detail,
            )
        case _:
            return FileFailure(
                FailureReason.BROKEN,
                f"{what}: it is damaged or incomplete. Open it in a PDF viewer and save or print it to a new PDF.",
                detail=detail,
            )
