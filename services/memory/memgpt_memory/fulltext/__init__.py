"""The words of a text, as full-text search indexes and queries them."""

from __future__ import annotations

from memgpt_memory.fulltext._folding import fold
from memgpt_memory.fulltext._tokenizer import VERSION, query_words, words_of

__all__ = [
    "VERSION",
    "fold",
    "query_words",
    "words_of",
]
