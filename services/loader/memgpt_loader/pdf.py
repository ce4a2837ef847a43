"""PDF files, by pypdf: a page is a document. Runs in a parser process only, since pypdf blocks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from pypdf import PasswordType, PdfReader
from pypdf.errors import EmptyFileError, FileNotDecryptedError, LimitReachedError

from memgpt_loader.clean import PageCleaner
from memgpt_loader.failures import FailureReason, FileFailure

# pypdf reports every oddity of a file that it can read all the same.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


class PdfFile:
    """An open PDF.

    Attributes:
        pages: Number of pages, at least 1.
    """

    def __init__(self, path: Path, *, max_pages: int) -> None:
        """Opens a PDF; one that is encrypted is tried with the empty password.

        Args:
            path: The file.
            max_pages: Most pages that it may have.

        Raises:
            FileFailure: ENCRYPTED, BROKEN, EMPTY or TOO_LARGE.
        """
        try:
            self._reader = PdfReader(path, strict=False)
            if self._reader.is_encrypted and self._reader.decrypt("") is PasswordType.NOT_DECRYPTED:
                raise _encrypted()
            self.pages = len(self._reader.pages)
        except (FileFailure, MemoryError):
            raise
        except Exception as error:
            raise _failure(error, "The file cannot be read as a PDF") from error
        if not self.pages:
            raise FileFailure(FailureReason.EMPTY, "The PDF has no pages. Export it again from its source.")
        if self.pages > max_pages:
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"The PDF has {self.pages:,} pages, more than the {max_pages:,} that the Loader accepts. "
                "Split it, or raise loader.max_pages.",
            )

    def texts(self) -> Iterator[str]:
        """Yields the cleaned text of each page in order; empty for a page without text.

        Raises:
            FileFailure: BROKEN or TOO_LARGE, which names the page; NO_TEXT after the last page, if none had any.
        """
        cleaner = PageCleaner()
        any_text = False
        for number in range(1, self.pages + 1):
            try:
                text = cleaner.clean(self._reader.pages[number - 1].extract_text())
            except MemoryError:
                raise
            except Exception as error:
                raise _failure(error, f"Page {number} of the PDF cannot be read") from error
            any_text = any_text or bool(text)
            yield text
        if not any_text:
            raise FileFailure(
                FailureReason.NO_TEXT,
                f"None of the PDF's {self.pages:,} page(s) holds text: it is probably a scan. "
                "Run OCR on it (for instance with ocrmypdf) and load the result.",
            )


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
                f"{what}: its compressed data expands beyond the parser's limits. "
                "If the file is to be trusted, print it to a new PDF and load that.",
                detail=detail,
            )
        case _:
            return FileFailure(
                FailureReason.BROKEN,
                f"{what}: it is damaged or incomplete. Open it in a PDF viewer and save or print it to a new PDF.",
                detail=detail,
            )
