"""Text and Markdown: the text itself, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

from memgpt_loader import text
from memgpt_loader.formats.spec import MARKDOWN, PLAIN, File, Format, Limits, PageText, Parsed


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a text file. It may be very long: its text is never in memory as a whole."""
    return Parsed(1, _pieces(file))


def _pieces(file: File) -> Iterator[PageText]:
    for block in text.blocks(file.open()):
        yield PageText(0, block)


FORMAT = Format(
    name="text file",
    media_types={PLAIN: (".txt", ".text"), MARKDOWN: (".md", ".markdown")},
    parse=parse,
    reads="all text, in any common encoding",
    omits="bytes that cannot be decoded",
)
