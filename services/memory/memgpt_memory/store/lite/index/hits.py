"""The results of a search: scores, and the rows that they belong to, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from memgpt_memory.store.lite.index.bm25 import Numbers, Scores
from memgpt_memory.store.lite.index.segment import Segment
from memgpt_memory.store.rows import Vector

Query: TypeAlias = npt.NDArray[np.float64]
"""A vector to search for, in double precision."""

Scored: TypeAlias = tuple[Segment, Numbers, Scores]
"""Some rows of a segment, and their scores."""

_CHUNK_ROWS = 8_192
"""Rows whose exact scores are computed at a time."""


@dataclass(frozen=True, slots=True)
class Hits:
    """The results of a search, best first.

    Attributes:
        keys: The keys of the rows.
        scores: Their scores.
        total: How many rows match in all.
    """

    keys: list[str]
    scores: list[float]
    total: int
    _places: list[tuple[Segment, Numbers, Numbers]] = field(default_factory=list)

    def column(self, name: str) -> list[object]:
        """Return the values of a column."""
        values: list[object] = [None] * len(self.keys)
        for segment, rows, positions in self._places:
            for position, value in zip(positions.tolist(), segment.column(name, rows), strict=True):
                values[position] = value
        return values


def products(segment: Segment, rows: Numbers, query: Vector) -> Scores:
    """Return approximate inner products of some rows; reading all in order is faster than picking half of them."""
    if len(rows) * 4 > len(segment):
        products = segment.vectors @ query
        return np.asarray(products if len(rows) == len(segment) else products[rows], np.float32)
    return np.asarray(segment.vectors[rows] @ query, np.float32)


def margin(query: Query) -> float:
    """Return a bound on the error of `products`, for vectors of length one."""
    return float(len(query) * np.finfo(np.float32).eps * max(float(np.linalg.norm(query)), 1.0))


def candidates(found: list[Scored], limit: int, margin: float) -> list[Scored]:
    """Keep the rows that may be among the best: how sums are rounded depends on how many are computed at a time."""
    scores = np.concatenate([scores for _, _, scores in found])
    least = np.partition(scores, len(scores) - limit)[len(scores) - limit] - margin
    return [(segment, rows[scores >= least], scores[scores >= least]) for segment, rows, scores in found]


def exact(segment: Segment, rows: Numbers, query: Query) -> Scores:
    """Return inner products in double precision, so that a score does not depend on the other rows of its batch."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = segment.vectors[rows[start : start + _CHUNK_ROWS]].astype(np.float64)
        scores[start : start + _CHUNK_ROWS] = chunk @ query
    return scores


def best(found: list[Scored], limit: int, total: int) -> Hits:
    """Put rows in order of the score, and of the key among equal ones."""
    if not found or not limit:
        return Hits([], [], total)
    scores = np.concatenate([scores for _, _, scores in found])
    keys = np.concatenate([segment.keys[rows] for segment, rows, _ in found])
    order = np.lexsort((keys, -scores))[:limit]
    positions = np.full(len(scores), -1, np.int64)
    positions[order] = np.arange(len(order))
    return Hits(
        [key.decode() for key in keys[order].tolist()],
        scores[order].tolist(),
        total,
        list(_places(found, positions)),
    )


def _places(found: list[Scored], positions: Numbers) -> Iterator[tuple[Segment, Numbers, Numbers]]:
    begin = 0
    for segment, rows, _ in found:
        of_these = positions[begin : begin + len(rows)]
        begin += len(rows)
        chosen = of_these >= 0
        if chosen.any():
            yield segment, rows[chosen], of_these[chosen]
