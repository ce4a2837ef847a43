"""Writer of TNEF streams, as in ``winmail.dat`` files ([MS-OXTNEF])."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_BYTES, _UNICODE, _OBJECT = 0x102, 0x1F, 0x0D
_HTML, _RTF, _LONG_NAME, _DATA = 0x1013, 0x1009, 0x3707, 0x3701
_NAMED = 0x8006


def tnef(
    subject: str, *, html: bytes = b"", rtf: bytes = b"", files: Iterable[tuple[str, bytes]] = (), message: bytes = b""
) -> bytes:
    """Return a stream with a text, attached files, and an attached message, which is a stream, too."""
    properties = [
        _property(_NAMED, _UNICODE, _wide("colour"), name="Keywords"),
        struct.pack("<HHI", 0x0B, 0x0E1B, 1),
        *([_property(_HTML, _BYTES, html)] if html else []),
        *([_property(_RTF, _BYTES, rtf)] if rtf else []),
    ]
    pieces = [
        _attribute(1, 0x00069007, struct.pack("<II", 1252, 0)),
        _attribute(1, 0x00078004, subject.encode("cp1252") + b"\0"),
        _attribute(1, 0x00069003, _list(properties)),
    ]
    for name, data in files:
        pieces += [
            _attribute(2, 0x00069002, bytes(14)),
            _attribute(2, 0x00018010, b"SHORT~1.TXT\0"),
            _attribute(2, 0x0006800F, data),
            _attribute(2, 0x00069005, _list([_property(_LONG_NAME, _UNICODE, _wide(name))])),
        ]
    if message:
        inner = [_property(_LONG_NAME, _UNICODE, _wide("Forwarded")), _property(_DATA, _OBJECT, bytes(16) + message)]
        pieces += [_attribute(2, 0x00069002, bytes(14)), _attribute(2, 0x00069005, _list(inner))]
    return b"\x78\x9f\x3e\x22\x01\x00" + b"".join(pieces)


def _attribute(level: int, kind: int, data: bytes) -> bytes:
    return bytes([level]) + struct.pack("<II", kind, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def _list(properties: list[bytes]) -> bytes:
    return struct.pack("<I", len(properties)) + b"".join(properties)


def _property(number: int, kind: int, data: bytes, name: str = "") -> bytes:
    head = struct.pack("<HH", kind, number)
    if name:
        head += bytes(16) + struct.pack("<II", 1, len(_wide(name))) + _padded(_wide(name))
    return head + struct.pack("<II", 1, len(data)) + _padded(data)


def _wide(text: str) -> bytes:
    return f"{text}\0".encode("utf-16-le")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
