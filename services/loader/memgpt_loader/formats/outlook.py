"""Messages saved by Outlook (.msg): compound files of MAPI properties, read with olefile ([MS-OXMSG])."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.embedded import MOST_DEPTH, embedded_text
from memgpt_loader.formats.inspected_file import OLE, InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, broken, flowing
from memgpt_loader.markup import Blocks, one_line
from memgpt_loader.notes import NoteKind, Notes

MSG = "application/vnd.ms-outlook"

_WHAT = "the message"
_PROPERTIES = "__properties_version1.0"
_ATTACHED, _RECIPIENT = "__attach_version1.0_", "__recip_version1.0_"
_MOST_PARTS = 1000

# Properties by number ([MS-OXPROPS]).
_SUBJECT, _SENDER, _BODY, _RTF, _HTML = 0x0037, 0x0C1A, 0x1000, 0x1009, 0x1013
_SENDER_ADDRESSES = (0x5D01, 0x5D02, 0x0C1F)
_SENT, _RECEIVED, _CODE_PAGES = 0x0039, 0x0E06, (0x3FDE, 0x3FFD)
_NAME, _ADDRESSES, _ROLE = 0x3001, (0x39FE, 0x3003), 0x0C15
_FILE_NAMES, _DATA = (0x3707, 0x3704, 0x3001), 0x3701
_START, _END, _CLASS, _PLACE = 0x0060, 0x0061, 0x001A, 0x8208
_NAMES = ("__nameid_version1.0", "__substg1.0_00030102")
"""Storage and stream with the named properties, whose numbers differ from file to file ([MS-OXMSG] 2.2.3)."""
_OTHER_ITEMS = ("ipm.contact", "ipm.task", "ipm.distlist", "ipm.activity")
_ROLES = {1: "To", 2: "Cc", 3: "Bcc"}
_UNICODE, _BYTES_OF_TEXT, _BINARY, _OBJECT = 0x001F, 0x001E, 0x0102, 0x000D
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def _parse(file: File, limits: FileLimits) -> Parsed:
    import olefile

    notes = Notes()
    try:
        with file.open() as stream, closing(olefile.OleFileIO(stream)) as compound:
            text = _MessageReader(compound, file, limits, notes).text((), file.depth)
    except (FileFailure, MemoryError):
        raise
    except Exception as error:  # on a malformed structure the library raises arbitrary exceptions
        raise broken(_WHAT, error) from error
    return Parsed(1, flowing(text), notes)


class _Properties:
    """The properties of a message, a recipient, or an attachment."""

    def __init__(self, compound: Any, path: tuple[str, ...], header: int, code_page: str = "") -> None:
        self._compound = compound
        self._path = path
        self._fixed: dict[int, bytes] = {}
        data = self.stream(_PROPERTIES) or b""
        for kind, number, _, value in struct.iter_unpack(
            "<HHI8s", data[header : len(data) - (len(data) - header) % 16]
        ):
            if kind != _BINARY:
                self._fixed[number] = value
        self.code_page = next((f"cp{page}" for each in _CODE_PAGES if (page := self.number(each))), code_page)
        if self.code_page == "cp65001":
            self.code_page = "utf-8"

    def number(self, number: int) -> int:
        """Return a whole number; 0 if it is missing."""
        return int(struct.unpack("<i", self._fixed[number][:4])[0]) if number in self._fixed else 0

    def time(self, number: int) -> str:
        """Return a time as in the header of a message; empty if it is missing."""
        ticks = struct.unpack("<Q", self._fixed[number])[0] if number in self._fixed else 0
        try:
            return format_datetime(_EPOCH + timedelta(microseconds=ticks // 10)) if ticks else ""
        except (OverflowError, ValueError):
            return ""

    def text(self, *numbers: int) -> str:
        """Return the first text that is there; empty if none is."""
        for number in numbers:
            if data := self.stream(_name(number, _UNICODE)):
                return decoding.writable(data.decode("utf-16-le", "replace"))
            if (data := self.stream(_name(number, _BYTES_OF_TEXT))) and data.strip(b"\0 \r\n\t"):
                return decoding.decode(data.rstrip(b"\0"), self.code_page)
        return ""

    def binary(self, number: int) -> bytes | None:
        """Return bytes; None if they are missing."""
        return self.stream(_name(number, _BINARY))

    def stream(self, name: str) -> bytes | None:
        """Return the content of a stream; None if it is missing."""
        path = [*self._path, name]
        if self._compound.get_type(path) != _STREAM:
            return None
        return bytes(self._compound.openstream(path).read())


_STREAM = 2
"""The type of an entry, as olefile numbers them."""


def _name(number: int, kind: int) -> str:
    return f"__substg1.0_{number:04X}{kind:04X}"


class _MessageReader:
    def __init__(self, compound: Any, file: File, limits: FileLimits, notes: Notes) -> None:
        self._compound = compound
        self._file = file
        self._limits = limits
        self._notes = notes
        self._entries = compound.listdir(streams=False, storages=True)
        self._named = dict(_own_numbers(compound))

    def text(self, path: tuple[str, ...], depth: int) -> str:
        """Return the whole text of the message in a storage."""
        message = _Properties(self._compound, path, 24 if path else 32)
        kind = message.text(_CLASS).lower()
        if kind.startswith(_OTHER_ITEMS):
            self._notes.add(NoteKind.OBJECT, f"fields of an item of the class {kind}")
        blocks = Blocks()
        if subject := one_line(message.text(_SUBJECT)):
            blocks.paragraph(f"# {subject}")
        for name, value in self._headers(path, message):
            if value:
                blocks.paragraph(f"{name}: {one_line(value)}")
        blocks.paragraph(self._body(message))
        for part in self._parts(path, _ATTACHED):
            self._add_attachment(blocks, part, depth, message.code_page)
        return blocks.text()

    def _headers(self, path: tuple[str, ...], message: _Properties) -> Iterator[tuple[str, str]]:
        yield "From", _person(message.text(_SENDER), message.text(*_SENDER_ADDRESSES))
        people: dict[str, list[str]] = {name: [] for name in _ROLES.values()}
        for part in self._parts(path, _RECIPIENT):
            recipient = _Properties(self._compound, part, 8, message.code_page)
            if (role := _ROLES.get(recipient.number(_ROLE))) is not None:
                people[role].append(_person(recipient.text(_NAME), recipient.text(*_ADDRESSES)))
        for name, listed in people.items():
            yield name, ", ".join(filter(None, listed))
        yield "Date", message.time(_SENT) or message.time(_RECEIVED)
        yield "Start", message.time(_START)
        yield "End", message.time(_END)
        yield "Place", message.text(self._named[_PLACE]) if _PLACE in self._named else ""

    def _body(self, message: _Properties) -> str:
        if (plain := message.text(_BODY)).strip():
            return plain.replace("\r\n", "\n")
        if html := message.text(_HTML) or _decoded(message.binary(_HTML), message.code_page):
            from memgpt_loader.formats.html_text import to_text

            return to_text(html, notes=self._notes)
        if packed := message.binary(_RTF):
            from memgpt_loader.formats.rtf import packed_rtf_text

            return packed_rtf_text(packed, self._limits, self._notes)
        return ""

    def _parts(self, path: tuple[str, ...], prefix: str) -> Iterator[tuple[str, ...]]:
        found = [
            tuple(entry)
            for entry in self._entries
            if tuple(entry[:-1]) == path and entry[-1].lower().startswith(prefix)
        ]
        if len(found) > _MOST_PARTS:
            self._notes.add(NoteKind.TOO_MUCH, f"parts after the first {_MOST_PARTS:,}")
        yield from found[:_MOST_PARTS]

    def _add_attachment(self, blocks: Blocks, path: tuple[str, ...], depth: int, code_page: str) -> None:
        attachment = _Properties(self._compound, path, 8, code_page)
        name = one_line(attachment.text(*_FILE_NAMES)) or "an attachment without a name"
        blocks.heading(2, f"Attachment: {name}")
        try:
            blocks.paragraph(self._attached(attachment, name, path, depth))
        except FileFailure as failure:
            self._notes.add(NoteKind.ATTACHMENT, name, reason=failure.message)

    def _attached(self, attachment: _Properties, name: str, path: tuple[str, ...], depth: int) -> str:
        if (data := attachment.binary(_DATA)) is not None:
            outer = File(b"", self._file.name, self._file.media_type, depth)
            return embedded_text(name, data, outer, self._limits, self._notes)
        inner = (*path, _name(_DATA, _OBJECT))
        if self._compound.get_type([*inner, _PROPERTIES]) != _STREAM:
            raise FileFailure(FailureReason.UNSUPPORTED, "it is an embedded object or a link, not a file")
        if depth >= MOST_DEPTH:
            raise FileFailure(FailureReason.TOO_LARGE, "it is nested in too many other files; load it by itself")
        return self.text(inner, depth + 1)


def _own_numbers(compound: Any) -> Iterator[tuple[int, int]]:
    """Yield the standard numbers of properties, and those that this file gives them."""
    if compound.get_type(list(_NAMES)) == _STREAM:
        data = bytes(compound.openstream(list(_NAMES)).read())
        for standard, kind, own in struct.iter_unpack("<IHH", data[: len(data) // 8 * 8]):
            if not kind & 1:  # else it has a name in place of a number
                yield standard, 0x8000 + own


def _decoded(data: bytes | None, code_page: str) -> str:
    if not data or not data.strip(b"\0 \r\n\t"):
        return ""
    return decoding.decode(data, code_page or decoding.declared_encoding(data))


def _person(name: str, address: str) -> str:
    name, address = name.strip().strip("'\""), address.strip()
    if not address or address == name or address.startswith("/"):  # names of an Exchange directory say nothing
        return name
    return f"{name} <{address}>" if name else address


def _signature(inspected: InspectedFile) -> str:
    # Messages contain the directories of attached documents, too, and so their names.
    return MSG if inspected.named in ("", MSG) and inspected.holds_stream(_PROPERTIES) else ""


FORMAT = Format(
    name="Outlook message",
    media_types={MSG: (".msg",)},
    parse=_parse,
    reads="subject, sender, recipients, date, time and place of an appointment, text, attached messages, and "
    "attachments of any supported format",
    omits="attachments that cannot be read, fields of contacts and tasks",
    signature=_signature,
    first_bytes=OLE,
)
