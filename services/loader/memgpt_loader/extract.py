"""From a file to its passages. Runs in a parser process only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memgpt_runtime import chunking
from memgpt_runtime.chunking import Chunk, chunk

from memgpt_loader import clean, media, text
from memgpt_loader.failures import FailureReason, FileFailure

MAX_PASSAGE_CHARS = 4096
"""Characters of a passage at most, so that its UTF-8 has no more than the 16 KiB that Memory takes. Only white space,
which counts no tokens, makes passages as long as that."""


def chunker_version(max_tokens: int) -> str:
    """Names the rules by which files become passages: a file read by other rules is read anew."""
    return f"{chunking.VERSION}.{clean.VERSION}-{max_tokens}"


@dataclass(frozen=True)
class Limits:
    """What a file may ask for."""

    max_pages: int
    """Pages of a PDF."""
    max_chars: int
    """Characters of text in all."""
    max_tokens: int
    """Tokens of a passage."""


@dataclass(frozen=True)
class Page:
    """A document: a page of a PDF, or a whole text file."""

    number: int
    """From 1."""
    passages: list[Chunk]
    """In order; none of them reaches beyond the page."""


@dataclass(frozen=True)
class Extraction:
    """A file that could be opened."""

    media_type: str
    documents: int
    """Number of pages, at least 1."""
    pages: Iterator[Page]
    """Reads on as it is consumed, and raises FileFailure."""


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
        head = stream.read(media.SNIFF_BYTES)
    media_type = media.media_type_of(name, head)
    if media_type == media.PDF:
        from memgpt_loader.pdf import PdfFile  # half a second, that a parser of text files can save

        pdf = PdfFile(path, max_pages=limits.max_pages)
        documents, texts = pdf.pages, pdf.texts()
    else:
        documents, texts = 1, iter([text.decode(path.read_bytes())])
    return Extraction(media_type, documents, _pages(texts, limits))


def _pages(texts: Iterator[str], limits: Limits) -> Iterator[Page]:
    chars = 0
    for number, page_text in enumerate(texts, start=1):
        chars += len(page_text)
        if chars > limits.max_chars:
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"The file holds more than the {limits.max_chars:,} characters of text that the Loader accepts. "
                "Split it, or raise loader.max_chars.",
            )
        yield Page(number, [part for each in chunk(page_text, limits.max_tokens) for part in _bounded(each)])


def _bounded(passage: Chunk) -> Iterator[Chunk]:
    for first in range(0, len(passage.text), MAX_PASSAGE_CHARS):
        piece = passage.text[first : first + MAX_PASSAGE_CHARS]
        if body := piece.strip():
            start = passage.start + first + len(piece) - len(piece.lstrip())
            yield Chunk(body, start, start + len(body))
