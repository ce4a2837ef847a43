"""Messages that Outlook packs into an attachment, ``winmail.dat`` ([MS-OXTNEF]): the text and the attached files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.embedded import embedded_text
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, broken, flowing
from memgpt_loader.markup import Blocks, one_line
from memgpt_loader.notes import NoteKind, Notes

TNEF = "application/ms-tnef"

_MAGIC = b"\x78\x9f\x3e\x22"
_WHAT = "the winmail.dat file"
_MOST_FILES = 1000
_UTF8 = 65001
"""The number of the code page."""

# Attributes of the stream.
_SUBJECT, _BODY, _CODE_PAGE, _PROPERTIES = 0x00078004, 0x0002800C, 0x00069007, 0x00069003
_NEW_FILE, _FILE_TITLE, _FILE_DATA, _FILE_PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
# Properties by number, and their types ([MS-OXPROPS], [MS-OXCDATA]).
_PLAIN, _RTF, _HTML, _TITLE = 0x1000, 0x1009, 0x1013, 0x0037
_FILE_NAMES, _DATA = (0x3707, 0x3704, 0x3001), 0x3701
_SIZES = {0x02: 4, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x0A: 4, 0x0B: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_BYTES_OF_TEXT, _UNICODE, _BINARY, _OBJECT = 0x1E, 0x1F, 0x102, 0x0D
_SEVERAL, _NAMED = 0x1000, 0x8000
_INTERFACE_BYTES = 16
"""An embedded object begins with the identifier of its interface."""


@dataclass
class PackedFile:
    """An attached file."""

    name: str = ""
    data: bytes | None = None


@dataclass
class PackedMessage:
    """The content of a TNEF stream."""

    subject: str = ""
    text: str = ""
    files: list[PackedFile] = field(default_factory=list)


def read_tnef(data: bytes, limits: FileLimits, notes: Notes) -> PackedMessage:
    """Read a TNEF stream. What follows damage is left out and noted.

    Args:
        data: The stream.
        limits: Limits of parsing.
        notes: Receives notes on content that is left out.

    Raises:
        FileFailure: It is not a TNEF stream, or its text is too large.
    """
    if not data.startswith(_MAGIC):
        raise broken(_WHAT)
    return _Reader(limits, notes).message(data)


class _Reader:
    def __init__(self, limits: FileLimits, notes: Notes) -> None:
        self._limits = limits
        self._notes = notes
        self._code_page = ""

    def message(self, data: bytes) -> PackedMessage:
        message = PackedMessage()
        try:
            for kind, value in _attributes(data):
                self._take(message, kind, value)
        except (struct.error, ValueError):
            self._notes.add(NoteKind.MISSING_PART, reason="the winmail.dat file is damaged or cut off")
        return message

    def _take(self, message: PackedMessage, kind: int, value: bytes) -> None:
        if kind == _CODE_PAGE:
            page = struct.unpack_from("<I", value)[0]
            self._code_page = "utf-8" if page == _UTF8 else f"cp{page}"
        elif kind == _SUBJECT:
            message.subject = self._decoded(value)
        elif kind == _BODY:
            message.text = self._decoded(value)
        elif kind == _PROPERTIES:
            self._take_properties(message, dict(_properties(value)))
        elif kind == _NEW_FILE:
            if len(message.files) >= _MOST_FILES:
                raise FileFailure(FailureReason.TOO_LARGE, f"the file has more than {_MOST_FILES:,} attachments")
            message.files.append(PackedFile())
        elif message.files:
            self._take_of_file(message.files[-1], kind, value)

    def _take_of_file(self, file: PackedFile, kind: int, value: bytes) -> None:
        if kind == _FILE_TITLE:
            file.name = file.name or self._decoded(value)
        elif kind == _FILE_DATA:
            file.data = value
        elif kind == _FILE_PROPERTIES:
            self._take_file_properties(file, dict(_properties(value)))

    def _take_properties(self, message: PackedMessage, found: dict[int, tuple[int, bytes]]) -> None:
        message.subject = message.subject or self._text(found, _TITLE)
        message.text = message.text or self._text(found, _PLAIN)
        if message.text.strip():
            return
        if html := self._text(found, _HTML):
            from memgpt_loader.formats.html_text import to_text

            message.text = to_text(html, notes=self._notes)
        elif _RTF in found:
            from memgpt_loader.formats.rtf import packed_rtf_text

            message.text = packed_rtf_text(found[_RTF][1], self._limits, self._notes)

    def _take_file_properties(self, file: PackedFile, found: dict[int, tuple[int, bytes]]) -> None:
        file.name = next((name for each in _FILE_NAMES if (name := self._text(found, each))), file.name)
        if _DATA in found:
            kind, data = found[_DATA]
            file.data = data[_INTERFACE_BYTES:] if kind == _OBJECT else data

    def _text(self, found: dict[int, tuple[int, bytes]], number: int) -> str:
        kind, data = found.get(number, (0, b""))
        if kind == _UNICODE:
            return decoding.writable(data.decode("utf-16-le", "replace")).strip()
        return self._decoded(data)

    def _decoded(self, data: bytes) -> str:
        data = data.strip(b"\0")
        return (
            decoding.decode(data, self._code_page or decoding.declared_encoding(data)).strip() if data.strip() else ""
        )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and value of each attribute.

    Raises:
        ValueError: The stream is cut off.
    """
    at = 6
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at + 1)
        at += 9
        if at + size > len(data):
            raise ValueError
        yield kind, data[at : at + size]
        at += size + 2


def _properties(data: bytes) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """Yield the number, type and first value of each property.

    Raises:
        ValueError: The list is cut off, or contains an unknown type.
        struct.error: It is cut off.
    """
    at = 4
    while at + 4 <= len(data):
        kind, number = struct.unpack_from("<HH", data, at)
        at += 4
        if number & _NAMED:
            at = _after_name(data, at)
        value, at = _values(data, at, kind)
        yield number, (kind & ~_SEVERAL, value)


def _after_name(data: bytes, at: int) -> int:
    """Return the position after the name of a property: a number, or a text with its length."""
    is_text, size = struct.unpack_from("<II", data, at + 16)
    return at + 24 + (_padded(size) if is_text else 0)


def _values(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """Return the first value of a property, and the position after all of them."""
    size = _SIZES.get(kind & ~_SEVERAL)
    is_sized = size is None
    if is_sized and kind & ~_SEVERAL not in (_BYTES_OF_TEXT, _UNICODE, _BINARY, _OBJECT):
        raise ValueError
    count = 1
    if is_sized or kind & _SEVERAL:
        count = struct.unpack_from("<I", data, at)[0]
        at += 4
    first = b""
    for index in range(count):
        if is_sized:
            size = struct.unpack_from("<I", data, at)[0]
            at += 4
        if at + (size or 0) > len(data):
            raise ValueError
        if index == 0:
            first = data[at : at + (size or 0)]
        at += _padded(size or 0)
    return first, at


def _padded(size: int) -> int:
    return (size + 3) // 4 * 4


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    message = read_tnef(file.read(), limits, notes)
    blocks = Blocks()
    if subject := one_line(message.subject):
        blocks.paragraph(f"# {subject}")
    blocks.paragraph(message.text)
    for each in message.files:
        name = one_line(each.name) or "an attachment without a name"
        blocks.heading(2, f"Attachment: {name}")
        try:
            if each.data is None:
                raise FileFailure(FailureReason.UNSUPPORTED, "it is an embedded object or a link, not a file")
            blocks.paragraph(embedded_text(name, each.data, file, limits, notes))
        except FileFailure as failure:
            notes.add(NoteKind.ATTACHMENT, name, reason=failure.message)
    return Parsed(1, flowing(blocks.text()), notes)


def _signature(inspected: InspectedFile) -> str:
    return TNEF if inspected.head.startswith(_MAGIC) else ""


FORMAT = Format(
    name="winmail.dat file of Outlook",
    media_types={TNEF: (".tnef",)},
    parse=_parse,
    reads="subject, text, attached messages, and attachments of any supported format",
    omits="attachments that cannot be read",
    signature=_signature,
    first_bytes=_MAGIC,
)
