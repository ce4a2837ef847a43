"""The rows in which sources and their files are stored."""

from __future__ import annotations

from pydantic import Field

from memgpt_memory.passages import VisibleVersion
from memgpt_memory.records import StoredModel


class SourceRow(StoredModel):
    """A source."""

    tenant: str
    name: str
    description: str = ""
    created: int
    deleting: bool = False


class FileRow(StoredModel):
    """A file of a source. Writing this row switches versions: visible passages are those of `visible`, no others."""

    source_id: str
    name: str
    visible: VisibleVersion | None = None
    staged: str = ""
    garbage: list[str] = Field(default=[])
