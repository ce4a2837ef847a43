"""E-mail messages: who wrote what to whom, and what is attached; attached documents are read as well."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from typing import cast

from memgpt_loader import text
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.notes import NoteKind, Notes
from memgpt_loader.formats.probe import Probe
from memgpt_loader.formats.spec import PLAIN, File, Format, Limits, Parsed, broken, flowing
from memgpt_loader.markup import Blocks, one_line

MAIL = "message/rfc822"

_START = re.compile(rb"(?:From [^\r\n]*\r?\n)?(?:[A-Za-z][A-Za-z0-9-]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n){3}")
_HEADER = re.compile(
    rb"^(?:from|to|date|subject|received|return-path|message-id|mime-version|delivered-to):", re.I | re.M
)

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_MOST_DEPTH = 3
"""Messages within messages."""
_MOST_PARTS = 1000


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a message. It has no pages; documents attached to it become parts of its text, under their names."""
    notes = Notes()
    return Parsed(1, flowing(message_text(file.read(), limits, file.depth, notes)), notes)


def message_text(data: bytes, limits: Limits, depth: int, notes: Notes) -> str:
    """The text of a message and of what is attached to it.

    Args:
        data: The message.
        limits: What it may ask for.
        depth: How many files it is packed in.
        notes: Told what is left out.

    Raises:
        FileFailure: It cannot be read.
    """
    # What cannot be parsed is a defect that the library notes, never an exception; so are wrong encodings.
    return _text(email.message_from_bytes(data, policy=email.policy.default), limits, depth, notes)


def is_message(probe: Probe) -> bool:
    """Whether a file that may be plain text begins with the headers of a message."""
    return (
        probe.named in ("", PLAIN, MAIL)
        and _START.match(probe.head) is not None
        and len(_HEADER.findall(probe.head)) > 2
    )


def _text(message: EmailMessage, limits: Limits, depth: int, notes: Notes) -> str:
    blocks = Blocks()
    for name in _HEADERS:
        if value := _header(message, name):
            blocks.paragraph(f"# {value}" if name == "Subject" else f"{name}: {value}")
    try:
        body = message.get_body(("plain", "html"))
        parts = list(_attachments(message, body))
    except (FileFailure, MemoryError):
        raise
    except Exception as error:  # a structure that makes no sense: the library fails in any way
        raise broken("the message", error) from error
    if body is not None:
        blocks.paragraph(_body(body))
    for part in parts:
        name = one_line(part.get_filename() or "") or f"a part of type {part.get_content_type()}"
        blocks.heading(2, f"Attachment: {name}")
        try:
            blocks.paragraph(_attachment(part, name, limits, depth, notes))
        except FileFailure as failure:
            notes.add(NoteKind.ATTACHMENT, name, reason=failure.message)
    return blocks.text()


def _attachments(message: EmailMessage, body: MIMEPart | None) -> Iterator[EmailMessage]:
    """All leaves but the body, its alternatives, and pictures shown within it."""
    waiting: list[tuple[EmailMessage, bool]] = [(message, False)]
    count = 0
    while waiting:
        part, alternative = waiting.pop(0)
        count += 1
        if count > _MOST_PARTS:
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"The message has more than {_MOST_PARTS:,} parts. Load what is in it by itself.",
            )
        if part.get_content_maintype() == "multipart":
            one_of = part.get_content_type() == "multipart/alternative"
            waiting[:0] = [(cast("EmailMessage", each), one_of) for each in _parts(part)]
        elif part is body or (alternative and not part.is_attachment()):
            continue
        elif part.get_content_maintype() != "image" or part.is_attachment():
            yield part


def _parts(part: EmailMessage) -> list[object]:
    payload = part.get_payload()
    return list(payload) if isinstance(payload, list) else []


def _body(part: MIMEPart) -> str:
    from memgpt_loader.formats.html_text import to_text

    data = part.get_payload(decode=True)
    if not isinstance(data, bytes) or not data.strip():
        return ""
    words = text.decode(data, part.get_content_charset() or text.declared_encoding(data))
    return to_text(words) if part.get_content_subtype() == "html" else words


def _attachment(part: EmailMessage, name: str, limits: Limits, depth: int, notes: Notes) -> str:
    if depth >= _MOST_DEPTH:
        raise FileFailure(FailureReason.TOO_LARGE, "It is packed in too many others. Load it by itself.")
    if part.get_content_type() == "message/rfc822":
        inner = _parts(part)
        return _text(cast("EmailMessage", inner[0]), limits, depth + 1, notes) if inner else ""
    from memgpt_loader.formats import registry, sniffing  # which list this module

    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        raise broken("the attachment")
    media_type = sniffing.media_type_of(name, data)
    parsed = registry.parse(File(data, name, media_type, depth + 1), limits)
    pieces, chars = [], 0
    for page in parsed.pages:
        pieces.append(page.text)
        chars += len(page.text)
        if chars > limits.max_chars:
            raise FileFailure(FailureReason.TOO_LARGE, "It holds too much text. Load it by itself.")
    notes.extend(parsed.notes, name)
    return "\n\n".join(pieces)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return one_line(str(message.get(name) or ""))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - addresses and dates beyond parsing: the library fails in any way
        return ""


def _signature(probe: Probe) -> str:
    return MAIL if is_message(probe) and not probe.head.startswith(b"From ") else ""


FORMAT = Format(
    name="e-mail message",
    media_types={MAIL: (".eml",)},
    parse=parse,
    reads="subject, sender, recipients, date, text, and attached files of all formats",
    omits="attached files that cannot be read",
    signature=_signature,
)
