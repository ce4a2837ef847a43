"""What the Loader needs of Memory, in the Loader's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from memgpt_loader.formats import Note
from memgpt_loader.model import FileVersion, LoadRecord, SourceRef, StoredFile
from memgpt_loader.parsing.pool import ParsedPassage

BATCH_PASSAGES = 256
"""Passages of a batch at most: embedding models work best on some hundreds."""

BATCH_BYTES = 1024 * 1024
"""Text of a batch at most; a message may have 4 MiB."""


class FileWriter(Protocol):
    """Stores the passages of one file; nothing is visible before `finish`."""

    async def write(self, passages: Sequence[ParsedPassage]) -> None:
        """Sends the next passages, at most `BATCH_PASSAGES`. Waits while Memory is busy."""
        ...

    async def finish(self, documents: int, notes: Sequence[Note] = ()) -> StoredFile:
        """Makes the file visible, in place of its former version."""
        ...


class Memory(Protocol):
    """The Memory service. Every method raises `ServiceError`."""

    async def source(self, ref: SourceRef) -> tuple[str, str]:
        """Finds a source, or creates it if it is given by name; returns its id and name."""
        ...

    async def visible_files(self, source_id: str) -> Mapping[str, StoredFile]:
        """The visible files of a source, by name."""
        ...

    def store(self, source_id: str, version: FileVersion) -> AbstractAsyncContextManager[FileWriter]:
        """Stores a file; leaving the context without `finish` drops what was sent."""
        ...

    async def label(self, source_id: str, version: FileVersion) -> StoredFile:
        """Gives a file its version's labels; `FailedPrecondition` when that version is not visible."""
        ...

    async def delete_file(self, source_id: str, name: str) -> None:
        """Deletes a file with its passages; one that is absent stays so."""
        ...

    async def put_record(self, record: LoadRecord) -> str:
        """Remembers a load, and answers the new etag; `Aborted` when `record.etag` is set and outdated."""
        ...

    async def record(self, load_id: str) -> LoadRecord | None:
        """A load's record; None if there is none."""
        ...

    async def record_of_request(self, request_id: str) -> LoadRecord | None:
        """The record of the load that a request created; None if there is none."""
        ...

    async def records(self, source_id: str, page_size: int, page_token: str) -> tuple[list[LoadRecord], str]:
        """A page of records, the latest first, and the token of the next page."""
        ...
