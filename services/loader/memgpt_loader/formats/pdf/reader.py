"""PDF files: each page is a document. Runs only in a parser process, since its libraries block and may crash.

pypdf reads the structure: it reports what is wrong with a file, and rejects excessive nesting and expansion.
PDFium then extracts the text, ten times faster; pypdf extracts the pages that PDFium cannot open.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import cast

from pypdf import PageObject, PasswordType, PdfReader
from pypdf.errors import EmptyFileError, FileNotDecryptedError, LimitReachedError
from pypdf.generic import DictionaryObject, IndirectObject, NumberObject, StreamObject

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.embedded import embedded_text
from memgpt_loader.formats.pdf.cleaning import PageCleaner
from memgpt_loader.formats.pdf.extras import (
    AttachedFile,
    attachments,
    field_lines,
    is_dynamic_form,
    page_attachments,
)
from memgpt_loader.formats.pdf.layers import Layers
from memgpt_loader.formats.pdf.pdfium import DrawnPage, PdfiumTexts
from memgpt_loader.formats.pdf.running_headers import strip_running_headers
from memgpt_loader.formats.spec import File, FileLimits, PageText, Parsed, closing, encrypted, too_many_pages
from memgpt_loader.notes import NoteKind, Notes

# pypdf logs every irregularity, even in files that it can read.
_SMALLEST_PICTURE = 64
"""Pixels of a side; smaller pictures are bullets and lines."""

_XFA = "Adobe Reader alone shows it (XFA); print it to a new PDF there, and load that"

logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def parse(file: File, limits: FileLimits) -> Parsed:
    """Open a PDF; an encrypted one is tried with the empty password."""
    stream = file.open()
    try:
        reader = PdfReader(stream, strict=False)
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise encrypted()
        pages = len(reader.pages)
        if not pages:
            raise FileFailure(FailureReason.EMPTY, "the PDF has no pages; export it again from its source")
        if pages > limits.max_pages:
            raise too_many_pages(pages, "pages", limits)
        attached = attachments(reader)
        for_one_program = is_dynamic_form(reader)
    except BaseException as error:
        stream.close()
        if isinstance(error, Exception) and not isinstance(error, FileFailure | MemoryError):
            raise _failure(error, "the PDF") from error
        raise
    notes = Notes()
    if for_one_program:
        notes.add(NoteKind.OBJECT, "the form", reason=_XFA)
    texts = _pages(file, reader, pages, attached, limits, notes)
    return Parsed(pages + len(attached), closing(stream, texts), notes)


def _pages(
    file: File, reader: PdfReader, pages: int, attached: Sequence[AttachedFile], limits: FileLimits, notes: Notes
) -> Iterator[PageText]:
    any_text = False
    titles: dict[int, frozenset[str]] = {}
    texts = _Texts(file, reader, pages, limits, notes, titles)
    texts.met |= {each.number for each in attached}
    for number, text in enumerate(strip_running_headers(texts.read(), pages, titles), start=1):
        text = "\n\n".join(filter(None, (text, texts.beside.pop(number, ""))))
        any_text = any_text or bool(text)
        yield PageText(number, text)
    for number, each in enumerate(attached, start=pages + 1):
        any_text = True
        yield PageText(number, _attached(each, file, limits, notes))
    if not any_text:
        raise _without_text(pages, undecodable=any(note.kind is NoteKind.UNDECODABLE_TEXT for note in notes))


def _without_text(pages: int, *, undecodable: bool) -> FileFailure:
    what = (
        "holds text that can be decoded: its fonts lack the way back to Unicode"
        if undecodable
        else "holds text: it is probably a scan"
    )
    return FileFailure(
        FailureReason.NO_TEXT,
        f"none of the PDF's {pages:,} page(s) {what}; run OCR on it (for instance with ocrmypdf --force-ocr) and load "
        "the result",
    )


class _Texts:
    """The cleaned texts of the pages, with form fields, annotations and attachments."""

    def __init__(
        self,
        file: File,
        reader: PdfReader,
        pages: int,
        limits: FileLimits,
        notes: Notes,
        titles: dict[int, frozenset[str]],
    ) -> None:
        self._file = file
        self._reader = reader
        self._pages = pages
        self._limits = limits
        self._notes = notes
        self._titles = titles
        self._cleaner = PageCleaner()
        self._expanded: set[int] = set()
        self._painted: set[int] = set()
        self._links: set[str] = set()
        self.beside: dict[int, str] = {}
        """Fields and annotations by page."""
        self.met: set[int] = {0}
        """Object numbers of attachments that are read elsewhere."""

    def read(self) -> Iterator[str]:
        """Yield the texts page by page."""
        layers = Layers(self._reader)
        with PdfiumTexts(self._file, layers.hidden) as texts:
            for number in range(1, self._pages + 1):
                try:
                    page = self._reader.pages[number - 1]
                    _expand(page, self._expanded)
                    copy = layers.page_without_hidden(page)
                    drawn = texts.page(number, copy) or DrawnPage(page.extract_text())
                    text = self._cleaner.clean(drawn.text)
                    self._look_beside(number, page, drawn)
                    is_scan = not text and (
                        drawn.is_picture or any(each.get("/Subtype") == "/Image" for _, each in _painted(page))
                    )
                    recognized = self._recognized(texts, number) if is_scan or drawn.undecodable else ""
                except MemoryError:
                    raise
                except Exception as error:
                    raise _failure(error, f"page {number} of the PDF") from error
                if recognized:
                    text = recognized
                elif drawn.undecodable:
                    self._notes.add(NoteKind.UNDECODABLE_TEXT, page=number)
                elif text and (pictures := self._new_pictures(page)):
                    self._notes.add(NoteKind.PICTURE, page=number, count=pictures)
                elif is_scan:
                    self._notes.add(NoteKind.SCANNED_PAGE, page=number)
                if text:
                    self._add_links(number, drawn.links)
                yield text

    def _add_links(self, number: int, links: list[str]) -> None:
        """Add links that are not in a page's text, unless an earlier page had them: many pages link their logo."""
        new = [each for each in links if each not in self._links]
        self._links.update(new)
        if beside := "\n\n".join(filter(None, ("\n".join(new), self.beside.get(number, "")))):
            self.beside[number] = beside

    def _new_pictures(self, page: PageObject) -> int:
        """Return the number of pictures on a page that were on no page before; lines and ornaments do not count."""
        return sum(
            each.get("/Subtype") == "/Image"
            and not each.get("/ImageMask")
            and all(_size(each, side) >= _SMALLEST_PICTURE for side in ("/Width", "/Height"))
            for _, each in _painted_within(page, self._painted)
        )

    def _recognized(self, texts: PdfiumTexts, number: int) -> str:
        recognizer = self._limits.recognizer
        if recognizer is None or recognizer.exhausted or (picture := texts.picture(number)) is None:
            return ""
        return self._cleaner.clean(recognizer.text(picture))

    def _look_beside(self, number: int, page: PageObject, drawn: DrawnPage) -> None:
        self._titles[number] = drawn.titles
        lines = field_lines(page) if drawn.has_fields else []
        found = page_attachments(page) if drawn.has_attachments else []
        attached = [
            _attached(each, self._file, self._limits, self._notes) for each in found if each.number not in self.met
        ]
        if beside := "\n\n".join(filter(None, ("\n".join(lines), *drawn.comments, *attached))):
            self.beside[number] = beside
        for layer in sorted(drawn.hidden):
            self._notes.add(NoteKind.HIDDEN, f"layer {layer}", page=number)
        if drawn.drawings:
            self._notes.add(NoteKind.ANNOTATION, page=number, count=drawn.drawings)


def _attached(each: AttachedFile, file: File, limits: FileLimits, notes: Notes) -> str:
    """Return the text of an attached file, under its name."""
    heading = f"# Attached file: {each.name}"
    try:
        return f"{heading}\n\n{embedded_text(each.name, each.stream.get_data(), file, limits, notes)}"
    except FileFailure as failure:
        notes.add(NoteKind.ATTACHMENT, each.name, reason=failure.message)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged attachment must not fail the PDF
        notes.add(NoteKind.ATTACHMENT, each.name, reason=_failure(error, "it").message)
    return heading


def _expand(page: DictionaryObject, seen: set[int]) -> None:
    """Decompress the content of a page within pypdf's limits, because PDFium has none.

    Args:
        page: The page, or a form XObject that is painted on one.
        seen: Object numbers of forms that were already checked; extended in place.

    Raises:
        LimitReachedError: The content expands beyond the limit.
    """
    try:
        if isinstance(page, PageObject):
            page.get_contents()
        elif isinstance(page, StreamObject):
            page.get_data()
    except (LimitReachedError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - pypdf cannot read it, but PDFium may
        return
    for number, each in _painted(page):
        if each.get("/Subtype") == "/Form" and number not in seen:
            seen.add(number)
            _expand(each, seen)


def _painted(page: DictionaryObject) -> list[tuple[int, DictionaryObject]]:
    """Return the pictures and forms that a page may paint, with their object numbers."""
    try:
        resources = cast("DictionaryObject", page["/Resources"].get_object())
        listed = cast("DictionaryObject", resources["/XObject"].get_object()).values()
        return [
            (each.idnum if isinstance(each, IndirectObject) else 0, cast("DictionaryObject", each.get_object()))
            for each in listed
        ]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - missing or malformed resources: read as much as possible
        return []


def _painted_within(page: DictionaryObject, met: set[int]) -> Iterator[tuple[int, DictionaryObject]]:
    """Yield the pictures and forms that a page or its forms may paint, except those in ``met``; add them to it."""
    for number, each in _painted(page):
        if number not in met:
            met.add(number)
            yield number, each
            if each.get("/Subtype") == "/Form":
                yield from _painted_within(each, met)


def _size(picture: DictionaryObject, side: str) -> int:
    value = picture.get(side)
    return int(value) if isinstance(value, NumberObject) else 0


def _failure(error: Exception, what: str) -> FileFailure:
    detail = f"{type(error).__name__}: {error}"[:500]
    match error:
        case FileNotDecryptedError():
            return encrypted()
        case EmptyFileError():
            return FileFailure(FailureReason.EMPTY, "the file is empty; check that it was downloaded completely")
        case LimitReachedError():
            return FileFailure(
                FailureReason.TOO_LARGE,
                f"{what} exceeds the parser's limits of size or nesting, as a decompression bomb does; "
                "if you trust the file, print it to a new PDF and load that",
                detail=detail,
            )
        case _:
            return FileFailure(
                FailureReason.BROKEN,
                f"{what} is damaged or incomplete; open the file in a PDF viewer and save or print it to a new PDF",
                detail=detail,
            )
