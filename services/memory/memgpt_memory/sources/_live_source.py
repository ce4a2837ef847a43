"""The in-memory form of a source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from memgpt_memory.passages import VisibleVersion
from memgpt_memory.quotas import Amounts
from memgpt_memory.sources._errors import source_deleted
from memgpt_memory.sources._rows import FileRow, SourceRow, SummaryRow
from memgpt_memory.store.locks import ReadWriteLock


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of the visible files of a source.

    Attributes:
        files: How many there are.
        documents: How many documents they have.
        passages: How many passages they have.
        updated: When one of them last became visible; 0 for never.
        bytes: Bytes of their passages.
    """

    files: int = 0
    documents: int = 0
    passages: int = 0
    updated: int = 0
    bytes: int = 0

    @staticmethod
    def of(rows: Iterable[FileRow | None]) -> Totals:
        """Add up files; those that are absent or invisible count for nothing."""
        visible = [row.visible for row in rows if row is not None and row.visible is not None]
        return Totals(
            len(visible),
            sum(version.documents for version in visible),
            sum(version.passages for version in visible),
            max((version.created for version in visible), default=0),
            sum(version.stored_bytes for version in visible),
        )

    def plus(self, other: Totals) -> Totals:
        """Return the sum of these and other totals."""
        return Totals(
            self.files + other.files,
            self.documents + other.documents,
            self.passages + other.passages,
            max(self.updated, other.updated),
            self.bytes + other.bytes,
        )

    def minus(self, other: Totals) -> Totals:
        """Return these totals without others; the time stays."""
        return Totals(
            self.files - other.files,
            self.documents - other.documents,
            self.passages - other.passages,
            self.updated,
            self.bytes - other.bytes,
        )


@dataclass(slots=True, weakref_slot=True)
class LiveSource:
    """A source in the cache: its totals, and those of its files that were needed so far.

    Attributes:
        id: The source.
        row: Its row.
        totals: The totals of its visible files.
        complete: Whether `files` are all its files.
        files: Rows of files by name, None for absent ones that are in use; change them by `put` and `know`.
        loading: How many callers are reading all files at the moment.
        locks: For each file, held by the caller that changes it.
        stale: Whether the row must be read again, since a failed write of it may have taken effect.
        stale_files: Names of files whose rows must be read again for the same reason.
        switching: Names of files whose visible version is about to change.
        summary_lock: Held while the totals are written.
        row_lock: Held while the row is changed.
        gate: Shared by writers of rows that belong to the source, and held alone to delete it.
    """

    id: str
    row: SourceRow
    totals: Totals = field(default_factory=Totals)
    complete: bool = False
    files: dict[str, FileRow | None] = field(default_factory=dict)
    loading: int = 0
    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    stale: bool = False
    stale_files: set[str] = field(default_factory=set)
    switching: set[str] = field(default_factory=set)
    summary_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    row_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gate: ReadWriteLock = field(default_factory=ReadWriteLock)
    _visible: Sequence[tuple[FileRow, VisibleVersion]] | None = None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Hold this while writing rows that belong to the source, so that none is written after a deletion listed them.

        Raises:
            NotFound: The source has been deleted in the meantime.
        """
        async with self.gate.read():
            if self.row.deleting:
                raise source_deleted(self.id, self.row.name)
            yield

    def put(self, name: str, file: FileRow | None) -> None:
        """Replace a file's row, which must be known; None if the file was deleted."""
        self.totals = self.totals.minus(Totals.of([self.files.get(name)])).plus(Totals.of([file]))
        self.know(name, file)

    def know(self, name: str, file: FileRow | None) -> None:
        """Add a file's row that was read; the totals include it already."""
        if file is None and self.complete:
            self.files.pop(name, None)
        else:
            self.files[name] = file
        self._visible = None

    def release(self, name: str) -> None:
        """Drop what is known of an absent file, after its lock was held; the callers that read all files need it."""
        if not self.loading and self.files.get(name) is None:
            self.files.pop(name, None)

    def know_all(self, files: Iterable[FileRow]) -> None:
        """Add the rows of all files; rows that are known already are newer and stay."""
        self.files = {name: file for name, file in {**{f.name: f for f in files}, **self.files}.items() if file}
        self.complete = True
        self._visible = None

    @property
    def idle(self) -> bool:
        """Whether it can be read again from the store."""
        return not (self.stale or self.stale_files or self.switching)

    @property
    def visible(self) -> Sequence[tuple[FileRow, VisibleVersion]]:
        """Return the visible files, in the order in which they became visible. Call `SourceFiles.load` first."""
        if not self.complete:
            raise RuntimeError("the files of the source have not been loaded")
        # Every search calls this, and looking at thousands of files each time takes too long.
        if self._visible is None:
            pairs = ((row, row.visible) for row in self.files.values() if row is not None and row.visible is not None)
            self._visible = sorted(pairs, key=lambda pair: pair[1].stamp)
        return self._visible

    @property
    def amounts(self) -> Amounts:
        """What the source uses of its tenant's quotas."""
        return Amounts(sources=1, passages=self.totals.passages, bytes=self.totals.bytes)

    @property
    def updated(self) -> int:
        """When a file last became visible, or the source was created."""
        return max(self.row.created, self.totals.updated)

    def summary(self) -> SummaryRow:
        """Return the totals as they are stored: without the files that are changing, which are named."""
        changing = sorted(self.switching | self.stale_files)
        totals = self.totals.minus(Totals.of(self.files.get(name) for name in changing))
        return SummaryRow(
            files=totals.files,
            documents=totals.documents,
            passages=totals.passages,
            updated=totals.updated,
            changing=changing,
            text_bytes=totals.bytes,
        )
