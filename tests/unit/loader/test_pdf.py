from __future__ import annotations

from pathlib import Path

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, FileLimits, NoteKind
from memgpt_loader.formats.pdf import reader as pdf

from tests.support import pdfs


def read(tmp_path: Path, data: bytes, max_pages: int = 100) -> list[str]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return texts(path, max_pages)


def texts(path: Path, max_pages: int = 100) -> list[str]:
    limits = FileLimits(max_pages=max_pages, max_chars=10_000_000, max_unpacked_bytes=1 << 30, max_tokens=300)
    pages = list(pdf.parse(File(path, "a.pdf", "application/pdf"), limits).pages)
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    return [page.text for page in pages]


def _painted_bomb() -> bytes:
    """A page that paints a form, which expands to very much."""
    form = pdfs.stream_object(pdfs.packed_blanks(200), b"/Type /XObject /Subtype /Form /Filter /FlateDecode")
    return pdfs.with_contents(b"/Fm1 Do", b"", b"<< /XObject << /Fm1 6 0 R >> >>", form)


def test_a_page_is_a_document(tmp_path: Path) -> None:
    assert read(tmp_path, pdfs.pdf(["First page\nof three", "", "Third"])) == ["First page\nof three", "", "Third"]


def test_the_paper(paper: Path) -> None:
    pages = texts(paper, max_pages=13)
    assert len(pages) == 13
    assert pages[0].startswith("MemGPT: Towards LLMs as Operating Systems")
    assert "have revolutionized AI, but are constrained" in pages[0].replace("\n", " ")
    for number, page in enumerate(pages[1:], start=2):  # the running header and the page's number are gone
        assert not page.startswith("MemGPT: Towards LLMs")
        assert not page.endswith(f"\n{number}")


def test_pages_that_are_pictures_among_others_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pdfs.pdf(["text", pdfs.PICTURE, "", pdfs.PICTURE, pdfs.PICTURE, "text"]))
    limits = FileLimits(max_pages=100, max_chars=10_000, max_unpacked_bytes=1 << 30, max_tokens=300)
    parsed = pdf.parse(File(path, "a.pdf", "application/pdf"), limits)
    assert [page.text for page in parsed.pages] == ["text", "", "", "", "", "text"]
    (note,) = parsed.notes
    assert (note.kind, note.count, note.where) == (NoteKind.SCANNED_PAGE, 3, "pages 2, 4-5")


def test_one_that_only_restricts_printing_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, pdfs.pdf(["open"], password="", owner_password="owner")) == ["open"]


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (pdfs.pdf(["secret"], password="hunter2"), FailureReason.ENCRYPTED, "without the password"),
        (pdfs.pdf(["", ""]), FailureReason.NO_TEXT, "OCR"),
        (pdfs.pdf(["x"] * 101), FailureReason.TOO_LARGE, "101 pages"),
        (b"%PDF-1.7\n", FailureReason.BROKEN, "the PDF is damaged"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 50, FailureReason.BROKEN, "the PDF is damaged"),
        (pdfs.pdf(["cut off"] * 20)[:1500], FailureReason.BROKEN, "damaged or incomplete"),
        (pdfs.pdf([]), FailureReason.EMPTY, "no pages"),
        (pdfs.bomb(), FailureReason.TOO_LARGE, "page 1"),
        (_painted_bomb(), FailureReason.TOO_LARGE, "page 1"),
        (pdfs.loop(), FailureReason.BROKEN, "the PDF is damaged"),
    ],
    ids=[
        *("encrypted", "scan", "many pages", "header only", "garbage", "truncated", "no pages", "bomb"),
        *("bomb in a form", "loop"),
    ],
)
def test_a_bad_pdf_is_a_typed_failure(tmp_path: Path, data: bytes, reason: FailureReason, says: str) -> None:
    with pytest.raises(FileFailure) as failure:
        read(tmp_path, data)
    assert failure.value.reason is reason
    assert says in failure.value.message
