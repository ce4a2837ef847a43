"""Bytes to text: which encoding they are in, or the reason why they are no text."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

from memgpt_runtime import graphemes

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.guesses import guesses

SAMPLE_BYTES = 64 * 1024
"""Bytes at the start of a file by which its encoding is guessed, where it must be guessed."""

BLOCK_CHARS = 1024 * 1024
"""Text is read in blocks of about this many characters, so that memory is bounded however long it is."""

_READ_BYTES = 1024 * 1024
_LONGEST_CHARACTER = 256
"""Parts of what a reader sees as one character, at most, that are kept together at the end of a block."""

# UTF-32 first: its little-endian mark begins with that of UTF-16. The codecs named take the mark away.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# What sets Japanese apart in ISO-2022-JP.
_ESCAPES = (b"\x1b$@", b"\x1b$B")

_ZEROS = 0.3
"""Above this fraction of zeros in every other byte text without a mark is taken for UTF-16: Latin letters are so."""

# C0 controls that no text file has any use for; tab, line feed, form feed, carriage return and escape may stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROLS = 0.01
"""Above this fraction of control characters the content is taken for binary."""
# Lone surrogates cannot be written as UTF-8; the other two are no characters.
_UNWRITABLE = re.compile(r"[\ud800-\udfff\ufffe\uffff]")
_DECLARED = re.compile(rb"""<[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)


def decode(data: bytes, declared: str = "") -> str:
    r"""Decodes a document that must be had whole.

    Line ends become `\n`, other control characters vanish.

    Args:
        data: All of it.
        declared: The encoding that something beside the bytes declares; believed if the bytes fit it.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    text = "".join(_blocks(io.BytesIO(data), find_encoding(io.BytesIO(data), declared)))
    if not text.strip():
        raise _empty()
    return text


def blocks(stream: BinaryIO) -> Iterator[str]:
    r"""Decodes a stream, and closes it, in blocks of about `BLOCK_CHARS`, cut between paragraphs, lines or words.

    Line ends become `\n`, other control characters vanish; the blocks, joined, are the text of the file.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    with stream, closing(_blocks(stream, find_encoding(stream))) as pieces:
        any_text = False
        for block in pieces:
            any_text = any_text or bool(block.strip())
            yield block
    if not any_text:
        raise _empty()


def declared_encoding(head: bytes) -> str:
    """The encoding that the first KiB of an HTML or XML document declares; empty if it declares none."""
    found = _DECLARED.search(head[:1024])
    return found[1].decode("ascii") if found else ""


def find_encoding(stream: BinaryIO, declared: str = "") -> str:
    """Tells in which encoding a stream of bytes is; leaves it at its start.

    A byte order mark decides; else UTF-8, if all bytes fit it; else what is declared, if it fits; else the likeliest of
    some wide-spread ones.

    Raises:
        FileFailure: UNSUPPORTED: it is no text.
    """
    stream.seek(0)
    sample = stream.read(SAMPLE_BYTES)
    stream.seek(0)
    marked = next((name for mark, name in _MARKS if sample.startswith(mark)), None)
    if marked is not None:
        return marked
    if (wide := _unmarked_wide(sample)) is not None and _fits(stream, wide):
        return wide
    if b"\x00" in sample:
        raise _binary()
    if any(escape in sample for escape in _ESCAPES) and _fits(stream, "iso2022_jp"):  # which is ASCII, too
        return "iso2022_jp"
    if _fits(stream, "utf-8"):
        return "utf-8"
    if declared and _known(declared) and _fits(stream, declared):
        return declared
    for guess in guesses(_whole(sample)):
        if _fits(stream, guess):
            return guess
    raise FileFailure(
        FailureReason.UNSUPPORTED,
        "The file is no text in any encoding that the Loader can tell. Save it as UTF-8, if it is text.",
    )


def is_utf8(stream: BinaryIO) -> bool:
    """Whether a stream is text in UTF-8, or has a byte order mark; leaves it at its start."""
    sample = stream.read(SAMPLE_BYTES)
    stream.seek(0)
    return any(sample.startswith(mark) for mark, _ in _MARKS) or (b"\x00" not in sample and _fits(stream, "utf-8"))


def _blocks(stream: BinaryIO, encoding: str) -> Generator[str]:
    reader = io.TextIOWrapper(stream, encoding=encoding, newline=None)
    rest = ""
    try:
        while piece := reader.read(BLOCK_CHARS):
            text = rest + _plain(piece)
            cut = _cut(text) if len(text) >= BLOCK_CHARS else 0
            rest = text[cut:]
            if cut:
                yield text[:cut]
        if rest:
            yield rest
    except UnicodeError:
        message = f"The file is no {encoding.upper()} text, as its first bytes say. Save it as UTF-8."
        raise FileFailure(FailureReason.UNSUPPORTED, message) from None
    finally:
        reader.detach()


def writable(text: str) -> str:
    """The text without what cannot be written as UTF-8, or is no text: lone surrogates, controls."""
    return _UNWRITABLE.sub("", _CONTROLS.sub("", text))


def _plain(piece: str) -> str:
    controls = len(_CONTROLS.findall(piece))
    if controls and ("\x00" in piece or controls > _MOST_CONTROLS * len(piece)):
        raise _binary()
    return writable(piece)


def _cut(text: str) -> int:
    """Where a block may end: after a blank line in its second half, a line, or a word; else before its last character.

    That one may go on in the next block, if it is of several parts.
    """
    half = len(text) // 2
    for mark in ("\n\n", "\n", " "):
        at = text.rfind(mark, half)
        if at >= 0:
            return at + len(mark)
    last = [*graphemes.ends(text[-_LONGEST_CHARACTER:])][-2:-1]
    return len(text) - _LONGEST_CHARACTER + last[0] if last else len(text)


def _unmarked_wide(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: where the zeros of Latin letters lie tells which."""
    zeros = [sample[at::4].count(0) * 4 / len(sample) for at in range(4)] if sample else [0.0] * 4
    match [zero > _ZEROS for zero in zeros]:
        case [False, True, True, True] if zeros[3] == 1:
            return "utf-32-le"
        case [True, True, True, False] if zeros[0] == 1:
            return "utf-32-be"
        case [False, True, False, True] if zeros[0] + zeros[2] == 0:
            return "utf-16-le"
        case [True, False, True, False] if zeros[1] + zeros[3] == 0:
            return "utf-16-be"
    return None


def _known(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding  # `rot13` and the like are none
    except (LookupError, ValueError):
        return False


def _fits(stream: BinaryIO, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while data := stream.read(_READ_BYTES):
            decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    finally:
        stream.seek(0)
    return True


def _whole(sample: bytes) -> bytes:
    """A sample that does not break off within a character, where it was cut: up to the end of a line."""
    if len(sample) < SAMPLE_BYTES:
        return sample
    return sample[: sample.rfind(b"\n", SAMPLE_BYTES // 2) + 1] or sample


def _empty() -> FileFailure:
    return FileFailure(FailureReason.EMPTY, "The file holds nothing but white space. Check that it was saved.")


def _binary() -> FileFailure:
    return FileFailure(
        FailureReason.UNSUPPORTED, "The file is no text: it holds binary data. Convert it to PDF or UTF-8 text."
    )
