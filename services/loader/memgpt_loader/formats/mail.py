"""E-mail messages: headers, text and attachments; attached documents are parsed as well."""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import cast

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.calendar import calendar_text
from memgpt_loader.formats.embedded import MOST_DEPTH, embedded_text
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.mail_headers import decoded_header
from memgpt_loader.formats.signed_data import signed_content
from memgpt_loader.formats.spec import PLAIN, File, FileLimits, Format, Parsed, broken, flowing
from memgpt_loader.formats.tnef import read_tnef
from memgpt_loader.markup import Blocks, one_line
from memgpt_loader.notes import NoteKind, Notes

MAIL = "message/rfc822"

_OFFICE = (".doc", ".xls")
"""Office programs save web pages as messages with these extensions."""
_LENGTH = re.compile(rb"\A(\d{1,12}) *\n(?=[A-Za-z][A-Za-z0-9-]*:)")
"""Begins a message that Apple Mail stores: its length, with its properties after it."""
_MARK = b"\xef\xbb\xbf"
_START = re.compile(rb"(?:From [^\r\n]*\r?\n)?(?:[A-Za-z][A-Za-z0-9-]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n){3}")
_HEADER = re.compile(
    rb"^(?:from|to|date|subject|received|return-path|message-id|mime-version|delivered-to):", re.I | re.M
)
_HEADERS = ("Subject", "From", "To", "Cc", "Bcc", "Date")
_MOST_PARTS = 1000
_MOST_MULTIPARTS = 50
"""Maximum depth of nested multiparts."""
_SEALED = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_STYLES = ("text/css", "text/javascript", "application/javascript", "application/x-javascript", "text/x-amp-html")
"""Parts of a saved web page that a reader does not see, and copies of the text for single programs."""
_ENCRYPTED = "the message is encrypted; save a decrypted copy and load that"
_PACKED = ("application/ms-tnef", "application/vnd.ms-tnef")
_SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature")
_STUB = re.compile(
    r"view (?:it|this (?:e-?mail|message)|the (?:e-?mail|message))? ?(?:in|online|with)"
    r"|(?:cannot|can't|not able to|unable to) (?:show|display|view|read)|(?:does|do) not support html"
    r"|html[- ](?:capable|enabled|compatible|version)|enable html|in (?:a|your|the) (?:web )?browser",
    re.IGNORECASE,
)
_MOST_SPACER_BYTES = 300
"""Smaller pictures in the text are spacers, or report that the message was opened."""
_MOST_STUB_WORDS = 60
_SOME_WORDS = 10
_SAME = 0.9
"""The plain-text alternative is used if it holds at least this fraction of the words of the HTML part."""
_TWIN = 0.5
"""Minimum fraction of common words of two versions of one text; both are kept if each has words of its own."""
_ADDRESS = re.compile(r"\]\([^)\s]{0,1000}\)|https?://\S+")
_WORD = re.compile(r"\w+")
_ENRICHED = re.compile(r"<<|<param>[^<]*</param>|</?[A-Za-z0-9-]{1,60}>", re.IGNORECASE)
"""Commands of enriched text (RFC 1896), and the mark that stands for a sign."""
_YENC = re.compile(
    rb"^=ybegin [^\r\n]*?name=([^\r\n]+)\r?\n(=ypart [^\r\n]*\r?\n)?((?:(?!^=ybegin ).)*?)^=yend\b[^\r\n]*\r?\n?",
    re.MULTILINE | re.DOTALL,
)
_NOT_BASE64 = re.compile(r"(?<=\n)(?=.*\w)(?=.*[^A-Za-z0-9+/=\s]|.*\S[ \t]+\S)")
"""Begins what a mailing list appends to an encoded text."""
_ONLY_BASE64 = re.compile(r"[A-Za-z0-9+/=\s_-]*")
_PGP = re.compile(
    r"^-----BEGIN PGP MESSAGE-----.*?(?:^-----END PGP MESSAGE-----[^\S\n]*$|\Z)", re.MULTILINE | re.DOTALL
)
_UUENCODED = re.compile(r"^begin [0-7]{3,4} (\S[^\n]*)\n((?:[ -`][^\n]*\n)*?)[` ]?\n?end[ \t]*$", re.MULTILINE)


def _parse(file: File, limits: FileLimits) -> Parsed:
    """Open a message. It has no pages; attached documents become sections of its text, under their names."""
    notes = Notes()
    return Parsed(1, flowing(message_text(file.read(), file, limits, notes)), notes)


def message_text(data: bytes, file: File, limits: FileLimits, notes: Notes) -> str:
    """Return the text of a message and of its attachments.

    Args:
        data: The message.
        file: The file that contains it.
        limits: Limits of parsing.
        notes: Receives notes on content that is left out.

    Raises:
        FileFailure: It cannot be read.
    """
    try:
        return _MessageReader(file, limits, notes).text(_message(data), file.depth)
    except (FileFailure, MemoryError):
        raise
    except Exception as error:  # on a malformed structure the library raises arbitrary exceptions
        raise broken("the message", error) from error


def is_message(inspected: InspectedFile) -> bool:
    """Whether a file that may be plain text begins with the headers of a message."""
    head = _LENGTH.sub(b"", inspected.head.removeprefix(_MARK).lstrip(b"\r\n"), count=1)
    return (
        (inspected.named in ("", PLAIN, MAIL) or inspected.suffix in _OFFICE)
        and _START.match(head) is not None
        and len(_HEADER.findall(head)) > 2
    )


def _message(data: bytes) -> EmailMessage:
    # The library records unparsable parts and wrong encodings as defects instead of raising.
    data = data.removeprefix(_MARK).lstrip(b"\r\n")
    if length := _LENGTH.match(data):
        data = data[length.end() : length.end() + int(length[1])]
    return email.message_from_bytes(data, policy=email.policy.default)


@dataclass
class _Shown:
    """The text of a part, and its attachments."""

    texts: list[str] = field(default_factory=list)
    attached: list[EmailMessage] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    """Texts that accompany the alternatives, such as an invitation."""
    files: list[tuple[str, bytes]] = field(default_factory=list)
    """Inline files."""
    copies: list[str] = field(default_factory=list)
    """Text of the message that Outlook packed once more; read if no other part contains its words."""

    @property
    def words(self) -> list[str]:
        return _WORD.findall(_ADDRESS.sub(" ", " ".join(self.texts).lower()))

    def add(self, other: _Shown) -> None:
        """Append the content of another part."""
        self.texts += other.texts
        self.extra += other.extra
        self.attached += other.attached
        self.files += other.files
        self.copies += other.copies

    def settle_copy(self) -> None:
        """Append the packed text unless the other texts contain its words."""
        for copy in self.copies:
            if _fraction(_Shown(texts=[copy]).words, self.words) < _SAME:
                self.texts.append(copy)
        self.copies = []


class _MessageReader:
    def __init__(self, file: File, limits: FileLimits, notes: Notes) -> None:
        self._file = file
        self._limits = limits
        self._notes = notes
        self._parts = 0

    def text(self, message: EmailMessage, depth: int) -> str:
        """Return the whole text of the message."""
        blocks = Blocks()
        for name in _HEADERS:
            if value := _header(message, name):
                blocks.paragraph(f"# {value}" if name == "Subject" else f"{name}: {value}")
        shown = self._shown(message, 0)
        shown.settle_copy()
        for words in (*shown.texts, *shown.extra):
            blocks.paragraph(words)
        for name, data in shown.files:
            self._add(blocks, name, lambda name=name, data=data: self._embedded(name, data, depth))  # type: ignore[misc]
        for part in shown.attached:
            name = one_line(decoded_header(part.get_filename() or "")) or f"a part of type {part.get_content_type()}"
            self._add(blocks, name, lambda part=part, name=name: self._attachment(part, name, depth))  # type: ignore[misc]
        return blocks.text()

    def _add(self, blocks: Blocks, name: str, read: Callable[[], str]) -> None:
        blocks.heading(2, f"Attachment: {name}")
        try:
            blocks.paragraph(read())
        except FileFailure as failure:
            self._notes.add(NoteKind.ATTACHMENT, name, reason=failure.message)

    def _shown(self, part: EmailMessage, depth: int) -> _Shown:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"the message has more than {_MOST_PARTS:,} parts; load what is in it by itself",
            )
        kind = part.get_content_type()
        if depth > _MOST_MULTIPARTS:
            self._notes.add(NoteKind.TOO_MUCH, "parts nested too deeply")
            return _Shown()
        if kind == "multipart/encrypted":
            self._notes.add(NoteKind.ATTACHMENT, "encrypted text", reason=_ENCRYPTED)
            return _Shown()
        if part.get_content_maintype() == "multipart" and not part.is_multipart():  # it declares no boundary
            return _Shown(texts=[_decoded(part, self._notes)])
        if part.get_content_maintype() == "multipart":
            children = [self._shown(child, depth + 1) for child in _children(part)]
            return self._alternative(part, children) if kind == "multipart/alternative" else _together(children)
        if kind in _PACKED or one_line(part.get_filename() or "").lower() == "winmail.dat":
            return self._packed(part)
        if kind in _SIGNATURES or (kind in _STYLES and not part.is_attachment()):
            return _Shown()
        if kind in _SEALED and (inner := self._sealed(part, depth)) is not None:
            return inner
        if part.is_attachment() or kind in ("message/rfc822", "message/global"):
            return _Shown(attached=[part])
        return self._single(part, kind)

    def _single(self, part: EmailMessage, kind: str) -> _Shown:
        """Return what a part shows that has no parts of its own."""
        match kind:
            case "text/plain" | "text/html" | "text/enriched" | "text/richtext" if not part.get_filename():
                return self._inline(part, kind)
            case "text/calendar" | "application/ics":
                return _Shown(extra=[calendar_text(_decoded(part, self._notes), self._notes)])
            case "message/delivery-status" | "message/disposition-notification":
                return _Shown(texts=[_status(part)])
            case "text/rfc822-headers":
                return _Shown(texts=[_decoded(part, self._notes)])
            case _ if part.get_content_maintype() == "image" and self._limits.recognizer is None:
                if len(part.get_payload(decode=True) or b"") > _MOST_SPACER_BYTES:
                    self._notes.add(NoteKind.PICTURE, one_line(decoded_header(part.get_filename() or "")))
                return _Shown()
            case _:
                return _Shown(attached=[part])

    def _sealed(self, part: EmailMessage, depth: int) -> _Shown | None:
        """Return the content of a signed part; an encrypted one is noted. None if it is neither."""
        data = part.get_payload(decode=True)
        content = signed_content(data) if isinstance(data, bytes) else None
        if content is None:
            return None
        if not content:
            self._notes.add(NoteKind.ATTACHMENT, "encrypted text", reason=_ENCRYPTED)
            return _Shown()
        return self._shown(_message(content), depth + 1)

    def _packed(self, part: EmailMessage) -> _Shown:
        """Return the text and the files that Outlook packs into one attachment."""
        data = part.get_payload(decode=True)
        try:
            packed = read_tnef(data if isinstance(data, bytes) else b"", self._limits, self._notes)
        except FileFailure:
            return _Shown(attached=[part])
        files = []
        for each in packed.files:
            name = one_line(each.name) or "an attachment without a name"
            if each.data is None:
                self._notes.add(NoteKind.ATTACHMENT, name, reason="it is an object of a program, or a link to a file")
            else:
                files.append((name, each.data))
        return _Shown(copies=[packed.text], files=files)

    def _inline(self, part: EmailMessage, kind: str) -> _Shown:
        files = _yencoded(part)
        words = _decoded(part, self._notes)
        if kind == "text/html" or (
            kind == "text/plain" and words.lstrip()[:15].lower().startswith(("<html", "<!doctype h"))
        ):
            from memgpt_loader.formats.html_text import to_text

            return _Shown(texts=[to_text(words, notes=self._notes)])
        if kind in ("text/enriched", "text/richtext"):
            words = _ENRICHED.sub(lambda match: "<" if match[0] == "<<" else "", words)
        words, encrypted = _PGP.subn("", words)
        if encrypted:
            self._notes.add(NoteKind.ATTACHMENT, "encrypted text", reason=_ENCRYPTED)
        packed = [(one_line(match[1]), _uudecoded(match[2])) for match in _UUENCODED.finditer(words)]
        words = _UUENCODED.sub("", words) if packed else words
        return _Shown(texts=[_unflowed(part, words)], files=[*files, *packed])

    def _alternative(self, part: EmailMessage, children: list[_Shown]) -> _Shown:
        """Return the best of several alternatives, with the files and invitations of all of them."""
        written = [child for child in children if child.words]
        chosen = written[0].texts if written else []
        if len(written) > 1:
            plain, rich = written[0], max(written[1:], key=lambda child: len(child.words))
            chosen = _better(plain, rich)
        merged = _together(children)
        merged.texts = chosen
        return merged

    def _attachment(self, part: EmailMessage, name: str, depth: int) -> str:
        if part.get_content_type() in ("message/rfc822", "message/global"):
            if depth >= MOST_DEPTH:
                raise FileFailure(FailureReason.TOO_LARGE, "it is nested in too many other files; load it by itself")
            inner = _children(part)
            return self.text(_undone(part, inner[0]), depth + 1) if inner else ""
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            raise broken("the attachment")
        return self._embedded(name, data, depth)

    def _embedded(self, name: str, data: bytes, depth: int) -> str:
        outer = File(b"", self._file.name, self._file.media_type, depth)
        return embedded_text(name, data, outer, self._limits, self._notes)


def _together(children: list[_Shown]) -> _Shown:
    shown = _Shown()
    for child in children:
        shown.add(child)
    return shown


def _better(plain: _Shown, rich: _Shown) -> list[str]:
    """Return the text of the plain part, the HTML part, or both if each holds words that the other lacks."""
    words, others = plain.words, rich.words
    in_words, in_others = _fraction(others, words), _fraction(words, others)
    if in_words >= _SAME:
        return plain.texts
    if len(words) <= _MOST_STUB_WORDS and _STUB.search(" ".join(plain.texts)):
        return rich.texts
    if in_others >= _SAME:
        return rich.texts
    if in_others >= _TWIN:
        return [*plain.texts, *rich.texts]
    return [*plain.texts, *rich.texts] if len(others) > len(words) * 3 + _SOME_WORDS else plain.texts


def _fraction(words: list[str], others: list[str]) -> float:
    """Return the fraction of the words that the others include."""
    known = frozenset(others)
    return sum(word in known for word in words) / len(words) if words else 1.0


def _children(part: EmailMessage) -> list[EmailMessage]:
    payload = part.get_payload()
    return [cast("EmailMessage", each) for each in payload] if isinstance(payload, list) else []


def _undone(part: EmailMessage, inner: EmailMessage) -> EmailMessage:
    """Decode a forwarded message whose invalid transfer encoding the library leaves in place."""
    encoding = str(part.get("Content-Transfer-Encoding") or "").strip().lower()
    if encoding != "base64" or inner.keys():
        return inner
    payload = inner.get_payload()
    try:
        return _message(base64.b64decode(payload, validate=False)) if isinstance(payload, str) else inner
    except (binascii.Error, ValueError):
        return inner


def _decoded(part: EmailMessage, notes: Notes) -> str:
    """Return the text of a part; a part that is not text is noted and empty."""
    data, appended = _parted(part)
    if not data.strip():
        return ""
    if b"=ybegin " in data:
        data = _YENC.sub(b"", data)
    declared = part.get_content_charset() or ""
    if declared in ("us-ascii", "ascii"):  # some programs declare it for every file
        declared = ""
    if part.get_content_type() == "text/html":
        declared = declared or decoding.declared_encoding(data)
    try:
        return decoding.decode(data, declared, notes) + appended
    except FileFailure as failure:
        if failure.reason is not FailureReason.EMPTY:
            notes.add(NoteKind.ATTACHMENT, f"a part of type {part.get_content_type()}", reason=failure.message)
        return ""


def _unflowed(part: EmailMessage, words: str) -> str:
    """Join the lines of paragraphs that were wrapped for sending (RFC 3676)."""
    if str(part.get_param("format", "")).lower() != "flowed":
        return words
    delete = str(part.get_param("delsp", "")).lower() == "yes"
    lines: list[str] = []
    depth, open_ = 0, False
    for line in words.split("\n"):
        quoted = len(line) - len(line.lstrip(">"))
        body = line[quoted:].removeprefix(" ")
        if open_ and quoted == depth and body != "-- ":
            lines[-1] += body
        else:
            lines.append(f"{'>' * quoted} {body}" if quoted else body)
        open_ = body.endswith(" ") and body != "-- "
        depth = quoted
        if open_ and delete:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)


def _yencoded(part: EmailMessage) -> list[tuple[str, bytes]]:
    """Return the files in a text that are encoded in the way of newsgroups; a part of one is named so."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes) or b"=ybegin " not in data:
        return []
    found = []
    for match in _YENC.finditer(data):
        name = one_line(match[1].decode("utf-8", "replace"))
        body = _YENC_ESCAPED.sub(lambda each: bytes([(each[0][1] - 64) % 256]), re.sub(rb"[\r\n]", b"", match[3]))
        whole = match[2] is None or b" part=" not in match[0].partition(b"\n")[0]
        found.append((name if whole else f"part of {name}", body.translate(_YENC_SHIFT)))
    return found


_YENC_ESCAPED = re.compile(b"=.", re.DOTALL)
_YENC_SHIFT = bytes((byte - 42) % 256 for byte in range(256))


def _parted(part: EmailMessage) -> tuple[bytes, str]:
    """Return the bytes of a part, and the plain text that a mailing list has appended to its base64."""
    raw = part.get_payload()
    is_base64 = str(part.get("Content-Transfer-Encoding") or "").strip().lower() == "base64"
    encoded = raw if is_base64 and isinstance(raw, str) else ""
    begin = _NOT_BASE64.search(encoded)
    if begin is not None and _ONLY_BASE64.fullmatch(encoded, 0, begin.start()):
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(encoded[: begin.start()]), f"\n\n{encoded[begin.start() :]}"
    data = part.get_payload(decode=True)
    return (data if isinstance(data, bytes) else b""), ""


def _uudecoded(lines: str) -> bytes:
    pieces = []
    for line in lines.split("\n"):
        try:
            pieces.append(binascii.a2b_uu(line))
        except (binascii.Error, ValueError):  # broken encoders: read only the bytes that the line declares
            size = ((ord(line[0]) - 32) & 63) * 4 // 3 + 4 if line else 0
            try:
                pieces.append(binascii.a2b_uu(line[: size + 1].rstrip()))
            except (binascii.Error, ValueError):
                return b"".join(pieces)
    return b"".join(pieces)


def _status(part: EmailMessage) -> str:
    """Return the fields of a delivery report."""
    groups = [[f"{name}: {one_line(str(value))}" for name, value in block.items()] for block in _children(part)]
    return "\n\n".join("\n".join(lines) for lines in groups if lines)


def _header(message: EmailMessage, name: str) -> str:
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
    try:
        if name == "Date":
            return one_line(str(message.get(name) or ""))
        return one_line(decoded_header(str(raw)))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - on malformed dates the library raises arbitrary exceptions
        return ""


def _signature(inspected: InspectedFile) -> str:
    return MAIL if is_message(inspected) and not inspected.head.startswith(b"From ") else ""


FORMAT = Format(
    name="e-mail message",
    media_types={MAIL: (".eml", ".emlx", ".mht", ".mhtml")},
    parse=_parse,
    reads="subject, sender, recipients, date, text (also of signed messages), invitations, delivery reports, "
    "forwarded messages, and attachments of any supported format",
    omits="encrypted text, attachments that cannot be read, parts nested too deeply",
    signature=_signature,
)
