"""Rich Text Format, read with striprtf."""

from __future__ import annotations

import re

from memgpt_loader.decoding import writable
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, broken, flowing
from memgpt_loader.markup import tidy
from memgpt_loader.notes import NoteKind, Notes

RTF = "application/rtf"

_SIGNATURE = b"{\\rtf"
_PICTURE = re.compile(rb"\\pict\b")
_SHADOW = re.compile(rb"\\nonshppict\b")
# Destinations that the library leaves out because they are not part of the body text.
_FRAME = re.compile(rb"\\(header|footer|footnote|annotation)[lrf]?(?![a-z0-9])")
_OBJECT = re.compile(rb"\\objdata\b")


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    return Parsed(1, flowing(rtf_text(file.read(), notes)), notes)


def rtf_text(data: bytes, notes: Notes) -> str:
    """Return the text of an RTF document.

    Args:
        data: The document.
        notes: Receives notes on content that is left out.

    Raises:
        FileFailure: It cannot be read.
    """
    from striprtf.striprtf import rtf_to_text

    try:
        # Latin-1 keeps every byte; the library decodes escaped bytes with the document's code page.
        source = _FRAME.sub(_as_text, data).decode("latin-1")
        words = str(rtf_to_text(source, errors="replace"))  # type: ignore[no-untyped-call]
    except MemoryError:
        raise
    except Exception as error:  # on a malformed structure the library raises arbitrary exceptions
        raise broken("the RTF document", error) from error
    if pictures := len(_PICTURE.findall(data)) - len(_SHADOW.findall(data)):
        notes.add(NoteKind.PICTURE, count=max(pictures, 1))
    if objects := len(_OBJECT.findall(data)):
        notes.add(NoteKind.OBJECT, count=objects)
    return tidy(writable(words))


def _as_text(match: re.Match[bytes]) -> bytes:
    match match[1]:
        case b"footnote":
            return b" [Note:] "
        case b"annotation":
            return b" [Comment:] "
        case kind:
            return b"\\par " + kind.capitalize() + b": "


def _signature(inspected: InspectedFile) -> str:
    return RTF if inspected.head.lstrip().startswith(_SIGNATURE) else ""


FORMAT = Format(
    name="RTF document",
    media_types={RTF: (".rtf",)},
    parse=_parse,
    reads="paragraphs, tables, footnotes, comments, headers and footers",
    omits="images and embedded objects",
    signature=_signature,
)
