"""Kinds of Word, PowerPoint and Excel files that other readers get wrong."""
# ruff: noqa: E501 - texts as they come out

from __future__ import annotations

import pytest
from memgpt_loader.formats import NoteKind
from memgpt_loader.formats.equations import linear
from memgpt_loader.formats.office.symbols import symbol

from tests.support.documents import docx, paragraph
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
    from defusedxml.ElementTree import fromstring

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
