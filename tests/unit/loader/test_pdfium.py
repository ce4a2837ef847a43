from __future__ import annotations

import pytest
from memgpt_loader.formats import File
from memgpt_loader.formats.pdf.pdfium import PdfiumTexts

from tests.support import pdfs


def test_pages_of_a_long_file_which_is_opened_several_times() -> None:
    pages = [f"Page {number}" for number in range(1, 251)]
    with PdfiumTexts(File(pdfs.pdf_of_pages(pages), "a.pdf", "application/pdf")) as texts:
        assert [page.text for number in range(1, 251) if (page := texts.page(number))] == pages
        assert texts.page(251) is None


def test_characters_beyond_the_first_plane() -> None:
    with PdfiumTexts(File(pdfs.in_any_script(["An 🦊 and a 𠀋."]), "a.pdf", "application/pdf")) as texts:
        page = texts.page(1)
        assert page is not None
        assert page.text == "An 🦊 and a 𠀋."


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", pdfs.pdf(["x"], password="secret")])
def test_what_it_cannot_open_has_no_pages(data: bytes) -> None:
    with PdfiumTexts(File(data, "a.pdf", "application/pdf")) as texts:
        assert texts.page(1) is None
