"""Text of a PDF's pages by PDFium, the library of Chrome: fast, but in C++, and without limits of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import pypdfium2
from pypdfium2 import PdfDocument, PdfiumError, PdfPage

from memgpt_loader.formats.spec import File

_PAGES_AN_OPENING = 100
"""PDFium keeps the fonts of all pages that it has read: a file is opened anew after so many, so memory is bounded."""

_BROKEN_OFF = "\ufffe"
"""What PDFium makes of a hyphen at the end of a line, and of the line's end."""


class PdfiumTexts:
    """A PDF as PDFium sees it; a context manager."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._document: PdfDocument | None = None
        self._pages_left = 0

    def page(self, number: int) -> str | None:
        """The text of a page, as drawn on it.

        Args:
            number: From 1.

        Returns:
            Its text; None if PDFium cannot open the page.
        """
        try:
            page = self._opened()[number - 1]
        except (PdfiumError, IndexError):
            return None
        try:
            return _text(page)
        except PdfiumError:
            return None
        finally:
            page.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _opened(self) -> PdfDocument:
        if not self._pages_left:
            self._close()
        if self._document is None:
            source = self._file.source
            self._document = pypdfium2.PdfDocument(source if isinstance(source, bytes) else str(source))
            self._pages_left = _PAGES_AN_OPENING
        self._pages_left -= 1
        return self._document

    def _close(self) -> None:
        if self._document is not None:
            self._document.close()
            self._document = None


def _text(page: PdfPage) -> str:
    text = page.get_textpage()
    try:
        return str(text.get_text_range()).replace(_BROKEN_OFF, "-\n")
    finally:
        text.close()
