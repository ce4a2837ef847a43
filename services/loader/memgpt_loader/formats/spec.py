"""The interface of a format: what a parser gets and what it returns."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.notes import Notes

if TYPE_CHECKING:
    from memgpt_loader.formats.inspected_file import InspectedFile
    from memgpt_loader.text_recognition import TextRecognizer

PLAIN = "text/plain"
MARKDOWN = "text/markdown"


@dataclass(frozen=True)
class FileLimits:
    """Limits of parsing one file."""

    max_pages: int
    """Maximum pages, slides, sheets, chapters or archive members."""
    max_chars: int
    """Maximum characters of text in total."""
    max_unpacked_bytes: int
    """Maximum unpacked bytes, such as of the parts of an office document."""
    max_tokens: int
    """Maximum tokens of a passage."""
    overlap_tokens: int = 0
    """Tokens that a passage repeats from the previous one."""
    recognizer: TextRecognizer | None = None
    """Recognizes text in pictures; None if they are left out."""


@dataclass(frozen=True)
class File:
    """A file to parse."""

    source: Path | bytes
    """Path of the file, or its content."""
    name: str
    """The client's name for it; only the extension matters."""
    media_type: str
    """One of the media types that `registry.FORMATS` declare."""
    depth: int = 0
    """Number of files that enclose this one: 1 for the attachment of an e-mail."""

    def open(self) -> BinaryIO:
        """Open the file as a seekable stream; the caller closes it."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    def read(self) -> bytes:
        """Return the whole content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class PageText:
    """The text of a page, or the next piece of a long text without pages."""

    number: int
    """From 1; 0 for a document without pages."""
    text: str
    """The cleaned text; may be empty."""


@dataclass(frozen=True)
class Parsed:
    """An opened file."""

    documents: int
    """Number of pages, at least 1; 1 for a document without pages."""
    pages: Iterator[PageText]
    """The pages in order, parsed as they are consumed; iteration may raise FileFailure."""
    notes: Notes = field(default_factory=Notes)
    """Notes on content that the text lacks; complete when the pages have been consumed."""


@dataclass(frozen=True)
class Format:
    """A supported format. Each is declared in its own module and listed in `registry.FORMATS`."""

    name: str
    """Name for people, as in "is not a PDF"."""
    media_types: Mapping[str, tuple[str, ...]]
    """Extensions, in lower case and with their dot, by media type."""
    parse: Callable[[File, FileLimits], Parsed]
    """Opens a file; raises FileFailure if it cannot be read. Imports large libraries only when called."""
    reads: str
    """The content that is extracted, for people: a phrase without a full stop."""
    omits: str = ""
    """The content that is left out and noted, for people; empty if there is none."""
    pages: str = ""
    """The word for its documents, such as "pages" or "slides"; empty if it has none."""
    signature: Callable[[InspectedFile], str] | None = None
    """Returns the media type by content, or an empty string. None for text, which is identified by its extension."""
    first_bytes: bytes = b""
    """Bytes that every such file begins with; a file with the extension but other bytes is broken. Empty for text."""

    also_text: str = ""
    """Media type for text files with this extension: some programs save tables as text with a workbook's extension."""

    needs_recognition: bool = False
    """Whether it is read only if text in pictures is recognized. It is identified by its content alone."""

    @cached_property
    def extensions(self) -> tuple[str, ...]:
        """All extensions in order."""
        return tuple(sorted(extension for each in self.media_types.values() for extension in each))


def flowing(text: str) -> Iterator[PageText]:
    """Yield a document that is a single text without pages.

    Raises:
        FileFailure: There is no text (EMPTY).
    """
    if not text.strip():
        raise FileFailure(FailureReason.EMPTY, "the file contains no text; check that it was saved completely")
    yield PageText(0, text)


def closing(stream: BinaryIO, pages: Iterator[PageText]) -> Iterator[PageText]:
    """Yield the pages, and close their stream after the last."""
    with stream:
        yield from pages


def too_many_pages(pages: int, what: str, limits: FileLimits) -> FileFailure:
    """Return the failure for a file with too many pages."""
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"the file has {pages:,} {what}, more than the {limits.max_pages:,} that the Loader accepts; "
        "split it, or raise loader.max_pages",
    )


def broken(what: str, error: Exception | None = None) -> FileFailure:
    """Return the failure for a damaged file.

    Args:
        what: What cannot be read: "the presentation".
        error: The library's error, for the log only.
    """
    return FileFailure(
        FailureReason.BROKEN,
        f"{what} is damaged or incomplete; open it in the program that made it, and save it again",
        detail="" if error is None else f"{type(error).__name__}: {error}"[:500],
    )


def encrypted() -> FileFailure:
    """Return the failure for a file that needs a password."""
    return FileFailure(
        FailureReason.ENCRYPTED, "the file is protected by a password; save a copy without the password and load that"
    )
