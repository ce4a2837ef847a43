"""A brute-force oracle for archival search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from memgpt.memory.v1 import passage_pb2
from memgpt_memory.embedding._static_vectors import StaticVectors

TOLERANCE = 1e-3
"""Tolerance of scores: Memory rounds vectors so that inner products are exact."""


@cache
def model() -> StaticVectors:
    """The bundled model."""
    return StaticVectors()


@cache
def vector(text: str) -> np.ndarray:
    """Return the embedding of a text."""
    found: np.ndarray = model().embed([text])[0]
    return found


def score(query: str, text: str) -> float:
    """Return the cosine similarity of a query and a passage."""
    return float(vector(query) @ vector(text))


def check_ranking(
    query: str, hits: Sequence[passage_pb2.PassageHit], expected: Mapping[str, str], rank: int = 0
) -> None:
    """Assert that hits are the whole ranking of the expected passages: no duplicates, none missing, best first.

    Args:
        query: The query.
        hits: The hits of all pages.
        expected: Texts of the expected passages by id.
        rank: Rank of the first hit.
    """
    found = [hit.passage.passage_id for hit in hits]
    assert len(set(found)) == len(found), "a passage came twice"
    assert set(found) == set(expected), (len(found), len(expected), set(found) ^ set(expected))
    check_order(query, hits, expected)
    assert [hit.rank for hit in hits] == list(range(rank, rank + len(hits)))


def check_order(query: str, hits: Sequence[passage_pb2.PassageHit], expected: Mapping[str, str]) -> None:
    """Assert text, score and order of hits: by score, then by id."""
    for hit in hits:
        assert hit.passage.text == expected[hit.passage.passage_id]
        assert abs(hit.dense_score - score(query, hit.passage.text)) < TOLERANCE
    for one, other in pairwise(hits):
        better = score(query, one.passage.text) - score(query, other.passage.text)
        assert better > -TOLERANCE
        if one.passage.text == other.passage.text:
            assert one.dense_score == other.dense_score, "equal passages have unequal scores"
            assert one.passage.passage_id < other.passage.passage_id
