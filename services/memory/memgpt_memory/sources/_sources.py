"""Sources: documents under one name, in versions of files that become visible by one write.

A file's passages are written under the version's own keys, where nobody sees them. Writing the file's row makes the new
version visible and the former one invisible in one instant. What became invisible is deleted afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from memgpt_runtime.errors import InvalidArgument, NotFound, Reason, ServiceError, invalid

from memgpt_memory.clock import Clock, now
from memgpt_memory.paging import Page, list_page
from memgpt_memory.passages import NewPassage, Passages, StoredNote, VisibleVersion, document_row
from memgpt_memory.records import IdempotencyStore, Names, Record, Records, key_of
from memgpt_memory.sources._rows import FileRow, SourceRow
from memgpt_memory.store.filters import Equals
from memgpt_memory.store.locks import ReadWriteLock
from memgpt_memory.tasks import run_to_end

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Visible:
    """The visible files of a source, and how many passages and documents they have together."""

    files: Sequence[tuple[FileRow, VisibleVersion]]
    passages: int
    documents: int


@dataclass(slots=True)
class LiveSource:
    """A source as this process holds it: all its files, few as they are beside their passages.

    Attributes:
        id: The source.
        row: Its row.
        files: The rows of its files by name; change them by the methods of this class.
        locks: For each file, held by whoever changes it.
        stale: Whether the row must be read again: a write of it failed, and may have happened.
        stale_files: Names of files of which the same is true.
        gate: Held together by all who write rows that belong to the source, and alone by who deletes it.
    """

    id: str
    row: SourceRow
    files: dict[str, FileRow] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    stale: bool = False
    stale_files: set[str] = field(default_factory=set)
    gate: ReadWriteLock = field(default_factory=ReadWriteLock)

    _visible: _Visible | None = None

    def put(self, file: FileRow) -> None:
        """Takes a file's row in place of a former one."""
        self.files[file.name] = file
        self._visible = None

    def forget(self, name: str) -> None:
        """Takes a file's row away, if there is one."""
        self.files.pop(name, None)
        self._visible = None

    @property
    def visible(self) -> Sequence[tuple[FileRow, VisibleVersion]]:
        """The visible files, in the order in which they became so."""
        return self._seen.files

    @property
    def passage_count(self) -> int:
        """Visible passages."""
        return self._seen.passages

    @property
    def document_count(self) -> int:
        """Visible documents."""
        return self._seen.documents

    @property
    def _seen(self) -> _Visible:
        # Every step of an agent asks, and every search: to look at thousands of files each time takes too long.
        if self._visible is None:
            pairs = ((row, row.visible) for row in self.files.values() if row.visible is not None)
            files = sorted(pairs, key=lambda pair: pair[1].stamp)
            passages = sum(version.passages for _, version in files)
            self._visible = _Visible(files, passages, sum(version.documents for _, version in files))
        return self._visible

    @property
    def updated(self) -> int:
        """When a file last became visible."""
        return max([self.row.created, *(version.created for _, version in self.visible)])

    def versions(self) -> dict[str, tuple[FileRow, VisibleVersion]]:
        """The visible versions by their ids."""
        return {version.version: (row, version) for row, version in self.visible}


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A version of a file, as the Loader read it, and the labels it is to have."""

    name: str
    sha256: str
    size: int
    media_type: str
    chunker_version: str
    tags: tuple[str, ...] = ()


class Sources:
    """The sources of every tenant."""

    def __init__(
        self, records: Records, passages: Passages, names: Names, requests: IdempotencyStore, clock: Clock
    ) -> None:
        """Keeps sources in the given parts of one store."""
        self._records = records
        self._passages = passages
        self._names = names
        self._requests = requests
        self._clock = clock
        self._cache: dict[str, LiveSource] = {}
        self._loading: dict[str, asyncio.Task[LiveSource | None]] = {}

    @property
    def embedding_model(self) -> str:
        """The model of every passage."""
        return self._passages.space.embedder.model

    async def create(self, tenant: str, source_id: str, name: str, description: str) -> LiveSource:
        """Creates an empty source. Repeated under the same id, it answers the source that is there.

        Raises:
            AlreadyExists: Another source has the name.
        """
        existing = await self._load(source_id)
        if existing is not None:
            return existing
        async with self._names.claim(tenant, "source", name, source_id, self._exists):
            live = LiveSource(source_id, SourceRow(tenant=tenant, name=name, description=description, created=now()))
            await self._put(source_id, live.row)
            # One that was read and is used already stays: two would write over each other.
            return self._cache.setdefault(source_id, live)

    async def get(self, tenant: str, source_id: str) -> LiveSource:
        """The source.

        Raises:
            NotFound: There is none, or it is another tenant's.
        """
        live = await self.find(source_id)
        if live is None or live.row.tenant != tenant:
            raise NotFound(
                Reason.SOURCE_NOT_FOUND,
                f"There is no source {source_id!r}. List the sources to see their ids.",
                metadata={"source_id": source_id},
            )
        return live

    @asynccontextmanager
    async def writing(self, live: LiveSource) -> AsyncIterator[None]:
        """Held by whoever writes rows that belong to a source: none comes after those that a deletion has found.

        Raises:
            NotFound: The source has been deleted meanwhile.
        """
        async with live.gate.read():
            if live.row.deleting:
                raise NotFound(Reason.SOURCE_NOT_FOUND, f"The source {live.row.name!r} was deleted meanwhile.")
            yield

    async def find(self, source_id: str) -> LiveSource | None:
        """The source, or None when it is gone."""
        live = await self._load(source_id)
        return None if live is None or live.row.deleting else live

    async def get_by_name(self, tenant: str, name: str) -> LiveSource:
        """The source of a name.

        Raises:
            NotFound: There is none.
        """
        live = await self.find_by_name(tenant, name)
        if live is None:
            raise NotFound(
                Reason.SOURCE_NOT_FOUND,
                f"There is no source named {name!r}. List the sources to see their names, or load one.",
                metadata={"name": name},
            )
        return live

    async def find_by_name(self, tenant: str, name: str) -> LiveSource | None:
        """The source of a name, or None when there is none."""
        source_id = await self._names.find(tenant, "source", name)
        live = await self.find(source_id) if source_id else None
        return live if live is not None and live.row.name == name else None

    async def page(self, tenant: str, size: int, after: str) -> Page[LiveSource]:
        """A page of sources in order of creation, after the id `after`."""
        ids = [
            record.id
            for record in await self._records.find("source", tenant=tenant)
            if not SourceRow.model_validate_json(record.body).deleting
        ]
        page = list_page(ids, size, after)
        found = [await self.find(id_) for id_ in page.items]
        return Page([live for live in found if live is not None], page.next_token, len(ids))

    async def delete(self, tenant: str, source_id: str) -> None:
        """Deletes a source with its passages. It is gone with the first write; the rest follows, also after a crash.

        Raises:
            NotFound: There is none.
        """
        live = await self._load(source_id)
        if live is None or live.row.tenant != tenant or not live.row.deleting:
            live = await self.get(tenant, source_id)
            row = live.row.model_copy(update={"deleting": True})
            try:
                await run_to_end(self._put(source_id, row))
            except BaseException:
                live.stale = True
                raise
            live.row = row
        await run_to_end(self._purge(live))

    async def resume_deletions(self) -> None:
        """Finishes what a crash left of deletions."""
        for record in await self._records.find("source"):
            row = SourceRow.model_validate_json(record.body)
            if row.deleting:
                await self._purge(LiveSource(record.id, row))

    async def sweep(self) -> None:
        """Deletes what a failure or a crash has left of versions of files, and of files that were deleted."""
        for record in await self._records.find("source"):
            live = await self.find(record.id)
            if live is not None:
                for name in list(live.files):
                    await self._sweep(live, name)

    async def _sweep(self, live: LiveSource, name: str) -> None:
        async with self._file(live, name) as row:
            if row is not None:
                await self._collect(live, name)
                if row.visible is None and not row.staged:
                    await self._forget(live, name)

    def list_files(self, live: LiveSource, size: int, after: str) -> Page[tuple[FileRow, VisibleVersion]]:
        """A page of the visible files by name, after the name `after`."""
        by_name = {row.name: (row, version) for row, version in live.visible}
        page = list_page(sorted(by_name), size, after)
        return Page([by_name[name] for name in page.items], page.next_token, len(by_name))

    async def delete_file(self, live: LiveSource, name: str) -> None:
        """Deletes a file with its passages; one that is absent stays so."""
        async with self._file(live, name) as row:
            if row is None:
                return
            gone = [
                *row.garbage,
                *([row.visible.version] if row.visible else []),
                *([row.staged] if row.staged else []),
            ]
            with self._clock.write(live.id):  # a search from now on has another snapshot, and so another ranking
                await self._put_file(live, row.model_copy(update={"visible": None, "staged": "", "garbage": gone}))
            await self._collect(live, name)
            await self._forget(live, name)

    @asynccontextmanager
    async def upload(self, live: LiveSource, version: FileVersion) -> AsyncIterator[Upload]:
        """Stages a version of a file, for `Upload.add` and `Upload.finish`. One upload of a file at a time.

        A version that is visible already has `Upload.unchanged` set, and takes nothing.
        """
        version_id = _version_id(live.id, version)
        async with self._file(live, version.name) as row:
            if row is not None and row.visible is not None and row.visible.version == version_id:
                visible = await self._label(live, row, row.visible, version.tags)
                yield Upload(self, live, version, version_id, unchanged=visible)
                return
            row = row or FileRow(source_id=live.id, name=version.name)
            if row.staged != version_id:
                garbage = [*row.garbage, *([row.staged] if row.staged else [])]
                garbage = [one for one in garbage if one != version_id]
                await self._put_file(live, row.model_copy(update={"staged": version_id, "garbage": garbage}))
            yield Upload(self, live, version, version_id)

    async def _label(
        self, live: LiveSource, row: FileRow, visible: VisibleVersion, tags: tuple[str, ...]
    ) -> VisibleVersion:
        """Gives a visible file other labels."""
        if visible.tags == list(tags):
            return visible
        with self._clock.write(live.id):  # a search from now on has another snapshot, and so another ranking
            labelled = visible.model_copy(update={"tags": list(tags)})
            await self._put_file(live, row.model_copy(update={"visible": labelled}))
        return labelled

    async def _write(self, live: LiveSource, version: FileVersion, version_id: str, new: Sequence[NewPassage]) -> None:
        embedded = await self._passages.embed([passage.text for passage in new])
        created = now()
        with self._clock.write(version_id) as stamp:
            rows = [
                document_row(
                    live.id,
                    live.row.name,
                    version.name,
                    version_id,
                    passage.index,
                    passage.text,
                    (passage.page, passage.start, passage.end),
                    stamp=stamp,
                    created=created,
                )
                for passage in new
            ]
            async with self.writing(live):  # to the end: rows of a caller that went away must not come later
                await run_to_end(self._passages.write_rows(live.row.tenant, live.id, rows, embedded))

    async def _switch(
        self,
        live: LiveSource,
        version: FileVersion,
        version_id: str,
        documents: int,
        passages: int,
        notes: Sequence[StoredNote],
    ) -> VisibleVersion:
        row = live.files[version.name]
        with self._clock.write(live.id) as stamp:
            visible = VisibleVersion(
                version=version_id,
                sha256=version.sha256,
                size=version.size,
                media_type=version.media_type,
                chunker_version=version.chunker_version,
                documents=documents,
                passages=passages,
                stamp=stamp,
                created=now(),
                tags=list(version.tags),
                notes=list(notes),
            )
            former = [row.visible.version] if row.visible else []
            await self._put_file(
                live, row.model_copy(update={"visible": visible, "staged": "", "garbage": [*row.garbage, *former]})
            )
        try:
            await self._collect(live, version.name)
        except ServiceError as error:  # invisible already; it is tried again with the next version
            _log.info("tidying_failed", error=str(error))
        return visible

    async def _collect(self, live: LiveSource, name: str) -> None:
        """Deletes the passages of versions that nobody sees any more."""
        row = live.files[name]
        for version_id in row.garbage:
            await self._passages.delete_where(live.row.tenant, live.id, Equals("version", version_id))
        if row.garbage:
            await self._put_file(live, row.model_copy(update={"garbage": []}))

    async def _forget(self, live: LiveSource, name: str) -> None:
        await self._records.delete([_file_key(live.id, name)])
        live.forget(name)

    @asynccontextmanager
    async def _file(self, live: LiveSource, name: str) -> AsyncIterator[FileRow | None]:
        async with live.locks.setdefault(name, asyncio.Lock()):
            if name in live.stale_files:
                record = await self._records.get(_file_key(live.id, name))
                if record is None:
                    live.forget(name)
                else:
                    live.put(FileRow.model_validate_json(record.body))
                live.stale_files.discard(name)
            yield live.files.get(name)

    async def _put(self, source_id: str, row: SourceRow) -> None:
        await self._records.put(Record(source_id, "source", row.tenant, "", row.created, row.model_dump_json()))

    async def _put_file(self, live: LiveSource, row: FileRow) -> None:
        record = Record(_file_key(live.id, row.name), "file", live.row.tenant, live.id, now(), row.model_dump_json())
        async with self.writing(live):
            try:
                await run_to_end(self._records.put(record))
            except BaseException:
                live.stale_files.add(row.name)
                raise
        live.put(row)

    async def _load(self, source_id: str) -> LiveSource | None:
        live = self._cache.get(source_id)
        if live is not None:
            await self._settle(live)
            return live
        task = self._loading.get(source_id)
        if task is None:
            task = self._loading[source_id] = asyncio.create_task(self._read(source_id))
            task.add_done_callback(lambda _: self._loading.pop(source_id, None))
        return await asyncio.shield(task)

    async def _settle(self, live: LiveSource) -> None:
        """After a failed write: finds out whether it happened. Uploads hold this object: it is changed in place."""
        if live.stale:
            record = await self._records.get(live.id)
            if record is not None:
                live.row = SourceRow.model_validate_json(record.body)
            live.stale = False
        for name in list(live.stale_files):
            if not live.locks[name].locked():  # whoever holds it looks for himself
                async with self._file(live, name):
                    pass

    async def _read(self, source_id: str) -> LiveSource | None:
        record = await self._records.get(source_id)
        if record is None or record.kind != "source":
            return None
        files = [FileRow.model_validate_json(row.body) for row in await self._records.find("file", parent=source_id)]
        live = LiveSource(source_id, SourceRow.model_validate_json(record.body), {file.name: file for file in files})
        return self._cache.setdefault(source_id, live)  # it may have been made meanwhile

    async def _exists(self, source_id: str) -> bool:
        return await self.find(source_id) is not None

    async def _purge(self, live: LiveSource) -> None:
        """Deletes all rows of a source that is marked as deleted: its own comes last, so a crash leaves it marked."""
        tenant = live.row.tenant
        async with live.gate.write():
            await self._requests.forget(tenant, live.id, Reason.SOURCE_NOT_FOUND)
            await self._passages.delete_where(tenant, live.id)
            await self._names.release_all(tenant, live.id)
            await self._records.delete_children(live.id)
            await self._records.delete([live.id])
        self._cache.pop(live.id, None)


@dataclass(slots=True)
class Upload:
    """A version of a file on its way in.

    Attributes:
        unchanged: The visible version, when it is this very one.
    """

    _sources: Sources
    _live: LiveSource
    _version: FileVersion
    _version_id: str
    unchanged: VisibleVersion | None = None
    _count: int = 0

    async def add(self, passages: Sequence[NewPassage]) -> None:
        """Writes passages, in order of index.

        Raises:
            InvalidArgument: An index is not the next one.
        """
        for offset, passage in enumerate(passages):
            if passage.index != self._count + offset:
                raise invalid(
                    "batch.passages.index",
                    f"Passage index {passage.index} is not the next one ({self._count + offset}).",
                )
        if passages:
            await self._sources._write(self._live, self._version, self._version_id, passages)
        self._count += len(passages)

    async def finish(self, documents: int, passages: int, notes: Sequence[StoredNote] = ()) -> VisibleVersion:
        """Makes the version visible.

        Raises:
            InvalidArgument: `passages` is not the number that was added.
        """
        if passages != self._count:
            raise InvalidArgument(
                Reason.UPLOAD_MISMATCH,
                f"finish says {passages} passages, but {self._count} came: send the file again from its header.",
                field="finish.passage_count",
            )
        return await self._sources._switch(self._live, self._version, self._version_id, documents, passages, notes)


def _file_key(source_id: str, name: str) -> str:
    return key_of("file", source_id, name)


def _version_id(source_id: str, version: FileVersion) -> str:
    """Follows from source, file name, hash and chunker version, so that loading again writes the same rows."""
    parts = "\0".join((source_id, version.name, version.sha256, version.chunker_version))
    return "v" + hashlib.sha256(parts.encode()).hexdigest()[:32]
