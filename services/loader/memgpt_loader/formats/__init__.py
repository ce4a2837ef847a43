"""The kinds of documents that are read, each by a module of its own, behind one `Parser` protocol.

| module | reads | its pages |
| --- | --- | --- |
| `pdf` | PDF | pages |
| `plain` | text, Markdown | none |
| `html` | HTML, XHTML | none |
| `docx` | Word | none |
| `pptx` | PowerPoint | slides |
| `xlsx` | Excel | sheets |
| `delimited` | CSV, TSV | none |
| `structured` | JSON, JSON lines | none |
| `epub` | EPUB | chapters |
| `mail` | e-mail messages | none |
| `mbox` | archives of e-mail messages | none |

A module is imported when the first file of its kind comes, in a parser process.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from memgpt_loader import media
from memgpt_loader.failures import FailureReason, FileFailure

VERSION = 2
"""Part of the ids of passages. Raise it when the same file of any kind would give another text."""

_MODULES = {
    media.PDF: "pdf",
    media.PLAIN: "plain",
    media.MARKDOWN: "plain",
    media.HTML: "html",
    media.DOCX: "docx",
    media.PPTX: "pptx",
    media.XLSX: "xlsx",
    media.CSV: "delimited",
    media.TSV: "delimited",
    media.JSON: "structured",
    media.JSONL: "structured",
    media.EPUB: "epub",
    media.MAIL: "mail",
    media.MBOX: "mbox",
}


@dataclass(frozen=True)
class Limits:
    """What a file may ask for."""

    max_pages: int
    """Pages, slides, sheets or chapters."""
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
    """What it is: see `media`."""
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
    notes: list[str] = field(default_factory=list)
    """What a person should know of a file that is loaded all the same; complete when the pages have been consumed."""


class Parser(Protocol):
    """Reads one kind of document: a module of this package."""

    def parse(self, file: File, limits: Limits) -> Parsed:
        """Opens a file.

        Raises:
            FileFailure: It cannot be read.
        """
        ...


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a file by the parser of its kind.

    Raises:
        FileFailure: It cannot be read.
    """
    return _parser(file.media_type).parse(file, limits)


def flowing(text: str) -> Iterator[PageText]:
    """A document without pages, of one piece.

    Raises:
        FileFailure: EMPTY.
    """
    if not text.strip():
        raise FileFailure(FailureReason.EMPTY, "The file holds no text. Check that it was saved completely.")
    yield PageText(0, text)


def closing(stream: BinaryIO, pages: Iterator[PageText]) -> Iterator[PageText]:
    """The pages, and the end of the stream that they are read from."""
    with stream:
        yield from pages


def _parser(media_type: str) -> Parser:
    try:
        return cast("Parser", importlib.import_module(f"{__name__}.{_MODULES[media_type]}"))
    except ImportError as error:
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            f"The Loader lacks the library that reads files of type {media_type}. "
            'Where it runs: pip install "memgpt-milvus[loader]".',
            detail=repr(error),
        ) from error


def too_many_pages(pages: int, what: str, limits: Limits) -> FileFailure:
    """The failure of a file with more pages than it may have."""
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"The file has {pages:,} {what}, more than the {limits.max_pages:,} that the Loader accepts. "
        "Split it, or raise loader.max_pages.",
    )


def broken(what: str, error: Exception | None = None) -> FileFailure:
    """The failure of a damaged file.

    Args:
        what: What cannot be read, as the beginning of a sentence: "The presentation".
        error: Of the library; goes to the log only.
    """
    return FileFailure(
        FailureReason.BROKEN,
        f"{what} cannot be read: it is damaged or incomplete. Open it where it was made, and save it again.",
        detail="" if error is None else f"{type(error).__name__}: {error}"[:500],
    )
