"""Each kind of document: its text and pages, and what becomes of an odd one."""
# ruff: noqa: E501 - tables of cases

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
import sys
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from memgpt_loader import formats
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, FileLimits, NoteKind
from memgpt_loader.parsing.extract import extract

from tests.support import documents, pdfs
from tests.support.documents import docx, epub, paragraph, pptx, shape, xlsx

LIMITS = FileLimits(max_pages=100, max_chars=10_000_000, max_unpacked_bytes=20 << 20, max_tokens=300)


def read(data: bytes, name: str, limits: FileLimits = LIMITS) -> list[tuple[int, str]]:
    parsed = formats.parse(File(data, name, formats.media_type_of(name, data)), limits)
    pages = [(page.number, page.text) for page in parsed.pages]
    assert parsed.documents == max(1, len({number for number, _ in pages}))
    return pages


def refused(data: bytes, name: str, limits: FileLimits = LIMITS) -> FileFailure:
    with pytest.raises(FileFailure) as failure:
        read(data, name, limits)
    return failure.value


def test_html() -> None:
    page = """<!DOCTYPE html><html><head><title>On  Cats</title><style>p {}</style></head><body>
    <nav>Home</nav><h1>Cats</h1><p>A <a href="https://example.org/cat">small <b>cat</b></a>, and
    <a href="/dog">a dog</a>.<br>Next line.</p><ul><li>one<ul><li>inner</li></ul></li><li><p>two</p></li></ul>
    <table><tr><th>Name</th><th>Age</th></tr><tr><td>Tom <p>T.</p></td><td>3</td></tr></table>
    <pre>  if x:\n      y</pre><script>alert(1)</script><p hidden>unseen</p></body></html>"""
    ((number, text),) = read(page.encode(), "a.html")
    assert number == 0
    assert text == (
        "# On Cats\n\n# Cats\n\nA [small cat](https://example.org/cat), and a dog.\nNext line.\n\n"
        "- one\n  - inner\n- two\n\nName | Age\nTom T. | 3\n\n  if x:\n      y"
    )


def test_html_without_its_frame_and_in_an_encoding_of_its_own() -> None:
    body = "人人生而自由 " * 30
    links = "<a href=/a>Top</a> <a href=/b>All</a>"
    page = (
        f'<meta charset="gb18030"><header>{links}</header><p>Notice</p><main><aside>{links}</aside><p>{body}</p></main>'
        f"<aside>{links} x</aside><footer>Harbor Street 5 {links}</footer>"
    )
    assert read(page.encode("gb18030"), "a.htm") == [
        (0, f"Notice\n\nTop All\n\n{body.strip()}\n\nHarbor Street 5 Top All")
    ]


def test_a_page_laid_out_by_a_table_is_read_like_another() -> None:
    page = (
        "<table><tr><td><h2>Left</h2><p>One.</p></td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    )
    assert read(page.encode(), "a.html") == [(0, "## Left\n\nOne.\n\na | b")]


def test_html_nested_very_deep_is_read() -> None:
    assert read(b"<html>" + b"<div>" * 3000 + b"deep", "a.html") == [(0, "deep")]


def test_docx() -> None:
    styles = (
        '<w:style w:styleId="H2"><w:name w:val="heading 2"/></w:style>'
        '<w:style w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="H2"/></w:style>'
        '<w:style w:styleId="L"><w:name w:val="List"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    )
    cell = "<w:tc>{}</w:tc>"
    body = (
        paragraph("Chapter", "Mine")
        + '<w:p><w:hyperlink r:id="rId9"><w:r><w:t>a link</w:t></w:r></w:hyperlink><w:r><w:t xml:space="preserve"> on'
        "</w:t><w:br/><w:t>two lines</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r>"
        '<w:t>, added</w:t></w:r></w:ins><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
        + paragraph("first", "L")
        + paragraph("second", "L")
        + f"<w:sdt><w:sdtContent>{paragraph('controlled')}</w:sdtContent></w:sdt>"
        + f"<w:tbl><w:tr>{cell.format(paragraph('Name'))}{cell.format(paragraph('Age'))}</w:tr>"
        f"<w:tr>{cell.format(paragraph('Ada') + paragraph('L.'))}{cell.format(paragraph('36'))}</w:tr></w:tbl>"
        + f"<w:p><w:r><w:drawing><w:txbxContent>{paragraph('boxed')}</w:txbxContent></w:drawing></w:r></w:p>"
    )
    notes = f'<w:footnote w:id="0" w:type="separator">{paragraph("-")}</w:footnote><w:footnote w:id="2">{paragraph("A note.")}</w:footnote>'
    data = docx(body, styles=styles, links={"rId9": "https://example.org/"}, footnotes=notes)
    assert read(data, "a.docx") == [
        (
            0,
            "## Chapter\n\n[a link](https://example.org/) on\ntwo lines, added[2]\n\n- first\n- second\n\ncontrolled\n\n"
            "Name | Age\nAda L. | 36\n\nboxed\n\n[2] A note.",
        )
    ]


def test_pptx_in_the_order_of_its_slides() -> None:
    table = "<a:tbl><a:tr>{}</a:tr></a:tbl>".format(
        "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{c}</a:t></a:r></a:p></a:txBody></a:tc>" for c in "xy")
    )
    link = '<p:sp><p:txBody><a:p><a:r><a:rPr><a:hlinkClick r:id="rId9"/></a:rPr><a:t>see</a:t></a:r></a:p></p:txBody></p:sp>'
    slides = [
        shape("Welcome", "title") + shape("one\ntwo", "body") + shape("3", "sldNum"),
        "",
        f"<p:grpSp>{shape('grouped')}</p:grpSp><p:graphicFrame>{table}</p:graphicFrame>{link}",
    ]
    assert read(pptx(slides, {1: "Say hello."}, {"rId9": "https://example.org/x"}), "a.pptx") == [
        (1, "# Welcome\n\n- one\n- two\n\nNotes: Say hello."),
        (2, ""),
        (3, "grouped\n\nx | y\n\n[see](https://example.org/x)"),
    ]


def test_xlsx_rows_name_their_columns() -> None:
    data = xlsx(
        {
            "People": [["Staff"], [], ["name", "born", "pay", "here"], ["Ada", dt.date(1815, 12, 10), 1.5, True]],
            "Empty": [],
            "Numbers": [[1, 2.0], [3, None]],
        }
    )
    assert read(data, "a.xlsx") == [
        (1, "# People\n\nStaff\nname | born | pay | here\nname: Ada | born: 1815-12-10 | pay: 1.5 | here: yes"),
        (2, ""),
        (3, "# Numbers\n\n1 | 2\n3"),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv(separator: str) -> None:
    rows = [["name", "said"], ["Ada", f'"Hello{separator}\nworld ""x"""'], ["", ""], ["Bob", ""]]
    text = "\r\n".join(separator.join(row) for row in rows)
    expected = 'name | said\nname: Ada | said: Hello{} world "x"\nname: Bob'.format(
        "" if separator == "\t" else separator
    )
    assert read(text.encode("utf-16"), "a.csv") == [(0, expected)]


def test_a_long_table_comes_in_pieces_whose_offsets_go_on(tmp_path: Path) -> None:
    path = tmp_path / "spooled"
    path.write_text("id,words\n" + "".join(f"{n},{'word ' * 20}\n" for n in range(15_000)), encoding="utf-8")
    text = "".join(piece for _, piece in read(path.read_bytes(), "a.csv"))
    extraction = extract(path, "a.csv", LIMITS)
    pages = list(extraction.pages)
    assert len(pages) > 1
    assert {page.number for page in pages} == {0}
    assert extraction.documents == 1
    assert all(text[each.start : each.end] == each.text for page in pages for each in page.passages)
    assert all(each.text.startswith("id") for page in pages for each in page.passages)  # a row is never cut


def test_json() -> None:
    value = [
        {"name": "Ada", "tags": ["x", 1], "at": {"city": "London", "gone": None}},
        {"name": "Bob", "is": [{"a": True}]},
    ]
    expected = "name: Ada\ntags: x, 1\nat.city: London\n\nname: Bob\nis[1].a: true"
    assert read(json.dumps(value, indent=1).encode("utf-16"), "a.json") == [(0, expected)]
    lines = "\n".join(map(json.dumps, value)) + "\n\n"
    assert read(lines.encode(), "a.jsonl") == [(0, expected)]
    assert read(lines.encode(), "a.json") == [(0, expected)]


def test_numbers_of_json_are_as_written() -> None:
    assert read(b'{"a": 1.10, "b": %s, "c": [1e400]}' % (b"7" * 5000), "a.json") == [
        (0, f"a: 1.10\nb: {'7' * 5000}\nc: 1e400")
    ]


def test_a_header_beyond_parsing_is_left_out() -> None:
    data = b"From: a@example.org\nSubject: x\nDate: Mon, 05 Feb 99999999999999999999 10:00:00 +0000\n\nText."
    ((_, text),) = read(data, "a.eml")
    assert text == "# x\n\nFrom: a@example.org\n\nText."


def test_epub_chapters_are_pages() -> None:
    data = epub(["<h1>One</h1><p>First.</p>", "", "<p>Third.</p>"])
    assert read(data, "book") == [(1, "# One\n\nFirst."), (2, ""), (3, "Third.")]


def message(body: str = "Hello.", charset: str = "utf-8") -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Grüße", "Ada <ada@example.org>", "bob@example.org"
    mail["Date"] = "Mon, 05 Feb 2024 10:00:00 +0000"
    mail.set_content(body, charset=charset, cte="base64")
    return mail


def test_mail_with_attachments() -> None:
    mail = message("こんにちは", "shift_jis")
    mail.add_alternative("<p>not this</p>", subtype="html")
    mail.add_attachment(pdfs.pdf(["From a page."]), maintype="application", subtype="pdf", filename="a.pdf")
    mail.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="b.png")
    mail.add_attachment(message("Inner."), filename="old.eml")
    data = mail.as_bytes()
    for name in ("a.eml", "a.txt", "no extension"):
        parsed = formats.parse(File(data, name, formats.media_type_of(name, data)), LIMITS)
        ((number, text),) = [(page.number, page.text) for page in parsed.pages]
        assert number == 0
        assert text.startswith(
            "# Grüße\n\nFrom: Ada <ada@example.org>\n\nTo: bob@example.org\n\nDate: Mon, 05 Feb 2024 10:00:00 +0000\n\n"
            "こんにちは\n\n## Attachment: a.pdf\n\nFrom a page.\n\n## Attachment: b.png\n\n## Attachment: old.eml\n\n# Grüße"
        )
        assert text.endswith("Inner.")
        assert "not this" not in text
        assert [(note.kind, note.where) for note in parsed.notes] == [(NoteKind.ATTACHMENT, "b.png")]


def test_an_archive_of_mail_comes_message_by_message() -> None:
    first, second = message("One.").as_bytes(), message("Two.\n\n>From home.").as_bytes(unixfrom=False)
    data = b"From a@b Mon\n" + first + b"\nFrom c@d Tue\n" + second.replace(b">From", b">>From") + b"\nFrom x@y\n"
    for name in ("a.mbox", "a.eml", "Inbox"):
        pieces = read(data, name)
        assert [number for number, _ in pieces] == [0, 0]
        assert [text.strip().splitlines()[-1] for _, text in pieces] == ["One.", ">From home."]
    assert refused(b"From a Mon\n\n", "a.mbox").reason is FailureReason.EMPTY


def test_a_line_of_text_that_begins_with_from_does_not_end_a_message() -> None:
    head = b"Subject: a\nFrom: a@example.org\nTo: b@example.org\nDate: Mon, 05 Feb 2024 10:00:00 +0000\n\n"
    one = head + b"One.\n\nFrom the harbor we sailed north.\nNote: it rained.\n\nFrom there, south.\n"
    two = head + b"Two.\n"
    mark = b"From ada@example.org Mon Feb  5 10:00:00 2024\n"
    first, second = read(mark + one + b"\n" + mark + two, "a.mbox")
    assert first[1].strip().endswith("From the harbor we sailed north.\nNote: it rained.\n\nFrom there, south.")
    assert second[1].strip().endswith("Two.")


def test_mail_of_html_only() -> None:
    mail = message()
    mail.set_content('<p>See <a href="https://example.org/">this</a>.</p>', subtype="html")
    ((_, text),) = read(mail.as_bytes(), "a.eml")
    assert text.endswith("See [this](https://example.org/).")


def test_mail_packed_in_mail_without_end() -> None:
    mail = message("The innermost.")
    for _ in range(10):
        outer = message("Outer.")
        outer.add_attachment(mail)
        mail = outer
    ((_, text),) = read(mail.as_bytes(), "a.eml")
    assert text.count("Outer.") == 4
    assert "innermost" not in text


def test_a_name_does_not_deceive() -> None:
    assert read(docx(paragraph("Text.")), "a.pdf.txt") == [(0, "Text.")]
    assert read(epub(["<p>Text.</p>"]), "a.docx") == [(1, "Text.")]
    assert read(b"<!DOCTYPE html><p>Not found.</p>", "data.json") == [(0, "Not found.")]


_DEEP = "<w:x>" * 5000 + "</w:x>" * 5000


@pytest.mark.parametrize(
    ("make", "name", "reason", "says"),
    [
        (lambda: docx(paragraph("Text."))[:-40], "a.docx", FailureReason.BROKEN, "damaged"),
        (lambda: b"\xff" * 500, "a.xlsx", FailureReason.BROKEN, "not a workbook"),
        (lambda: documents.archive({"x": "y"}), "a.docx", FailureReason.BROKEN, "ZIP"),
        (lambda: documents.archive({"x": "y"}), "a.jar", FailureReason.UNSUPPORTED, "unpack it"),
        (lambda: docx("<w:p>"), "a.docx", FailureReason.BROKEN, "the Word document"),
        (lambda: docx(""), "a.docx", FailureReason.EMPTY, "no text"),
        (lambda: docx(_DEEP), "a.docx", FailureReason.TOO_LARGE, "nested"),
        (lambda: docx(paragraph("a" * (17 << 20))), "a.docx", FailureReason.TOO_LARGE, "bomb"),
        (lambda: docx(paragraph(random.Random(1).randbytes(11 << 20).hex())), "a.docx", FailureReason.TOO_LARGE, "max_unpacked_bytes"),
        (lambda: epub(["x"], **{"META-INF/container.xml": documents.BOMB_DTD + "<x>&c;</x>"}), "b.epub", FailureReason.TOO_LARGE, "entities"),
        (lambda: epub(["x"], **{"META-INF/encryption.xml": '<e><CipherReference URI="OPS/text/c 0.xhtml"/></e>'}), "b.epub", FailureReason.ENCRYPTED, "password"),
        (lambda: epub([]), "b.epub", FailureReason.EMPTY, "no chapters"),
        (lambda: epub(["<img src='1.png'/>"]), "b.epub", FailureReason.NO_TEXT, "OCR"),
        (lambda: epub(["x"] * 101), "b.epub", FailureReason.TOO_LARGE, "101 chapters"),
        (lambda: pptx([]), "a.pptx", FailureReason.EMPTY, "no slides"),
        (lambda: pptx(["", ""]), "a.pptx", FailureReason.NO_TEXT, "images"),
        (lambda: pptx(["<p:sp>"]), "a.pptx", FailureReason.BROKEN, "presentation"),
        (lambda: xlsx({"A": []}), "a.xlsx", FailureReason.EMPTY, "empty"),
        (lambda: xlsx({f"S{n}": [] for n in range(101)}), "a.xlsx", FailureReason.TOO_LARGE, "101 sheets"),
        (lambda: xlsx({"A": [["x"]]})[:-30], "a.xlsx", FailureReason.BROKEN, "workbook"),
        (lambda: b'{"a": ', "a.json", FailureReason.BROKEN, "JSON"),
        (lambda: b'{"a": \n{"a": ', "a.jsonl", FailureReason.BROKEN, "every line"),
        (lambda: b"[" * 100_000, "a.json", FailureReason.TOO_LARGE, "nested"),
        (lambda: b"[" * 500 + b"[1, [2]]" + b"]" * 500, "a.json", FailureReason.TOO_LARGE, "nested"),
        (lambda: b"{}", "a.json", FailureReason.EMPTY, "no text"),
        (lambda: b"a,b\n" + b'"' + b"x" * 11_000_000, "a.csv", FailureReason.BROKEN, "table"),
        (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "a.docx", FailureReason.ENCRYPTED, "password"),
        (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "a.doc", FailureReason.UNSUPPORTED, "legacy office"),
        (lambda: b"<script>x</script>", "a.html", FailureReason.EMPTY, "no text"),
        (lambda: b"\xff" * 5000, "a.txt", FailureReason.UNSUPPORTED, "UTF-8"),
        (lambda: b"\xff" * 5000, "noise", FailureReason.UNSUPPORTED, "convert it"),
        (lambda: b"", "a.csv", FailureReason.EMPTY, "empty"),
    ],
)  # fmt: skip
def test_an_odd_file_is_a_typed_failure(make: Callable[[], bytes], name: str, reason: FailureReason, says: str) -> None:
    failure = refused(make(), name)
    assert failure.reason is reason, failure
    assert says in failure.message


def test_an_encrypted_part_needs_a_password() -> None:
    data = bytearray(docx(paragraph("Text.")))
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + offset] |= 1
    assert refused(bytes(data), "a.docx").reason is FailureReason.ENCRYPTED


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "memgpt_loader.formats.html_text", None)
    failure = refused(b"<html>text", "a.html")
    assert failure.reason is FailureReason.UNSUPPORTED
    assert "pip install memgpt-milvus-loader" in failure.message


@pytest.mark.parametrize(
    "data",
    [docx(paragraph("Some text.")), pptx([shape("Some text.")]), xlsx({"A": [["Some", "text"]]}), epub(["<p>Some text."]), message().as_bytes()],
    ids=["docx", "pptx", "xlsx", "epub", "eml"],
)  # fmt: skip
def test_damage_anywhere_is_text_or_a_typed_failure(data: bytes) -> None:
    for at in range(0, len(data), max(1, len(data) // 60)):
        for damaged in (data[:at], data[:at] + b"\xff\x00" + data[at + 2 :]):
            with contextlib.suppress(FileFailure):  # and nothing else
                read(damaged, "a.docx")
