"""The head of a ranking, where keyword matches (BM25) and similarity are fused; page tokens pin it.

The order by similarity can be rebuilt exactly at any time; the order by BM25 cannot, because its statistics change with
every flush, even of other owners. So only the head of a ranking depends on BM25, and the page token pins it: five bytes
of a hash for each of its passages.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD = 200
"""Passages of each ranker that are fused."""

SIMILARITY_WEIGHT = 0.4
"""Weight of similarity; words have the rest. ``benchmarks.fusion`` chooses it.

Similarity is scaled from its least to its greatest score in the head, since models differ in the range of their
cosines. BM25 has a meaningful zero, no shared word, so its scores are fractions of the best one: rows that share the
same words with the query stay close together, and similarity orders them.
"""

_MARK_BYTES = 5


@dataclass(frozen=True, slots=True)
class HeadHit:
    """A passage of the head; its id is empty if it was deleted after it was pinned."""

    id: str
    owner: str
    dense: float | None = None
    text: float | None = None
    fused: float | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A passage and its score by one ranker; higher is better."""

    id: str
    owner: str
    score: float


def fuse(dense: Sequence[Scored], text: Sequence[Scored]) -> list[HeadHit]:
    """Fuse the heads of two rankings, best first; equal scores in order of the id."""
    by_dense, by_text = {one.id: one for one in dense}, {one.id: one for one in text}
    dense_part, text_part = _spread(dense), _fractions(text)
    head = [
        HeadHit(
            id_,
            (by_dense.get(id_) or by_text[id_]).owner,
            by_dense[id_].score if id_ in by_dense else None,
            by_text[id_].score if id_ in by_text else None,
            SIMILARITY_WEIGHT * dense_part.get(id_, 0.0) + (1 - SIMILARITY_WEIGHT) * text_part.get(id_, 0.0),
        )
        for id_ in by_dense | by_text
    ]
    return sorted(head, key=lambda hit: (-(hit.fused or 0.0), hit.id))


def pin(ids: Iterable[str]) -> str:
    """Return the ids of a head as text for a token."""
    return base64.b64encode(b"".join(map(mark, ids))).decode()


def pinned(text: str) -> list[bytes]:
    """Return the marks that `pin` made."""
    marks = base64.b64decode(text)
    return [marks[start : start + _MARK_BYTES] for start in range(0, len(marks), _MARK_BYTES)]


def mark(id_: str) -> bytes:
    """Return five bytes for an id. Among a million passages, the chance that one of 400 collides is 1 in 2,700."""
    return hashlib.blake2s(id_.encode(), digest_size=_MARK_BYTES).digest()


def _fractions(ranked: Sequence[Scored]) -> dict[str, float]:
    """Return the scores as fractions of the greatest one."""
    most = max((one.score for one in ranked), default=0.0)
    return {one.id: one.score / most if most else 1.0 for one in ranked}


def _spread(ranked: Sequence[Scored]) -> dict[str, float]:
    """Return the scores scaled from the least to the greatest one, 0 to 1."""
    if not ranked:
        return {}
    least, most = min(one.score for one in ranked), max(one.score for one in ranked)
    spread = most - least
    return {one.id: (one.score - least) / spread if spread else 1.0 for one in ranked}
