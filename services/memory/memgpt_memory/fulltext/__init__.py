"""The words of a text, as full-text search indexes and queries them."""

from __future__ import annotations

from memgpt_memory.fulltext._tokenizer import query_words, words_of

__all__ = [
    "query_words",
    "words_of",
]
