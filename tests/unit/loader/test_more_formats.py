"""Further formats: OpenDocument, RTF, notebooks, drawings, subtitles, archives, legacy workbooks, calendars, code."""
# ruff: noqa: E501 - texts as they come out

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind

from tests.support import documents, pdfs
from tests.unit.loader.kinds import FOLDER, read, read_bytes

_NAMES = "".join(
    f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for name in ("office", "text", "table", "draw", "style")
)


def flat(kind: str, body: str, styles: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?><office:document{_NAMES} office:mimetype="application/vnd.oasis.opendocument.{kind}">'
        f"<office:automatic-styles>{styles}</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document>"
    ).encode()


def test_open_documents() -> None:
    assert read("open_a.odt").text == "The odt letter speaks of a pilot boat."
    assert read("open_a.ods").text == "# S\n\nSpars"
    assert read("flat_a.fodt").text == "Flat letter on mooring lines."


def test_an_open_text_with_all_it_may_hold() -> None:
    styles = '<text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/></text:list-style>'
    body = (
        '<text:h text:outline-level="2">Rules</text:h>'
        '<text:list text:style-name="L"><text:list-item><text:p>one</text:p></text:list-item><text:list-item><text:p>two</text:p></text:list-item></text:list>'
        '<text:p>A<text:s text:c="2"/>note<text:note text:note-class="endnote"><text:note-citation>i</text:note-citation><text:note-body><text:p>Below.</text:p></text:note-body></text:note>'
        "<office:annotation><text:p>Check this.</text:p></office:annotation> end.</text:p>"
        "<text:p><draw:frame><draw:text-box><text:p>Boxed.</text:p></draw:text-box></draw:frame></text:p>"
        '<table:table><table:table-row><table:table-cell table:number-rows-spanned="2"><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row>'
        "<table:table-row><table:covered-table-cell/><table:table-cell><text:p>c</text:p></table:table-cell></table:table-row></table:table>"
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes>"
    )
    assert read_bytes(flat("text", body, styles), "a.fodt").text == (
        "## Rules\n\n1. one\n2. two\n\nA note[endnote i] end.\n\n[endnote i] Below.\n\nComment: Check this.\n\nBoxed.\n\na | b\na | c"
    )


def test_an_open_workbook_repeats_what_it_says_to_repeat_within_bounds() -> None:
    cell = '<table:table-cell table:number-columns-repeated="{}"><text:p>{}</text:p></table:table-cell>'
    empty = '<table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    body = f'<table:table table:name="T"><table:table-row>{cell.format(2, "x")}</table:table-row>{empty}</table:table>'
    assert read_bytes(flat("spreadsheet", body), "a.fods").pages == ["# T\n\nx | x"]


@pytest.mark.parametrize(("repeated", "left_out"), [("rows", 500), ("columns", 476)])
def test_what_an_open_workbook_repeats_beyond_bounds_is_noted(repeated: str, left_out: int) -> None:
    rows, columns = (
        f'table:number-{repeated}-repeated="1500"' if repeated == each else "" for each in ("rows", "columns")
    )
    cell = f"<table:table-cell {columns}><text:p>x</text:p></table:table-cell>"
    body = f'<table:table table:name="T"><table:table-row {rows}>{cell}</table:table-row></table:table>'
    came = read_bytes(flat("spreadsheet", body), "a.fods")
    assert (came.notes, came.wheres) == ({NoteKind.TOO_MUCH: left_out}, [f"repeated {repeated} of a table"])


def test_rtf() -> None:
    data = rb"{\rtf1\ansi\ansicpg1250{\fonttbl{\f0\fcharset238 Arial;}}\f0 \'e8aj{\footnote a note}\par \u1046?{\pict\pngblip 89504e47}}"
    came = read_bytes(data, "a.txt")
    assert came.text == "čaj [Note:] a note\nЖ"
    assert came.notes == {NoteKind.PICTURE: 1}


def test_a_notebook() -> None:
    came = read("nb_a.ipynb")
    assert (
        came.text
        == "# Tide study\nWe fit a sine to the **Visby** data.\n\n```\nimport math\nprint(math.pi)\n```\n\nOutput:\n3.14159"
    )
    assert came.notes == {NoteKind.PICTURE: 1}


@pytest.mark.parametrize("notebook", [[], 3, {"cells": 1}, {"cells": [1, {"source": 2, "outputs": [3, {"data": 4}]}]}])
def test_an_odd_notebook_is_a_typed_failure(notebook: object) -> None:
    with pytest.raises(FileFailure):
        read_bytes(json.dumps(notebook).encode(), "a.ipynb")


def test_labels_of_a_drawing() -> None:
    assert read("pic_a.svg").text == "Wind rose: north is up"
    assert (
        read_bytes(
            b'<?xml version="1.0"?><svg:svg xmlns:svg="x"><svg:title>T</svg:title><svg:text>a <svg:tspan>b</svg:tspan></svg:text></svg:svg>',
            "a",
        ).text
        == "T\na b"
    )


def test_subtitles() -> None:
    assert read("sub_a.vtt").text == "Captain: Let go aft"
    srt = "1\n00:00:01,000 --> 00:00:02,000\n<i>Cast off</i>\nnow\n\n2\n00:00:02,000 --> 00:00:03,000\nAye.\n"
    assert read_bytes(srt.encode(), "a.srt").text == "Cast off now\nAye."
    assert (
        read_bytes(rb"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\i1}One, two\NThree", "a.ass").text
        == "One, two Three"
    )


def test_a_legacy_workbook() -> None:
    assert read("old_a.xls").text == "# Stock\n\nItem | Price\nItem: Rope | Price: 12"


def test_a_table_under_the_name_of_a_workbook() -> None:
    assert read_bytes(b"Item\tPrice\nRope\t12\n", "a.xls").text == "Item | Price\nItem: Rope | Price: 12"
    assert read_bytes(b"<html><table><tr><td>Rope</td><td>12</td></tr></table></html>", "a.xls").text == "Rope | 12"


def test_text_in_a_declared_encoding() -> None:
    assert 'name="Malmö"' in read("data_a.xml").text
    assert read_bytes("# -*- coding: cp1251 -*-\nx = 'Ж'".encode("cp1251"), "a.py").text.endswith("x = 'Ж'")


def test_a_calendar() -> None:
    event = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Dock\r\n  inspection\r\nDTSTART;VALUE=DATE:20250312\r\nATTENDEE;CN=Bo:mailto:bo@port.example\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    assert read_bytes(event, "a.ics").text == "Dock inspection\nStart: 2025-03-12\nAttendee: Bo <bo@port.example>"


def test_a_calendar_with_a_colon_in_quotes_that_is_cut_off() -> None:
    event = b'BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Dock\nATTENDEE;CN="Port: Bo":mailto:bo@port.example\n'
    assert read_bytes(event, "a.ics").text == "Dock\nAttendee: Port: Bo <bo@port.example>"


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


_FILES = {
    "a/one.txt": b"One.",
    "two.pdf": pdfs.pdf(["Page one.", "Page two."]),
    "__MACOSX/._x": b"x",
    "b.png": b"\x89PNG..",
}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (documents.archive(_FILES), "a.zip"),
        (tar(_FILES), "a.tar"),
        (gzip.compress(tar(_FILES)), "a.tgz"),
    ],
)
def test_each_file_of_an_archive_is_a_document(data: bytes, name: str) -> None:
    came = read_bytes(data, name)
    assert came.pages == ["# a/one.txt\n\nOne.", "# two.pdf\n\nPage one.\n\nPage two.", "# b.png"]
    assert (came.notes, came.wheres) == ({NoteKind.ATTACHMENT: 1}, ["b.png"])


_LONG = {"one.txt": b"One. " * 300, "two.txt": b"Two. " * 300, "three.txt": b"Three."}
_MEMBER = 512 + 1536


def _spoiled(at: int) -> bytes:
    data = bytearray(tar(_LONG))
    data[at : at + 100] = b"?" * 100
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "headings"),
    [
        (tar(_LONG)[: 2 * _MEMBER], ["# one.txt", "# two.txt"]),  # no end
        (tar(_LONG)[: _MEMBER + 1000], ["# one.txt", "# two.txt"]),
        (_spoiled(_MEMBER), ["# one.txt", "# three.txt"]),
    ],
)
def test_what_is_missing_from_a_damaged_tar_archive_is_noted(data: bytes, headings: list[str]) -> None:
    came = read_bytes(data, "a.tar")
    assert [page.split("\n")[0] for page in came.pages] == headings
    assert NoteKind.MISSING_PART in came.notes


def test_tar_archives_joined_to_one_are_read() -> None:
    came = read_bytes(tar({"one.txt": b"One."}) + tar({"two.txt": b"Two."}), "a.tar")
    assert (came.pages, came.notes) == (["# one.txt\n\nOne.", "# two.txt\n\nTwo."], {})


def test_a_damaged_member_of_a_zip_archive_costs_nothing_else() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in ("one.txt", "two.txt", "three.txt"):
            archive.writestr(name, f"This is {name}.")
    came = read_bytes(buffer.getvalue().replace(b"This is two.txt", b"This is 2wo.txt"), "a.zip")
    assert came.pages == ["# one.txt\n\nThis is one.txt.", "# two.txt", "# three.txt\n\nThis is three.txt."]
    assert (came.notes, came.wheres) == ({NoteKind.ATTACHMENT: 1}, ["two.txt"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_a_zip_archive_with_one_name_or_names_in_undeclared_utf8() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "One.")
        archive.writestr("a.txt", "Two.")
        archive.writestr("größe.txt", "Three.")
    data = bytearray(buffer.getvalue())
    for at, mark in ((6, b"PK\x03\x04"), (8, b"PK\x01\x02")):
        data[data.rindex(mark) + at + 1] &= ~0x08
    assert read_bytes(bytes(data), "a.zip").pages == [
        "# a.txt\n\nOne.",
        "# a.txt\n\nTwo.",
        "# größe.txt\n\nThree.",
    ]


def test_a_file_packed_alone() -> None:
    assert read_bytes(gzip.compress(b"a,b\n1,2\n"), "t.csv.gz").pages == ["# t.csv\n\na | b\na: 1 | b: 2"]


def test_archives_in_archives_end() -> None:
    data = documents.archive({"deep.txt": "Deep."})
    for _ in range(10):
        data = documents.archive({"inner.zip": data})
    came = read_bytes(data, "a.zip")
    assert "Deep." not in came.text
    assert came.notes


def test_an_archive_that_expands_without_end_is_refused() -> None:
    with pytest.raises(FileFailure) as failure:
        read_bytes(gzip.compress(bytes(30 << 20)), "a.gz")
    assert failure.value.reason is FailureReason.TOO_LARGE


def test_xml_in_an_encoding_that_there_is_not_is_a_typed_failure() -> None:
    data = flat("text", "<text:p>x</text:p>").replace(b'version="1.0"', b'version="1.0" encoding="UTF-2"', 1)
    with pytest.raises(FileFailure) as failure:
        read_bytes(data, "a.fodt")
    assert failure.value.reason is FailureReason.BROKEN


_MATH = '<draw:frame><draw:object><math xmlns="http://www.w3.org/1998/Math/MathML"><mfrac><mn>1</mn><mn>2</mn></mfrac></math></draw:object></draw:frame>'
_CHART = (
    "<draw:frame><draw:object><text:p/><office:document><office:body><office:chart>"
    '<chart:chart xmlns:chart="urn:oasis:names:tc:opendocument:xmlns:chart:1.0"><chart:title><text:p>Catch</text:p></chart:title>'
    "<table:table><table:table-row><table:table-cell><text:p>Oslo</text:p></table:table-cell><table:table-cell><text:p>7</text:p></table:table-cell></table:table-row></table:table>"
    "</chart:chart></office:chart></office:body></office:document></draw:object></draw:frame>"
)


def test_an_equation_in_a_line_of_an_open_text_stays_in_its_place() -> None:
    assert read_bytes(flat("text", f"<text:p>Take {_MATH} of it.</text:p>"), "a.fodt").text == "Take 1/2 of it."


@pytest.mark.parametrize(("position", "text"), [("super 58%", "10^6"), ("33% 58%", "10^6"), ("sub 58%", "106"), ("-33% 58%", "106")])  # fmt: skip
def test_exponents_of_open_documents_are_marked(position: str, text: str) -> None:
    style = f'<style:style style:name="T1"><style:text-properties style:text-position="{position}"/></style:style>'
    body = '<text:p>10<text:span text:style-name="T1">6</text:span></text:p>'
    assert read_bytes(flat("text", body, style), "a.fodt").text == text


def test_a_chart_of_an_open_presentation_or_drawing_is_read_from_its_part() -> None:
    body = (
        f"<draw:page><draw:frame><draw:text-box><text:p>Below</text:p></draw:text-box></draw:frame>{_CHART}</draw:page>"
    )
    for kind, name in (("presentation", "a.fodp"), ("drawing", "a.fodg")):
        read = read_bytes(
            flat(kind.replace("drawing", "graphics"), body).replace(b"office:graphics", b"office:drawing"), name
        )
        assert read.text == "Below\n\nChart: Catch\nOslo | 7"
        assert not read.notes
    packed = io.BytesIO()
    chart = _CHART[_CHART.index("<office:document>") : _CHART.index("</draw:object>")]
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.presentation")
        outer = body.replace(chart, "").replace("<draw:object>", '<draw:object xlink:href="./Object 1">')
        link = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
        archive.writestr(
            "content.xml",
            f"<office:document-content{_NAMES} {link}><office:body><office:presentation>{outer}</office:presentation></office:body></office:document-content>",
        )
        archive.writestr("Object 1/content.xml", chart.replace("<office:document>", f"<office:document{_NAMES}>"))
    assert read_bytes(packed.getvalue(), "a.odp").text == "Below\n\nChart: Catch\nOslo | 7"


def test_a_chart_anchored_to_a_cell_is_read_after_the_table() -> None:
    cell = "<table:table-cell><text:p>{}</text:p>{}</table:table-cell>"
    row = f"<table:table-row>{cell.format('A', '')}{cell.format('B', _CHART)}</table:table-row>"
    body = f'<table:table table:name="S">{row}</table:table>'
    assert read_bytes(flat("spreadsheet", body), "a.fods").text == "# S\n\nA | B\nChart: Catch\nOslo | 7"


def test_charts_of_a_legacy_workbook_are_noted() -> None:
    plain = (FOLDER / "old_a.xls").read_bytes()
    assert not read_bytes(plain, "a.xls").notes
    chart = bytes.fromhex("0908100000062000")
    assert read_bytes(plain + chart + b"\0" * 504, "a.xls").notes == {NoteKind.OBJECT: 1}


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>Cast</i> off\\Nnow\n", "Cast off now"),
        ("a.sbv", "0:00:01.000,0:00:02.000\nCast off[br]now\n", "Cast off now"),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n<ruby>船<rt>ふね</rt></ruby>だ\n", "船だ"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nOpen C:\\new\\home, print \\n\n", "Open C:\\new\\home, print \\n"),
        ("a.ass", "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,Cast\\hoff\\nnow\\Nhere\n", "Cast off now here"),
        ("a.sub", "{1}{1}23.976\n{1}{25}Aye\n", "Aye"),
        ("a.sub", "{1}{25}{y:i}Cast off|now\n{26}{50}Aye\n", "Cast off now\nAye"),
        ("a.sub", "00:00:01.00,00:00:02.00\nCast off[br]now\n", "Cast off now"),
        ("a.lrc", "[ti:Shanty]\n[length: 02:00]\n[00:01.00][00:09.00]Cast <00:01.50>off\n[00:02]Aye\n", "Shanty\nCast off\nAye"),
        (
            "a.smi",
            "<SAMI><HEAD><STYLE>P {color: red}</STYLE></HEAD><BODY><SYNC Start=1><P Class=EN>Cast off<br>now"
            "<SYNC Start=2><P Class=EN>&nbsp;<SYNC Start=3><P Class=EN>Aye &amp; off</BODY></SAMI>",
            "Cast off now\nAye & off",
        ),
        (
            "a.sami",
            "<sami><head><title>x</title><style><!-- p {color: red} --></style></head><body><sync start=1><p>Cast off"
            "<!-- louder --><sync start=2><p>Aye<!-- not closed</body></sami>",
            "Cast off\nAye",
        ),
        (
            "a.ttml",
            '<?xml version="1.0" encoding="UTF-8"?><tt xmlns="http://www.w3.org/ns/ttml"><head><styling/></head><body>'
            "<div><p begin='1s'>Cast <span>off <span>the</span> rope</span><br/>now</p><p>1 &lt; 2</p></div></body></tt>",
            "Cast off the rope now\n1 < 2",
        ),
    ],
)  # fmt: skip
def test_rarer_subtitles(name: str, source: str, text: str) -> None:
    assert read_bytes(source.encode(), name).text == text


_STRIKE_STYLES = (
    '<style:style style:name="T1"><style:text-properties style:text-line-through-style="solid"/></style:style>'
    '<style:style style:name="T2"><style:text-properties style:text-line-through-style="none"/></style:style>'
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('<text:p>At <text:span text:style-name="T1">ni</text:span><text:span text:style-name="T1">ne </text:span>ten</text:p>', "At ~~nine~~ ten"),
        ('<text:p>At <text:span text:style-name="T1"/><text:span text:style-name="T2">ten</text:span></text:p>', "At ten"),
        ('<text:p text:style-name="T1">At <text:span text:style-name="T1">nine</text:span></text:p>', "~~At nine~~"),
    ],
)  # fmt: skip
def test_struck_text_of_open_documents_is_told_apart(body: str, text: str) -> None:
    assert read_bytes(flat("text", body, _STRIKE_STYLES), "a.fodt").text == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("Only <s>20</s>15 and <del>old <b>price</b> </del><ins>new</ins>", "Only ~~20~~15 and ~~old price~~ new"),
        ("<p>A<strike> </strike>b <s><a href='https://x.org'>x</a></s></p>", "A b [~~x~~](https://x.org)"),
        ("<a href='https://x.org'><s>x</s>y</a>, <s>10<sup>6</sup></s>7", "[~~x~~y](https://x.org), ~~10^6~~7"),
        ("<span style='color:red; text-decoration: line-through'>20</span>15", "~~20~~15"),
        ("<del><p>one</p><ul><li>two</li></ul></del>three", "~~one~~\n\n- ~~two~~\n\nthree"),
        ("<table><tr><th>a<th>b<tr><td><s>1</s>2<td>3</table>", "a | b\n~~1~~2 | 3"),
    ],
)
def test_struck_text_of_pages_is_told_apart(page: str, text: str) -> None:
    assert read_bytes(f"<html>{page}".encode(), "a.html").text == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"At {\strike ni{\b ne} }ten", "At ~~nine~~ ten"),
        (r"At \strike nine\strike0 ten \striked1 x\plain y", "At ~~nine~~ten ~~x~~y"),
        (r"{\stylesheet{\s15\strike Gone;}}At {\strike {\*\bkmkstart a\plain b}\u8364?9\par nine}ten", "At ~~€9~~\n~~nine~~ten"),
        (r"\trowd A{\strike 1\cell}2\cell\row", "A~~1~~|2|"),
        (r"{\strike Gone {\deleted away}}here~~", "~~Gone~~ here~~"),
    ],
)  # fmt: skip
def test_struck_text_of_rtf_is_told_apart(body: str, text: str) -> None:
    assert read_bytes(rf"{{\rtf1\ansi {body}\par}}".encode(), "a.rtf").text == text


def test_struck_text_of_office_files_is_told_apart() -> None:
    styles = '<w:style w:styleId="S"><w:rPr><w:strike/></w:rPr></w:style><w:style w:styleId="B"><w:basedOn w:val="S"/></w:style>'
    run = "<w:r><w:rPr>{}</w:rPr><w:t xml:space='preserve'>{}</w:t></w:r>"
    runs = [
        ("", "At "), ("<w:strike/>", "ni"), ("<w:dstrike/><w:b/>", "ne "), ('<w:strike w:val="0"/>', "ten "),
        ('<w:rStyle w:val="B"/>', "x"), ('<w:rStyle w:val="B"/><w:strike w:val="0"/>', "y "),
        ("<w:strike/>", "10"), ('<w:strike/><w:vertAlign w:val="superscript"/>', "6"), ("", "7"),
    ]  # fmt: skip
    body = f"<w:p>{''.join(run.format(*each) for each in runs)}</w:p>"
    data = documents.docx(body, styles=styles)
    assert read_bytes(data, "a.docx").text == "At ~~nine~~ ten ~~x~~y ~~10^6~~7"
    slide = "<a:r><a:rPr strike='sngStrike'/><a:t>20</a:t></a:r><a:r><a:rPr strike='noStrike'/><a:t>15</a:t></a:r>"
    data = documents.pptx([f"<p:sp><p:txBody><a:p>{slide}</a:p></p:txBody></p:sp>"])
    assert read_bytes(data, "a.pptx").text == "~~20~~15"
    book = "<FictionBook><body><section><p>Only <strikethrough>20</strikethrough>15</p></section></body></FictionBook>"
    assert read_bytes(book.encode(), "a.fb2").text.endswith("Only ~~20~~15")
