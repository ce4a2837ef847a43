"""What Milvus Lite leaves to whoever embeds it: its lock, room on the disk, and a way out when a write has failed.

Lite appends every write to a log before it takes the rows into its memory, and later flushes them to files. Two things
go wrong when the disk refuses a part of that. A record torn in the log hides whatever is appended behind it from the
next start, though it was acknowledged. And a flush that failed has dropped its rows from memory, and the next flush
deletes the log that still held them. So after a failed write nothing more may reach that engine: it is thrown away as a
crash would do it, with nothing flushed, and opened again, which reads the log up to the tear.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from memgpt_runtime.errors import Reason, ResourceExhausted, Unavailable

from memgpt_memory.store.local_channel import LocalChannel

ROOM_BYTES = 32 << 20
"""Free bytes below which nothing is added: a flush of Lite writes 4 MiB, a compaction some times as much."""

LAST_ROOM_BYTES = 8 << 20
"""Free bytes below which nothing is written at all; what lies between is for deletions, which write as well."""

_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 128 << 10
"""See mallopt(3); the bytes are what glibc begins with."""

_numbers = count()


def is_held(path: Path) -> bool:
    """Whether another process has locked a Lite file; asked beforehand, for pymilvus hides Lite's own answer."""
    try:
        with (path / "LOCK").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def check_room(path: Path, *, adding: bool, extra: int = 0) -> None:
    """Refuses a write for which the disk has no room, before it reaches the engine.

    Args:
        path: The Lite file.
        adding: Whether it is more data, rather than what a deletion or a turn's end must note.
        extra: Bytes that are written beside.

    Raises:
        ResourceExhausted: The disk is full.
        Unavailable: The disk cannot be written to.
    """
    disk = os.statvfs(path)
    if disk.f_flag & os.ST_RDONLY:
        raise Unavailable(
            Reason.STORE_UNAVAILABLE,
            f"The disk of the Milvus Lite file {path} is mounted read-only: nothing can be stored until that changes.",
        )
    free = disk.f_bavail * disk.f_frsize
    needed = extra + (ROOM_BYTES if adding else LAST_ROOM_BYTES)
    if free < needed:
        raise ResourceExhausted(
            Reason.QUOTA_EXCEEDED,
            f"The disk of the Milvus Lite file {path} is full ({free >> 20} MiB free): make room on it, or move the "
            "store to another disk or a Milvus server.",
            metadata={"quota": "disk", "free_bytes": free, "needed_bytes": max(needed, ROOM_BYTES)},
            retry_after=30,
        )


class EngineError(Exception):
    """Lite, or the disk below it, has refused something."""


class Engine:
    """A Lite file that is open in this process; nobody else can reach it.

    Attributes:
        database: Lite's own object. What is done to its private parts is done here and in `files`.
        address: Where pymilvus believes it to be.
        channel: How pymilvus calls it.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file, or makes it."""
        from milvus_lite.adapter.grpc.servicer import MilvusServicer
        from milvus_lite.db import MilvusLite

        _give_memory_back()
        self.database: Any = MilvusLite(str(path.absolute()))
        # pymilvus keeps one connection for each address.
        self.address = f"http://lite-{next(_numbers)}:1"
        self.channel = LocalChannel(MilvusServicer(self.database))

    def load(self, collection: str) -> None:
        """Reads a collection's files, if it has been made; raises what Lite raises, of which pymilvus tells nothing.

        Lite makes the folder first, and refuses to make it again: one that a crash or a full disk left empty goes. And
        it writes its indices in place: one that a crash or a full disk left half written is made anew, out of the rows.
        """
        folder = self._folder(collection)
        if not self.database.has_collection(collection):
            (folder / "schema.json.tmp").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                folder.rmdir()
            return
        found = self.database.get_collection(collection)
        try:
            found.load()
        except Exception:  # noqa: BLE001 - of whatever reads an index
            for index in folder.glob("partitions/*/indexes/*.idx"):
                index.unlink()
            found.load()

    def write(self, collection: str, rows: list[Mapping[str, Any]], partition: str = "") -> None:
        """Writes whole rows under their keys, without the long way by pymilvus.

        An insert of Lite replaces rows, too. Its upsert first reads each, to keep the columns that a caller left out.

        Raises:
            EngineError: It failed.
        """
        from milvus_lite.constants import DEFAULT_PARTITION

        try:
            self.database.get_collection(collection).insert(rows, partition or DEFAULT_PARTITION)
        except Exception as error:
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def clear(self, collection: str) -> None:
        """Removes what a crash has left of a collection that is being dropped."""
        if not self.database.has_collection(collection):
            shutil.rmtree(self._folder(collection), ignore_errors=True)

    def _folder(self, collection: str) -> Path:
        return Path(self.database._collection_dir(collection))

    def close(self) -> None:
        """Flushes and closes it."""
        self.database.close()

    def abandon(self) -> None:
        """Drops it with nothing flushed; the file can then be opened again. Nobody may call it meanwhile.

        What it does in the background is waited for. Nothing public of Lite does this: `close` flushes.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for collection in self.database._collections.values():
                collection._bg_closed = True
                collection._bg_executor.shutdown(wait=True)
                for log in (collection._wal._data_sink, collection._wal._delta_sink):
                    if log is not None:
                        # What could not be written is still in its buffer, and must not follow when it is closed.
                        os.dup2(nowhere, log.fileno())
                        log.close()
            self.database._release_lock()
        finally:
            os.close(nowhere)


def _give_memory_back() -> None:
    """Has glibc return what is freed: left alone it keeps ever more, for Lite frees large blocks at each flush."""
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
