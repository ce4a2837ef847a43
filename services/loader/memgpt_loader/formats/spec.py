"""What a format is, what a parser gets, and what it returns."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.notes import Notes

if TYPE_CHECKING:
    from memgpt_loader.formats.probe import Probe

PLAIN = "text/plain"
MARKDOWN = "text/markdown"


@dataclass(frozen=True)
class Limits:
    """What a file may ask for."""

    max_pages: int
    """Pages, slides, sheets, chapters or files of an archive."""
    max_chars: int
    """Characters of text in all."""
    max_unpacked_bytes: int
    """Bytes of all that is packed in a file, such as the parts of an office document."""
    max_tokens: int
    """Tokens of a passage."""
    overlap_tokens: int = 0
    """Tokens that a passage repeats of the one before it."""


@dataclass(frozen=True)
class File:
    """A file to read."""

    source: Path | bytes
    """Where its bytes are, or the bytes."""
    name: str
    """What its owner calls it; only the extension counts."""
    media_type: str
    """One of those that `registry.FORMATS` declare."""
    depth: int = 0
    """How many files this one is packed in: 1 for the attachment of an e-mail."""

    def open(self) -> BinaryIO:
        """Its bytes, as a stream that can be sought in; the caller closes it."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    def read(self) -> bytes:
        """All of its bytes."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class PageText:
    """The text of a page, or the next piece of a long text without pages."""

    number: int
    """From 1; 0 for a document without pages."""
    text: str
    """Cleaned; may be empty."""


@dataclass(frozen=True)
class Parsed:
    """A file that could be opened."""

    documents: int
    """Number of its pages, at least 1; 1 for a document without pages."""
    pages: Iterator[PageText]
    """In order. Reads on as it is consumed, and raises FileFailure."""
    notes: Notes = field(default_factory=Notes)
    """What a person sees in the file and the text lacks; complete when the pages have been consumed."""


@dataclass(frozen=True)
class Format:
    """A kind of file that is read. Each is declared in a module of its own and listed in `registry.FORMATS`."""

    name: str
    """For people, as in "is not a PDF"."""
    media_types: Mapping[str, tuple[str, ...]]
    """The extensions, lower case and with their dot, by the media type that they name."""
    parse: Callable[[File, Limits], Parsed]
    """Opens a file; raises FileFailure if it cannot be read. Imports what is large only when it is called."""
    reads: str
    """What is read of a file, for people: a phrase without a full stop."""
    omits: str = ""
    """What is not read and noted instead, for people; empty if nothing is."""
    pages: str = ""
    """What its documents are: "pages", "slides"; empty if it has none."""
    signature: Callable[[Probe], str] | None = None
    """Tells by the content: returns the media type, or an empty string. None for text, which its name tells."""
    first_bytes: bytes = b""
    """What every such file begins with; one with the extension that begins otherwise is broken. Empty for text."""

    also_text: str = ""
    """The media type as which text with its extension is read: some programs give tables a workbook's name."""

    @cached_property
    def extensions(self) -> tuple[str, ...]:
        """All extensions, in order."""
        return tuple(sorted(extension for each in self.media_types.values() for extension in each))


def flowing(text: str) -> Iterator[PageText]:
    """A document without pages, of one piece.

    Raises:
        FileFailure: EMPTY.
    """
    if not text.strip():
        raise FileFailure(FailureReason.EMPTY, "the file holds no text; check that it was saved completely")
    yield PageText(0, text)


def closing(stream: BinaryIO, pages: Iterator[PageText]) -> Iterator[PageText]:
    """The pages; closes the stream that they are read from after the last."""
    with stream:
        yield from pages


def too_many_pages(pages: int, what: str, limits: Limits) -> FileFailure:
    """The failure of a file with more pages than it may have."""
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"the file has {pages:,} {what}, more than the {limits.max_pages:,} that the Loader accepts; "
        "split it, or raise loader.max_pages",
    )


def broken(what: str, error: Exception | None = None) -> FileFailure:
    """The failure of a damaged file.

    Args:
        what: What cannot be read: "the presentation".
        error: Of the library; goes to the log only.
    """
    return FileFailure(
        FailureReason.BROKEN,
        f"{what} is damaged or incomplete; open it in the program that made it, and save it again",
        detail="" if error is None else f"{type(error).__name__}: {error}"[:500],
    )


def encrypted() -> FileFailure:
    """The failure of a file that needs a password."""
    return FileFailure(
        FailureReason.ENCRYPTED, "the file is protected by a password; save a copy without the password and load that"
    )
