"""Archival memory: search and listing of an agent's notes and of the passages of its sources."""

from __future__ import annotations

from memgpt_memory.archival._archive import Archive, Scope
from memgpt_memory.archival._model import PassageFilter

__all__ = [
    "Archive",
    "PassageFilter",
    "Scope",
]
