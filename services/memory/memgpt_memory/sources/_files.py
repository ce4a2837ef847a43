"""The files of a source, in versions that become visible by one write.

A file's passages are written under the version's own keys, where they are not visible yet. Writing the file's row makes
the new version visible and the former one invisible in one instant. What became invisible is deleted afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from memgpt_runtime.errors import ServiceError

from memgpt_memory.clock import Clock, now
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.passages import (
    NewPassage,
    Passages,
    StoredNote,
    VisibleVersion,
    document_passage_id,
    document_row,
)
from memgpt_memory.quotas import Quotas
from memgpt_memory.records import Record, Records, key_of
from memgpt_memory.sources._errors import passage_out_of_order, passages_missing
from memgpt_memory.sources._live_source import LiveSource, Totals
from memgpt_memory.sources._rows import FileRow, SummaryRow
from memgpt_memory.store.filters import Equals
from memgpt_memory.tasks import run_to_end

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A version of a file, as the Loader read it, and its labels."""

    name: str
    sha256: str
    size: int
    media_type: str
    chunker_version: str
    tags: tuple[str, ...] = ()


class SourceFiles:
    """Reads, stages, switches and deletes files."""

    def __init__(self, records: Records, passages: Passages, clock: Clock, quotas: Quotas) -> None:
        """Keep files in the given parts of one store."""
        self._records = records
        self._passages = passages
        self._clock = clock
        self._quotas = quotas

    async def load(self, sources: Iterable[LiveSource]) -> None:
        """Read all files of the sources whose files are not all known."""
        missing = {live.id: live for live in sources if not live.complete}
        if not missing:
            return
        rows: dict[str, list[FileRow]] = {id_: [] for id_ in missing}
        for live in missing.values():
            live.loading += 1
        try:
            for record in await self._records.find_children("file", list(missing)):
                rows[record.parent].append(FileRow.model_validate_json(record.body))
            for id_, live in missing.items():
                if not live.complete:  # otherwise another caller has read them
                    live.know_all(rows[id_])
        finally:
            for live in missing.values():
                live.loading -= 1

    async def read_totals(self, sources: Sequence[LiveSource]) -> None:
        """Read the totals of sources that were just read."""
        keys = {_summary_key(live.id): live for live in sources}
        found = await self._records.get_many(list(keys))
        stored = {keys[key].id: SummaryRow.model_validate_json(record.body) for key, record in found.items()}
        summaries = {id_: summary for id_, summary in stored.items() if summary.text_bytes is not None}
        names = {
            _file_key(live.id, name): (live, name)
            for live in sources
            for name in (summaries[live.id].changing if live.id in summaries else ())
        }
        files = await self._records.get_many(list(names)) if names else {}
        for key, (live, name) in names.items():
            live.know(name, FileRow.model_validate_json(files[key].body) if key in files else None)
        for live in sources:
            summary = summaries.get(live.id)
            if summary is not None:
                base = Totals(
                    summary.files, summary.documents, summary.passages, summary.updated, summary.text_bytes or 0
                )
                live.totals = base.plus(Totals.of(live.files[name] for name in summary.changing))
        await self._count([live for live in sources if live.id not in summaries])

    async def _count(self, sources: Sequence[LiveSource]) -> None:
        """Count the files of sources of older versions, without summaries or with shorter ones, and write summaries."""
        if not sources:
            return
        await self.load(sources)
        for live in sources:
            live.totals = Totals.of(live.files.values())
        try:
            await self._records.put(*map(summary_record, sources))
        except ServiceError as error:  # they are counted again by the next process
            _log.warning("source_summary_save_failed", sources=len(sources), error=str(error))

    async def list(self, live: LiveSource, size: int, after: str) -> Page[tuple[FileRow, VisibleVersion]]:
        """Return a page of the visible files by name, after the name `after`."""
        await self.load([live])
        by_name = {row.name: (row, version) for row, version in live.visible}
        page = list_page(sorted(by_name), size, after)
        return Page([by_name[name] for name in page.items], page.next_token, len(by_name))

    async def delete(self, live: LiveSource, name: str) -> None:
        """Delete a file with its passages; a missing one is not an error."""
        async with self._locked(live, name) as row:
            if row is None:
                return
            gone = [
                *row.garbage,
                *([row.visible.version] if row.visible else []),
                *([row.staged] if row.staged else []),
            ]
            with self._clock.write(live.id):  # later searches have another snapshot, and so another ranking
                await self._put(live, row.model_copy(update={"visible": None, "staged": "", "garbage": gone}))
            await self._collect(live, name)
            await self._forget(live, name)

    async def discard(self, live: LiveSource, name: str) -> None:
        """Delete what is stored of other versions than the visible one. Hold the file's lock."""
        row = live.files.get(name)
        if row is None:
            return
        if row.staged:
            await self._put(live, row.model_copy(update={"staged": "", "garbage": [*row.garbage, row.staged]}))
        await self._collect(live, name)
        if row.visible is None:
            await self._forget(live, name)

    async def sweep(self, live: LiveSource) -> None:
        """Delete what a failure or a crash left behind of versions, and of deleted files; not uploads in progress.

        The files are not kept in memory, since this is done for those of all sources.
        """
        stored = [
            FileRow.model_validate_json(record.body) for record in await self._records.find("file", parent=live.id)
        ]
        for name in [row.name for row in stored if not _is_clean(row)]:
            lock = live.locks.get(name)
            if lock is None or not lock.locked():
                async with self._locked(live, name):
                    await self.discard(live, name)

    async def settle(self, live: LiveSource) -> None:
        """After failed writes, find out whether they took effect. Uploads hold `live`, so it is changed in place."""
        for name in list(live.stale_files):
            lock = live.locks.get(name)
            if lock is None or not lock.locked():  # the holder of the lock checks that itself
                async with self._locked(live, name):
                    pass

    @asynccontextmanager
    async def upload(self, live: LiveSource, version: FileVersion) -> AsyncIterator[Upload]:
        """Stage a version of a file, for `Upload.add` and `Upload.finish`. One upload of a file at a time.

        For a version that is visible already, `Upload.unchanged` is set and no passages are accepted.
        """
        version_id = _version_id(live.id, version)
        async with self._locked(live, version.name) as row:
            if row is not None and row.visible is not None and row.visible.version == version_id:
                visible = await self._label(live, row, row.visible, version.tags)
                yield Upload(self, live, version, version_id, unchanged=visible)
                return
            row = row or FileRow(source_id=live.id, name=version.name)
            resumed = row.staged == version_id
            if not resumed:
                garbage = [*row.garbage, *([row.staged] if row.staged else [])]
                garbage = [one for one in garbage if one != version_id]
                await self._put(live, row.model_copy(update={"staged": version_id, "garbage": garbage}))
            yield Upload(self, live, version, version_id, resumed=resumed)
            try:
                await self._collect(live, version.name)
            except ServiceError as error:  # already invisible; retried with the next version
                _log.info("source_cleanup_failed", error=str(error))

    async def write_passages(
        self, live: LiveSource, name: str, version_id: str, passages: Sequence[NewPassage]
    ) -> None:
        """Write passages of a staged version."""
        if not passages:
            return
        embedded = await self._passages.embed([passage.text for passage in passages])
        created = now()
        with self._clock.write(version_id) as revision:
            rows = [
                document_row(
                    live.id,
                    live.row.name,
                    name,
                    version_id,
                    passage.index,
                    passage.text,
                    (passage.page, passage.start, passage.end),
                    stamp=revision,
                    created=created,
                )
                for passage in passages
            ]
            async with live.writing():  # to the end: rows of a cancelled caller must not be written later
                await run_to_end(self._passages.write_rows(live.row.tenant, live.id, rows, embedded))

    async def missing(self, live: LiveSource, version_id: str, passages: Sequence[NewPassage]) -> Sequence[NewPassage]:
        """Return those of the passages that are not stored yet, so that they alone are embedded."""
        ids = {document_passage_id(version_id, passage.index): passage for passage in passages}
        stored = await self._passages.read(live.row.tenant, {live.id: list(ids)})
        return [passage for id_, passage in ids.items() if id_ not in stored or stored[id_].text != passage.text]

    async def switch(
        self,
        live: LiveSource,
        version: FileVersion,
        version_id: str,
        documents: int,
        passages: int,
        notes: Sequence[StoredNote],
        text_bytes: int,
    ) -> VisibleVersion:
        """Make a staged version visible in place of the former one. Hold the file's lock."""
        row = live.files[version.name] or FileRow(source_id=live.id, name=version.name)
        with self._clock.write(live.id) as revision:
            visible = VisibleVersion(
                version=version_id,
                sha256=version.sha256,
                size=version.size,
                media_type=version.media_type,
                chunker_version=version.chunker_version,
                documents=documents,
                passages=passages,
                stamp=revision,
                created=now(),
                tags=list(version.tags),
                notes=list(notes),
                text_bytes=text_bytes,
            )
            garbage = [*row.garbage, *([row.visible.version] if row.visible else [])]
            await self._put(live, row.model_copy(update={"visible": visible, "staged": "", "garbage": garbage}))
        return visible

    async def _label(
        self, live: LiveSource, row: FileRow, visible: VisibleVersion, tags: tuple[str, ...]
    ) -> VisibleVersion:
        """Change the labels of a visible file."""
        if visible.tags == list(tags):
            return visible
        with self._clock.write(live.id):  # later searches have another snapshot, and so another ranking
            labeled = visible.model_copy(update={"tags": list(tags)})
            await self._put(live, row.model_copy(update={"visible": labeled}))
        return labeled

    async def _collect(self, live: LiveSource, name: str) -> None:
        """Delete the passages of versions that are no longer visible."""
        row = live.files[name]
        if row is None or not row.garbage:
            return
        for version_id in row.garbage:
            await self._passages.delete_where(live.row.tenant, live.id, Equals("version", version_id))
        await self._put(live, row.model_copy(update={"garbage": []}))

    async def _forget(self, live: LiveSource, name: str) -> None:
        await self._records.delete([_file_key(live.id, name)])
        self._set(live, name, None)

    def _set(self, live: LiveSource, name: str, row: FileRow | None) -> None:
        """Replace a file's row in the cache, and note what the source uses."""
        former = live.amounts
        live.put(name, row)
        if not live.row.deleting:
            self._quotas.note(live.row.tenant, live.id, former, live.amounts)

    @asynccontextmanager
    async def _locked(self, live: LiveSource, name: str) -> AsyncIterator[FileRow | None]:
        """Hold a file's lock, and yield its row; None if there is no such file."""
        async with live.locks.setdefault(name, asyncio.Lock()):
            if name in live.stale_files or (name not in live.files and not live.complete):
                record = await self._records.get(_file_key(live.id, name))
                row = None if record is None else FileRow.model_validate_json(record.body)
                if name in live.stale_files:
                    self._set(live, name, row)
                    live.stale_files.discard(name)
                else:
                    live.know(name, row)
            try:
                yield live.files.get(name)
            finally:
                live.release(name)

    async def _put(self, live: LiveSource, row: FileRow) -> None:
        """Write a file's row. If its visible version changes, first write the totals without the file."""
        former = live.files.get(row.name)
        changes = Totals.of([former]) != Totals.of([row])
        record = Record(_file_key(live.id, row.name), "file", live.row.tenant, live.id, now(), row.model_dump_json())
        async with live.writing():
            try:
                if changes:
                    live.switching.add(row.name)
                    await run_to_end(self._write_summary(live))
                try:
                    await run_to_end(self._records.put(record))
                except BaseException:
                    live.stale_files.add(row.name)
                    raise
                self._set(live, row.name, row)
            finally:
                live.switching.discard(row.name)

    async def _write_summary(self, live: LiveSource) -> None:
        async with live.summary_lock:
            await self._records.put(summary_record(live))


@dataclass(slots=True)
class Upload:
    """An upload of a version of a file.

    Attributes:
        unchanged: The visible version, if it is the uploaded one.
        resumed: Whether an earlier upload of this version was interrupted, so that passages of it may be stored.
    """

    _files: SourceFiles
    _live: LiveSource
    _version: FileVersion
    _version_id: str
    unchanged: VisibleVersion | None = None
    resumed: bool = False
    _count: int = 0
    _bytes: int = 0

    async def add(self, passages: Sequence[NewPassage]) -> None:
        """Write passages, in order of index.

        Raises:
            InvalidArgument: An index is not the next one.
        """
        for following, passage in enumerate(passages, self._count):
            if passage.index != following:
                raise passage_out_of_order(passage.index, following)
        missing = passages
        if self.resumed and passages:
            missing = await self._files.missing(self._live, self._version_id, passages)
        await self._files.write_passages(self._live, self._version.name, self._version_id, missing)
        self._count += len(passages)
        self._bytes += sum(len(passage.text.encode()) for passage in passages)

    async def discard(self) -> None:
        """Delete what was stored of the version, which is not to be completed."""
        await self._files.discard(self._live, self._version.name)

    async def finish(self, documents: int, passages: int, notes: Sequence[StoredNote] = ()) -> VisibleVersion:
        """Make the version visible.

        Args:
            documents: How many documents the file has.
            passages: How many passages were sent.
            notes: What was left out of the file.

        Raises:
            InvalidArgument: `passages` is not the number that was added.
        """
        if passages != self._count:
            raise passages_missing(self._version.name, passages, self._count)
        return await self._files.switch(
            self._live, self._version, self._version_id, documents, passages, notes, self._bytes
        )


def _is_clean(row: FileRow) -> bool:
    """Whether nothing is left of other versions of a file than the visible one, or of the file if it was deleted."""
    return not row.garbage and not row.staged and row.visible is not None


def _file_key(source_id: str, name: str) -> str:
    return key_of("file", source_id, name)


def _summary_key(source_id: str) -> str:
    return key_of("summary", source_id)


def summary_record(live: LiveSource) -> Record:
    """Return the row of a source's totals."""
    body = live.summary().model_dump_json(exclude_defaults=True)
    return Record(_summary_key(live.id), "summary", live.row.tenant, live.id, now(), body)


def _version_id(source_id: str, version: FileVersion) -> str:
    """Derive an id from source, file name, hash and chunker version, so that loading again writes the same rows."""
    parts = "\0".join((source_id, version.name, version.sha256, version.chunker_version))
    return "v" + hashlib.sha256(parts.encode()).hexdigest()[:32]
