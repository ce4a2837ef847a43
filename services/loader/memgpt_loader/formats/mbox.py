"""Archives of e-mail messages (RFC 4155): consecutive messages with their attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import BinaryIO

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.mail import is_message, message_text
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed
from memgpt_loader.notes import NoteKind, Notes

MBOX = "application/mbox"

# The sender, and mostly a date; programs differ in the date, so an address is enough.
_POSTMARK = re.compile(
    rb"From (?:\S+@\S+|\S+ .*\d\d:\d\d.*\d{4}|\S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b)", re.IGNORECASE
)
_BARE_POSTMARK = re.compile(rb"From \S+\s*$", re.IGNORECASE)
_HEADER = re.compile(rb"[!-9;-~]+:")
_KNOWN_HEADER = re.compile(
    rb"(?:from|to|date|subject|received|return-path|message-id|mime-version|delivered-to|reply-to|content-type"
    rb"|status|x-[!-9;-~]+):",
    re.IGNORECASE,
)
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)


def parse(file: File, limits: FileLimits) -> Parsed:
    """Open an archive. It may be very large, so only one message is in memory at a time."""
    notes = Notes()
    return Parsed(1, _pieces(file, limits, notes), notes)


def _pieces(file: File, limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    any_text = False
    with file.open() as stream:
        for number, data in enumerate(_messages(stream), start=1):
            within = Notes()
            try:
                text = message_text(data, file, limits, within)
            except FileFailure as failure:
                text = ""
                notes.add(NoteKind.BAD_RECORD, f"message {number:,}", reason=failure.message)
            notes.extend(within, f"message {number:,}")
            if text.strip():
                any_text = True
                yield PageText(0, f"{text}\n\n")
    if not any_text:
        raise FileFailure(
            FailureReason.EMPTY, "the mailbox contains no messages with text; check that it was saved completely"
        )


def _messages(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the messages without their separator lines."""
    lines: list[bytes] = []
    blank = first = True
    for line, following in pairwise(chain(stream, [b""])):
        if first or (blank and _separates(line, following)):
            if lines:
                yield _unescaped(lines)
            lines = [] if line.startswith(b"From ") else [line]
        else:
            lines.append(line)
        blank, first = not line.strip(), False
    if lines:
        yield _unescaped(lines)


def _separates(line: bytes, following: bytes) -> bool:
    """Whether a line begins a message: a postmark before a header or the end. Text may begin with "From ", too."""
    header = _HEADER if _POSTMARK.match(line) else _KNOWN_HEADER if _BARE_POSTMARK.match(line) else None
    if not following:
        return header is _HEADER
    return header is not None and header.match(following) is not None


def _unescaped(lines: list[bytes]) -> bytes:
    return _ESCAPED.sub(rb"\1", b"".join(lines))


def _signature(inspected: InspectedFile) -> str:
    return MBOX if is_message(inspected) and inspected.head.startswith(b"From ") else ""


FORMAT = Format(
    name="mailbox",
    media_types={MBOX: (".mbox",)},
    parse=parse,
    reads="all messages in order, each read like an e-mail message",
    omits="messages and attachments that cannot be read",
    signature=_signature,
)
