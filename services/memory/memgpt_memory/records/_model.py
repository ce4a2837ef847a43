"""Rows of the collection of records, and the base of what their bodies hold."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from memgpt_memory.store.rows import RecordRow as Record

__all__ = ["Record", "StoredModel", "TextRef"]


class StoredModel(BaseModel):
    """A row's body: JSON, unknown fields ignored, so that a newer version's additions do no harm."""

    model_config = ConfigDict(extra="ignore")


class TextRef(StoredModel):
    """Which version of a text holds, and over how many rows it goes on. Version 0 is the empty text, not stored."""

    version: int = 0
    parts: int = 0
