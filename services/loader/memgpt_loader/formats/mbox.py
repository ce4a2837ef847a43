"""Archives of e-mail messages (RFC 4155): one message after the other, each with what is attached to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, Limits, PageText, Parsed
from memgpt_loader.formats.mail import message_text

_MOST_NOTES = 20
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)


def parse(file: File, limits: Limits) -> Parsed:
    """Opens an archive. It may be very long: no more than a message is in memory at a time."""
    notes: list[str] = []
    return Parsed(1, _pieces(file, limits, notes), notes)


def _pieces(file: File, limits: Limits, notes: list[str]) -> Iterator[PageText]:
    any_text = False
    with file.open() as stream:
        for number, data in enumerate(_messages(stream), start=1):
            told: list[str] = []
            try:
                text = message_text(data, limits, file.depth, told)
            except FileFailure as failure:
                text, told = "", [f"It is not loaded. {failure.message}"]
            notes += [f"Message {number:,}: {each}" for each in told[: _MOST_NOTES - len(notes)]]
            if text.strip():
                any_text = True
                yield PageText(0, f"{text}\n\n")
    if not any_text:
        raise FileFailure(FailureReason.EMPTY, "The archive holds no messages with text. Check that it was saved.")


def _messages(stream: BinaryIO) -> Iterator[bytes]:
    """Messages, without the lines that set them apart: `From `, at the beginning or behind a blank line."""
    lines: list[bytes] = []
    blank = True
    for line in stream:
        if blank and line.startswith(b"From "):
            if lines:
                yield _unescaped(lines)
            lines = []
        else:
            lines.append(line)
        blank = not line.strip()
    if lines:
        yield _unescaped(lines)


def _unescaped(lines: list[bytes]) -> bytes:
    return _ESCAPED.sub(rb"\1", b"".join(lines))
