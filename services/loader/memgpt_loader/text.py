"""Bytes to text: which encoding they are in, or the reason why they are no text."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

from memgpt_runtime import graphemes

from memgpt_loader.charsets import likely_encodings, superset
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.notes import NoteKind, Notes

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
_MOST_JIS_BYTES = 64 * 1024 * 1024

_ANSI = re.compile(r"\x1b(?:\[[0-9;?:<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()*+][A-Z0-9]|[@-Z\\^_=>])")
"""Codes that color a terminal's text or move its cursor."""
_MULTIPLE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LEAST_VALID = 4
"""Characters of several bytes to each byte that does not fit, from which on bytes are taken for damaged UTF-8."""

_NUL_IN_WORD = re.compile(rb"[^\r\n\x00]\x00+(?![\r\n\x00])")
_NUL_IN_LINE = re.compile(r"[^\n\x00]\x00+(?![\n\x00])")
"""A log has NULs at the ends of lines, where a machine lost its power; binary data have them anywhere."""

_ZEROS = 0.3
"""Above this fraction of zeros in every other byte text without a mark is taken for UTF-16: Latin letters are so."""

# C0 controls that no text file has any use for; tab, line feed, form feed, carriage return and escape may stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROLS = 0.01
"""Above this fraction of control characters the content is taken for binary."""
# Lone surrogates cannot be written as UTF-8; the other two are no characters.
_UNWRITABLE = re.compile(r"[\ud800-\udfff\ufffe\uffff]")
_DECLARED = re.compile(rb"""<[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)


def decode(data: bytes, declared: str = "", notes: Notes | None = None) -> str:
    r"""Decodes a document that must be had whole.

    Line ends become `\n`, other control characters vanish.

    Args:
        data: All of it.
        declared: The encoding that something beside the bytes declares; believed if the bytes fit it.
        notes: Told of bytes that cannot be decoded.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    text = "".join(_blocks(io.BytesIO(data), find_encoding(io.BytesIO(data), declared), notes))
    if not text.strip():
        raise _empty()
    return text


def blocks(stream: BinaryIO, declared: str = "", notes: Notes | None = None) -> Iterator[str]:
    r"""Decodes a stream, and closes it, in blocks of about `BLOCK_CHARS`, cut between paragraphs, lines or words.

    Line ends become `\n`, other control characters vanish; the blocks, joined, are the text of the file.

    Args:
        stream: The bytes.
        declared: The encoding that something beside the bytes declares; believed if the bytes fit it.
        notes: Told of bytes that cannot be decoded.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    with stream, closing(_blocks(stream, find_encoding(stream, declared), notes)) as pieces:
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
    if (wide := _unmarked_wide(sample) or _unmarked_script(sample)) is not None and _fits(stream, wide):
        return wide
    if b"\x00" in sample and (_NUL_IN_WORD.search(sample) or not sample.strip(b"\x00")):
        raise _binary()
    if any(escape in sample for escape in _ESCAPES):  # which is ASCII, too
        return "iso2022_jp" if _fits(stream, "iso2022_jp") else JIS_EXTENDED
    if _fits(stream, "utf-8"):
        return "utf-8"
    if declared and (name := known_encoding(declared)) and _fits(stream, name):
        return name
    if _is_damaged_utf8(stream):
        return DAMAGED_UTF8
    for guess in likely_encodings(_whole(sample)):
        if _fits(stream, guess):
            return guess
    raise FileFailure(
        FailureReason.UNSUPPORTED,
        "the file is not text in any encoding that the Loader can tell; save it as UTF-8, if it is text",
    )


JIS_EXTENDED = "iso2022_jp with characters of cp932"
"""Not a codec of Python's: see `decode_jis`."""
DAMAGED_UTF8 = "utf-8 with bytes that do not fit"


def decode_jis(data: bytes) -> str:
    """Decodes ISO-2022-JP with the characters that Windows adds to it, such as ① and ㈱."""
    pieces: list[bytes] = []
    double = kana = False
    for part in re.split(rb"(\x1b\$[@B]|\x1b\([BJI])", data):
        if part.startswith(b"\x1b"):
            double, kana = part[1:2] == b"$", part == b"\x1b(I"
        elif double:
            pieces.append(_shift_jis(part))
        else:
            pieces.append(bytes(byte | 0x80 for byte in part) if kana else part)
    return b"".join(pieces).decode("cp932", "replace")


def _shift_jis(pairs: bytes) -> bytes:
    """Pairs of bytes of JIS X 0208 as Shift JIS has them; line ends between them stay."""
    found = bytearray()
    at = 0
    while at < len(pairs):
        row, cell = pairs[at], pairs[at + 1] if at + 1 < len(pairs) else 0
        if not 0x21 <= row <= 0x7E or not 0x21 <= cell <= 0x7E:
            found.append(row)
            at += 1
            continue
        lead = (row - 0x21) // 2 + 0x81
        found.append(lead if lead < 0xA0 else lead + 0x40)
        found.append(cell + (0x1F if cell < 0x60 else 0x20) if row % 2 else cell + 0x7E)
        at += 2
    return bytes(found)


def is_utf8(stream: BinaryIO) -> bool:
    """Whether a stream is text in UTF-8, or has a byte order mark; leaves it at its start."""
    sample = stream.read(SAMPLE_BYTES)
    stream.seek(0)
    if any(sample.startswith(mark) for mark, _ in _MARKS):
        return True
    return b"\x00" not in sample and (_fits(stream, "utf-8") or _is_damaged_utf8(stream))


def _blocks(stream: BinaryIO, encoding: str, notes: Notes | None) -> Generator[str]:
    if encoding == JIS_EXTENDED:
        stream.seek(0)
        stream = io.BytesIO(decode_jis(stream.read(_MOST_JIS_BYTES)).encode())
        encoding = "utf-8"
    damaged = encoding == DAMAGED_UTF8
    reader = io.TextIOWrapper(
        stream, encoding="utf-8" if damaged else encoding, newline=None, errors="replace" if damaged else "strict"
    )
    rest = ""
    try:
        while piece := reader.read(BLOCK_CHARS):
            if damaged and notes is not None and (count := piece.count("\ufffd")):
                notes.add(NoteKind.BAD_BYTES, count=count)
            text = rest + _plain(piece)
            cut = _cut(text) if len(text) >= BLOCK_CHARS else 0
            rest = text[cut:]
            if cut:
                yield text[:cut]
        if rest:
            yield rest
    except UnicodeError:
        message = f"the file is not {encoding.upper()} text, as its first bytes say; save it as UTF-8"
        raise FileFailure(FailureReason.UNSUPPORTED, message) from None
    finally:
        reader.detach()


def without_terminal_codes(text: str) -> str:
    """The text without codes that color it, or move the cursor of a terminal."""
    return _ANSI.sub("", text)


def writable(text: str) -> str:
    """The text without what cannot be written as UTF-8, or is no text: lone surrogates, controls."""
    return _UNWRITABLE.sub("", _CONTROLS.sub("", text))


def _plain(piece: str) -> str:
    if "\x1b" in piece:
        piece = without_terminal_codes(piece)
    controls = len(_CONTROLS.findall(piece)) - piece.count("\x00")  # a log has many of these where a machine crashed
    if controls > _MOST_CONTROLS * len(piece) or ("\x00" in piece and _NUL_IN_LINE.search(piece)):
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


def _unmarked_script(sample: bytes) -> str | None:
    """UTF-16 without a mark in another script than Latin: hardly any other bytes make so many common characters."""
    even = sample[: len(sample) // 2 * 2]
    if len(even) < _FEWEST_WIDE_BYTES or (even.isascii() and b"\x00" not in even and b"\x04" not in even):
        return None
    for name in ("utf-16-le", "utf-16-be"):
        try:
            text = even.decode(name)
        except UnicodeDecodeError:
            continue
        common = sum(bool(_SCRIPTS.match(char)) for char in text)
        plain = sum(char.isascii() and (char.isprintable() or char in "\r\n\t") for char in text)
        marks = any(char in " \n\u3000\u3001\u3002\uff0c" for char in text)
        if common + plain >= 0.97 * len(text) and common >= 0.5 * len(text) and marks:
            return name
    return None


_SCRIPTS = re.compile("[\u0370-\u06ff\u0900-\u0e7f\u2010-\u203b\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff5e]")
_FEWEST_WIDE_BYTES = 12


def _is_damaged_utf8(stream: BinaryIO) -> bool:
    """Whether nearly all bytes beyond ASCII are UTF-8: a stray byte, or one cut off at the end, changes nothing."""
    stream.seek(0)
    valid = invalid = 0
    rest = b""
    while data := stream.read(_READ_BYTES):
        data = rest + data
        cut = len(data) - 3 if len(data) > 3 else len(data)
        data, rest = data[:cut], data[cut:]
        valid_here, invalid_here = _count_utf8(data)
        valid, invalid = valid + valid_here, invalid + invalid_here
    valid_here, invalid_here = _count_utf8(rest)
    stream.seek(0)
    valid, invalid = valid + valid_here, invalid + (0 if _CUT_OFF.search(rest) else invalid_here)
    return valid > 0 and valid >= _LEAST_VALID * invalid


def _count_utf8(data: bytes) -> tuple[int, int]:
    """Characters of several bytes, and bytes beyond ASCII outside of them."""
    left, valid = _MULTIPLE.subn(b"", data)
    return valid, len(_BEYOND_ASCII.findall(left))


_CUT_OFF = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]{1,2})$")
"""The first bytes of a character at the end of a file."""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def known_encoding(name: str) -> str:
    """The codec that a declared encoding stands for, see `charsets.superset`; empty if there is none."""
    name = name.strip().lower()
    for spelled in (name, name.removeprefix("x-"), re.sub(r"[^a-z0-9]", "", name)):
        try:
            info = codecs.lookup(spelled)
        except (LookupError, ValueError):
            continue
        return superset(info.name) if info._is_text_encoding else ""  # `rot13` and the like are none
    return ""


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
    return FileFailure(FailureReason.EMPTY, "the file holds nothing but white space; check that it was saved")


def _binary() -> FileFailure:
    return FileFailure(
        FailureReason.UNSUPPORTED, "the file is not text: it holds binary data; convert it to PDF or UTF-8 text"
    )
