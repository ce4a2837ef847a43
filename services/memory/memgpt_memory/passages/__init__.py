"""Passages as rows of archival memory, and the index of one embedding model that holds them."""

from __future__ import annotations

from memgpt_memory.passages._model import NewPassage, Passage, StoredNote, VisibleVersion
from memgpt_memory.passages._passages import (
    MAX_NOTE_TOKENS,
    Changes,
    EmbeddedTexts,
    EmbeddingIndex,
    Passages,
    document_passage_id,
    document_row,
    fits,
    indexed_words,
    note_id,
    note_row,
    passage_of,
    texts_of,
)

__all__ = [
    "MAX_NOTE_TOKENS",
    "Changes",
    "EmbeddedTexts",
    "EmbeddingIndex",
    "NewPassage",
    "Passage",
    "Passages",
    "StoredNote",
    "VisibleVersion",
    "document_passage_id",
    "document_row",
    "fits",
    "indexed_words",
    "note_id",
    "note_row",
    "passage_of",
    "texts_of",
]
