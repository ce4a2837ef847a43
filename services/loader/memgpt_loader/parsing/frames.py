"""Messages between the Loader and its parser processes: JSON, prefixed by its length in four bytes.

| from | frame |
| --- | --- |
| Loader | `{path, name, cpu_seconds}` and the `FileLimits` by name: a file to parse |
| parser | `{ready: true}`: once, after its imports |
| parser | `{media_type, documents}`: the file could be opened |
| parser | `{page, passages: [[text, start, end], ...], last}`: passages of a page; `last` ends it |
| parser | `{recognized: true}`: the text of a picture was recognized, which takes seconds |
| parser | `{done: true, notes: [[kind, count, where, message], ...]}`: the end of the file |
| parser | `{reason, message, detail}`: the end of a file that cannot be loaded |
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

Frame = dict[str, Any]

MAX_BYTES = 8 * 1024 * 1024
"""Largest frame; a larger one means a corrupt parser process."""
HEADER_BYTES = 4


def encode(frame: Frame) -> bytes:
    """Encode a frame."""
    body = json.dumps(frame).encode("ascii")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def decode(body: bytes) -> Frame:
    """Decode the body of a frame.

    Raises:
        ValueError: It is not a JSON object.
    """
    frame = json.loads(body)
    if not isinstance(frame, dict):
        raise ValueError("a frame must be a JSON object")
    return frame


def read(stream: BinaryIO) -> Frame | None:
    """Read the next frame from a blocking stream; None at its end."""
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    size = int.from_bytes(header, "big")
    body = stream.read(size)
    return decode(body) if len(body) == size else None


def write(stream: BinaryIO, frame: Frame) -> None:
    """Write a frame to a blocking stream."""
    stream.write(encode(frame))
    stream.flush()
