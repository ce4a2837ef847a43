"""The lock of a Lite file, and the room on its disk."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from memgpt_runtime import reasons

ROOM_BYTES = 32 << 20
"""Free bytes below which nothing is added: a flush of Lite writes 4 MiB, a compaction a multiple."""

LAST_ROOM_BYTES = 8 << 20
"""Free bytes below which nothing is written; the difference is reserved for deletions, which write as well."""

SYNC_ROOM_BYTES = 64 << 10
"""Free bytes below which nothing is synced: a sync writes checksums."""

_DAMAGE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
"""Error numbers that mean damaged files; None is that of errors raised by a library."""


def is_held(path: Path) -> bool:
    """Return whether another process has locked a Lite file."""
    try:
        with (path / "LOCK").open("r+b") as lock:  # NFS refuses an exclusive lock on a file that is open for reading
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def is_damage(error: Exception) -> bool:
    """Return whether an error means damaged files, and not a disk that is full or fails at the moment."""
    return not isinstance(error, OSError) or error.errno in _DAMAGE


def check_room(path: Path, needed: int) -> None:
    """Refuse a write for which the disk has no room, before it reaches the engine.

    Args:
        path: The Lite file.
        needed: How many bytes must be free.

    Raises:
        ResourceExhausted: The disk is full.
        Unavailable: The disk cannot be written to.
    """
    try:
        disk = os.statvfs(path)
    except OSError as error:
        raise reasons.store_unavailable(
            f"the disk of the Milvus Lite file {path} does not respond ({error.strerror}); retry later"
        ) from error
    if disk.f_flag & os.ST_RDONLY:
        raise reasons.store_unavailable(f"the disk of the Milvus Lite file {path} is mounted read-only; remount it")
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise reasons.quota_exceeded(
            f"the disk of the Milvus Lite file {path} is full ({free >> 20} MiB free); make room on it, or move the "
            "store to another disk or a Milvus server",
            quota="disk",
            limit=max(needed, ROOM_BYTES),
            free_bytes=free,
            needed_bytes=max(needed, ROOM_BYTES),
            retry_after=30,
        )
