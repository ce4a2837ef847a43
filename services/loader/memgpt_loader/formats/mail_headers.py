"""Decoded e-mail headers, including raw and wrongly declared encodings."""

from __future__ import annotations

import base64
import binascii
import quopri
import re

from memgpt_loader import decoding
from memgpt_loader.failures import FileFailure

_ENCODED = re.compile(r"=\?([^?\s]+)\?([bBqQ])\?([^?]*)\?=")
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")
_FOLDED = re.compile(r"\r?\n[ \t]*")


def decoded_header(raw: str) -> str:
    """Return the decoded value of a header.

    Args:
        raw: The raw value from the message, with non-ASCII bytes as lone surrogates.
    """
    value = _BETWEEN.sub(r"\1\2", _FOLDED.sub(" ", raw))
    pieces: list[str] = []
    pending, charset, at = b"", "", 0
    for match in _ENCODED.finditer(value):
        before = value[at : match.start()]
        data, declared = _bytes(match), match[1].partition("*")[0].lower()
        if pending and (before or declared != charset):  # a character may be split across two encoded words
            pieces.append(_text(pending, charset))
            pending = b""
        pieces.append(_unlabeled(before))
        pending, charset, at = pending + data, declared, match.end()
    return "".join([*pieces, _text(pending, charset), _unlabeled(value[at:])])


def _bytes(match: re.Match[str]) -> bytes:
    encoded = match[3].encode("ascii", "replace")
    if match[2] in "qQ":
        return quopri.decodestring(encoded, header=True)
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):
        return encoded


def _text(data: bytes, declared: str) -> str:
    if not data.strip():
        return data.decode("ascii", "replace")
    try:
        return decoding.decode(data, declared)
    except FileFailure:
        return data.decode(decoding.known_encoding(declared) or "utf-8", "replace")


def _unlabeled(value: str) -> str:
    data = value.encode("utf-8", "surrogateescape")
    return value if value.isascii() else _text(data, "")
