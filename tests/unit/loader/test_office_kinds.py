"""Kinds of Word, PowerPoint and Excel files that other readers get wrong."""
# ruff: noqa: E501 - texts as they come out

from __future__ import annotations

import io
import zipfile

import pytest
from defusedxml.ElementTree import fromstring
from memgpt_loader.formats import NoteKind
from memgpt_loader.formats.equations import linear
from memgpt_loader.formats.office.drawings import chart_lines
from memgpt_loader.formats.office.symbols import symbol

from tests.support.documents import archive, docx, paragraph, pptx, relationships, shape
from tests.unit.loader.kinds import read, read_bytes


def test_an_imported_part_is_read_in_its_place() -> None:
    assert read("docx_altchunk_a.docx").text == (
        "Before the insert.\n\nThe insert speaks of copper mines in Falun.\n\nAfter the insert."
    )


def test_a_text_box_in_a_table_is_read_once() -> None:
    assert read("docx_box_in_cell_a.docx").text == "Table follows.\n\nCell one\n\nBoxed warning about acid"


def test_labels_of_diagrams_are_read() -> None:
    assert read("docx_smartart_a.docx").text == "Our process:\n\n- Survey the reef\n- Plant corals"
    assert read("pptx_smartart_a.pptx").text.endswith("- Collect the samples\n- Dry them\n- Weigh them")


def test_a_chart_is_read_with_its_title_categories_and_values() -> None:
    assert read("pptx_chart_a.pptx").text == (
        "# Status\n\nChart: Sardine landings\nSeries: Catch in tons\nLisbon: Catch in tons: 19.2\nPorto: Catch in tons: 21.4"
    )


def test_headers_and_footers_are_read_once() -> None:
    assert read("docx_header_a.docx").text == (
        "Header: Meridian Orchard Cooperative\n\nDear members, the harvest was good this year.\n\n"
        "Footer: Invoice reference QX-48213"
    )


def test_comments_stand_behind_their_paragraph() -> None:
    assert read("docx_comment_a.docx").text == (
        "The plant runs well.\n\nComment (Reviewer): The pump must be replaced before winter"
    )


def test_alternative_texts_are_read() -> None:
    assert read("pptx_alt_a.pptx").text == "# Status\n\n[Picture: Map of the estuary with three buoys]"


def test_a_picture_without_alternative_text_is_noted() -> None:
    drawing = "<w:drawing><wp:inline xmlns:wp='x'><wp:docPr id='1' name='Picture 1'/><pic:pic xmlns:pic='y'/></wp:inline></w:drawing>"
    came = read_bytes(docx(paragraph("Text.") + f"<w:p><w:r>{drawing}</w:r></w:p>"), "a.docx")
    assert came.text == "Text."
    assert came.notes == {NoteKind.PICTURE: 1}


def test_readings_are_not_in_the_word() -> None:
    assert read("docx_ruby_a.docx").text == "この図書館は九時に開く。"


def test_equations_are_lines() -> None:
    assert read("docx_math_a.docx").text == "Speed is v=d/t and energy is E=mc^2"


_M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<m:f><m:num><m:r><m:t>12</m:t></m:r></m:num><m:den><m:r><m:t>34</m:t></m:r></m:den></m:f>", "12/34"),
        ("<m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>", "(a+b)/2"),
        ("<m:rad><m:deg/><m:e><m:r><m:t>l+1</m:t></m:r></m:e></m:rad>", "√(l+1)"),
        ("<m:sSubSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sub><m:r><m:t>i</m:t></m:r></m:sub><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSubSup>", "x_i^2"),
        ('<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub><m:r><m:t>i=1</m:t></m:r></m:sub><m:sup><m:r><m:t>n</m:t></m:r></m:sup><m:e><m:r><m:t>i</m:t></m:r></m:e></m:nary>', "∑_(i=1)^n i"),
    ],
)  # fmt: skip
def test_equations(xml: str, expected: str) -> None:
    assert linear(fromstring(f"<m:oMath {_M}>{xml}</m:oMath>")) == expected


def test_symbols_are_read() -> None:
    assert read("docx_sym_a.docx").text == "Tolerance ±5 mm, coefficient α = 3. Approved ☑"
    assert [symbol("Symbol", code) for code in (0xF06D, 0xF0B3, 0xF0AE)] == ["μ", "≥", "→"]


def test_letters_of_symbol_fonts_are_read() -> None:
    body = '<w:p><w:r><w:rPr><w:rFonts w:ascii="Wingdings"/></w:rPr><w:t>\uf0fc</w:t></w:r><w:r><w:t xml:space="preserve"> done</w:t></w:r></w:p>'
    assert read_bytes(docx(body), "a.docx").text == "✓ done"


def test_lists_keep_their_numbers() -> None:
    assert read("docx_numbered_a.docx").text == (
        "Rules of the club\n\n1. Be on time.\n2. Wear a vest.\n3. Report damage to the steward.\n\nWhoever breaks rule 3 pays."
    )


def test_hidden_text_is_left_out_and_noted() -> None:
    came = read("docx_hidden_a.docx")
    assert came.text == "Visible price is 40 euro."
    assert came.notes == {NoteKind.HIDDEN: 1}


def test_a_paragraph_whose_mark_is_deleted_goes_on() -> None:
    assert read("docx_delmark_a.docx").text == "The lock keeper was paid forty crowns a month."


def test_footnotes_and_endnotes_are_told_apart() -> None:
    assert read("docx_notes_a.docx").text == (
        "The mole was built in 1911[2], they say[endnote 2].\n\n[2] after the great storm\n\n[endnote 2] see the town archive"
    )


def test_shapes_are_read_from_the_top() -> None:
    assert read("pptx_order_a.pptx").text == "# Status\n\nFirst: order\n\nSecond: pack\n\nThird: deliver"


def _field(code: str, result: str = "", state: str = "") -> str:
    """A field as Word writes it: runs that mark where its code and its result begin and end."""
    mark = '<w:r><w:fldChar w:fldCharType="{}">{}</w:fldChar></w:r>'
    begin = mark.format("begin", f"<w:ffData>{state}</w:ffData>" if state else "")
    shown = f"<w:r><w:t>{result}</w:t></w:r>" if result and not result.startswith("<") else result
    return f"{begin}<w:r><w:instrText> {code} </w:instrText></w:r>{mark.format('separate', '')}{shown}{mark.format('end', '')}"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (_field('HYPERLINK "https://example.org/map"', "our map"), "[our map](https://example.org/map)"),
        (_field('HYPERLINK \\l "_Toc1"', "Introduction"), "Introduction"),
        (_field("FORMCHECKBOX", state='<w:checkBox><w:default w:val="0"/><w:checked/></w:checkBox>'), "☒"),
        (_field("FORMCHECKBOX", state='<w:checkBox><w:default w:val="0"/></w:checkBox>'), "☐"),
        (
            _field(
                "FORMDROPDOWN",
                state='<w:ddList><w:result w:val="1"/><w:listEntry w:val="S"/><w:listEntry w:val="L"/></w:ddList>',
            ),
            "L",
        ),
        (_field("FORMTEXT", "Ann"), "Ann"),
        (_field('SYMBOL 97 \\f "Symbol"'), "α"),
        (_field('SYMBOL 0097 \\f "Symbol"'), "α"),
        (_field('SYMBOL 0x61 \\f "Symbol"'), "α"),
        ("<w:fldSimple w:instr=' HYPERLINK \"https://example.org\" '><w:r><w:t>site</w:t></w:r></w:fldSimple>", "[site](https://example.org)"),
        (_field("PAGEREF _Toc1", _field("QUOTE x", "7")), "7"),
    ],
)  # fmt: skip
def test_fields_are_read_as_they_are_shown(field: str, text: str) -> None:
    came = read_bytes(docx(f"<w:p><w:r><w:t>Field: </w:t></w:r>{field}<w:r><w:t>.</w:t></w:r></w:p>"), "a.docx")
    assert came.text == f"Field: {text}."


def test_an_equation_field_is_noted() -> None:
    came = read_bytes(docx(f"<w:p><w:r><w:t>So</w:t></w:r>{_field(chr(69) + chr(81) + ' f(3,4)')}</w:p>"), "a.docx")
    assert came.notes == {NoteKind.OBJECT: 1}


def test_exponents_are_marked() -> None:
    raised = '<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>{}</w:t></w:r>'
    body = f"<w:p><w:r><w:t>10</w:t></w:r>{raised.format('-')}{raised.format('3')}<w:r><w:t> on the 5</w:t></w:r>{raised.format('th')}</w:p>"
    assert read_bytes(docx(body), "a.docx").text == "10^-3 on the 5th"
    run = '<a:r><a:rPr baseline="30000"/><a:t>2</a:t></a:r>'
    slide = f"<p:sp><p:txBody><a:p><a:r><a:t>5 m</a:t></a:r>{run}</a:p></p:txBody></p:sp>"
    assert read_bytes(pptx([slide]), "a.pptx").text == "5 m^2"


def test_a_list_is_numbered_whatever_the_order_of_its_properties() -> None:
    levels = '<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>'
    numbering = (
        '<w:numbering xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        f'<w:abstractNum w:abstractNumId="0">{levels}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
    )
    properties = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr><w:pStyle w:val="Compact"/>'
    style = '<w:style w:styleId="Compact"><w:name w:val="Compact"/></w:style>'
    item = f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{{}}</w:t></w:r></w:p>"
    plain = zipfile.ZipFile(io.BytesIO(docx(item.format("one") + item.format("two"), styles=style)))
    parts: dict[str, str | bytes] = {name: plain.read(name) for name in plain.namelist()}
    parts["word/numbering.xml"] = numbering
    parts["word/_rels/document.xml.rels"] = relationships(
        ("rIdN", "numbering", "numbering.xml"), ("rIdS", "styles", "styles.xml")
    )
    assert read_bytes(archive(parts), "a.docx").text == "1. one\n2. two"


def test_a_slide_with_a_transition_is_read() -> None:
    plain = zipfile.ZipFile(io.BytesIO(pptx([shape("Agenda", "title") + shape("Budget")])))
    parts: dict[str, str | bytes] = {name: plain.read(name) for name in plain.namelist()}
    transition = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:Choice>'
        "<p:transition/></mc:Choice><mc:Fallback><p:transition/></mc:Fallback></mc:AlternateContent></p:sld>"
    )
    parts["ppt/slides/slide1.xml"] = plain.read("ppt/slides/slide1.xml").decode().replace("</p:sld>", transition)
    assert read_bytes(archive(parts), "a.pptx").text == "# Agenda\n\nBudget"


def test_a_link_of_a_whole_shape_is_read() -> None:
    button = '<p:sp><p:nvSpPr><p:cNvPr><a:hlinkClick r:id="rId9"/></p:cNvPr></p:nvSpPr><p:txBody><a:p><a:r><a:t>Go</a:t></a:r></a:p></p:txBody></p:sp>'
    assert (
        read_bytes(pptx([button], links={"rId9": "https://example.org/x"}), "a.pptx").text
        == "[Go](https://example.org/x)"
    )


def test_points_of_a_chart_are_read_as_displayed() -> None:
    cache = "<c:numRef><c:numCache><c:formatCode>{}</c:formatCode><c:pt idx='0'><c:v>{}</c:v></c:pt></c:numCache></c:numRef>"
    series = f"<c:ser><c:cat>{cache.format('d mmm yyyy', '45351')}</c:cat><c:val>{cache.format('0.0%', '0.125')}</c:val></c:ser>"
    chart = f"<c:chartSpace xmlns:c='c'><c:chart><c:plotArea>{series}</c:plotArea></c:chart></c:chartSpace>"
    assert chart_lines(fromstring(chart)) == ["Chart", "29 Feb 2024: 12.5%"]
    bubble = series.replace("</c:ser>", f"<c:bubbleSize>{cache.format('General', '7')}</c:bubbleSize></c:ser>")
    assert chart_lines(fromstring(chart.replace(series, bubble)))[-1].endswith("12.5% (size 7)")
