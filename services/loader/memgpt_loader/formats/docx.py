"""Word documents."""

from __future__ import annotations

from memgpt_loader.formats.inspected_file import ZIP, InspectedFile
from memgpt_loader.formats.office.flat import is_flat, packed
from memgpt_loader.formats.spec import File, FileLimits, Format, Parsed, flowing
from memgpt_loader.notes import Notes

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def _parse(file: File, limits: FileLimits) -> Parsed:
    from memgpt_loader.formats.office.packages import open_package
    from memgpt_loader.formats.office.word import WordReader

    notes = Notes()
    file = packed(file, "the Word document")
    with open_package(file, "the Word document", limits) as package:
        return Parsed(1, flowing(WordReader(package, file, limits, notes).text()), notes)


def _signature(inspected: InspectedFile) -> str:
    found = inspected.is_office("word/") or is_flat(inspected, b"Word.Document", b"wordprocessingml")
    return DOCX if found else ""


FORMAT = Format(
    name="Word document",
    media_types={DOCX: (".docx", ".docm", ".dotx", ".dotm")},
    parse=_parse,
    reads="the text with all revisions accepted, also of documents saved as one XML file: paragraphs, headings, "
    "numbered lists, tables, links, form fields, text boxes, imported parts, charts, diagrams, equations, symbols, "
    "comments, footnotes, endnotes, headers, footers and alternative texts",
    omits="hidden text, fields of equations and numbers, images without alternative text, embedded objects",
    signature=_signature,
    first_bytes=ZIP,
)
