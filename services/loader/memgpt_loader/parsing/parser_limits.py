"""`ParserLimits`: the number of parser processes, and each one's memory, time, pages, text and passage size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParserLimits:
    """Limits of the pool of parsers and, for each file, of its parser process."""

    processes: int
    """Files parsed concurrently, each in its own process, plus one for a load that would otherwise have none."""
    memory_bytes: int
    """Maximum address space of a parser process, in bytes."""
    seconds: float
    """How long the Loader waits for the parser, and again for every million characters parsed. Time spent on storing
    passages does not count."""
    max_pages: int
    """Maximum pages, slides, sheets or chapters of a file."""
    max_chars: int
    """Maximum characters of text in a file."""
    max_unpacked_bytes: int
    """Maximum unpacked bytes of a file."""
    max_tokens: int
    """Maximum tokens of a passage."""
    overlap_tokens: int = 0
    """Tokens that a passage repeats from the previous one."""
    ocr_languages: str = ""
    """Languages of text in pictures, as Tesseract names them, joined by "+"; empty if it is not recognized."""
