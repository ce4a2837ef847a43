"""Passages: an agent's notes, and pieces of documents."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from memgpt_memory.records import StoredModel


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a passage of a document comes from; `page` from 1, `start` and `end` in characters of the page's text."""

    source_id: str
    source_name: str
    file_name: str
    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored passage: an agent's note, or a piece of a document."""

    id: str
    text: str
    created: int
    agent_id: str = ""
    citation: Citation | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A piece of a document to be stored; `index` counts from 0 without gaps within the file."""

    index: int
    text: str
    page: int
    start: int
    end: int


class StoredNote(StoredModel):
    """A note that something was left out of a file, as the Loader reported it.

    Attributes:
        kind: Number of a `memgpt.common.v1.FileNoteKind`.
        count: How many items were left out.
        where: Where in the file, for people.
        message: The whole note as text for people.
    """

    kind: int
    count: int
    where: str
    message: str


class VisibleVersion(StoredModel):
    """The version of a file that is visible.

    Attributes:
        text_bytes: Bytes of its passages; None for a version that was stored by an older version of Memory.
    """

    version: str
    sha256: str
    size: int
    media_type: str
    chunker_version: str
    documents: int
    passages: int
    stamp: int
    created: int
    tags: list[str] = Field(default=[])
    notes: list[StoredNote] = Field(default=[])
    text_bytes: int | None = None

    @property
    def stored_bytes(self) -> int:
        """Bytes of its passages; if they were not counted, those of the file stand in for them."""
        return self.size if self.text_bytes is None else self.text_bytes
