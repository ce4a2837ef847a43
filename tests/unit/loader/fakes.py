"""An in-process Memory that stores what it receives, and fails when told to."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from memgpt_loader.formats import Note
from memgpt_loader.model import FileVersion, LoadRecord, SourceRef, StoredFile
from memgpt_loader.parsing.results import ParsedPassage
from memgpt_runtime.errors import Aborted, FailedPrecondition, NotFound, Reason, ServiceError


class FakeMemory:
    """Implements `memgpt_loader.memory.port.Memory`."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.files: dict[str, dict[str, StoredFile]] = {}
        self.passages: dict[tuple[str, str], list[ParsedPassage]] = {}
        self.load_records: dict[str, LoadRecord] = {}
        self.failures: list[ServiceError | asyncio.CancelledError] = []
        """Raised by the next attempts to store, one each."""
        self.finish_failures: list[ServiceError] = []
        """Raised by the next attempts to finish a file, one each."""
        self.record_failures: list[ServiceError] = []
        self.gate = asyncio.Event()
        """Storing waits for it before a file becomes visible."""
        self.gate.set()
        self.open_to = ""
        """Name of a source whose files need not wait for the gate."""
        self.recorded = asyncio.Event()
        """Set with every record."""
        self.storing = asyncio.Event()
        self.stores = self.writes = 0

    async def get_or_create_source(self, ref: SourceRef) -> tuple[str, str]:
        if ref.source_id:
            if ref.source_id not in self.sources:
                raise NotFound(Reason.SOURCE_NOT_FOUND, "no such source")
            return ref.source_id, self.sources[ref.source_id]
        source_id = f"source_{ref.name}"
        self.sources.setdefault(source_id, ref.name)
        return source_id, ref.name

    async def visible_files(self, source_id: str) -> Mapping[str, StoredFile]:
        if source_id not in self.sources:
            raise NotFound(Reason.SOURCE_NOT_FOUND, "no such source")
        return dict(self.files.get(source_id, {}))

    @asynccontextmanager
    async def store(self, source_id: str, version: FileVersion) -> AsyncIterator[_Writer]:
        self.stores += 1
        if self.failures:
            raise self.failures.pop(0)
        yield _Writer(self, source_id, version)

    async def relabel(self, source_id: str, version: FileVersion) -> StoredFile:
        if self.failures:
            raise self.failures.pop(0)
        stored = self.files[source_id].get(version.manifest.name)
        if stored is None or stored.sha256 != version.manifest.sha256:
            raise FailedPrecondition(Reason.WRONG_STATE, "not visible")
        self.files[source_id][version.manifest.name] = labeled = replace(stored, tags=version.tags)
        return labeled

    async def delete_file(self, source_id: str, name: str) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.files.get(source_id, {}).pop(name, None)
        self.passages.pop((source_id, name), None)

    async def put_record(self, record: LoadRecord) -> LoadRecord:
        if self.record_failures:
            raise self.record_failures.pop(0)
        former = self.load_records.get(record.load_id)
        if record.etag and (former is None or former.etag != record.etag):
            raise Aborted(Reason.ETAG_MISMATCH, "written by another meanwhile")
        self.writes += 1
        written = dt.datetime.now(dt.UTC)
        self.load_records[record.load_id] = replace(record, etag=str(self.writes), update_time=written)
        self.recorded.set()
        return self.load_records[record.load_id]

    async def find_record(self, load_id: str) -> LoadRecord | None:
        return self.load_records.get(load_id)

    async def find_record_of_request(self, request_id: str) -> LoadRecord | None:
        return next((each for each in self.load_records.values() if each.request_id == request_id), None)

    async def list_records(self, source_id: str, page_size: int, page_token: str) -> tuple[list[LoadRecord], str]:
        found = [each for each in reversed(self.load_records.values()) if source_id in ("", each.source_id)]
        first = int(page_token or 0)
        end = first + page_size
        return found[first:end], str(end) if end < len(found) else ""


class _Writer:
    def __init__(self, memory: FakeMemory, source_id: str, version: FileVersion) -> None:
        self._memory = memory
        self._source_id = source_id
        self._version = version
        self._passages: list[ParsedPassage] = []

    async def write(self, passages: Sequence[ParsedPassage]) -> None:
        assert 0 < len(passages) <= 256
        self._passages += passages

    async def finish(self, documents: int, notes: Sequence[Note] = ()) -> StoredFile:
        self._memory.storing.set()
        if self._memory.sources[self._source_id] != self._memory.open_to:
            await self._memory.gate.wait()
        if self._memory.finish_failures:
            raise self._memory.finish_failures.pop(0)
        files = self._memory.files.setdefault(self._source_id, {})
        manifest = self._version.manifest
        stored = StoredFile(
            manifest.sha256, self._version.chunker_version, documents, len(self._passages), tags=self._version.tags
        )
        before = files.get(manifest.name)
        if before is not None and (before.sha256, before.chunker_version) == (stored.sha256, stored.chunker_version):
            return replace(before, unchanged=True)
        files[manifest.name] = stored
        self._memory.passages[self._source_id, manifest.name] = self._passages
        return stored
