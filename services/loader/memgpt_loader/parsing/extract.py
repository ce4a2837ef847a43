"""Extraction of passages from a file. Runs only in a parser process."""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memgpt_runtime import chunking
from memgpt_runtime.chunking import Chunk, chunk

from memgpt_loader import formats
from memgpt_loader.decoding import writable
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, FileLimits, Note, NoteKind, Notes, PageText

MAX_PASSAGE_CHARS = 4096
"""Maximum characters of a passage, so that its UTF-8 stays within Memory's limit of 16 KiB. Only white space, which has
no tokens, makes passages that long."""


_LAST_SPACE = re.compile(r".*\s", re.DOTALL)


def chunker_version(max_tokens: int, overlap_tokens: int, ocr_languages: str = "") -> str:
    """Return the version of the chunking rules, and what text in pictures is read with; see `is_current`."""
    overlap = f"+{overlap_tokens}" if overlap_tokens else ""
    ocr = f"/{zlib.crc32(ocr_languages.encode()):08x}" if ocr_languages else ""
    return f"{chunking.VERSION}.{formats.VERSION}-{max_tokens}{overlap}{ocr}"


def is_current(held: str, current: str, notes: Iterable[Note]) -> bool:
    """Whether a file need not be loaded again.

    Args:
        held: The version that it was loaded with.
        current: The version of now.
        notes: What was left out then: with OCR, or more languages, it may be read now.
    """
    rules, _, ocr = current.partition("/")
    held_rules, _, held_ocr = held.partition("/")
    return rules == held_rules and (ocr in ("", held_ocr) or all(note.kind not in _FOR_OCR for note in notes))


_FOR_OCR = (NoteKind.SCANNED_PAGE, NoteKind.UNDECODABLE_TEXT, NoteKind.PICTURE)


@dataclass(frozen=True)
class ExtractedPage:
    """The passages of a page, or of a piece of a long text without pages."""

    number: int
    """From 1; 0 for a document without pages."""
    passages: list[Chunk]
    """The passages in order. None crosses the page; offsets refer to the page's text."""


@dataclass(frozen=True)
class Extraction:
    """An opened file."""

    media_type: str
    documents: int
    """Number of pages, at least 1."""
    pages: Iterator[ExtractedPage]
    """The pages, parsed as they are consumed; iteration may raise FileFailure."""
    notes: Notes
    """Notes on content that was left out; complete when the pages have been consumed."""


def extract(path: Path, name: str, limits: FileLimits) -> Extraction:
    """Open a file for extraction.

    Args:
        path: Path of its bytes.
        name: The client's name for it; only the extension matters.
        limits: Limits of parsing.

    Raises:
        FileFailure: It cannot be read.
    """
    with path.open("rb") as stream:
        media_type = formats.media_type_of(name, stream)
    parsed = formats.parse(File(path, name, media_type), limits)
    return Extraction(media_type, parsed.documents, _pages(parsed.pages, limits), parsed.notes)


def _pages(texts: Iterator[PageText], limits: FileLimits) -> Iterator[ExtractedPage]:
    chars = start = number = 0
    with _closed(texts):
        for page in texts:
            text = writable(page.text)
            chars += len(text)
            if chars > limits.max_chars:
                raise FileFailure(
                    FailureReason.TOO_LARGE,
                    f"the file contains more than {limits.max_chars:,} characters of text; split it, or raise "
                    "loader.max_chars",
                )
            if page.number != number:
                start, number = 0, page.number
            chunks = chunk(text, limits.max_tokens, limits.overlap_tokens)
            passages = [part for each in chunks for part in _bounded(each)]
            yield ExtractedPage(number, [Chunk(one.text, start + one.start, start + one.end) for one in passages])
            start += len(text)


@contextmanager
def _closed(texts: Iterator[PageText]) -> Iterator[None]:
    """Close a parser's iterator, and so its files, even if it was not exhausted."""
    try:
        yield
    finally:
        if isinstance(texts, Generator):
            texts.close()


def _bounded(passage: Chunk) -> Iterator[Chunk]:
    first = 0
    while first < len(passage.text):
        piece = passage.text[first : first + MAX_PASSAGE_CHARS]
        if len(piece) == MAX_PASSAGE_CHARS and (words := _LAST_SPACE.match(piece)):
            piece = words[0]
        if body := piece.strip():
            start = passage.start + first + len(piece) - len(piece.lstrip())
            yield Chunk(body, start, start + len(body))
        first += len(piece)
