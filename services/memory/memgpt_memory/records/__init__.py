"""Small rows by key: versioned texts, unique names, and the responses of requests that may be sent twice."""

from __future__ import annotations

from memgpt_memory.records._directory import Body
from memgpt_memory.records._idempotency import RETENTION, IdempotencyStore
from memgpt_memory.records._journal import Journal
from memgpt_memory.records._model import MissingTextError, Record, StoredModel, TextRef
from memgpt_memory.records._names import Names, name_key
from memgpt_memory.records._records import Records, ids_of, key_of, split, text_ids, text_records
from memgpt_memory.records._text_rows import TextRows

__all__ = [
    "RETENTION",
    "Body",
    "IdempotencyStore",
    "Journal",
    "MissingTextError",
    "Names",
    "Record",
    "Records",
    "StoredModel",
    "TextRef",
    "TextRows",
    "ids_of",
    "key_of",
    "name_key",
    "split",
    "text_ids",
    "text_records",
]
