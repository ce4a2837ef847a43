from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, FileLimits
from memgpt_loader.formats.pdf import reader as pdf
from memgpt_loader.parsing.extract import MAX_PASSAGE_CHARS, chunker_version, extract
from memgpt_runtime.tokens import count_tokens

LIMITS = FileLimits(max_pages=100, max_chars=1_000_000, max_unpacked_bytes=1 << 30, max_tokens=300)


def test_the_paper_in_passages(paper: Path) -> None:
    file = extract(paper, "paper.pdf", LIMITS)
    pages = list(file.pages)
    texts = [page.text for page in pdf.parse(File(paper, "paper.pdf", "application/pdf"), LIMITS).pages]
    assert (file.media_type, file.documents, len(pages)) == ("application/pdf", 13, 13)
    assert [page.number for page in pages] == list(range(1, 14))
    passages = [(page, passage) for page in pages for passage in page.passages]
    assert 60 <= len(passages) <= 90
    for page, passage in passages:
        assert texts[page.number - 1][passage.start : passage.end] == passage.text
        assert 0 < count_tokens(passage.text) <= 300


def test_reading_twice_gives_the_same(paper: Path) -> None:
    first, second = ([*extract(paper, "paper.pdf", LIMITS).pages] for _ in range(2))
    assert first == second


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "spooled"
    path.write_text("\n".join(f"Sentence number {n} of the file." for n in range(200)), encoding="utf-8")
    file = extract(path, "notes.md", LIMITS)
    (page,) = file.pages
    assert (file.media_type, file.documents, page.number) == ("text/markdown", 1, 0)
    assert len(page.passages) > 3


def test_passages_overlap_as_asked_for_and_point_back(paper: Path) -> None:
    texts = [page.text for page in pdf.parse(File(paper, "paper.pdf", "application/pdf"), LIMITS).pages]
    overlapping = 0
    for page in extract(paper, "paper.pdf", replace(LIMITS, overlap_tokens=40)).pages:
        for before, after in itertools.pairwise(page.passages):
            assert before.start < after.start
            assert count_tokens(texts[page.number - 1][after.start : before.end]) <= 40
            overlapping += after.start < before.end
        for passage in page.passages:
            assert texts[page.number - 1][passage.start : passage.end] == passage.text
            assert count_tokens(passage.text) <= 300
    assert overlapping > 50


def test_too_much_text(tmp_path: Path) -> None:
    path = tmp_path / "spooled"
    path.write_text("word " * 1000, encoding="utf-8")
    with pytest.raises(FileFailure, match="split it") as failure:
        list(extract(path, "a.txt", replace(LIMITS, max_chars=4000)).pages)
    assert failure.value.reason is FailureReason.TOO_LARGE


@given(gap=st.integers(0, 3 * MAX_PASSAGE_CHARS))
def test_white_space_makes_no_giant_passage(gap: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("gap") / "spooled"
    text = "before" + " " * gap + "after"
    path.write_text(text, encoding="utf-8")
    (page,) = extract(path, "a.txt", LIMITS).pages
    assert all(len(passage.text) <= MAX_PASSAGE_CHARS for passage in page.passages)
    assert all(text[passage.start : passage.end] == passage.text for passage in page.passages)
    assert "".join("".join(passage.text for passage in page.passages).split()) == "beforeafter"


def test_the_version_names_all_that_decides() -> None:
    assert len({chunker_version(300, 0), chunker_version(200, 0), chunker_version(300, 20)}) == 3
    assert len(chunker_version(10_000, 5_000)) <= 32
