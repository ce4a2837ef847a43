"""Rows of the collection of records, and the base of what their bodies hold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from memgpt_memory.store.rows import RecordRow as Record

__all__ = ["MissingTextError", "Record", "StoredModel", "TextRef"]


class MissingTextError(LookupError):
    """A text that a row points to has gone: the row's owner is being deleted, or the store is damaged."""


class StoredModel(BaseModel):
    """The body of a row: JSON whose unknown fields are ignored, so that additions of newer versions do no harm."""

    model_config = ConfigDict(extra="ignore")


class TextRef(StoredModel):
    """The current version of a text, and its number of rows. Version 0 is the empty text, which is not stored."""

    version: int = 0
    parts: int = 0
