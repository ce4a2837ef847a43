"""The ranking of a query over a snapshot, page by page, and the fusion of its head."""

from __future__ import annotations

from memgpt_memory.ranking._fusion import HEAD, SIMILARITY_WEIGHT, HeadHit, Scored, fuse
from memgpt_memory.ranking._ranking import Position, Rankings, SearchMode

__all__ = [
    "HEAD",
    "SIMILARITY_WEIGHT",
    "HeadHit",
    "Position",
    "Rankings",
    "Scored",
    "SearchMode",
    "fuse",
]
