"""What a load is made of."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum

from memgpt_loader.failures import FailureReason
from memgpt_loader.formats import Note

_LONG_AGO = dt.datetime.fromtimestamp(0, dt.UTC)


class FileState(StrEnum):
    """How far a file has come: `memgpt.loader.v1.FileState` without its prefix."""

    AWAITING_UPLOAD = "AWAITING_UPLOAD"
    PROCESSING = "PROCESSING"
    LOADED = "LOADED"
    UNCHANGED = "UNCHANGED"
    EMPTY = "EMPTY"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self not in (FileState.AWAITING_UPLOAD, FileState.PROCESSING)

    @property
    def visible(self) -> bool:
        """Whether the file's passages can be searched."""
        return self in (FileState.LOADED, FileState.UNCHANGED)

    @classmethod
    def of(cls, reason: FailureReason) -> FileState:
        """How a file ends that could not be loaded: not every one of them has failed."""
        match reason:
            case FailureReason.EMPTY:
                return cls.EMPTY
            case FailureReason.UNSUPPORTED:
                return cls.SKIPPED
            case _:
                return cls.FAILED


class LoadState(StrEnum):
    """How far a load has come: `memgpt.loader.v1.LoadState` without its prefix."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    """Never remembered: what a running load is of which no living Loader has hold."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file as its owner describes it.

    Attributes:
        name: A label, unique within the load; never a path on this machine.
        size: Bytes.
        sha256: 64 lower-case hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class LoadFile:
    """A file of a load.

    Attributes:
        manifest: What it is.
        state: How far it has come.
        documents: Documents read so far.
        passages: Passages stored so far.
        reason: Why it was not loaded, if so.
        message: The same for people.
        notes: What was left out of a file that is loaded; mostly empty.
        tags: Labels that it is to bear; known where its load is worked on.
        sequence: Number of the event that its last change was.
    """

    manifest: Manifest
    state: FileState = FileState.AWAITING_UPLOAD
    documents: int = 0
    passages: int = 0
    reason: FailureReason | None = None
    message: str = ""
    sequence: int = 0
    notes: tuple[Note, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class Load:
    """Some files on their way into a source.

    Attributes:
        load_id: Identity.
        tenant: Whose it is.
        source_id: The source it loads into.
        source_name: Its name.
        request_id: The request that created it; empty if it had none.
        digest: Of that request's body.
        files: By name, in order of the manifest.
        state: How far it has come.
        create_time: In UTC.
        end_time: In UTC; None until it ends.
        sequence: Number of the last event.
        sync: Whether files of the source that are not in the manifest are dropped in the end.
        removed: How many were.
        tags: Labels that its files get; None when each keeps those that it has.
        holder: The process that has hold of it, see `Spool.name`; empty when none has.
        results: Files that other Loaders have loaded, and the holder has not merged yet.
        cancel_requested: Whether another Loader was asked to cancel it.
        lease_time: When the holder last wrote the record, if another Loader has written it since.
    """

    load_id: str
    tenant: str
    source_id: str
    source_name: str
    request_id: str
    digest: str
    files: dict[str, LoadFile]
    create_time: dt.datetime
    state: LoadState = LoadState.RUNNING
    end_time: dt.datetime | None = None
    sequence: int = 0
    sync: bool = False
    removed: int = 0
    tags: tuple[str, ...] | None = None
    holder: str = ""
    results: dict[str, LoadFile] = field(default_factory=dict)
    cancel_requested: bool = False
    lease_time: dt.datetime | None = None

    @property
    def documents(self) -> int:
        """Documents that are visible through its files."""
        return sum(file.documents for file in self.files.values() if file.state.visible)

    @property
    def passages(self) -> int:
        """Passages that are visible through its files."""
        return sum(file.passages for file in self.files.values() if file.state.visible)


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A source, or the wish for one.

    Attributes:
        source_id: Of an existing one; empty to find it by name.
        name: Its name; created if there is none.
        description: Of one that is created.
    """

    source_id: str = ""
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file as it was read, by which rules, and the labels that it is to bear."""

    manifest: Manifest
    media_type: str
    chunker_version: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose passages are visible."""

    sha256: str
    chunker_version: str
    documents: int
    passages: int
    unchanged: bool = field(default=False)
    """Whether it was visible before, so that nothing was written."""
    notes: tuple[Note, ...] = ()
    """What was left out of it."""
    media_type: str = ""
    tags: tuple[str, ...] = ()
    """Its labels."""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """What is remembered of a load beyond this process."""

    load_id: str
    source_id: str
    request_id: str
    state: bytes
    etag: str = ""
    """Of what was read: it is written only over that. Empty writes over anything."""
    update_time: dt.datetime = _LONG_AGO
    """When it was last written, in UTC, by Memory's clock."""
