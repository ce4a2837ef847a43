"""Results of a parser, in this order: `FileOpened`, `PageRead` for each page, `NotesReported` if there are notes."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_loader.formats import Note


@dataclass(frozen=True)
class FileOpened:
    """The file could be opened."""

    media_type: str
    documents: int
    """Number of pages; 1 for a document without pages."""


@dataclass(frozen=True)
class ParsedPassage:
    """A passage: a piece of a page."""

    text: str
    page: int
    """From 1; 0 in a document without pages."""
    start: int
    """Offset of the first character in the page's cleaned text, from 0."""
    end: int
    """Offset after the last character."""


@dataclass(frozen=True)
class PageRead:
    """Passages of a page: all of them, or the next part of many."""

    page: int
    passages: tuple[ParsedPassage, ...]
    last: bool
    """Whether the page ends here; for a long text without pages, whether a piece of it does."""


@dataclass(frozen=True)
class NotesReported:
    """The file was read to its end, but something was left out."""

    notes: tuple[Note, ...]


ParserResult = FileOpened | PageRead | NotesReported
