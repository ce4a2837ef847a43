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

    tenant: str
    load_id: str
    size: int
    granted: asyncio.Future[None]


class Spool:
    """A folder with a quota. A load gets at most half of it, a tenant three quarters, or a single file that is larger.

    Room is granted in the order of requests, except that a load or a tenant that would exceed its share is passed over:
    its uploads may be slow, and others would wait for them.
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
        self._used: Counter[tuple[str, str]] = Counter()
        """Bytes by tenant and load."""
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

    async def reserve(self, manifest: Manifest, tenant: str, load_id: str) -> SpooledFile:
        """Reserve room for a file, waiting in turn as long as needed.

        Args:
            manifest: The file.
            tenant: The tenant that it belongs to.
            load_id: The load that it belongs to.

        Raises:
            ResourceExhausted: The disk refuses more files.
        """
        waiter = _Waiter(tenant, load_id, manifest.size, asyncio.get_running_loop().create_future())
        await self._acquire(waiter)

        def release() -> None:
            self._release(waiter)

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

    async def _acquire(self, waiter: _Waiter) -> None:
        self._waiters.append(waiter)
        self._grant()
        try:
            await waiter.granted
        except BaseException:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._release(waiter)
            else:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                self._grant()
            raise

    def _release(self, waiter: _Waiter) -> None:
        self._used[waiter.tenant, waiter.load_id] -= waiter.size
        self._used += Counter()  # drop loads without files
        self._grant()

    def _grant(self) -> None:
        passed_over: set[str] = set()
        for waiter in list(self._waiters):
            of_load = self._used[waiter.tenant, waiter.load_id]
            of_tenant = sum(used for (tenant, _), used in self._used.items() if tenant == waiter.tenant)
            if waiter.tenant in passed_over or _exceeds(of_load, waiter.size, self._quota // 2):
                continue
            if _exceeds(of_tenant, waiter.size, self._quota * 3 // 4):
                passed_over.add(waiter.tenant)  # with its later files, for the reason below
                continue
            if self.used_bytes + waiter.size > self._quota:
                return  # otherwise small files could make a large one wait indefinitely
            self._waiters.remove(waiter)
            if not waiter.granted.done():  # otherwise it was cancelled
                self._used[waiter.tenant, waiter.load_id] += waiter.size
                waiter.granted.set_result(None)


def _exceeds(owned: int, size: int, share: int) -> bool:
    """Whether a load or a tenant that has `owned` bytes would get more than its share; a single file may be larger."""
    return owned > 0 and owned + size > share


def _remove_if_dead(folder: Path) -> bool:
    """Remove the folder of a process that no longer holds its lock. Returns whether it was removed."""
    # For writing: NFS refuses an exclusive lock on a file that is open for reading.
    with suppress(OSError), (folder / _LOCK).open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return True
    return False
