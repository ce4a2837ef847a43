"""What archival search must answer, by brute force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from memgpt.memory.v1 import passage_pb2
from memgpt_memory.embedding._static_vectors import StaticVectors

TOLERANCE = 1e-3
"""By which a score may differ from the true cosine: Memory rounds vectors so that inner products are exact."""


@cache
def model() -> StaticVectors:
    """The bundled model."""
    return StaticVectors()


@cache
def vector(text: str) -> np.ndarray:
    """The embedding of a text."""
    found: np.ndarray = model().embed([text])[0]
    return found


def score(query: str, text: str) -> float:
    """The cosine of a query and a passage."""
    return float(vector(query) @ vector(text))


def check_ranking(
    query: str, hits: Sequence[passage_pb2.PassageHit], expected: Mapping[str, str], rank: int = 0
) -> None:
    """Asserts that hits are the whole ranking of the expected passages: none twice, none missing, best first.

    Args:
        query: What was searched.
        hits: All pages put together.
        expected: Texts by the ids of the passages that must be there.
        rank: Rank of the first hit.
    """
    found = [hit.passage.passage_id for hit in hits]
    assert len(set(found)) == len(found), "a passage came twice"
    assert set(found) == set(expected), (len(found), len(expected), set(found) ^ set(expected))
    check_order(query, hits, expected)
    assert [hit.rank for hit in hits] == list(range(rank, rank + len(hits)))


def check_order(query: str, hits: Sequence[passage_pb2.PassageHit], expected: Mapping[str, str]) -> None:
    """Asserts text, score and order of hits: by score, and by id where the score is the same."""
    for hit in hits:
        assert hit.passage.text == expected[hit.passage.passage_id]
        assert abs(hit.dense_score - score(query, hit.passage.text)) < TOLERANCE
    for one, other in pairwise(hits):
        better = score(query, one.passage.text) - score(query, other.passage.text)
        assert better > -TOLERANCE
        if one.passage.text == other.passage.text:
            assert one.dense_score == other.dense_score, "equal passages have unequal scores"
            assert one.passage.passage_id < other.passage.passage_id
