"""OpenDocument text, spreadsheets, presentations and drawings, packed or flat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import ZIP, InspectedFile
from memgpt_loader.formats.office.odf import OpenDocumentReader
from memgpt_loader.formats.office.packages import Package, attribute, local, open_package, parse_tree
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, encrypted, flowing, too_many_pages
from memgpt_loader.notes import Notes

_PREFIX = "application/vnd.oasis.opendocument."
TEXT, SHEETS, SLIDES, DRAWING = (f"{_PREFIX}{kind}" for kind in ("text", "spreadsheet", "presentation", "graphics"))
_FLAT = "-flat-xml"
_WHAT = "the OpenDocument file"
_MANIFEST = "META-INF/manifest.xml"
_FLAT_START = re.compile(rb"<(?:\w+:)?document\s[^>]*?mimetype\s*=\s*[\"']([\w./-]+)", re.DOTALL)


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    if file.media_type.endswith(_FLAT):
        with file.open() as stream:
            root = parse_tree(stream, _WHAT)
        return _parsed(OpenDocumentReader(root, None, None, notes), limits, notes)
    with open_package(file, _WHAT, limits) as package:
        if _is_encrypted(package):
            raise encrypted()
        styles = package.root("styles.xml") if "styles.xml" in package.names else None
        parsed = _parsed(OpenDocumentReader(package.root("content.xml"), styles, package, notes), limits, notes)
        # The content is in memory, but embedded parts can only be read while the package is open.
        return Parsed(parsed.documents, iter(list(parsed.pages)), notes)


def _parsed(reader: OpenDocumentReader, limits: FileLimits, notes: Notes) -> Parsed:
    match reader.kind:
        case "spreadsheet":
            sheets = reader.sheets()
            return _paged(len(sheets), "sheets", (_sheet(reader, *each) for each in sheets), limits, notes)
        case "presentation" | "drawing":
            slides = reader.slides()
            return _paged(len(slides), "slides", (reader.slide_text(each) for each in slides), limits, notes)
        case _:
            return Parsed(1, flowing(reader.text()), notes)


def _paged(count: int, what: str, texts: Iterator[str], limits: FileLimits, notes: Notes) -> Parsed:
    if not count:
        raise FileFailure(FailureReason.EMPTY, f"the file has no {what}; check that it was saved completely")
    if count > limits.max_pages:
        raise too_many_pages(count, what, limits)
    return Parsed(count, _pages(texts, what, limits), notes)


def _pages(texts: Iterator[str], what: str, limits: FileLimits) -> Iterator[PageText]:
    any_text = False
    for number, text in enumerate(texts, start=1):
        any_text = any_text or bool(text)
        yield PageText(number, text[: limits.max_chars + 1])
    if not any_text:
        raise FileFailure(
            FailureReason.EMPTY, f"none of the file's {what} contains text; check that it was saved completely"
        )


def _sheet(reader: OpenDocumentReader, name: str, table: Element) -> str:
    lines = list(reader.sheet_lines(table))
    return f"# {name}\n\n" + "\n".join(lines) if lines else ""


def _is_encrypted(package: Package) -> bool:
    if _MANIFEST not in package.names:
        return False
    return any(
        local(each) == "file-entry"
        and attribute(each, "full-path") == "content.xml"
        and any(local(child) == "encryption-data" for child in each)
        for each in package.root(_MANIFEST).iter()
    )


def _signature(inspected: InspectedFile) -> str:
    if inspected.declared.startswith(_PREFIX):
        return next((kind for kind in (TEXT, SHEETS, SLIDES, DRAWING) if inspected.declared.startswith(kind)), TEXT)
    return ""


def _flat_signature(inspected: InspectedFile) -> str:
    match = _FLAT_START.search(inspected.head) if b"oasis:names:tc:opendocument" in inspected.head else None
    kind = match[1].decode("ascii", "replace") if match else ""
    return next((f"{each}{_FLAT}" for each in (TEXT, SHEETS, SLIDES, DRAWING) if kind.startswith(each)), "")


_READS = (
    "paragraphs, headings, numbered lists, tables, sheets as displayed, slides from top to bottom, links, text boxes, "
    "charts, equations, notes, comments, headers, footers, values of forms and alternative texts"
)
_OMITS = (
    "hidden text, images without alternative text, embedded objects, formulas without a stored result (their text is "
    "read)"
)

FORMAT = Format(
    name="OpenDocument file",
    media_types={
        TEXT: (".odt", ".ott", ".odm"),
        SHEETS: (".ods", ".ots"),
        SLIDES: (".odp", ".otp"),
        DRAWING: (".odg", ".otg"),
    },
    parse=_parse,
    reads=_READS,
    omits=_OMITS,
    pages="sheets or slides",
    signature=_signature,
    first_bytes=ZIP,
)

FLAT_FORMAT = Format(
    name="flat OpenDocument file",
    media_types={
        f"{TEXT}{_FLAT}": (".fodt",),
        f"{SHEETS}{_FLAT}": (".fods",),
        f"{SLIDES}{_FLAT}": (".fodp",),
        f"{DRAWING}{_FLAT}": (".fodg",),
    },
    parse=_parse,
    reads=_READS,
    omits=_OMITS,
    pages="sheets or slides",
    signature=_flat_signature,
)
