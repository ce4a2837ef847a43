"""Decoding of bytes to text: detects the encoding, or explains why the bytes are not text."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

from memgpt_runtime import graphemes

from memgpt_loader.charset_detection import is_hz, likely_encodings, superset
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.notes import NoteKind, Notes

SAMPLE_BYTES = 64 * 1024
"""Bytes at the start of a file that are used to guess its encoding."""

BLOCK_CHARS = 1024 * 1024
"""Approximate characters of a block; reading in blocks bounds memory for text of any length."""

_READ_BYTES = 1024 * 1024
_LONGEST_CHARACTER = 256
"""Maximum code points of a grapheme that are kept together at the end of a block."""

# UTF-32 first: its little-endian mark begins with that of UTF-16. These codecs remove the mark.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Escape sequences that identify Japanese in ISO-2022-JP.
_ESCAPES = (b"\x1b$@", b"\x1b$B")
_KOREAN_ESCAPE = b"\x1b$)C"
_MOST_JIS_BYTES = 64 * 1024 * 1024

_ANSI = re.compile(r"\x1b(?:\[[0-9;?:<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()*+][A-Z0-9]|[@-Z\\^_=>])")
"""Terminal escape codes for colors and cursor movement."""
_OVERSTRUCK = re.compile("[^\n\b]\b")
"""A character and a backspace, as in manual pages: the character that follows is printed over it."""
_MULTIPLE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LEAST_VALID = 4
"""Minimum ratio of multibyte characters to invalid bytes for content to count as damaged UTF-8."""

_NUL_IN_WORD = re.compile(rb"[^\r\n\x00]\x00+(?![\r\n\x00])")
_NUL_IN_LINE = re.compile(r"[^\n\x00]\x00+(?![\n\x00])")
"""A log has NULs at line ends where a machine lost power; binary data has them anywhere."""

_ZEROS = 0.3
"""Text without a byte order mark counts as UTF-16 above this fraction of zeros in every other byte (Latin letters)."""

# C0 controls that do not occur in text, which are all but tab, line feed, form feed, carriage return and escape.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_BREAKS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
"""Characters that end a line besides the usual ones: of pages, mainframes, and text copied from other programs."""
_MOST_CONTROLS = 0.01
"""Content counts as binary above this fraction of control characters."""
# Lone surrogates cannot be encoded as UTF-8; the other two are noncharacters.
_UNWRITABLE = re.compile(r"[\ud800-\udfff\ufffe\uffff]")
_DECLARED = re.compile(rb"""<[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)


def decode(data: bytes, declared: str = "", notes: Notes | None = None) -> str:
    r"""Decode a whole document.

    Line ends become `\n`, page breaks and unusual line ends a space; other control characters are removed.

    Args:
        data: The content.
        declared: The encoding that something beside the bytes declares; believed if the bytes fit it.
        notes: Told of bytes that cannot be decoded.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    text = "".join(_blocks(io.BytesIO(data), find_encoding(io.BytesIO(data), declared, notes), notes))
    if not text.strip():
        raise _empty()
    return text


def blocks(stream: BinaryIO, declared: str = "", notes: Notes | None = None, *, line_break: str = " ") -> Iterator[str]:
    r"""Decode a stream in blocks of about `BLOCK_CHARS`, cut between paragraphs, lines or words, and close it.

    Line ends become `\n`, other control characters vanish; the blocks, joined, are the text of the file.

    Args:
        stream: The bytes.
        declared: The encoding that something beside the bytes declares; believed if the bytes fit it.
        notes: Told of bytes that cannot be decoded.
        line_break: What page breaks and unusual line ends become. A line end would be damage in a table or JSON.

    Raises:
        FileFailure: EMPTY or UNSUPPORTED.
    """
    with stream, closing(_blocks(stream, find_encoding(stream, declared, notes), notes, line_break)) as pieces:
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


def find_encoding(stream: BinaryIO, declared: str = "", notes: Notes | None = None) -> str:
    """Detect the encoding of a stream, and rewind it.

    In order: the byte order mark, UTF-8 if all bytes are valid, the declared encoding if it fits, and the most likely
    of the common encodings. A guess with little evidence is noted.

    Raises:
        FileFailure: It is not text (UNSUPPORTED).
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
    if _KOREAN_ESCAPE in sample and _fits(stream, "iso2022_kr"):
        return "iso2022_kr"
    if any(escape in sample for escape in _ESCAPES):  # its bytes are ASCII, too
        return "iso2022_jp" if _fits(stream, "iso2022_jp") else JIS_EXTENDED
    if b"~{" in sample and is_hz(sample) and _fits(stream, "hz"):  # its bytes are ASCII, too
        return "hz"
    if declared and known_encoding(declared) == "utf-7" and _fits(stream, "utf-7"):  # its bytes are ASCII, too
        return "utf-7"
    if _fits(stream, "utf-8"):
        return "utf-8"
    if declared and (name := known_encoding(declared)) and _fits(stream, name):
        return name
    if _is_damaged_utf8(stream):
        return DAMAGED_UTF8
    for guess in likely_encodings(_telling(stream, sample)):
        if _fits(stream, guess.name):
            if notes is not None and not guess.certain:
                notes.add(NoteKind.GUESSED_ENCODING, guess.name)
            return guess.name
    raise FileFailure(
        FailureReason.UNSUPPORTED,
        "the file is not text in any encoding that the Loader can tell; save it as UTF-8, if it is text",
    )


JIS_EXTENDED = "iso2022_jp with characters of cp932"
"""Not a Python codec: see `decode_jis`."""
DAMAGED_UTF8 = "utf-8 with bytes that do not fit"


def decode_jis(data: bytes) -> str:
    """Decode ISO-2022-JP including the characters that Windows adds, such as ① and ㈱."""
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
    """Convert byte pairs of JIS X 0208 to Shift JIS; line ends between them stay."""
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
    """Whether a stream is UTF-8 text or has a byte order mark. Rewinds the stream."""
    sample = stream.read(SAMPLE_BYTES)
    stream.seek(0)
    if any(sample.startswith(mark) for mark, _ in _MARKS):
        return True
    return b"\x00" not in sample and (_fits(stream, "utf-8") or _is_damaged_utf8(stream))


def _blocks(stream: BinaryIO, encoding: str, notes: Notes | None, line_break: str = " ") -> Generator[str]:
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
            text = rest + _plain(piece, line_break)
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
    """Return the text without terminal escape codes for colors and cursor movement."""
    return _ANSI.sub("", text)


def writable(text: str) -> str:
    """Return the text without lone surrogates and controls."""
    return _UNWRITABLE.sub("", _CONTROLS.sub("", text))


def _plain(piece: str, line_break: str) -> str:
    if "\x1b" in piece:
        piece = without_terminal_codes(piece)
    if "\b" in piece and "\b" in (piece := _OVERSTRUCK.sub("", piece)):
        piece = "\n".join(map(_typed_over, piece.split("\n")))
    piece = _BREAKS.sub(line_break, piece)
    controls = len(_CONTROLS.findall(piece)) - piece.count("\x00")  # a log has many of these where a machine crashed
    if controls > _MOST_CONTROLS * len(piece) or ("\x00" in piece and _NUL_IN_LINE.search(piece)):
        raise _binary()
    return writable(piece)


def _typed_over(line: str) -> str:
    """Return what is left of a line after its backspaces, which programs write to show their progress in place."""
    if "\b" not in line:
        return line
    kept: list[str] = []
    for char in line:
        if char != "\b":
            kept.append(char)
        elif kept:
            kept.pop()
    return "".join(kept)


def _cut(text: str) -> int:
    """Return where to cut a block: after a blank line, line or word in its second half, else before its last character.

    Text in the next block may complete the last character if that has several code points.
    """
    half = len(text) // 2
    for mark in ("\n\n", "\n", " "):
        at = text.rfind(mark, half)
        if at >= 0:
            return at + len(mark)
    last = [*graphemes.ends(text[-_LONGEST_CHARACTER:])][-2:-1]
    return len(text) - _LONGEST_CHARACTER + last[0] if last else len(text)


def _unmarked_wide(sample: bytes) -> str | None:
    """Detect UTF-16 or UTF-32 without a mark by the position of the zero bytes of Latin letters."""
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
    """Detect UTF-16 without a mark in a non-Latin script, in which most characters must be common ones."""
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
    """Whether nearly all non-ASCII bytes are UTF-8; a few stray or truncated bytes are tolerated."""
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
    """Return the number of multibyte characters, and of non-ASCII bytes outside of them."""
    left, valid = _MULTIPLE.subn(b"", data)
    return valid, len(_BEYOND_ASCII.findall(left))


_CUT_OFF = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]{1,2})$")
"""The first bytes of a truncated character at the end of a file."""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def known_encoding(name: str) -> str:
    """Return the codec for a declared encoding, see `charset_detection.superset`; empty if unknown."""
    name = name.strip().lower()
    for spelled in (name, name.removeprefix("x-"), re.sub(r"[^a-z0-9]", "", name)):
        try:
            info = codecs.lookup(spelled)
        except (LookupError, ValueError):
            continue
        return superset(info.name) if info._is_text_encoding else ""  # codecs such as `rot13` are not encodings
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


def _telling(stream: BinaryIO, sample: bytes) -> bytes:
    """Return the bytes to guess an encoding from.

    They are the sample, or windows around later non-ASCII bytes if the sample contains few.
    """
    if len(sample) < SAMPLE_BYTES or len(_BEYOND_ASCII.findall(sample)) >= _TELLING_BYTES:
        return _whole(sample)
    stream.seek(0)
    windows: list[bytes] = []
    while len(windows) < _WINDOWS and (window := _next_window(stream)):
        windows.append(window)
    stream.seek(0)
    # Plain lines would dilute the statistics.
    return b"".join(line for line in b"".join(windows).splitlines(True) if not line.isascii()) or _whole(sample)


def _next_window(stream: BinaryIO) -> bytes:
    """Return the lines after the next non-ASCII byte, from the start of its line; no bytes at the end of the stream.

    The stream must be between two characters. It is left after the window.
    """
    line = b""
    while data := stream.read(_READ_BYTES):
        if (found := _BEYOND_ASCII.search(data)) is None:
            line = (line + data)[-_WINDOW_BYTES // 2 :]
            continue
        before = (line + data[: found.start()])[-_WINDOW_BYTES // 2 :]
        stream.seek(found.start() - len(data), io.SEEK_CUR)
        after = stream.read(_WINDOW_BYTES)
        if len(after) == _WINDOW_BYTES:  # cut at a byte that is never part of a longer character
            end = max(after.rfind(b"\n"), after.rfind(b" ")) + 1 or len(after)
            stream.seek(end - len(after), io.SEEK_CUR)
            after = after[:end]
        return before[before.rfind(b"\n") + 1 :] + after
    return b""


_TELLING_BYTES = 64
"""Non-ASCII bytes in a sample that suffice for a guess."""
_WINDOWS = 8
_WINDOW_BYTES = 8 * 1024


def _whole(sample: bytes) -> bytes:
    """Return a truncated sample up to its last line end, so that it does not end within a character."""
    if len(sample) < SAMPLE_BYTES:
        return sample
    return sample[: sample.rfind(b"\n", SAMPLE_BYTES // 2) + 1] or sample


def _empty() -> FileFailure:
    return FileFailure(FailureReason.EMPTY, "the file contains only white space; check that it was saved")


def _binary() -> FileFailure:
    return FileFailure(
        FailureReason.UNSUPPORTED, "the file is not text but binary data; convert it to PDF or UTF-8 text"
    )
