"""The content of signed S/MIME messages (CMS, RFC 5652), which is in ASN.1 and not encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SIGNED = bytes.fromhex("2a864886f70d010702")
_ENCRYPTED = (bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d0109100117"))
_IDENTIFIER, _OCTETS, _SEQUENCE, _TAGGED = 0x06, 0x04, 0x30, 0xA0
_CONSTRUCTED = 0x20
_MOST_DEPTH = 8


@dataclass(frozen=True)
class _Value:
    tag: int
    start: int
    end: int
    """Where its content begins and ends; of a value of indefinite length, the end of what encloses it."""


def signed_content(data: bytes) -> bytes | None:
    """Return the message within a signed one; no bytes if it is encrypted, None if it is neither or damaged."""
    try:
        outer = next(_values(data, 0, len(data)))
        kind, tagged = list(_values(data, outer.start, outer.end))[:2]
        if kind.tag != _IDENTIFIER:
            return None
        if data[kind.start : kind.end] in _ENCRYPTED:
            return b""
        if data[kind.start : kind.end] != _SIGNED:
            return None
        signed = next(_values(data, tagged.start, tagged.end))
        inner = next(each for each in _values(data, signed.start, signed.end) if each.tag == _SEQUENCE)
        content = next(each for each in _values(data, inner.start, inner.end) if each.tag == _TAGGED)
        return b"".join(_octets(data, content, 0)) or None
    except (StopIteration, ValueError, IndexError):
        return None


def _octets(data: bytes, value: _Value, depth: int) -> Iterator[bytes]:
    """Yield the pieces of an octet string, which may be in pieces itself."""
    if value.tag == _OCTETS:
        yield data[value.start : value.end]
    elif value.tag & _CONSTRUCTED and depth < _MOST_DEPTH:
        for each in _values(data, value.start, value.end):
            yield from _octets(data, each, depth + 1)


def _values(data: bytes, at: int, end: int) -> Iterator[_Value]:
    """Yield the values in a range. Indefinite lengths (BER) are measured by their content."""
    while at < end and data[at : at + 2] != b"\x00\x00":
        value = _value(data, at, end)
        yield value
        at = value.end + (2 if data[at + 1] == 0x80 else 0)


def _value(data: bytes, at: int, end: int, depth: int = 0) -> _Value:
    if depth > _MOST_DEPTH:
        raise ValueError
    tag, length, start = data[at], data[at + 1], at + 2
    if length == 0x80:
        inside = start
        while data[inside : inside + 2] != b"\x00\x00":
            each = _value(data, inside, end, depth + 1)
            inside = each.end + (2 if data[inside + 1] == 0x80 else 0)
        return _Value(tag, start, inside)
    if length > 0x80:
        count = length & 0x7F
        start += count
        length = int.from_bytes(data[at + 2 : start], "big")
    if start + length > end:
        raise ValueError
    return _Value(tag, start, start + length)
