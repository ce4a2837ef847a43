"""What the Loader needs from the Memory service, independent of gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from memgpt_loader.formats import Note
from memgpt_loader.model import FileVersion, LoadRecord, SourceRef, StoredFile
from memgpt_loader.parsing.results import ParsedPassage

BATCH_PASSAGES = 256
"""Maximum passages of a batch: embedding models are most efficient with a few hundred."""

BATCH_BYTES = 1024 * 1024
"""Maximum UTF-8 bytes of text in a batch; the maximum message size is 4 MiB."""


class FileWriter(Protocol):
    """Stores the passages of one file, which become visible with `finish`."""

    async def write(self, passages: Sequence[ParsedPassage]) -> None:
        """Send the next passages, at most `BATCH_PASSAGES`. Waits while Memory is busy."""
        ...

    async def finish(self, documents: int, notes: Sequence[Note] = ()) -> StoredFile:
        """Make the file visible, in place of its previous version."""
        ...


class Memory(Protocol):
    """The Memory service. Every method raises `ServiceError`."""

    async def get_or_create_source(self, ref: SourceRef) -> tuple[str, str]:
        """Return the id and name of a source; one that is given by name is created if absent."""
        ...

    async def visible_files(self, source_id: str) -> Mapping[str, StoredFile]:
        """Return the visible files of a source by name."""
        ...

    def store(self, source_id: str, version: FileVersion) -> AbstractAsyncContextManager[FileWriter]:
        """Store a file. Leaving the context without `finish` discards what was sent."""
        ...

    async def relabel(self, source_id: str, version: FileVersion) -> StoredFile:
        """Set the labels of a visible file; `FailedPrecondition` if that version is not visible."""
        ...

    async def delete_file(self, source_id: str, name: str) -> None:
        """Delete a file with its passages. Idempotent."""
        ...

    async def put_record(self, record: LoadRecord) -> LoadRecord:
        """Write the record of a load, and return it as stored; `Aborted` if `record.etag` is set and outdated."""
        ...

    async def find_record(self, load_id: str) -> LoadRecord | None:
        """Return the record of a load, or None."""
        ...

    async def find_record_of_request(self, request_id: str) -> LoadRecord | None:
        """Return the record of the load that a request created, or None."""
        ...

    async def list_records(self, source_id: str, page_size: int, page_token: str) -> tuple[list[LoadRecord], str]:
        """Return a page of records, the latest first, and the token of the next page."""
        ...
