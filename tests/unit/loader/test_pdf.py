from __future__ import annotations

from pathlib import Path

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.pdf import PdfFile

from tests.unit.loader import pdfs


def read(tmp_path: Path, data: bytes, max_pages: int = 100) -> list[str]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return list(PdfFile(path, max_pages=max_pages).texts())


def test_a_page_is_a_document(tmp_path: Path) -> None:
    assert read(tmp_path, pdfs.pdf(["First page\nof three", "", "Third"])) == ["First page\nof three", "", "Third"]


def test_the_paper(paper: Path) -> None:
    texts = list(PdfFile(paper, max_pages=13).texts())
    assert len(texts) == 13
    assert texts[0].startswith("MemGPT: Towards LLMs as Operating Systems")
    assert "have revolutionized AI, but are constrained" in texts[0].replace("\n", " ")


def test_one_that_only_restricts_printing_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, pdfs.pdf(["open"], password="", owner_password="owner")) == ["open"]


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (pdfs.pdf(["secret"], password="hunter2"), FailureReason.ENCRYPTED, "without the password"),
        (pdfs.pdf(["", ""]), FailureReason.NO_TEXT, "OCR"),
        (pdfs.pdf(["x"] * 101), FailureReason.TOO_LARGE, "101 pages"),
        (b"%PDF-1.7\n", FailureReason.BROKEN, "cannot be read as a PDF"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 50, FailureReason.BROKEN, "cannot be read as a PDF"),
        (pdfs.pdf(["cut off"] * 20)[:1500], FailureReason.BROKEN, "damaged or incomplete"),
        (pdfs.pdf([]), FailureReason.EMPTY, "no pages"),
        (pdfs.bomb(), FailureReason.TOO_LARGE, "Page 1"),
    ],
    ids=["encrypted", "scan", "many pages", "header only", "garbage", "truncated", "no pages", "bomb"],
)
def test_a_bad_pdf_is_a_typed_failure(tmp_path: Path, data: bytes, reason: FailureReason, says: str) -> None:
    with pytest.raises(FileFailure) as failure:
        read(tmp_path, data)
    assert failure.value.reason is reason
    assert says in failure.value.message
