# ruff: noqa: E501 - a document a line
"""Content that a reader sees, in forms that are easily overlooked: it is read, or noted."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from xml.etree.ElementTree import fromstring

import pytest
from memgpt_loader.formats import NoteKind
from memgpt_loader.formats.office.drawings import chart_lines
from memgpt_loader.formats.office.number_format import displayed_text

from tests.support import documents
from tests.support.documents import P, archive, docx, epub, paragraph, pptx, relationships
from tests.unit.loader.kinds import Read, read_bytes

MAIL = (
    "From: a@example.org\r\nTo: b@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: T\r\n"
    "MIME-Version: 1.0\r\n"
)
PICTURE = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(range(256))).decode()


def read(name: str, text: str | bytes) -> Read:
    return read_bytes(text if isinstance(text, bytes) else text.encode(), name)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (
            '<img src=a.png usemap=#m alt="Plan"><map name=m><area alt="Kitchen"><area href="https://x.org/b" title="Bath"></map>',
            "Plan Kitchen [Bath](https://x.org/b)",
        ),
        ("<p>Shop</p><dialog open><p>Closed</p></dialog><dialog>Later</dialog>", "Shop\n\nClosed"),
        ("<p>A</p><p hidden=until-found>B</p><p hidden>C</p>", "A\n\nB"),
        ("<p>Land <select><option disabled>?<option>France<option>Spain</select></p>", "Land France"),
        ("<p>Land <select multiple><option>France</select></p>", "Land"),
        ("<p>Land <select size=4><option>France</select></p>", "Land"),
        ("<p>He said <q>never</q>.</p>", "He said “never”."),
        ("<p>Go <input type=image src=a.png alt='Send form'></p>", "Go Send form"),
        ("<table><tr><th>A<th>B<tr><td rowspan=0>x<td>1<tr><td>2</table>", "A | B\nx | 1\nx | 2"),
        ("<p>Price <span aria-hidden=true>5 <b>euros</b></span><img src=a.png aria-hidden=true></p>", "Price 5 euros"),
        (
            "<p><span class=katex-mathml><math><mi>x</mi></math></span><span class=katex-html aria-hidden=true>y</span></p>",
            "x",
        ),
        (
            "<p>About <span class=a-offscreen>$19.99</span> <span aria-hidden=true>$<b>1999</b></span></p>",
            "About $19.99",
        ),
        ("<p><i class='fa material-icons' aria-hidden=true>home</i>At home</p>", "At home"),
        ("<div class=modal aria-hidden=true>Closed</div><p>Open</p>", "Open"),
        ("<p>A <b class=lexicon aria-hidden=true>word</b></p>", "A word"),
        ("<h2>Fees<a href=#fees aria-hidden=true>#</a></h2>", "## Fees"),
        ("<h2>Fees<a href=#fees aria-hidden=true> <!-- x --> # </a></h2>", "## Fees"),
        ("<div aria-hidden=true>\n<p>Text</p></div>", "Text"),
        ("<p>A <svg aria-hidden=true><title>Logo</title><text>B</text></svg></p>", "A B"),
        (
            "<svg><text><tspan x=0 y=9>Port</tspan><tspan x=0 dy=1em>open</tspan></text><text>m<tspan dy=-3>2</tspan></text></svg>",
            "Port open, m2",
        ),
        (
            "<h3><button aria-expanded=false>How much?</button></h3><div>Ten.</div><button>Send</button>",
            "### How much?\n\nTen.",
        ),
    ],
)
def test_what_a_page_shows(html: str, text: str) -> None:
    assert read("a.html", f"<html><body>{html}</body></html>").text == text


def test_a_drawing_by_a_script_is_noted_and_its_description_read() -> None:
    page = read("a.html", "<html><body><canvas width=300><p>Q1: 17</p></canvas><canvas width=1></canvas></body></html>")
    assert (page.text, page.notes) == ("Q1: 17", {NoteKind.OBJECT: 1})


def test_pictures_in_a_page_within_a_page_are_noted() -> None:
    page = read("a.html", "<html><body><iframe srcdoc='<p>Inner</p><img src=a.png>'></iframe></body></html>")
    assert (page.text, page.notes) == ("Inner", {NoteKind.PICTURE: 1})


def test_each_speaker_of_a_cue_is_named() -> None:
    cue = "WEBVTT\n\n00:01.000 --> 00:04.000\n<v Ada>Hello.</v>\n<v.loud Bob>Hi, Ada.</v>\n"
    assert read("a.vtt", cue).text == "Ada: Hello. Bob: Hi, Ada."


def test_a_spoken_line_may_begin_like_a_header() -> None:
    cues = "1\n00:00:01,000 --> 00:00:02,000\nFirst\n\nNOTE that this is said\n"
    assert read("a.srt", cues).text == "First\nNOTE that this is said"


def test_outlines_of_drawings_are_no_words() -> None:
    line = "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,"
    lines = [rf"{line}{{\an7\p1}}m 0 0 l 100 0{{\p0}}Map", rf"{line}{{\p1}}m 0 0", rf"{line}{{\pos(1,2)}}After"]
    assert read("a.ass", "[Events]\n" + "\n".join(lines)).text == "Map\nAfter"


def calendar(*lines: str) -> Read:
    return read("a.ics", "\r\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR", ""]))


def test_a_calendar_in_quoted_printable() -> None:
    event = calendar(
        "BEGIN:VEVENT",
        "SUMMARY;ENCODING=QUOTED-PRINTABLE;CHARSET=ISO-8859-1:Caf=E9 =",
        "opens",
        "DESCRIPTION;QUOTED-PRINTABLE:One=0D=0A=",
        "two: three",
        "LOCATION:Oslo",
        "END:VEVENT",
    )
    assert event.text == "Café opens\nDescription: One two: three\nPlace: Oslo"


def test_what_else_an_event_has() -> None:
    event = calendar(
        "X-WR-CALNAME:Plan",
        "BEGIN:VEVENT",
        "SUMMARY:Stand-up",
        "EXDATE;TZID=Europe/Oslo:20260105T090000,20260106T090000",
        "CATEGORIES:work\\, daily",
        "CONTACT:Jim",
        "ATTACH:https://x.org/agenda.pdf",
        f"ATTACH;ENCODING=BASE64;VALUE=BINARY:{PICTURE}",
        "BEGIN:VALARM",
        "ATTACH;VALUE=URI:Basso",
        "DESCRIPTION:Ring",
        "END:VALARM",
        "END:VEVENT",
        "BEGIN:VFREEBUSY",
        "FREEBUSY:20260102T080000Z/PT3H",
        "END:VFREEBUSY",
    )
    assert event.text == (
        "Plan\n\nStand-up\nNot on: 2026-01-05 09:00, 2026-01-06 09:00 Europe/Oslo\nCategories: work, daily\n"
        "Contact: Jim\nAttachment: https://x.org/agenda.pdf\n\nBusy: 20260102T080000Z/PT3H"
    )
    assert event.notes == {NoteKind.ATTACHMENT: 1}


def test_contacts() -> None:
    folded = "\r\n ".join(PICTURE[at : at + 70] for at in range(0, len(PICTURE), 70))
    cards = (
        "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Lovelace;Ada;;;\r\nFN:Ada Lovelace\r\nORG:Engines\\, Ltd.;Research\r\n"
        "item1.TEL;TYPE=CELL,PREF:+44 1\r\nEMAIL;INTERNET:ada@example.org\r\n"
        "ADR;TYPE=home:;;12 St James's Square;London;;SW1;UK\r\nBDAY:1815-12-10\r\n"
        f"PHOTO;ENCODING=b;TYPE=JPEG:{folded}\r\nX-SKYPE:ada\r\nHOBBY:chess\r\nNOTE:Likes\\, tea\\nand cake\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:2.1\r\nFN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Zo=C3=AB\r\nEND:VCARD\r\n"
    )
    contacts = read("people.vcf", cards)
    assert contacts.text == (
        "Name: Lovelace Ada\nAda Lovelace\nOrganization: Engines, Ltd., Research\nPhone (cell): +44 1\n"
        "E-mail: ada@example.org\nAddress (home): 12 St James's Square, London, SW1, UK\nBirthday: 1815-12-10\n"
        "Skype: ada\nHobby: chess\nNote: Likes, tea and cake\n\nZoë"
    )
    assert contacts.notes == {NoteKind.PICTURE: 1}


def yencoded(data: bytes, name: str, more: str = "") -> bytes:
    body = bytearray()
    for byte in data:
        shifted = (byte + 42) % 256
        body += bytes([61, (shifted + 64) % 256]) if shifted in (0, 10, 13, 61) else bytes([shifted])
    head = f"=ybegin{more} line=128 size={len(data)} name={name}\r\n"
    part = f"=ypart begin=1 end={len(data)}\r\n" if more else ""
    return (head + part).encode() + bytes(body) + b"\r\n=yend size=1\r\n"


def test_files_in_the_encoding_of_newsgroups() -> None:
    data = "The list: éclair, = and {jam}\n".encode() + b"0123456789 abc\n" * 20
    message = f"{MAIL}Content-Type: text/plain\r\n\r\nSee below.\r\n".encode()
    found = read(
        "a.eml", message + yencoded(data, "my list.txt") + yencoded(b"PK\x03\x04" + bytes(50), "b.zip", " part=1")
    )
    assert "See below.\n\n## Attachment: my list.txt\n\nThe list: éclair, = and {jam}" in found.text
    assert "=ybegin" not in found.text
    assert found.notes == {NoteKind.ATTACHMENT: 1}
    assert "part of b.zip" in found.wheres[0]


def test_what_a_mailing_list_appends_to_an_encoded_text() -> None:
    body = base64.encodebytes(("Bring cake. " * 9 + "Meeting at noon in the café.\n").encode()).decode()
    footer = "_____________\r\nTalk mailing list\r\n"
    head = f"{MAIL}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    text = read("a.eml", head + body + footer).text
    assert text.endswith("Meeting at noon in the café.\n\n_____________\nTalk mailing list")
    assert read("a.eml", head + body).text.endswith("Meeting at noon in the café.")
    spaced = "\r\n".join(f"> {line}" for line in body.split("\n"))
    assert "Meeting at noon in the café." in read("a.eml", head + spaced).text


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        ('{"application/vnd.plotly.v1+json": {"data": []}}', {NoteKind.OBJECT: 1}),
        ('{"application/json": {}, "text/plain": "5"}', {}),
        ('{"application/json": {"a": 1}, "text/plain": "<IPython.core.display.JSON object>"}', {NoteKind.OBJECT: 1}),
        ('{"text/html": "<p>5</p>", "text/plain": "<IPython.core.display.HTML object>"}', {}),
    ],
)
def test_an_output_without_words_is_noted(data: str, notes: dict[NoteKind, int]) -> None:
    cell = f'{{"cell_type": "code", "source": "f()", "outputs": [{{"output_type": "display_data", "data": {data}}}]}}'
    assert read("a.ipynb", f'{{"cells": [{cell}]}}').notes == notes


def test_an_output_that_only_names_its_class_is_read_as_a_page() -> None:
    data = '{"text/html": "<b>Total</b> 5", "text/plain": "<pandas.io.formats.style.Styler at 0x7f>"}'
    cell = f'{{"cell_type": "code", "outputs": [{{"output_type": "execute_result", "data": {data}}}]}}'
    assert read("a.ipynb", f'{{"cells": [{cell}]}}').text == "Output:\nTotal 5"


OLD_WORD = (
    '<?xml version="1.0" standalone="yes"?><?mso-application progid="Word.Document"?>'
    '<w:wordDocument xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml" xmlns:wx="urn:x" xmlns:aml="urn:y">'
    '<w:styles><w:style w:type="paragraph" w:styleId="H"><w:name w:val="heading 1"/></w:style></w:styles><w:body><wx:sect>'
    '<w:p><w:pPr><w:pStyle w:val="H"/></w:pPr><w:r><w:t>Plan</w:t></w:r></w:p>'
    "<w:p><w:r><w:t>See</w:t></w:r><w:r><w:footnote><w:p><w:r><w:t>Page 4.</w:t></w:r></w:p></w:footnote></w:r>"
    '<w:hlink w:dest="https://x.org/a"><w:r><w:t> this</w:t></w:r></w:hlink>'
    '<aml:annotation w:type="Word.Deletion"><aml:content><w:r><w:delText>gone</w:delText></w:r></aml:content>'
    "</aml:annotation></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>A</w:t></w:r></w:p></w:tc>"
    "<w:tc><w:p><w:r><w:t>B</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    '<w:sectPr><w:hdr w:type="odd"><w:p><w:r><w:t>Draft</w:t></w:r></w:p></w:hdr></w:sectPr></wx:sect></w:body>'
    "</w:wordDocument>"
)


@pytest.mark.parametrize("name", ["a.xml", "a.doc", "a"])
def test_a_word_document_of_2003(name: str) -> None:
    text = read(name, OLD_WORD).text
    assert "# Plan\n\nSee [Page 4.][this](https://x.org/a)\n\nA | B" in text
    assert "Draft" in text
    assert "<" not in text
    assert "gone" not in text


def part(name: str, content: str) -> str:
    return f'<pkg:part pkg:name="{name}" pkg:contentType="text/xml"><pkg:xmlData>{content}</pkg:xmlData></pkg:part>'


def flat(program: str, main: str, *parts: str) -> str:
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{kind}" Target="{main}"/></Relationships>'
    )
    return (
        f'<?xml version="1.0"?><?mso-application progid="{program}"?>'
        '<pkg:package xmlns:pkg="http://schemas.microsoft.com/office/2006/xmlPackage">'
        + part("/_rels/.rels", relations)
        + "".join(parts)
        + "</pkg:package>"
    )


def test_a_flat_word_document() -> None:
    body = "<w:document xmlns:w='urn:w'><w:body><w:p><w:r><w:t>Hello</w:t></w:r></w:p></w:body></w:document>"
    assert read("a.xml", flat("Word.Document", "word/document.xml", part("/word/document.xml", body))).text == "Hello"


def presentation(*slides: str) -> str:
    """A flat presentation of the XML of its slides' shapes."""
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    ids = "".join(f"<p:sldId r:id='s{number}'/>" for number in range(len(slides)))
    parts = {
        "presentation.xml": f"<p:presentation xmlns:p='urn:p' xmlns:r='{relations}'><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "_rels/presentation.xml.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
        + "".join(
            f"<Relationship Id='s{number}' Type='{relations}/slide' Target='slides/slide{number}.xml'/>"
            for number in range(len(slides))
        )
        + "</Relationships>",
    }
    for number, shapes in enumerate(slides):
        parts[f"slides/slide{number}.xml"] = (
            f"<p:sld xmlns:p='urn:p' xmlns:a='urn:a' xmlns:mc='urn:mc'><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
    return flat(
        "PowerPoint.Show", "ppt/presentation.xml", *(part(f"/ppt/{name}", each) for name, each in parts.items())
    )


def shape(words: str, kind: str = "") -> str:
    placeholder = f"<p:nvSpPr><p:nvPr><p:ph type='{kind}'/></p:nvPr></p:nvSpPr>" if kind else ""
    return f"<p:sp>{placeholder}<p:txBody><a:p><a:r><a:t>{words}</a:t></a:r></a:p></p:txBody></p:sp>"


def test_a_flat_presentation() -> None:
    assert read("a.xml", presentation(shape("Hello"))).pages == ["Hello"]


def test_a_footer_of_slides_is_read_once() -> None:
    footer = shape("Confidential draft", "ftr") + shape("4", "sldNum")
    show = read("a.xml", presentation(shape("One") + footer, shape("Two") + footer))
    assert show.pages == ["One\n\nFooter: Confidential draft", "Two"]


def test_handwriting_on_a_slide_is_noted() -> None:
    ink = "<mc:AlternateContent><mc:Choice><p:contentPart/></mc:Choice><mc:Fallback><p:pic/></mc:Fallback></mc:AlternateContent>"
    show = read("a.xml", presentation(shape("One") + ink))
    assert (show.pages, show.notes) == (["One"], {NoteKind.PICTURE: 1})


def test_charts_of_newer_kinds() -> None:
    chart = fromstring(
        "<chartSpace><chartData><data id='0'><strDim type='cat'><lvl><pt idx='0'>Start</pt><pt idx='1'>Sales</pt></lvl>"
        "<lvl><pt idx='0'>2025</pt><pt idx='1'>2025</pt></lvl></strDim><numDim type='val'><lvl formatCode='0.0'>"
        "<pt idx='0'>100</pt><pt idx='1'>-30</pt></lvl></numDim></data></chartData><chart><title><tx><rich><p><r><t>Cash</t>"
        "</r></p></rich></tx></title><plotArea><series layoutId='waterfall'><tx><txData><v>Flow</v></txData></tx></series>"
        "</plotArea></chart></chartSpace>"
    )
    assert chart_lines(chart) == ["Chart: Cash", "Series: Flow", "2025 Start: 100.0", "2025 Sales: -30.0"]


def test_pictures_in_a_book_are_noted_with_their_chapters() -> None:
    chapters = [
        "<p>One</p><img src='a.png'/>",
        "<p>Two</p><img src='a.png' alt='Fox'/>",
        "<p>Three</p><svg><image href='b.png'/></svg><video src='c.mp4'></video>",
    ]
    book = read_bytes(epub(chapters), "a.epub")
    assert book.pages == ["One", "Two\n\nFox", "Three"]
    assert book.notes == {NoteKind.PICTURE: 2, NoteKind.OBJECT: 1}
    assert book.wheres == ["chapters 1, 3", "chapter 3"]


def workbook(rows: str, comments: str = "", threads: str = "", shapes: str = "", drawing: str = "") -> bytes:
    """A workbook with one sheet, of the XML of its rows, comments, threads, old and new drawings."""
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def related(**targets: str) -> str:
        each = (f'<Relationship Id="{kind}" Type="{relations}/{kind}" Target="{to}"/>' for kind, to in targets.items())
        return f"<Relationships>{''.join(each)}</Relationships>"

    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": related(officeDocument="xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook xmlns:r="{relations}"><sheets><sheet name="S" r:id="worksheet"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": related(worksheet="worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": f"<worksheet><sheetData>{rows}</sheetData></worksheet>",
            "xl/worksheets/_rels/sheet1.xml.rels": related(
                drawing="../d.xml", comments="../c.xml", threadedComment="../t.xml", vmlDrawing="../v.vml"
            ),
            "xl/d.xml": f'<xdr:wsDr xmlns:xdr="urn:d" xmlns:a="urn:a">{drawing}</xdr:wsDr>',
            "xl/v.vml": f'<xml xmlns:v="urn:v" xmlns:x="urn:x">{shapes}</xml>',
            "xl/c.xml": f"<comments>{comments}</comments>",
            "xl/t.xml": f"<ThreadedComments>{threads}</ThreadedComments>",
        }
    )


def test_notes_beside_threads_of_comments_are_read() -> None:
    comments = (
        "<authors><author>tc={1}</author><author>Ada</author></authors><commentList>"
        '<comment ref="A1" authorId="0"><text><t>[Kommentarthread] Why?</t></text></comment>'
        '<comment ref="B2" authorId="1"><text><t>Check this.</t></text></comment></commentList>'
    )
    thread = '<threadedComment ref="A1"><text>Why?</text></threadedComment>'
    row = '<row r="1"><c r="A1" t="str"><v>x</v></c></row>'
    text = read_bytes(workbook(row, comments, thread), "a.xlsx").text
    assert text.endswith("x\nComment on B2 (Ada): Check this.\nComment on A1: Why?")


def test_form_controls_on_a_sheet_are_read_once_with_their_state() -> None:
    def control(kind: str, label: str = "", more: str = "") -> str:
        box = f"<v:textbox><div><font>{label}</font></div></v:textbox>" if label else ""
        return f'<v:shape id="s">{box}<x:ClientData ObjectType="{kind}">{more}</x:ClientData></v:shape>'

    shapes = "".join(
        [
            control("Checkbox", "I accept", "<x:Checked>1</x:Checked>"),
            control("Checkbox", "Send me news"),
            control("Radio", "By post", "<x:Checked>1</x:Checked>"),
            control("Radio", "By post"),
            control("Drop", more="<x:FmlaRange>$A$1:$A$3</x:FmlaRange><x:Sel>2</x:Sel>"),
            control("Spin", more="<x:Val>7</x:Val>"),
            control("Button", "Order"),
            control("Note", "A comment, read elsewhere"),
            control("Pict"),
        ]
    )
    anchor = "<xdr:sp><xdr:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></xdr:txBody></xdr:sp>"
    drawing = f"<xdr:a>{anchor.format('I accept')}</xdr:a><xdr:a>{anchor.format('A text box')}</xdr:a>"
    row = '<row r="1"><c r="A1" t="str"><v>x</v></c></row>'
    assert read_bytes(workbook(row, shapes=shapes, drawing=drawing), "a.xlsx").text.split("\n")[2:] == [
        "x",
        "Checkbox: I accept (checked)",
        "Checkbox: Send me news (not checked)",
        "Option button: By post (checked)",
        "Option button: By post (not checked)",
        "Drop-down: choice 2 of $A$1:$A$3",
        "Spinner: 7",
        "Button: Order",
        "A text box",
    ]
    damaged = read_bytes(workbook(row, shapes="<v:shape><br></v:shape>"), "a.xlsx")
    assert (damaged.text, damaged.notes) == ("# S\n\nx", {NoteKind.OBJECT: 1})


def test_struck_text_in_a_cell_is_told_apart() -> None:
    rich = "<is><r><rPr><strike/></rPr><t>20</t></r><r><rPr><strike val='0'/></rPr><t>15</t></r></is>"
    book = read_bytes(workbook(f'<row r="1"><c r="A1" t="inlineStr">{rich}</c></row>'), "a.xlsx")
    assert book.text.endswith("~~20~~15")


def test_links_by_formulas_and_pictures_in_cells() -> None:
    cells = (
        '<c r="A1" t="str"><f>HYPERLINK("https://x.org/a?b=1","Plan")</f><v>Plan</v></c>'
        '<c r="B1" t="e" vm="1"><v>#VALUE!</v></c><c r="C1" t="e"><v>#N/A</v></c>'
    )
    book = read_bytes(workbook(f'<row r="1">{cells}</row>'), "a.xlsx")
    assert book.text.endswith("[Plan](https://x.org/a?b=1) | #N/A")
    assert (book.notes, book.wheres) == ({NoteKind.OBJECT: 1}, ["sheet S, B1"])


def opendocument(kind: str, body: str, styles: str = "") -> Read:
    """A flat OpenDocument file."""
    spaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table", "form", "presentation", "style")
    )
    drawing = ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'
    media_type = f"application/vnd.oasis.opendocument.{kind}"
    return read(
        "a.fodt",
        f'<?xml version="1.0"?><office:document{spaces}{drawing} office:mimetype="{media_type}">{styles}<office:body>'
        f"<office:{kind}>{body}</office:{kind}></office:body></office:document>",
    )


def test_values_of_forms_in_a_text_document() -> None:
    forms = (
        '<office:forms><form:form><form:text form:id="c1" form:current-value="Ada"/>'
        '<form:checkbox form:id="c2" form:label="Member" form:current-state="checked"/>'
        '<form:checkbox form:id="c3" form:label="Guest"/>'
        '<form:listbox form:id="c4"><form:option form:label="Oslo"/><form:option form:label="Bergen" form:current-selected="true"/>'
        "</form:listbox></form:form></office:forms>"
    )
    controls = [f'<draw:control draw:control="c{number}"/>' for number in range(1, 5)]
    page = f"{forms}<text:p>Name: {controls[0]}</text:p>{controls[1]}{controls[2]}<text:p>{controls[3]}</text:p>"
    assert opendocument("text", page).text == "Name: Ada\n\n[x] Member\n\nGuest\n\nBergen"


def test_formulas_without_results_in_a_spreadsheet() -> None:
    cells = (
        '<table:table-cell table:formula="of:=SUM([.B1:.B2])"/>'
        '<table:table-cell office:value-type="string" table:formula="of:=T([.A1])"/>'
        '<table:table-cell office:value-type="float" office:value="5" table:formula="of:=2+3"><text:p>5</text:p></table:table-cell>'
    )
    sheet = f'<table:table table:name="S"><table:table-row>{cells}</table:table-row></table:table>'
    book = opendocument("spreadsheet", sheet)
    assert book.text.endswith("=SUM([.B1:.B2]) | 5")
    assert book.notes == {NoteKind.UNCALCULATED: 1}


def test_a_declared_footer_and_films_of_slides() -> None:
    slide = (
        '<draw:page presentation:use-footer-name="f"><draw:custom-shape><text:p>NUMBER</text:p></draw:custom-shape>'
        "<draw:frame><draw:plugin/></draw:frame></draw:page>"
    )
    body = f'<presentation:footer-decl presentation:name="f">Draft of May</presentation:footer-decl>{slide}{slide}'
    show = opendocument("presentation", body)
    assert show.pages == ["NUMBER\n\nFooter: Draft of May", "NUMBER"]
    assert show.notes == {NoteKind.OBJECT: 2}


def form(**field: str) -> str:
    """The text of a PDF with one form field, whose entries are in PDF's own syntax."""
    entries = " ".join(f"/{name} {value}" for name, value in field.items())
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] >> >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R /Annots [5 0 R]"
        " /Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        "<< /Length 42 >>\nstream\nBT /F 12 Tf 20 150 Td (Order form.) Tj ET    \nendstream",
        f"<< /Type /Annot /Subtype /Widget /Rect [20 50 90 70] /F 4 {entries} >>",
    ]
    made = b"%PDF-1.7\n"
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(len(made))
        made += f"{number} 0 obj\n{each}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{len(made)}\n%%EOF\n"
    return read("a.pdf", made + f"xref\n0 6\n0000000000 65535 f \n{table}{trailer}".encode()).text


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ({"FT": "/Ch", "Opt": "[[(osl) (Oslo)] [(brg) (Bergen)]]", "V": "(brg)"}, "Bergen"),
        ({"FT": "/Ch", "Opt": "[(tea) (bun)]", "V": "[(tea) (bun)]"}, "tea, bun"),
        ({"FT": "/Btn", "Opt": "[(Visa) (Cash)]", "AS": "/1"}, "Cash"),
        ({"FT": "/Btn", "Opt": "[(Yes) (Yes) (No)]", "AS": "/1"}, "Yes"),
        ({"FT": "/Btn", "Opt": "[(Yes) (Yes) (No)]", "AS": "/2"}, "No"),
        ({"FT": "/Btn", "AS": "/1"}, "yes"),
        ({"FT": "/Sig", "V": "<< /Type /Sig /Name (Ada) >>"}, "signed by Ada"),
    ],
)
def test_a_field_shows_what_its_value_stands_for(field: dict[str, str], shown: str) -> None:
    assert form(T="(Field)", **field).endswith(f"Field: {shown}")


def test_notes_of_a_book_outside_of_its_reading_order_are_read_last() -> None:
    container = '<container><rootfiles><rootfile full-path="book.opf"/></rootfiles></container>'
    kind = 'media-type="application/xhtml+xml"'
    items = "".join(f'<item id="{n}" href="{n}.xhtml" {kind}/>' for n in ("cover", "one", "notes", "toc"))
    guide = '<reference type="toc" href="toc.xhtml"/><reference type="notes" href="notes.xhtml#n1"/>'
    nav = f'<item id="nav" href="nav.xhtml" {kind} properties="nav"/>'
    data = archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "book.opf": f"<package><manifest>{items}{nav}</manifest><spine><itemref idref='one'/><itemref idref='cover'/>"
            f"</spine><guide>{guide}</guide></package>",
            **{
                f"{n}.xhtml": f"<html><body><p>Of {n}.</p></body></html>"
                for n in ("cover", "one", "notes", "toc", "nav")
            },
        }
    )
    assert read_bytes(data, "a.epub").pages == ["Of one.", "Of cover.", "Of notes."]


def test_whole_numbers_of_sheets_keep_all_digits() -> None:
    cells = "".join(
        f'<c r="{at}1"><v>{value}</v></c>' for at, value in zip("ABC", ("4111111111111111", "1e20", "0.1"), strict=True)
    )
    assert read_bytes(workbook(f'<row r="1">{cells}</row>'), "a.xlsx").text.endswith("4111111111111111 | 1e+20 | 0.1")


def test_documents_that_a_master_document_refers_to_are_noted() -> None:
    body = f'{paragraph("Part one")}<w:p><w:subDoc r:id="rId9"/></w:p>'
    found = read_bytes(docx(body, links={"rId9": "part%20two.docx"}), "a.docx")
    assert (found.text, found.wheres) == ("Part one", ["part two.docx"])
    assert found.notes == {NoteKind.MISSING_PART: 1}


def test_hidden_sections_of_a_text_document_are_noted() -> None:
    page = '<text:p>Seen</text:p><text:section text:display="none"><text:p>Hidden</text:p></text:section>'
    found = opendocument("text", f"{page}<text:section><text:p>Also</text:p></text:section>")
    assert (found.text, found.notes) == ("Seen\n\nAlso", {NoteKind.HIDDEN: 1})


def test_escapes_of_properties_are_letters() -> None:
    source = "caf\\u00e9=\\u4e2d\\u6587 \\ud83e\\uded6 \\\\u0041 \\ud83e!\n"
    assert read_bytes(source.encode(), "a.properties").text == "café=中文 🫖 \\\\u0041 \ufffd!\n"
    assert read_bytes(source.encode(), "a.txt").text == source


def test_escapes_of_properties_are_not_control_characters() -> None:
    source = "reset=\\u0000\\u0007\\u001b\\uffffdone\n"
    assert read_bytes(source.encode(), "a.properties").text == "reset=done\n"


def test_progress_that_was_typed_over_is_gone() -> None:
    log = " 10%\b\b\b\b 99%\b\b\b\b100%\n\b\bN\bNA\bA_\bx\n"
    assert read_bytes(log.encode(), "a.log").text == "100%\nNAx\n"


def with_parts(document: bytes, parts: Mapping[str, str | bytes]) -> bytes:
    """A document with further parts, or others in their place."""
    with zipfile.ZipFile(io.BytesIO(document)) as source:
        return archive({**{name: source.read(name) for name in source.namelist()}, **parts})


def test_an_imported_document_and_an_equation_in_a_cell_of_word() -> None:
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    cell = (
        f"<w:altChunk xmlns:r='{relations}' r:id='rIdA'/><m:oMathPara xmlns:m='urn:m'><m:oMath><m:r><m:t>a+b</m:t></m:r>"
        "</m:oMath></m:oMathPara>"
    )
    table = f"<w:tbl><w:tr><w:tc>{paragraph('Fee')}</w:tc><w:tc>{cell}</w:tc></w:tr></w:tbl>"
    links = relationships(("rIdA", "aFChunk", "/word/part.html"))
    parts = {"word/part.html": "<html><p>ten</p><p>euros</p></html>", "word/_rels/document.xml.rels": links}
    assert read_bytes(with_parts(docx(table), parts), "a.docx").text == "Fee | ten euros a+b"


def test_text_of_a_hidden_style_is_left_out_and_noted() -> None:
    styles = '<w:style w:styleId="N"><w:name w:val="Note to self"/><w:rPr><w:vanish/></w:rPr></w:style>'
    shown = (
        '<w:p><w:pPr><w:pStyle w:val="N"/></w:pPr><w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>Shown</w:t></w:r></w:p>'
    )
    document = read_bytes(docx(paragraph("Hidden", "N") + shown + paragraph("Last"), styles=styles), "a.docx")
    assert (document.text, document.notes) == ("Shown\n\nLast", {NoteKind.HIDDEN: 1})


def test_a_style_shows_again_what_the_one_that_it_is_based_on_hides() -> None:
    styles = (
        '<w:style w:styleId="N"><w:name w:val="Note"/><w:rPr><w:vanish/></w:rPr></w:style><w:style w:styleId="S">'
        '<w:name w:val="Said"/><w:basedOn w:val="N"/><w:rPr><w:vanish w:val="0"/></w:rPr></w:style>'
        '<w:style w:styleId="H"><w:name w:val="Hint"/><w:basedOn w:val="N"/></w:style>'
    )
    document = read_bytes(docx(paragraph("Shown", "S") + paragraph("Hidden", "H"), styles=styles), "a.docx")
    assert (document.text, document.notes) == ("Shown", {NoteKind.HIDDEN: 1})


def test_a_table_in_a_footnote_keeps_its_cells_apart() -> None:
    table = f"<w:tbl><w:tr><w:tc>{paragraph('A')}</w:tc><w:tc>{paragraph('B')}</w:tc></w:tr></w:tbl>"
    document = docx(paragraph("Text"), footnotes=f'<w:footnote w:id="2">{paragraph("See")}{table}</w:footnote>')
    assert read_bytes(document, "a.docx").text == "Text\n\n[2] See A, B"


@pytest.mark.parametrize(
    ("run", "notes"),
    [
        ("<w:r><w:drawing><w:graphicData><w:contentPart/></w:graphicData></w:drawing></w:r>", {NoteKind.PICTURE: 1}),
        (
            '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>LISTNUM Legal</w:instrText></w:r>'
            '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
            {NoteKind.OBJECT: 1},
        ),
    ],
    ids=["handwriting", "number"],
)
def test_what_word_alone_can_show_is_noted(run: str, notes: dict[NoteKind, int]) -> None:
    assert read_bytes(docx(f"<w:p>{run}<w:r><w:t>Text</w:t></w:r></w:p>"), "a.docx").notes == notes


def test_text_of_the_slide_master_and_a_fixed_date_are_read_once() -> None:
    date = documents.shape("2 March 2026", "dt")
    parts: dict[str, str | bytes] = {
        "ppt/slideLayouts/l.xml": f"<p:sldLayout {P}>{documents.shape('Acme Inc.')}{documents.shape('Click here', 'title')}</p:sldLayout>",
        "ppt/slideLayouts/_rels/l.xml.rels": relationships(("r1", "slideMaster", "../slideMasters/m.xml")),
        "ppt/slideMasters/m.xml": f"<p:sldMaster {P}>{documents.shape('Confidential')}{documents.shape('Text', 'body')}</p:sldMaster>",
    }
    for number in (1, 2):
        parts[f"ppt/slides/_rels/slide{number}.xml.rels"] = relationships(
            ("r1", "slideLayout", "../slideLayouts/l.xml")
        )
    show = read_bytes(with_parts(pptx([documents.shape("One") + date, documents.shape("Two") + date]), parts), "a.pptx")
    first = "One\n\nDate: 2 March 2026\n\nSlide master: Acme Inc.\n\nSlide master: Confidential"
    assert show.pages == [first, "Two"]


def test_embedded_objects_of_a_workbook_are_noted() -> None:
    book = workbook('<row r="1"><c r="A1" t="str"><v>x</v></c></row>', drawing="<a/>")
    with zipfile.ZipFile(io.BytesIO(book)) as source:
        sheet = next(each for each in source.namelist() if each.startswith("xl/worksheets/_rels/"))
        related = (
            source.read(sheet)
            .decode()
            .replace("</Rel", '<Relationship Id="o" Type="u/oleObject" Target="o.bin"/></Rel', 1)
        )
    read = read_bytes(with_parts(book, {sheet: related, "xl/worksheets/o.bin": b"x"}), "a.xlsx")
    assert (read.notes, read.wheres) == ({NoteKind.OBJECT: 1}, ["sheet S"])


def test_labels_that_were_typed_onto_a_chart() -> None:
    label = "<dLbls><dLbl><tx><rich><p><r><t>Storm</t></r></p></rich></tx></dLbl></dLbls>"
    chart = fromstring(
        f"<chartSpace><chart><ser>{label}<val><numCache><pt idx='0'><v>7</v></pt></numCache></val></ser></chart></chartSpace>"
    )
    assert chart_lines(chart) == ["Chart", "7", "Label: Storm"]


def test_a_text_in_a_cell_is_shown_in_its_format() -> None:
    assert displayed_text("A7", '"No. "@') == "No. A7"
    assert displayed_text("A7", '0;-0;0;@" (old)"') == "A7 (old)"
    assert displayed_text("A7", "0.00") == "A7"


def test_comments_of_json_are_read() -> None:
    source = '{\n  // the port\n  "port": 8080, /* of\n the\tserver */ "url": "http://x.org/"\n}'
    assert read("a.json", source).text == "port: 8080\nurl: http://x.org/\n\nComment: the port\nComment: of the server"


def test_encrypted_text_within_a_message_is_noted() -> None:
    block = "-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA7\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
    mail = read("a.eml", f"{MAIL}Content-Type: text/plain\r\n\r\nHello,\r\n{block}Bye\r\n")
    assert mail.text.endswith("Hello,\n\nBye")
    assert mail.notes == {NoteKind.ATTACHMENT: 1}


def test_pictures_in_a_drawing_are_noted() -> None:
    drawing = read("a.svg", '<svg xmlns="http://www.w3.org/2000/svg"><text>Pier</text><image href="a.png"/></svg>')
    assert (drawing.text, drawing.notes) == ("Pier", {NoteKind.PICTURE: 1})


def test_what_a_task_and_a_moved_event_say() -> None:
    event = calendar(
        "BEGIN:VEVENT",
        "SUMMARY:Stand-up",
        "RECURRENCE-ID:20260105T090000Z",
        "GEO:57.6;18.3",
        "END:VEVENT",
        "BEGIN:VTODO",
        "SUMMARY:Paint",
        "PERCENT-COMPLETE:40",
        "PRIORITY:1",
        "COMPLETED:20260106T100000Z",
        "END:VTODO",
    )
    assert event.text == (
        "Stand-up\nInstead of: 2026-01-05 09:00 UTC\nPosition: 57.6;18.3\n\n"
        "Paint\nPercent done: 40\nPriority: 1\nCompleted: 2026-01-06 10:00 UTC"
    )


def test_shapes_within_a_line_of_an_open_text_stand_apart() -> None:
    for name in ("ellipse", "g"):
        shape_ = f"<draw:{name}><text:p>Round</text:p></draw:{name}>"
        assert opendocument("text", f"<text:p>See {shape_}here</text:p>").text == "See here\n\nRound"


def test_text_of_masters_and_headers_of_open_documents_is_read_once() -> None:
    styles = (
        "<office:master-styles><style:master-page style:name='M'><draw:frame presentation:class='title'><draw:text-box>"
        "<text:p>Click</text:p></draw:text-box></draw:frame><draw:frame><draw:text-box><text:p>Confidential</text:p>"
        "</draw:text-box></draw:frame><style:header><text:p>Acme Inc.</text:p></style:header><style:footer><text:p>Page "
        "<text:page-number>1</text:page-number></text:p></style:footer><style:header-left style:display='false'><text:p>"
        "Unseen</text:p></style:header-left></style:master-page></office:master-styles>"
    )
    slide = (
        "<draw:page draw:master-page-name='M'><draw:custom-shape><text:p>{}</text:p></draw:custom-shape></draw:page>"
    )
    show = opendocument("presentation", slide.format("One") + slide.format("Two"), styles)
    assert show.pages == ["One\n\nSlide master: Confidential", "Two"]
    cell = "<table:table-row><table:table-cell><text:p>x</text:p></table:table-cell></table:table-row>"
    sheets = "".join(f"<table:table table:name='{name}'>{cell}</table:table>" for name in "AB")
    assert opendocument("spreadsheet", sheets, styles).pages == ["# A\n\nx\nHeader: Acme Inc.", "# B\n\nx"]


def test_a_description_of_an_event_that_is_a_page_is_read() -> None:
    event = calendar(
        "BEGIN:VEVENT", "SUMMARY:Fair", "X-ALT-DESC;FMTTYPE=text/html:<p>Bring <b>cake</b></p>", "END:VEVENT"
    )
    assert event.text == "Fair\nDescription: Bring cake"


def test_the_publisher_of_a_book_is_read_and_its_cover_noted() -> None:
    book = read(
        "a.fb2",
        "<FictionBook><description><title-info><book-title>Tides</book-title><coverpage><image/></coverpage></title-info>"
        "<publish-info><publisher>Pier Press</publisher><year>1911</year></publish-info></description>"
        "<body><section><p>One</p></section></body></FictionBook>",
    )
    assert book.pages == ["# Tides\n\nPublisher: Pier Press\n\nYear: 1911", "One"]
    assert (book.notes, book.wheres) == ({NoteKind.PICTURE: 1}, ["chapter 1"])
