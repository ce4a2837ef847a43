"""From a file to its passages. Runs in a parser process only."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memgpt_runtime import chunking
from memgpt_runtime.chunking import Chunk, chunk

from memgpt_loader import formats
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, Limits, Notes, PageText
from memgpt_loader.text import writable

MAX_PASSAGE_CHARS = 4096
"""Characters of a passage at most, so that its UTF-8 has no more than the 16 KiB that Memory takes. Only white space,
which counts no tokens, makes passages as long as that."""


_LAST_SPACE = re.compile(r".*\s", re.DOTALL)


def chunker_version(max_tokens: int, overlap_tokens: int) -> str:
    """Names the rules by which files become passages: a file read by other rules is read anew."""
    overlap = f"+{overlap_tokens}" if overlap_tokens else ""
    return f"{chunking.VERSION}.{formats.VERSION}-{max_tokens}{overlap}"


@dataclass(frozen=True)
class Page:
    """Passages of a page, or of a piece of a long text without pages."""

    number: int
    """From 1; 0 for a document without pages."""
    passages: list[Chunk]
    """In order; none of them reaches beyond the page. Offsets are those within the page's text."""


@dataclass(frozen=True)
class Extraction:
    """A file that could be opened."""

    media_type: str
    documents: int
    """Number of pages, at least 1."""
    pages: Iterator[Page]
    """Reads on as it is consumed, and raises FileFailure."""
    notes: Notes
    """What a person should know of a file that is loaded all the same; complete when the pages have been consumed."""


def extract(path: Path, name: str, limits: Limits) -> Extraction:
    """Opens a file.

    Args:
        path: Where its bytes are.
        name: What its owner calls it; only the extension counts.
        limits: What it may ask for.

    Raises:
        FileFailure: It cannot be read.
    """
    with path.open("rb") as stream:
        media_type = formats.media_type_of(name, stream)
    parsed = formats.parse(File(path, name, media_type), limits)
    return Extraction(media_type, parsed.documents, _pages(parsed.pages, limits), parsed.notes)


def _pages(texts: Iterator[PageText], limits: Limits) -> Iterator[Page]:
    chars = start = number = 0
    with _closed(texts):
        for page in texts:
            text = writable(page.text)
            chars += len(text)
            if chars > limits.max_chars:
                raise FileFailure(
                    FailureReason.TOO_LARGE,
                    f"The file holds more than the {limits.max_chars:,} characters of text that the Loader accepts. "
                    "Split it, or raise loader.max_chars.",
                )
            if page.number != number:
                start, number = 0, page.number
            chunks = chunk(text, limits.max_tokens, limits.overlap_tokens)
            passages = [part for each in chunks for part in _bounded(each)]
            yield Page(number, [Chunk(one.text, start + one.start, start + one.end) for one in passages])
            start += len(text)


@contextmanager
def _closed(texts: Iterator[PageText]) -> Iterator[None]:
    """Lets a parser close its files also when not all is read."""
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
