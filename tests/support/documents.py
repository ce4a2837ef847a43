"""Small documents generated for tests, written by hand where that makes their content visible."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence

import openpyxl

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
W = f'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:r="{_OFFICE}"'
P = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    f'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="{_OFFICE}"'
)


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def relationships(*targets: tuple[str, str, str]) -> str:
    """Return a relationships part from ids, kinds and targets."""
    lines = "".join(
        f'<Relationship Id="{id_}" Type="{_OFFICE}/{kind}" Target="{target}" TargetMode="{_mode(target)}"/>'
        for id_, kind, target in targets
    )
    return f'<Relationships xmlns="{_RELATIONSHIPS}">{lines}</Relationships>'


def _mode(target: str) -> str:
    return "External" if "://" in target else "Internal"


def docx(body: str, *, styles: str = "", links: Mapping[str, str] | None = None, footnotes: str = "") -> bytes:
    """Return a Word document with the given elements in its body."""
    related = [(id_, "hyperlink", target) for id_, target in (links or {}).items()]
    related += [("rIdS", "styles", "styles.xml"), ("rIdF", "footnotes", "/word/footnotes.xml")]
    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": relationships(("rId1", "officeDocument", "word/document.xml")),
            "word/document.xml": f"<w:document {W}><w:body>{body}<w:sectPr/></w:body></w:document>",
            "word/_rels/document.xml.rels": relationships(*related),
            "word/styles.xml": f"<w:styles {W}>{styles}</w:styles>",
            "word/footnotes.xml": f"<w:footnotes {W}>{footnotes}</w:footnotes>",
        }
    )


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of a Word document."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def pptx(
    slides: Sequence[str], notes: Mapping[int, str] | None = None, links: Mapping[str, str] | None = None
) -> bytes:
    """Return a presentation with the given shapes on its slides; the first slide's part has the last name."""
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relationships(("rId1", "officeDocument", "ppt/presentation.xml")),
    }
    count = len(slides)
    order = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(1, count + 1))
    parts["ppt/presentation.xml"] = f"<p:presentation {P}><p:sldIdLst>{order}</p:sldIdLst></p:presentation>"
    named = [(f"rId{n}", "slide", f"slides/slide{count + 1 - n}.xml") for n in range(1, count + 1)]
    parts["ppt/_rels/presentation.xml.rels"] = relationships(*named)
    for n, shapes in enumerate(slides, start=1):
        name = f"slide{count + 1 - n}.xml"
        tree = f"<p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>"
        parts[f"ppt/slides/{name}"] = f"<p:sld {P}>{tree}</p:sld>"
        related = [(id_, "hyperlink", target) for id_, target in (links or {}).items()]
        if n in (notes or {}):
            related.append(("rIdN", "notesSlide", f"../notesSlides/notes{n}.xml"))
            tree = f"<p:cSld><p:spTree>{shape((notes or {})[n])}{shape('7', 'sldNum')}</p:spTree></p:cSld>"
            parts[f"ppt/notesSlides/notes{n}.xml"] = f"<p:notes {P}>{tree}</p:notes>"
        parts[f"ppt/slides/_rels/{name}.rels"] = relationships(*related)
    return archive(parts)


def shape(text: str, kind: str = "") -> str:
    """Return a shape of a slide with one paragraph per line."""
    place = f'<p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>' if kind else ""
    lines = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
    return f"<p:sp>{place}<p:txBody>{lines}</p:txBody></p:sp>"


def xlsx(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """Return a workbook with the given rows on its sheets."""
    book = openpyxl.Workbook(write_only=True)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def epub(chapters: Sequence[str], **parts: str) -> bytes:
    """Return a book with the given HTML in its chapters."""
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    files: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest>'
        f"<spine>{spine}</spine></package>",
        **{f"OPS/text/c {n}.xhtml": _XHTML.format(chapter) for n, chapter in enumerate(chapters)},
        **parts,
    }
    return archive(files)


_XHTML = '<?xml version="1.0"?><!DOCTYPE html><html><head><title>A book</title></head><body>{}</body></html>'
BOMB_DTD = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


def ole(*streams: str) -> bytes:
    """Return a compound file, like a legacy office document, with streams of the given names."""
    sector, last, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    names = ["Root Entry", *streams]
    directory = b""
    for index, name in enumerate(names):
        text = name.encode("utf-16-le") + b"\0\0"
        kind, child, first, size = (5, 1, last, 0) if index == 0 else (2, free, 2 + 8 * (index - 1), 4096)
        right = index + 1 if 0 < index < len(names) - 1 else free
        numbers = struct.pack("<BBIII", kind, 1, free, right, child)
        entry = text.ljust(64, b"\0") + struct.pack("<H", len(text)) + numbers
        directory += entry.ljust(116, b"\0") + struct.pack("<IQ", first, size)
    directory = directory.ljust(sector, b"\0")  # at most four entries: one sector
    chains = [0xFFFFFFFD, last]  # of the table itself and of the directory
    for index in range(len(streams)):
        begin = 2 + 8 * index
        chains += [*range(begin + 1, begin + 8), last]
    table = struct.pack(f"<{len(chains)}I", *chains).ljust(sector, b"\xff")
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
    header += bytes(6) + struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, last, 0, last, 0)
    header += struct.pack("<I", 0).ljust(436, b"\xff")
    return header + table + directory + b"\x01" * (4096 * len(streams))
