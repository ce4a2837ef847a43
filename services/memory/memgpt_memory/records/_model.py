"""Rows of the collection of records, and the base of what their bodies hold."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class StoredModel(BaseModel):
    """A row's body: JSON, unknown fields ignored, so that a newer version's additions do no harm."""

    model_config = ConfigDict(extra="ignore")


class TextRef(StoredModel):
    """Which version of a text holds, and over how many rows it goes on. Version 0 is the empty text, not stored."""

    version: int = 0
    parts: int = 0


@dataclass(slots=True)
class Record:
    """A row of the collection of records.

    Attributes:
        id: Its key.
        kind: What it is.
        tenant: Whose it is.
        parent: Id of what it belongs to and goes with.
        created: When it was first written.
        body: JSON, or a piece of a text.
    """

    id: str
    kind: str
    tenant: str
    parent: str
    created: int
    body: str
