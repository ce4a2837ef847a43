"""The domain model of loads."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from enum import StrEnum

from memgpt_loader.failures import FailureReason
from memgpt_loader.formats import Note

_LONG_AGO = dt.datetime.fromtimestamp(0, dt.UTC)


class FileState(StrEnum):
    """The state of a file: `memgpt.loader.v1.FileState` without its prefix."""

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
        """Return the final state for a failure reason; some reasons mean that the file was skipped or empty."""
        match reason:
            case FailureReason.EMPTY:
                return cls.EMPTY
            case FailureReason.UNSUPPORTED:
                return cls.SKIPPED
            case _:
                return cls.FAILED


class LoadState(StrEnum):
    """The state of a load: `memgpt.loader.v1.LoadState` without its prefix."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    """Never persisted: a running load whose lease no living Loader holds."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file as the client describes it.

    Attributes:
        name: A label, unique within the load; never a path on this machine.
        size: Bytes.
        sha256: 64 lower-case hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause before another attempt.

    Attributes:
        message: Why, for people.
        until: Its end, by `time.monotonic`.
    """

    message: str
    until: float

    @property
    def seconds(self) -> float:
        """The rest of the pause."""
        return max(0.0, self.until - time.monotonic())


@dataclass(slots=True)
class LoadFile:
    """A file of a load.

    Attributes:
        manifest: The client's description of the file.
        state: State of the file.
        documents: Documents read so far.
        passages: Passages stored so far.
        reason: Why it was not loaded, if it was not.
        message: The reason for people.
        notes: Content that was left out of a loaded file; usually empty.
        tags: Labels to set; known only to the Loader that works on the load.
        wait: Set while it waits for another attempt; known only to the Loader that works on the load.
        sequence: Number of the event of its last change.
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
    wait: Wait | None = None


@dataclass(slots=True)
class Load:
    """A load: files that are being added to a source.

    Attributes:
        load_id: Id of the load.
        tenant: The tenant that owns it.
        source_id: Id of the source that it loads into.
        source_name: Name of the source.
        request_id: The request that created it; empty if it had none.
        digest: Digest of that request's body.
        files: Files by name, in order of the manifest.
        state: State of the load.
        create_time: Time of creation in UTC.
        end_time: Time of its end in UTC; None until it ends.
        sequence: Number of the last event.
        sync: Whether files of the source that are not in the manifest are removed at the end.
        removed: Number of files removed by `sync`.
        tags: Labels of its files; None if each file keeps its labels.
        holder: The process that holds the lease, see `Spool.name`; empty if none does.
        results: Files that other Loaders have loaded and the holder has not merged yet.
        cancel_requested: Whether cancellation was requested at another Loader.
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
        """Number of documents in its visible files."""
        return sum(file.documents for file in self.files.values() if file.state.visible)

    @property
    def passages(self) -> int:
        """Number of passages in its visible files."""
        return sum(file.passages for file in self.files.values() if file.state.visible)


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A reference to a source, which may have to be created.

    Attributes:
        source_id: Id of an existing source; empty to find it by name.
        name: Name of the source; it is created if absent.
        description: Description of a source that is created.
    """

    source_id: str = ""
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A version of a file: its content, the chunking rules applied to it, and its labels."""

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
    """Whether it was already visible, so that nothing was written."""
    notes: tuple[Note, ...] = ()
    """Notes on content that was left out."""
    media_type: str = ""
    tags: tuple[str, ...] = ()
    """Labels of the file."""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """The persisted record of a load."""

    load_id: str
    source_id: str
    request_id: str
    state: bytes
    etag: str = ""
    """Etag of the version that was read; a write fails if the record has changed. Empty writes unconditionally."""
    update_time: dt.datetime = _LONG_AGO
    """Time of the last write in UTC, by Memory's clock."""
    source_name: str = ""
    """Current name of the source; empty if Memory does not tell it."""
