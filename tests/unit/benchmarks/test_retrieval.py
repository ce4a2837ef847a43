"""Measures of retrieval, and the data set that ships."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.common import PAPER_SET
from benchmarks.retrieval import interval, read, recall, reciprocal_rank

RELEVANT = frozenset({"b", "e"})


def test_recall_is_the_part_found():
    assert recall("abcde", RELEVANT, 5) == 1.0
    assert recall("abcde", RELEVANT, 4) == 0.5
    assert recall("acd", RELEVANT, 5) == 0.0


def test_reciprocal_rank_is_that_of_the_first():
    assert reciprocal_rank("abcde", RELEVANT) == 0.5
    assert reciprocal_rank("eb", RELEVANT) == 1.0
    assert reciprocal_rank([*"0123456789", "b"], RELEVANT) == 0.0


def test_the_interval_is_paired():
    ones, noise = [0.5, 1.0, 0.0, 0.7] * 20, [0.1, -0.1] * 40
    assert interval(ones, ones) == (0.0, 0.0)
    better = [one + 0.2 for one in ones]
    assert interval(better, ones) == pytest.approx((0.2, 0.2))  # though the questions differ by more than that
    low, high = interval([one + more for one, more in zip(ones, noise, strict=True)], ones)
    assert low < 0 < high


def test_a_data_set_is_read(tmp_path: Path):
    lines = [{"id": "1", "text": "One."}, {"id": "2", "text": "Two."}, {"query": "Which?", "relevant": ["2"]}]
    path = tmp_path / "set.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)))
    data = read(path)
    assert data.documents == {"1": "One.", "2": "Two."}
    assert data.questions == [("Which?", frozenset({"2"}))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "1"}', "line 1: neither a document nor a question"),
        ('{"id": "1", "text": "One."}\n{"query": "Which?", "relevant": []}', "line 2: neither"),
        ('{"query": "Which?", "relevant": ["3"]}', "documents that are not there: 3"),
        ('{"id": "1", "text": "One."}', "there are no questions"),
    ],
)
def test_a_data_set_that_makes_no_sense(tmp_path: Path, text: str, message: str):
    path = tmp_path / "set.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read(path)


def test_the_set_that_ships():
    data = read(PAPER_SET)
    assert len(data.questions) >= 60
    assert len({query for query, _ in data.questions}) == len(data.questions)
    pages = {id_[:7] for _, relevant in data.questions for id_ in relevant}
    assert len(pages) == 13, "every page has questions"
