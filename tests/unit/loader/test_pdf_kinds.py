"""Kinds of PDF that other readers get wrong: what a person sees on the page is in the text, or noted."""

from __future__ import annotations

import io

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind
from memgpt_loader.formats.pdf import reader as pdf_reader
from memgpt_loader.formats.pdf.cleaning import PageCleaner
from memgpt_loader.formats.pdf.layers import Layers
from memgpt_loader.formats.pdf.layout import TextRun, row_text
from memgpt_loader.formats.pdf.links import PageLink, with_addresses
from memgpt_loader.formats.pdf.running_headers import strip_running_headers
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import DictionaryObject

from tests.support import pdfs
from tests.unit.loader.kinds import read, read_bytes


def test_numbered_titles_are_not_page_numbers() -> None:
    assert [page.split("\n")[0] for page in read("pdf_lessons_a.pdf").pages] == [f"Lesson {n}" for n in range(1, 7)]
    feet = [page.split("\n")[-1] for page in read("pdf_totals_a.pdf").pages]
    assert feet == [f"Invoice {n}" for n in range(1001, 1005)]


@pytest.mark.parametrize("label", ["Chapter {n}", "Week {n}.", "Exercise sheet {n}", "Kapitel {n}", "Lesson {n} of 6"])
def test_labels_with_a_number_stay_on_every_page(label: str) -> None:
    pages = [f"{label.format(n=n)}\nAbout {'x' * n}.\nMore {'y' * n}." for n in range(1, 7)]
    assert list(strip_running_headers(iter(pages), len(pages))) == pages


@pytest.mark.parametrize(
    "foot", ["{n}", "- {n} -", "Page {n}", "page {n} of 6", "Seite {n}", "A Report | {n}", "{n} / 6"]
)
def test_page_numbers_go(foot: str) -> None:
    pages = [f"About {'x' * n}.\nMore {'y' * n}.\n{foot.format(n=n)}" for n in range(1, 7)]
    assert [page.split("\n")[-1] for page in strip_running_headers(iter(pages), len(pages))] == [
        f"More {'y' * n}." for n in range(1, 7)
    ]


def test_slide_titles_stay_on_every_page() -> None:
    assert [page.split("\n")[0] for page in read("pdf_slides_a.pdf").pages] == ["Results"] * 5


def test_filled_fields_are_read() -> None:
    assert "applicant: Nordvik Harbour Authority\nok: yes" in read("pdf_form_a.pdf").text


def test_text_and_notes_typed_onto_a_page_are_read() -> None:
    assert "Bollard 5 is loose, typed onto the page" in read("pdf_freetext_a.pdf").text
    assert "Note: Surveyor: check the depth here" in read("pdf_sticky_a.pdf").text


def test_an_attached_file_is_a_document_of_its_own() -> None:
    pages = read("pdf_attachment_a.pdf").pages
    assert len(pages) == 2
    assert pages[1] == "# Attached file: minutes.txt\n\nThe attached minutes speak of a new winch."


_COLUMNS = (
    "The old pilot told us\nthat the channel was\ndeep enough for a brig\nand safe at half tide.\n"
    "Meanwhile the cook had\nburnt the porridge and\nnobody spoke to him\nuntil the next port."
)


def test_columns_are_read_one_after_the_other() -> None:
    assert read("pdf_columns_a.pdf").text == _COLUMNS
    heading = "Two tales of the sea, told over the whole width"
    assert read("pdf_columns_head_b.pdf").text == f"{heading}\n{_COLUMNS}"


def test_cells_of_a_table_stay_in_their_rows() -> None:
    rows = [("Rope", "10 euro"), ("Tar", "6 euro"), ("Oakum", "11 euro"), ("Paint", "4 euro")]
    drawn = "".join(
        f"1 0 0 1 72 {700 - 20 * n} Tm ({a}) Tj 1 0 0 1 300 {700 - 20 * n} Tm ({b}) Tj "
        for n, (a, b) in enumerate(rows)
    )
    data = pdfs.with_contents(f"BT /F1 12 Tf {drawn} ET".encode(), b"", b"<< /Font 2 0 R >>")
    assert read_bytes(data, "a.pdf").text == "\n".join(" ".join(row) for row in rows)


def test_vertical_columns_are_read_from_the_right() -> None:
    assert read("pdf_vertical_a.pdf").text == "灯台は岬の上に立つ。\n船はその下を通る。"


def test_a_turned_page_is_read_from_its_top() -> None:
    assert read("pdf_rotate_e.pdf").text == "Ship list of the year\nVesta of Riga\nOrm of Visby"


@pytest.mark.parametrize("matrix", ["0 1 -1 0 {a} 72", "0 -1 1 0 {b} 700", "-1 0 0 -1 500 {a}"])
def test_lines_that_are_drawn_turned_are_read_along_them(matrix: str) -> None:
    drawn = "".join(
        f"{matrix.format(a=100 + 20 * n, b=400 - 20 * n)} Tm (Line number {n} of the text) Tj " for n in range(4)
    )
    data = pdfs.with_contents(f"BT /F1 12 Tf {drawn} ET".encode(), b"", b"<< /Font 2 0 R >>")
    assert read_bytes(data, "a.pdf").text.split("\n") == [f"Line number {n} of the text" for n in range(4)]


def test_artificial_italics_stay_in_their_line() -> None:
    data = pdfs.with_contents(
        b"BT /F1 12 Tf 1 0 0 1 72 700 Tm (This is ) Tj 1 0 0.3333 1 120 700 Tm (very important) Tj "
        b"1 0 0 1 210 700 Tm ( for you.) Tj 1 0 0 1 72 680 Tm (The next line.) Tj ET",
        b"",
        b"<< /Font 2 0 R >>",
    )
    assert read_bytes(data, "a.pdf").text == "This is very important for you.\nThe next line."


def test_three_columns() -> None:
    rows = [
        ("the first column has", "while second column text", "and third one also has"),
        ("some words in it that", "goes on with other words", "its own story to tell"),
        ("people read downwards", "that belong together in", "us about the far north"),
        ("until the very bottom.", "another paragraph here.", "and its many reindeer."),
    ]
    drawn = "".join(
        f"1 0 0 1 {x} {700 - 16 * n} Tm ({words}) Tj "
        for n, row in enumerate(rows)
        for x, words in zip((50, 230, 410), row, strict=True)
    )
    data = pdfs.with_contents(f"BT /F1 11 Tf {drawn} ET".encode(), b"", b"<< /Font 2 0 R >>")
    assert read_bytes(data, "a.pdf").text.split("\n") == [row[column] for column in range(3) for row in rows]


def test_right_to_left_scripts_are_read_from_the_right() -> None:
    text = read("pdf_rtl_a.pdf").text
    assert text.split()[-1] == "غدا"
    assert text.index("بسبب") < text.index("25") < text.index("عقدة")


def test_exponents_are_told_from_digits() -> None:
    assert read("pdf_super_b.pdf").text == "The hall has 40 m² of floor, and 10⁶ bricks."


def test_a_raised_digit_after_a_small_letter_stays_in_its_line() -> None:
    up, down = b" /F1 8 Tf 5 Ts ", b" /F1 10 Tf 0 Ts "
    body = (
        b"BT /F1 10 Tf 72 700 Td (So x) Tj"
        + up
        + b"(2) Tj"
        + down
        + b"( + 10) Tj"
        + up
        + b"(6) Tj"
        + down
        + b"( is more.) Tj ET"
    )
    assert read_bytes(pdfs.with_contents(body, b""), "a.pdf").text == "So x² + 10⁶ is more."


def test_hyphens_of_names_and_addresses_stay_at_line_ends() -> None:
    assert read("pdf_hyphen_b.pdf").text == (
        "The well-known pilot has a part-time job since 2001-05. Write to anna-lind@port.example, "
        "see https://port.example/tide-table/plan."
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("www.example.org/a-\nb", "www.example.org/a-b"),
        ("a self-\nevident infor-\nmation", "a self-evident information"),
        ("mail jo-\nanna.x@b.example", "mail jo-anna.x@b.example"),
        ("long-\ner and well-\nness", "longer and wellness"),
    ],
)
def test_hyphens_at_line_ends(raw: str, expected: str) -> None:
    assert PageCleaner().clean(raw) == expected


@pytest.mark.parametrize("name", ["pdf_notounicode_a.pdf", "pdf_gnames_a.pdf"])
def test_fonts_without_a_way_back_to_unicode_are_found_out(name: str) -> None:
    with pytest.raises(FileFailure) as failure:
        read(name)
    assert failure.value.reason is FailureReason.NO_TEXT
    assert "fonts" in failure.value.message
    assert "OCR" in failure.value.message


def test_letters_that_cannot_be_decoded_are_noted() -> None:
    assert read("pdf_rtl_a.pdf").notes == {NoteKind.UNDECODABLE_TEXT: 1}


def test_words_from_right_to_left_within_a_line_are_in_reading_order() -> None:
    def run(text: str) -> TextRun:
        return TextRun(text, 0, 0, 100, 10)

    assert row_text([run("English with םולש inside")]) == "English with שלום inside"
    assert row_text([run("English with םלוע םולש (שא) 12 inside")]) == "English with שלום עולם (אש) 12 inside"
    assert row_text([run("םלוע םולש is a greeting")]) == "שלום עולם is a greeting"


def linked(text: str, *links: tuple[tuple[float, float, float, float], str]) -> bytes:
    """A page with links, each with its area."""
    writer = PdfWriter(io.BytesIO(pdfs.pdf([text])))
    for area, address in links:
        writer.add_annotation(0, Link(rect=area, url=address))
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def test_addresses_of_links_follow_their_words() -> None:
    text = "Register here or call.\nOr write here to us\ntoday.\nSee www.example.org/a for more."
    data = linked(
        text,
        ((117, 703, 141, 717), "mailto:crew@example.org"),
        ((120, 717, 144, 731), "https://example.org/register?a=1"),
        ((144, 703, 300, 717), "https://example.org/two lines"),
        ((72, 689, 300, 703), "https://example.org/two lines"),
        ((96.5, 675, 203, 689), "http://www.example.org/a/"),
        ((300, 300, 400, 400), "https://example.org/picture"),
        ((300, 300, 400, 400), "https://example.org/picture"),
        ((72, 600, 100, 610), "javascript:alert(1)"),
    )
    assert read_bytes(data, "a.pdf").text == (
        "Register [here](https://example.org/register?a=1) or call.\n"
        "Or write [here](mailto:crew@example.org) [to us\ntoday.](https://example.org/twolines)\n"
        "See www.example.org/a for more.\n\nhttps://example.org/picture"
    )


def test_many_links_with_the_same_words_are_told_apart() -> None:
    text = "\n".join(f"Row {n} 111 1" for n in range(2_000))
    links = [PageLink(f"https://example.org/{n}", "1", text.index(f"Row {n} ") + 5) for n in range(10, 500)]
    lines = with_addresses(text, links)[0].split("\n")
    assert lines[:10] == [f"Row {n} 111 1" for n in range(10)]
    assert lines[10:500] == [f"Row {n} 111 [1](https://example.org/{n})" for n in range(10, 500)]


def test_a_linked_title_stays_on_every_page() -> None:
    writer = PdfWriter()
    for number in range(1, 6):
        lines = "".join(f"(Line {n} of page {number} says something of its own.) Tj T* " for n in range(6))
        drawn = f"BT 72 700 Td 30 TL /F1 24 Tf (Results) Tj T* /F1 12 Tf {lines} ET".encode()
        one = PdfReader(io.BytesIO(pdfs.with_contents(drawn, b"", b"<< /Font 2 0 R >>")))
        writer.add_page(one.pages[0])
        writer.add_annotation(number - 1, Link(rect=(60, 690, 300, 730), url="https://example.org/"))
    target = io.BytesIO()
    writer.write(target)
    found = read_bytes(target.getvalue(), "a.pdf").pages
    assert [page.split("\n")[0] for page in found] == ["[Results](https://example.org/)"] * 5


@pytest.mark.parametrize("state", [b"/OFF [7 0 R]", b"/BaseState /OFF /ON [6 0 R]"])
def test_layers_that_are_off_are_left_out_and_noted(state: bytes) -> None:
    drawn = (
        b"BT /F1 12 Tf 72 700 Td (Always) Tj ET /OC /A BDC BT /F1 12 Tf 72 680 Td (English) Tj ET EMC "
        b"/OC /B BDC BT /F1 12 Tf 72 660 Td (Deutsch) Tj ET EMC /X Do"
    )
    inner = b"/OC /B BDC BT /F1 12 Tf 72 640 Td (Drinnen) Tj ET EMC BT /F1 12 Tf 72 620 Td (Inside) Tj ET"
    data = pdfs.plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R /OCProperties << /OCGs [6 0 R 7 0 R] /D << %b >> >> >>" % state,
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> /Properties << /A 6 0 R "
            b"/B 7 0 R >> /XObject << /X 8 0 R >> >>",
            pdfs.stream_object(drawn, b""),
            b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources 2 0 R /Contents 3 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
            b"<< /Type /OCG /Name (English) >>",
            b"<< /Type /OCG /Name (Deutsch) >>",
            pdfs.stream_object(inner, b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources 2 0 R"),
        ]
    )
    found = read_bytes(data, "a.pdf")
    assert found.text == "Always\nEnglish\nInside"
    assert found.notes == {NoteKind.HIDDEN: 1}
    assert found.wheres == ["page 1, layer Deutsch"]


def two_pages(*more: bytes, resources: bytes, page: bytes = b"") -> bytes:
    """A file of two pages that draw the form X and the marked content A, and have their own resources."""
    drawn = b"BT /F1 12 Tf 72 700 Td (Always) Tj ET /X Do /OC /A BDC BT /F1 12 Tf 72 660 Td (Marked) Tj ET EMC"
    font = b"/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    one = b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources << %b %b >> /Contents 6 0 R %b >>"
    return pdfs.plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R /OCProperties << /OCGs [7 0 R] /D << /OFF [7 0 R] >> >> >>",
            b"<< /A << /Type /OCMD /OCGs 7 0 R /P /AllOn >> >>",
            *[one % (font, resources, page)] * 2,
            b"<< /Type /Pages /Count 2 /Kids [3 0 R 4 0 R] >>",
            pdfs.stream_object(drawn, b""),
            b"<< /Type /OCG /Name (Deutsch) >>",
            b"<< /X 9 0 R >>",
            *more,
        ]
    )


_TEXT_FORM = (
    b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 "
    + (b"/BaseFont /Helvetica >> >> >>")
)


@pytest.mark.parametrize(
    ("resources", "text"),
    [(b"/XObject 8 0 R", "Always\nMarked"), (b"/Properties 2 0 R", "Always"), (b"/XObject 10 0 R", "Always\nMarked")],
)
def test_layers_that_are_off_are_left_out_on_all_pages_that_share_them(resources: bytes, text: str) -> None:
    form = pdfs.stream_object(b"BT /F1 12 Tf 72 680 Td (Form) Tj ET", _TEXT_FORM + b" /OC 7 0 R")
    outer = pdfs.stream_object(
        b"/X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject 8 0 R >>"
    )
    found = read_bytes(two_pages(form, b"<< /X 11 0 R >>", outer, resources=resources), "a.pdf")
    assert found.pages == [text, text]
    assert found.wheres == ["pages 1-2, layer Deutsch"]


def test_a_page_without_its_hidden_layers_is_copied_without_what_it_leads_to() -> None:
    form = pdfs.stream_object(b"BT /F1 12 Tf 72 680 Td (Form) Tj ET", _TEXT_FORM + b" /OC 7 0 R")
    bead = b"<< /Type /Bead /P 4 0 R /N 10 0 R /V 10 0 R >>"
    page = b"/B [10 0 R] /PieceInfo << /Program << /Private (of the program) >> >>"
    reader = PdfReader(io.BytesIO(two_pages(form, bead, resources=b"/XObject 8 0 R", page=page)))
    copy = Layers(reader).page_without_hidden(reader.pages[0])
    assert copy is not None
    assert b"Always" in copy
    assert (copy.count(b"/Contents"), b"of the program" in copy) == (1, False)


def test_forms_of_shared_resources_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[DictionaryObject] = []
    painted = pdf_reader._painted

    def counted(page: DictionaryObject) -> list[tuple[int, DictionaryObject]]:
        looked.append(page)
        return painted(page)

    monkeypatch.setattr(pdf_reader, "_painted", counted)
    inner = pdfs.stream_object(b"", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject 8 0 R >>")
    read_bytes(two_pages(inner, resources=b"/XObject 8 0 R"), "a.pdf")
    assert sum(each.get("/Subtype") == "/Form" for each in looked) == 2  # once for its size, once for its pictures


MEMBERSHIPS = {
    b"<< /Type /OCMD /OCGs [6 0 R 7 0 R] >>": False,
    b"<< /Type /OCMD /OCGs 7 0 R >>": True,
    b"<< /Type /OCMD /OCGs [6 0 R 7 0 R] /P /AllOn >>": True,
    b"<< /Type /OCMD /OCGs [6 0 R] /P /AnyOff >>": True,
    b"<< /Type /OCMD /OCGs [6 0 R 7 0 R] /P /AllOff >>": True,
    b"<< /Type /OCMD /OCGs 6 0 R /VE [/And 6 0 R [/Not 7 0 R]] >>": False,
    b"<< /Type /OCMD /OCGs 7 0 R /VE [/Or 7 0 R [/Not 6 0 R]] >>": True,
    b"<< /Type /OCMD >>": False,
    b"7 0 R": True,
    b"9 0 R": True,
    b"6 0 R": False,
}


@pytest.mark.parametrize(("membership", "hidden"), MEMBERSHIPS.items())
def test_forms_and_groups_of_layers_that_are_off_are_left_out_and_noted(membership: bytes, *, hidden: bool) -> None:
    drawn = b"BT /F1 12 Tf 72 700 Td (Always) Tj ET /X Do /Y Do /OC /A BDC BT /F1 12 Tf 72 660 Td (Marked) Tj ET EMC"
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources 2 0 R"
    data = pdfs.plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R /OCProperties << /OCGs [6 0 R 7 0 R 9 0 R] "
            b"/D << /OFF [7 0 R 9 0 R] >> >> >>",
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> /Properties << /A %b >> "
            b"/XObject << /X 8 0 R /Y 10 0 R /Unused 8 0 R >> >>" % membership,
            pdfs.stream_object(drawn, b""),
            b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources 2 0 R /Contents 3 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
            b"<< /Type /OCG /Name (English) >>",
            b"<< /Type /OCG /Name (Deutsch) >>",
            pdfs.stream_object(b"BT /F1 12 Tf 72 680 Td (Form) Tj ET", form + b" /OC %b" % membership),
            b"<< /Type /OCG /Name (English) >>",
            pdfs.stream_object(b"/X Do BT /F1 12 Tf 72 640 Td (Outer) Tj ET", form),
        ]
    )
    found = read_bytes(data, "a.pdf")
    assert found.text.split("\n") == (["Always", "Outer"] if hidden else ["Always", "Form", "Outer", "Marked"])
    assert found.notes == ({NoteKind.HIDDEN: 1} if hidden else {})


@pytest.mark.parametrize(("state", "hidden"), [("OFF", True), ("ON", False)])
def test_layers_for_printers_only_are_left_out(state: str, *, hidden: bool) -> None:
    usage = b"/AS [<< /Event /View /Category [/View] /OCGs [6 0 R] >>]"
    data = pdfs.plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R /OCProperties << /OCGs [6 0 R] /D << %b >> >> >>" % usage,
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> /Properties << /A 6 0 R >> >>",
            pdfs.stream_object(b"BT /F1 12 Tf 72 700 Td (Always) Tj /OC /A BDC 0 -20 Td (Draft) Tj EMC ET", b""),
            b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources 2 0 R /Contents 3 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
            b"<< /Type /OCG /Name (Proof) /Usage << /View << /ViewState /%b >> >> >>" % state.encode(),
        ]
    )
    assert read_bytes(data, "a.pdf").text == ("Always" if hidden else "Always\nDraft")


def linked_pages(lines: str, *links: tuple[tuple[float, float, float, float], str]) -> bytes:
    """Six pages of the same lines, with the number of the page for {page}, and the same links."""
    writer = PdfWriter()
    for page in range(1, 7):
        drawn = "".join(f"({line}) Tj T* " for line in lines.format(page=page).split("\n"))
        content = f"BT 72 700 Td 30 TL /F1 12 Tf {drawn} ET".encode()
        writer.add_page(PdfReader(io.BytesIO(pdfs.with_contents(content, b"", b"<< /Font 2 0 R >>"))).pages[0])
        for area, address in links:
            writer.add_annotation(page - 1, Link(rect=area, url=address))
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def test_links_of_pictures_do_not_keep_running_footers() -> None:
    text = "Line {page} is new.\nAnother {page} is, too.\nA third {page}.\nAcme Inc., yearly report\nPage {page} of 6"
    pictures = [((400.0, 20.0 + 30 * n, 420.0, 40.0 + 30 * n), f"https://example.org/{n}") for n in range(4)]
    plain, linked = (read_bytes(linked_pages(text, *links), "a.pdf").pages for links in ((), pictures))
    addresses = "\n".join(address for _, address in pictures)
    assert linked == [f"{plain[0]}\n\n{addresses}", *plain[1:]]
    assert "Page 2 of 6" not in plain[1]


def test_a_linked_running_header_is_one_whatever_its_address_is() -> None:
    text = "Acme Inc.\nLine {page} is new.\nAnother {page} is, too.\nA third {page}.\nA fourth {page} line."
    pages = read_bytes(linked_pages(text, ((60, 695, 200, 715), f"https://example.org/{'a' * 150}")), "a.pdf").pages
    assert ["Acme" in page for page in pages] == [True, *[False] * 5]


def test_a_link_does_not_make_a_scan_a_page_of_text() -> None:
    data = linked_pages("", ((60, 695, 200, 715), "https://example.org/scanner"))
    with pytest.raises(FileFailure) as caught:
        read_bytes(data, "a.pdf")
    assert caught.value.reason is FailureReason.NO_TEXT


def test_words_of_a_link_with_many_hyphens_are_looked_up_at_once() -> None:
    text = "".join(f"w{n}-\r\n" for n in range(60)) + "end"
    words = " ".join(f"w{n}-" for n in range(60))
    found = with_addresses(
        text, [PageLink("https://a.org/", f"{words} other", 0), PageLink("https://b.org/", "w1- w2", 0)]
    )
    assert found == (text.replace("w1-\r\nw2", "[w1-\r\nw2](https://b.org/)"), [f"[{words} other](https://a.org/)"])


def test_a_damaged_list_of_layers_hides_nothing() -> None:
    data = pdfs.plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R /OCProperties << /OCGs 6 0 R /D << /OFF 6 0 R >> >> >>",
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
            pdfs.stream_object(b"BT /F1 12 Tf 72 700 Td (Always) Tj ET", b""),
            b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources 2 0 R /Contents 3 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
            b"6 0 R",
        ]
    )
    assert read_bytes(data, "a.pdf").text == "Always"


def one_page(drawn: bytes, *more: bytes, catalog: bytes = b"", page: bytes = b"", resources: bytes = b"") -> bytes:
    """A file of a page of text and the given one."""
    font = b"/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    pages = b"/Type /Page /Parent 5 0 R /MediaBox [0 0 612 792]"
    return pdfs.plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R %b >>" % catalog,
            b"<< %b %b >>" % (font, resources),
            pdfs.stream_object(drawn, b""),
            b"<< %b /Resources 2 0 R /Contents 3 0 R %b >>" % (pages, page),
            b"<< /Type /Pages /Count 2 /Kids [7 0 R 4 0 R] >>",
            pdfs.stream_object(b"BT /F1 12 Tf 72 700 Td (First) Tj ET", b""),
            b"<< %b /Resources << %b >> /Contents 6 0 R >>" % (pages, font),
            *more,
        ]
    )


_IMAGE = b"/Type /XObject /Subtype /Image /Width 100 /Height 100 /ColorSpace /DeviceGray /BitsPerComponent 8"
_FORM = b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /XObject << /I 9 0 R >> >>"


@pytest.mark.parametrize(
    ("drawn", "notes"),
    [
        (b"100 0 0 100 0 0 cm /X Do", {NoteKind.SCANNED_PAGE: 1}),
        (b"0 0 m " + b"9 9 l 1 2 3 4 5 6 c " * 40 + b"f", {NoteKind.SCANNED_PAGE: 1}),
        (b"0 0 m 100 0 l S", {}),
        (b"BT /F1 12 Tf 72 700 Td (Text) Tj ET /X Do", {NoteKind.PICTURE: 1}),
    ],
    ids=["a picture in a form", "outlines", "a line", "a picture in a form beside text"],
)
def test_pages_of_pictures_and_outlines_are_noted(drawn: bytes, notes: dict[NoteKind, int]) -> None:
    form, image = pdfs.stream_object(b"/I Do", _FORM), pdfs.stream_object(bytes(10_000), _IMAGE)
    found = read_bytes(one_page(drawn, form, image, resources=b"/XObject << /X 8 0 R >>" * (b"/X" in drawn)), "a.pdf")
    assert found.pages[0] == "First"
    assert found.notes == notes


@pytest.mark.parametrize(
    ("annotation", "text", "notes"),
    [
        (b"/FreeText /RC (<body><p>Typed &amp; <b>bold</b></p></body>)", "Typed & bold", {}),
        (b"/FreeText", "", {NoteKind.ANNOTATION: 1}),
        (b"/Watermark", "", {NoteKind.ANNOTATION: 1}),
    ],
)
def test_text_on_a_page_in_other_ways_is_read_or_noted(
    annotation: bytes, text: str, notes: dict[NoteKind, int]
) -> None:
    annotations = b"/Annots [<< /Type /Annot /Rect [9 9 99 99] /Subtype %b >>]" % annotation
    found = read_bytes(one_page(b"BT /F1 12 Tf 72 700 Td (Text) Tj ET", page=annotations), "a.pdf")
    assert found.pages[1] == f"Text\n\n{text}".strip()
    assert found.notes == notes


@pytest.mark.parametrize(
    ("catalog", "notes"),
    [
        (b"/AcroForm << /XFA (x) /Fields [] >>", {NoteKind.OBJECT: 1}),
        (b"/NeedsRendering true /AcroForm << /XFA (x) /Fields [<< /T (a) >>] >>", {NoteKind.OBJECT: 1}),
        (b"/AcroForm << /XFA (x) /Fields [<< /T (a) >>] >>", {}),
    ],
)
def test_a_form_that_one_program_shows_is_noted(catalog: bytes, notes: dict[NoteKind, int]) -> None:
    data = one_page(b"BT /F1 12 Tf 72 700 Td (Please wait) Tj ET", catalog=catalog)
    assert read_bytes(data, "a.pdf").notes == notes
