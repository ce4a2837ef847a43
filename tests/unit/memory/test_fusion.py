"""The fusion of two heads: which scores decide."""

from __future__ import annotations

import pytest
from memgpt_memory.ranking import SIMILARITY_WEIGHT, Scored, fuse


def ranked(**scores: float) -> list[Scored]:
    return [Scored(id_, "owner", score) for id_, score in sorted(scores.items(), key=lambda one: -one[1])]


def test_similarity_orders_rows_that_share_the_same_words():
    """The words differ by a hair, as by a text's length: they must not outweigh a clear difference in meaning."""
    fused = fuse(ranked(a=0.2, b=0.6, c=0.1), ranked(a=3.02, b=3.0, c=2.98))
    assert [hit.id for hit in fused] == ["b", "a", "c"]


def test_the_range_of_cosines_does_not_matter():
    words = ranked(a=3.0, b=2.0)
    narrow, wide = fuse(ranked(a=0.80, b=0.82, c=0.81), words), fuse(ranked(a=0.0, b=1.0, c=0.5), words)
    assert [hit.fused for hit in narrow] == pytest.approx([hit.fused for hit in wide])


def test_a_row_of_one_head_has_no_share_of_the_other():
    fused = {hit.id: hit for hit in fuse(ranked(a=0.9, b=0.1), ranked(c=4.0, d=1.0))}
    assert fused["a"].fused == pytest.approx(SIMILARITY_WEIGHT)
    assert fused["c"].fused == pytest.approx(1 - SIMILARITY_WEIGHT)
    assert fused["d"].fused == pytest.approx((1 - SIMILARITY_WEIGHT) / 4)
    assert (fused["a"].text, fused["c"].dense) == (None, None)


def test_empty_heads_and_equal_scores():
    assert fuse([], []) == []
    assert [hit.id for hit in fuse(ranked(b=0.5, a=0.5), [])] == ["a", "b"]
    assert [hit.fused for hit in fuse([], ranked(a=2.0))] == [pytest.approx(1 - SIMILARITY_WEIGHT)]
