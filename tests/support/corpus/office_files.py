"""Office documents and books of the corpus."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Iterator

from tests.support import documents
from tests.support.corpus.sample import Sample, empty, failed, good
from tests.support.documents import BOMB_DTD, docx, epub, paragraph, pptx, shape, xlsx

_ENTITY_FILE = '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


def samples() -> Iterator[Sample]:
    """Yield all office documents and books."""
    yield from _good()
    yield from _odd()
    yield from _bombs()
    yield from _old()


def _good() -> Iterator[Sample]:
    yield good("letter.docx", _letter, "The flamingo signed it with a [quill](https://example.org/quill).")
    yield good(
        "tables.docx",
        lambda: docx(paragraph("Stock", "Heading1") + _word_table([["bird", "count"], ["goldfinch", "12"]])),
        "goldfinch | 12",
    )
    yield good(
        "talk.pptx",
        lambda: pptx([shape("Welcome", "title"), "", shape("The hippopotamus yawns at noon.")], {3: "Pause here."}),
        "The hippopotamus yawns at noon.",
        3,
    )
    yield good(
        "stock.xlsx",
        lambda: xlsx({"Cover": [["Stock"]], "May": [["animal", "since"], ["iguana", dt.date(2021, 5, 4)]]}),
        "animal: iguana | since: 2021-05-04",
        2,
    )
    yield good(
        "novel.epub",
        lambda: epub(["<h1>One</h1><p>It was night.</p>", "<h1>Two</h1><p>The jackdaw stole a silver thimble.</p>"]),
        "The jackdaw stole a silver thimble.",
        2,
    )
    yield good(
        "word by content.zip",
        lambda: docx(paragraph("The kookaburra wears a disguise.")),
        "The kookaburra wears a disguise.",
    )
    yield good(
        "excel named as word.docx", lambda: xlsx({"A": [["The lemur sits in a cell."]]}), "The lemur sits in a cell.", 1
    )
    yield good(
        "chinese.docx", lambda: docx(paragraph("熊猫在竹林里喝茶，听雨打竹叶。")), "熊猫在竹林里喝茶，听雨打竹叶。"
    )


def _odd() -> Iterator[Sample]:
    yield failed("password.docx", lambda: _encrypted(docx(paragraph("Hidden."))), "protected by a password")
    yield failed(
        "password.xlsx", lambda: documents.ole("EncryptionInfo", "EncryptedPackage"), "protected by a password"
    )
    yield failed(
        "password.epub", lambda: epub(["x"], **{"META-INF/encryption.xml": _CIPHER}), "protected by a password"
    )
    yield failed("truncated.docx", lambda: docx(paragraph("Text."))[:-40], "damaged or incomplete")
    yield failed("truncated.xlsx", lambda: xlsx({"A": [["x"]]})[:900], "damaged or incomplete")
    yield failed("truncated.epub", lambda: epub(["x"])[:-10], "damaged or incomplete")
    yield failed("noise.docx", lambda: b"\xff" * 4096, "is not a Word document")
    yield failed("a zip archive.docx", lambda: documents.archive({"a.txt": "Text."}), "a ZIP archive")
    yield failed("pictures only.pptx", lambda: pptx(["", ""]), "probably images")
    yield failed("pictures only.epub", lambda: epub(['<img src="1.png"/>']), "probably images")
    yield failed("a part is torn.pptx", lambda: pptx(["<p:sp>"]), "damaged or incomplete")
    yield failed("a checksum is wrong.docx", _wrong_checksum, "damaged or incomplete")
    yield empty("no words.docx", lambda: docx(""), "no text")
    yield empty("no cells.xlsx", lambda: xlsx({"A": [], "B": []}), "all empty")
    yield empty("nothing.xlsx", lambda: b"", "empty")


def _bombs() -> Iterator[Sample]:
    yield failed("zip bomb.docx", lambda: docx(paragraph("a" * (20 << 20))), "decompression bomb")
    yield failed(
        "zip bomb.xlsx", lambda: documents.archive({**_parts(xlsx({"A": [[1]]})), "x": bytes(20 << 20)}), "bomb"
    )
    yield failed("overlapping parts.docx", _overlapping, "bomb")
    yield failed("billion laughs.docx", lambda: _with_dtd(docx(paragraph("&c;")), "word/document.xml"), "entities")
    yield failed("billion laughs.pptx", lambda: _with_dtd(pptx([shape("&c;")]), "ppt/slides/slide1.xml"), "entities")
    yield failed("billion laughs.xlsx", lambda: _with_dtd(xlsx({"A": [["x"]]}), "xl/worksheets/sheet1.xml"), "entities")
    yield failed("billion laughs.epub", lambda: _with_dtd(epub(["x"]), "OPS/book.opf"), "entities")
    yield failed(
        "reads a file of the server.docx",
        lambda: _with_dtd(docx(paragraph("&x;")), "word/document.xml", _ENTITY_FILE),
        "entities",
    )
    yield failed("nested very deep.docx", lambda: docx("<w:sdt>" * 9999 + "</w:sdt>" * 9999), "nested")
    yield good("a sheet that claims a billion cells.xlsx", _giant_dimension, "animal: marmoset", 1)


def _old() -> Iterator[Sample]:
    yield failed("stock.xls", lambda: documents.ole("Workbook"), "damaged")
    yield empty("mail.msg", lambda: documents.ole("__properties_version1.0"), "no text")
    yield failed("an old one.docx", lambda: documents.ole("WordDocument"), "a legacy office document")


_CIPHER = '<encryption><CipherReference URI="OPS/text/c%200.xhtml"/></encryption>'


def _letter() -> bytes:
    link = (
        '<w:p><w:r><w:t xml:space="preserve">The flamingo signed it with a </w:t></w:r>'
        '<w:hyperlink r:id="rId9"><w:r><w:t>quill</w:t></w:r></w:hyperlink><w:r><w:t>.</w:t></w:r></w:p>'
    )
    return docx(paragraph("Dear Sir,") + link, links={"rId9": "https://example.org/quill"})


def _word_table(rows: list[list[str]]) -> str:
    lines = "".join(f"<w:tr>{''.join(f'<w:tc>{paragraph(cell)}</w:tc>' for cell in row)}</w:tr>" for row in rows)
    return f"<w:tbl>{lines}</w:tbl>"


def _parts(package: bytes) -> dict[str, str | bytes]:
    with zipfile.ZipFile(io.BytesIO(package)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def _with_dtd(package: bytes, name: str, dtd: str = BOMB_DTD) -> bytes:
    """Return a package with a part that declares entities and uses one."""
    parts = _parts(package)
    body = parts[name]
    text = body if isinstance(body, str) else body.decode()
    declaration, mark, rest = text.rpartition("?>")
    parts[name] = f"{declaration}{mark}{dtd}{rest}"
    return documents.archive(parts)


def _encrypted(package: bytes) -> bytes:
    """Return a package whose parts are marked as encrypted in both of their headers."""
    data = bytearray(package)
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + offset] |= 1
    return bytes(data)


def _wrong_checksum() -> bytes:
    data = bytearray(docx(paragraph("Text.")))
    at = data.find(b"word/document.xml", data.find(b"PK\x01\x02"))
    data[at - 46 + 16] ^= 0xFF
    return bytes(data)


def _overlapping() -> bytes:
    """Return an archive whose entries share one compressed part: the ratio of a bomb, without nesting."""
    body = f"<x>{'a' * (1 << 20)}</x>"
    data = docx(body)
    start = data.find(b"PK\x01\x02")
    end = data.rfind(b"PK\x05\x06")
    entry_at = data.find(b"word/document.xml", start) - 46
    entry = data[entry_at : data.find(b"PK\x01\x02", entry_at + 4)]
    copies = b"".join(entry.replace(b"word/document.xml", b"word/docu%04d.xml" % n) for n in range(2000))
    directory = data[start:end] + copies
    count = data[start:end].count(b"PK\x01\x02") + 2000
    sizes = count.to_bytes(2, "little") * 2 + len(directory).to_bytes(4, "little") + start.to_bytes(4, "little")
    return data[:start] + directory + b"PK\x05\x06" + bytes(4) + sizes + bytes(2)


def _giant_dimension() -> bytes:
    """Return a sheet that declares the maximum rows and columns, and has a cell in its last row."""
    rows = '<row r="1"><c r="A1" t="inlineStr"><is><t>animal: marmoset</t></is></c></row>'
    last = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    parts = _parts(xlsx({"A": [["x"]]}))
    parts["xl/worksheets/sheet1.xml"] = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f'<dimension ref="A1:XFD1048576"/><sheetData>{rows}{last}</sheetData></worksheet>'
    )
    return documents.archive(parts)
