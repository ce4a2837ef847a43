"""The spool: uploaded files on disk until they are parsed, in a folder of this process, within a quota.

File names on disk are random; a client's name for a file never becomes a path. The folder's name identifies this
process, and its lock shows other processes that this one is alive.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memgpt_loader.loads.spooled_file import SpooledFile, disk_full
from memgpt_loader.model import Manifest

_PREFIX = "loader-"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A reservation that waits for room."""

    owner: str
    size: int
    granted: asyncio.Future[None]


class Spool:
    """A folder with a quota. An owner gets at most half of it, or a single file that is larger.

    Room is granted in the order of requests, except that an owner that would exceed half is passed over.
    """

    def __init__(self, parent: Path, quota_bytes: int) -> None:
        """Create the folder, and remove the folders of processes that died.

        Args:
            parent: Folder of all spools; created if absent.
            quota_bytes: Maximum bytes of all files together.

        Raises:
            OSError: The folder is not writable.
        """
        self._quota = quota_bytes
        self._used: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._dead = {old.name for old in parent.glob(f"{_PREFIX}*") if _remove_if_dead(old)}
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # Locked before it gets its name, so that no other process ever finds it unlocked.
        unnamed = self._folder / f"{_LOCK}.new"
        self._lock = unnamed.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self._folder / _LOCK)

    @property
    def name(self) -> str:
        """A name that identifies this process."""
        return self._folder.name

    @property
    def used_bytes(self) -> int:
        """Bytes reserved now."""
        return self._used.total()

    def has_died(self, name: str) -> bool:
        """Whether a process is known to be dead, which requires that its folder is or was in the same parent folder."""
        if name not in self._dead:
            siblings = (each for each in self._folder.parent.glob(f"{_PREFIX}*") if each.name == name)
            self._dead.update(each.name for each in siblings if _remove_if_dead(each))
        return name in self._dead

    async def reserve(self, manifest: Manifest, owner: str) -> SpooledFile:
        """Reserve room for a file, waiting in turn as long as needed.

        Args:
            manifest: The file.
            owner: The load that it belongs to.

        Raises:
            ResourceExhausted: The disk refuses more files.
        """
        await self._acquire(owner, manifest.size)

        def release() -> None:
            self._release(owner, manifest.size)

        try:
            descriptor, path = tempfile.mkstemp(dir=self._folder)
        except OSError as error:
            release()
            raise disk_full(manifest.size) from error
        return SpooledFile(Path(path), os.fdopen(descriptor, "wb"), manifest, release)

    def close(self) -> None:
        """Remove the folder and all files in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    async def _acquire(self, owner: str, size: int) -> None:
        waiter = _Waiter(owner, size, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._grant()
        try:
            await waiter.granted
        except BaseException:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._release(owner, size)
            else:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                self._grant()
            raise

    def _release(self, owner: str, size: int) -> None:
        self._used[owner] -= size
        self._used += Counter()  # drop owners without files
        self._grant()

    def _grant(self) -> None:
        for waiter in list(self._waiters):
            owned = self._used[waiter.owner]
            if owned and owned + waiter.size > self._quota // 2:
                continue
            if self.used_bytes + waiter.size > self._quota:
                return  # otherwise small files could make a large one wait indefinitely
            self._waiters.remove(waiter)
            if not waiter.granted.done():  # otherwise it was cancelled
                self._used[waiter.owner] += waiter.size
                waiter.granted.set_result(None)


def _remove_if_dead(folder: Path) -> bool:
    """Remove the folder of a process that no longer holds its lock. Returns whether it was removed."""
    # For writing: NFS refuses an exclusive lock on a file that is open for reading.
    with suppress(OSError), (folder / _LOCK).open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return True
    return False
