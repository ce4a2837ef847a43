"""Where uploaded files lie until they are read: a folder of this process's own, with a quota.

Names on disk are random; what a client calls its file never becomes a path. The folder's own name is this process's,
and its lock tells others that the process lives.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from memgpt_runtime.errors import InvalidArgument, Reason, ResourceExhausted

from memgpt_loader.model import Manifest

_PREFIX = "loader-"
_LOCK = "lock"
_WRITE_BYTES = 1024 * 1024  # chunks are gathered before a thread writes them


@dataclass(frozen=True, slots=True)
class _Wish:
    """Somebody who waits for room."""

    owner: str
    size: int
    turn: asyncio.Future[None]


class Spool:
    """A folder with a quota, of which a single owner has at most half at a time, or one file.

    Room is given in the order in which it was asked for; who waits for more than half is passed over.
    """

    def __init__(self, parent: Path, quota_bytes: int) -> None:
        """Makes the folder, and removes those of processes that have died.

        Args:
            parent: Folder of all spools; created if absent.
            quota_bytes: Bytes of all files at a time.

        Raises:
            OSError: The folder cannot be written.
        """
        self._quota = quota_bytes
        self._used: Counter[str] = Counter()
        self._waiting: list[_Wish] = []
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._dead = {old.name for old in parent.glob(f"{_PREFIX}*") if _remove_if_dead(old)}
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # Locked before it gets its name, so that no other process ever finds it free.
        fresh = self._folder / f"{_LOCK}.new"
        self._lock = fresh.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self._folder / _LOCK)

    @property
    def name(self) -> str:
        """Of this process, unlike that of any other."""
        return self._folder.name

    def has_died(self, name: str) -> bool:
        """Whether a process is known to be dead; only of those whose folder was, or is, beside this one."""
        if name not in self._dead:
            beside = (each for each in self._folder.parent.glob(f"{_PREFIX}*") if each.name == name)
            self._dead.update(each.name for each in beside if _remove_if_dead(each))
        return name in self._dead

    @property
    def used_bytes(self) -> int:
        """Bytes reserved now."""
        return self._used.total()

    async def reserve(self, manifest: Manifest, owner: str) -> SpooledFile:
        """Makes room for a file; waits for it, in turn, as long as it takes: what is here is worked on, and goes.

        Args:
            manifest: The file.
            owner: The load that it belongs to.

        Raises:
            ResourceExhausted: The disk takes no more files.
        """
        wish = _Wish(owner, manifest.size, asyncio.get_running_loop().create_future())
        self._waiting.append(wish)
        self._give()
        try:
            await wish.turn
        except BaseException:
            if wish.turn.done() and not wish.turn.cancelled():
                self._release(wish.owner, wish.size)
            else:
                if wish in self._waiting:
                    self._waiting.remove(wish)
                self._give()
            raise
        try:
            descriptor, path = tempfile.mkstemp(dir=self._folder)
        except OSError as error:
            self._release(wish.owner, wish.size)
            raise _disk_refuses() from error
        return SpooledFile(self, Path(path), os.fdopen(descriptor, "wb"), manifest, owner)

    def close(self) -> None:
        """Removes the folder and all files in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    def _release(self, owner: str, size: int) -> None:
        self._used[owner] -= size
        self._used += Counter()  # forgets owners who have nothing
        self._give()

    def _give(self) -> None:
        for wish in list(self._waiting):
            own = self._used[wish.owner]
            if own and own + wish.size > self._quota // 2:
                continue
            if self.used_bytes + wish.size > self._quota:
                return  # else a large file would wait for ever behind small ones
            self._waiting.remove(wish)
            if not wish.turn.done():  # else it has been given up
                self._used[wish.owner] += wish.size
                wish.turn.set_result(None)


class SpooledFile:
    """A file that is being uploaded, or waits to be read.

    Attributes:
        path: Where it lies.
    """

    def __init__(self, spool: Spool, path: Path, stream: BinaryIO, manifest: Manifest, owner: str) -> None:
        self.path = path
        self._spool = spool
        self._owner = owner
        self._stream = stream
        self._manifest = manifest
        self._hash = hashlib.sha256()
        self._size = 0
        self._pending = bytearray()
        self._discarded = False

    async def write(self, chunk: bytes) -> None:
        """Adds bytes.

        Raises:
            InvalidArgument: More of them than the manifest says.
        """
        self._size += len(chunk)
        if self._size > self._manifest.size:
            raise self._mismatch(f"more than the {self._manifest.size:,} bytes that the manifest says were sent")
        self._pending += chunk
        if len(self._pending) >= _WRITE_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Checks that the file is the one of the manifest.

        Raises:
            InvalidArgument: Another size, or another hash.
        """
        await self._flush(last=True)
        if self._size != self._manifest.size:
            raise self._mismatch(f"{self._size:,} bytes were sent, the manifest says {self._manifest.size:,}")
        if self._hash.hexdigest() != self._manifest.sha256:
            raise self._mismatch("the SHA-256 of the bytes sent is not the one of the manifest")

    def discard(self) -> None:
        """Removes the file and gives its room back. Idempotent."""
        if self._discarded:
            return
        self._discarded = True
        with suppress(OSError):  # what is still buffered does not fit either
            self._stream.close()
        self.path.unlink(missing_ok=True)
        self._spool._release(self._owner, self._manifest.size)

    async def _flush(self, *, last: bool = False) -> None:
        pending, self._pending = bytes(self._pending), bytearray()
        try:
            await asyncio.to_thread(self._append, pending, last)
        except OSError as error:
            raise _disk_refuses() from error

    def _append(self, data: bytes, last: bool) -> None:
        self._hash.update(data)
        self._stream.write(data)
        if last:
            self._stream.close()

    def _mismatch(self, what: str) -> InvalidArgument:
        return InvalidArgument(
            Reason.UPLOAD_MISMATCH,
            f"{what}; it may have changed meanwhile: create the load again for what it is now",
            field="chunk",
            metadata={"file": self._manifest.name},
        )


def _disk_refuses() -> ResourceExhausted:
    return ResourceExhausted(
        Reason.QUOTA_EXCEEDED, "the Loader cannot write to its disk; make room in loader.spool_dir and upload again"
    )


def _remove_if_dead(folder: Path) -> bool:
    """Removes another process's folder unless it still holds its lock; tells whether it did."""
    with suppress(OSError), (folder / _LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return True
    return False
