"""SVG drawings: their title, description and labels."""

from __future__ import annotations

import re

from memgpt_loader import decoding
from memgpt_loader.formats.inspected_file import InspectedFile, after_prolog
from memgpt_loader.formats.spec import MARKDOWN, File, FileLimits, Format, Parsed, flowing
from memgpt_loader.notes import NoteKind, Notes

SVG = "image/svg+xml"

_DOCTYPE = re.compile(rb"<!DOCTYPE\s+svg[^\[>]*(?:\[[^\]]*\]\s*)?>", re.IGNORECASE)
_PICTURE = re.compile(r"<(?:svg:)?image\s")
_START = re.compile(rb"<(?:\w+:)?svg[\s>]", re.IGNORECASE)


def _parse(file: File, limits: FileLimits) -> Parsed:
    from memgpt_loader.formats.html_text import drawing_labels

    notes = Notes()
    data = file.read()
    source = decoding.decode(data, decoding.declared_encoding(data), notes)
    labels = drawing_labels(source)
    if pictures := len(_PICTURE.findall(source)):
        notes.add(NoteKind.PICTURE, count=pictures)
    return Parsed(1, flowing("\n".join(labels)), notes)


def _signature(inspected: InspectedFile) -> str:
    head = after_prolog(inspected.head)
    if doctype := _DOCTYPE.match(head):
        head = after_prolog(head[doctype.end() :])
    return SVG if inspected.named != MARKDOWN and _START.match(head) else ""


FORMAT = Format(
    name="SVG drawing",
    media_types={SVG: (".svg",)},
    parse=_parse,
    reads="title, description and labels",
    omits="pictures in the drawing",
    signature=_signature,
)
