"""The rows in which sources and their files are stored."""

from __future__ import annotations

from pydantic import Field

from memgpt_memory.passages import VisibleVersion
from memgpt_memory.records import StoredModel


class SourceRow(StoredModel):
    """A source; `version` grows with every change of its name or description."""

    tenant: str
    name: str
    description: str = ""
    created: int
    deleting: bool = False
    version: int = 0

    @property
    def etag(self) -> str:
        """An etag that changes with the name and the description."""
        return f"s{self.version}"


class FileRow(StoredModel):
    """A file of a source. Writing this row switches versions: visible passages are those of `visible`, no others."""

    source_id: str
    name: str
    visible: VisibleVersion | None = None
    staged: str = ""
    garbage: list[str] = Field(default=[])


class SummaryRow(StoredModel):
    """Totals of the visible files of a source, so that they need not all be read.

    The row is written before the visible version of a file changes. It leaves that file out and names it, and its
    reader adds the named files from their own rows. So it is correct whether or not the change has taken effect.
    A row without `text_bytes` was written by an older version, and is replaced.
    """

    files: int = 0
    documents: int = 0
    passages: int = 0
    updated: int = 0
    changing: list[str] = Field(default=[])
    text_bytes: int | None = None
