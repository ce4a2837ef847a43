"""HTML and XHTML files."""

from __future__ import annotations

import re

from memgpt_loader import decoding
from memgpt_loader.formats.inspected_file import InspectedFile, after_prolog
from memgpt_loader.formats.spec import MARKDOWN, File, FileLimits, Format, Parsed, flowing
from memgpt_loader.notes import Notes

HTML = "text/html"

_OFFICE = (".doc", ".xls")
_FRAGMENT = re.compile(
    rb"<(?:!doctype\s+html|html|head|meta|style|body|div|center|table|h[1-6]|p|font)[\s>]", re.IGNORECASE
)
"""Begins what web sites export with the extension of an office document."""
_START = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)


def _parse(file: File, limits: FileLimits) -> Parsed:
    from memgpt_loader.formats.html_text import to_text

    notes = Notes()
    data = file.read()
    return Parsed(
        1, flowing(to_text(decoding.decode(data, decoding.declared_encoding(data), notes), notes=notes)), notes
    )


def _signature(inspected: InspectedFile) -> str:
    if inspected.named == MARKDOWN:  # it often begins with a tag
        return ""
    start = _FRAGMENT if inspected.suffix in _OFFICE else _START
    return HTML if start.match(after_prolog(inspected.head)) else ""


FORMAT = Format(
    name="web page",
    media_types={HTML: (".html", ".htm", ".xhtml")},
    parse=_parse,
    reads="visible content without navigation and scripts: headings, lists, tables, links, equations, labels in "
    "drawings, alternative texts (also of image maps), values of forms, fallback content for browsers without scripts "
    "or frames",
    omits="bytes that cannot be decoded, pictures without alternative text, embedded pages, drawings by scripts, "
    "sounds and videos",
    signature=_signature,
)
