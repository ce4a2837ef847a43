"""Contacts (vCard): a person or organization is a paragraph with names, numbers, addresses and notes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memgpt_loader import decoding
from memgpt_loader.formats.calendar import halves, parts, unescaped, unfolded
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, flowing
from memgpt_loader.markup import Blocks
from memgpt_loader.notes import NoteKind, Notes

CONTACTS = "text/vcard"

_LABELS = {
    "FN": "", "N": "Name", "NICKNAME": "Nickname", "ORG": "Organization", "TITLE": "Title", "ROLE": "Role",
    "TEL": "Phone", "EMAIL": "E-mail", "IMPP": "Messenger", "ADR": "Address", "LABEL": "Address", "URL": "Web",
    "BDAY": "Birthday", "ANNIVERSARY": "Anniversary", "RELATED": "Related", "GENDER": "Gender", "LANG": "Language",
    "CATEGORIES": "Categories", "NOTE": "Note", "TZ": "Time zone", "GEO": "Position", "MEMBER": "Member",
}  # fmt: skip
_MEDIA = {"PHOTO": NoteKind.PICTURE, "LOGO": NoteKind.PICTURE, "SOUND": NoteKind.OBJECT, "KEY": NoteKind.OBJECT}
_GROUP = re.compile(r"^[\w-]+\.")
_ADDRESS = re.compile(r"(?:https?|tel|mailto|xmpp|sip|geo):\S+", re.IGNORECASE)
_NOT_KINDS = ("PREF", "INTERNET", "ENCODING", "CHARSET", "QUOTED-PRINTABLE", "VALUE", "VOICE")

_ABOUT_THE_FILE = frozenset(
    {"BEGIN", "END", "VERSION", "PRODID", "UID", "REV", "SOURCE", "KIND", "SORT-STRING", "MAILER", "CLASS", "NAME"}
    | {"PROFILE", "CLIENTPIDMAP", "XML"}
)


def contacts_text(source: str, notes: Notes) -> str:
    """Return contacts (RFC 6350), each as a block of lines.

    Args:
        source: The contacts.
        notes: Receives notes on pictures, sounds and keys.
    """
    blocks = Blocks()
    lines: list[str] = []
    for name, value, parameters in _properties(source):
        if name in ("BEGIN", "END") and value.upper() == "VCARD":
            blocks.paragraph("\n".join(dict.fromkeys(lines)))
            lines = []
        elif name in _MEDIA and not _ADDRESS.fullmatch(value):
            notes.add(_MEDIA[name])
        elif name in _LABELS or name in _MEDIA:
            lines += _line(_LABELS.get(name, name.capitalize()), name, value, parameters)
        elif name not in _ABOUT_THE_FILE and value:
            lines.append(f"{name.removeprefix('X-').capitalize()}: {_joined(value, ', ')}")
    blocks.paragraph("\n".join(lines))
    return blocks.text()


def _properties(source: str) -> Iterator[tuple[str, str, list[str]]]:
    for line in unfolded(source).split("\n"):
        head, value = halves(line)
        name, *parameters = parts(head)
        yield _GROUP.sub("", name).upper(), value.strip(), parameters


def _line(label: str, name: str, value: str, parameters: list[str]) -> Iterator[str]:
    words = _joined(value, " " if name == "N" else ", ")
    if not words:
        return
    kinds = [one.strip().lower() for each in parameters for one in _kinds(each)]
    of = f" ({', '.join(dict.fromkeys(kinds))})" if kinds and name not in ("FN", "N", "NOTE") else ""
    yield f"{label}{of}: {words}" if label else words


def _kinds(parameter: str) -> list[str]:
    """Return what a parameter says about a value: ``work``, ``cell``."""
    key, found, value = parameter.partition("=")
    if found and key.upper() != "TYPE":
        return []
    return [one for one in (value if found else key).strip('"').split(",") if one.upper() not in _NOT_KINDS]


def _joined(value: str, between: str) -> str:
    """Return the parts of a value, which semicolons separate."""
    pieces = (unescaped(piece) for piece in re.split(r"(?<!\\);", value))
    return between.join(filter(None, pieces))


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    source = decoding.decode(file.read(), notes=notes)
    return Parsed(1, flowing(contacts_text(source, notes) or source), notes)


def _signature(inspected: InspectedFile) -> str:
    return CONTACTS if inspected.head.lstrip(b"\xef\xbb\xbf\r\n ").upper().startswith(b"BEGIN:VCARD") else ""


FORMAT = Format(
    name="contact file",
    media_types={CONTACTS: (".vcf", ".vcard")},
    parse=_parse,
    reads="contacts with their names, organizations, numbers, addresses, dates and notes",
    omits="pictures, sounds and keys",
    signature=_signature,
)
