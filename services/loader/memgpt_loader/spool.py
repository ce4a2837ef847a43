"""Where uploaded files lie until they are read: a folder of this process's own, with a quota.

Names on disk are random; what a client calls its file never becomes a path.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from memgpt_runtime.errors import InvalidArgument, Reason, ResourceExhausted

from memgpt_loader.model import Manifest

_PREFIX = "loader-"
_LOCK = "lock"
_WRITE_BYTES = 1024 * 1024  # chunks are gathered before a thread writes them


class Spool:
    """A folder with a quota. Space is given in the order in which it was asked for."""

    def __init__(self, parent: Path, quota_bytes: int, wait_seconds: float) -> None:
        """Makes the folder, and removes those of processes that have died.

        Args:
            parent: Folder of all spools; created if absent.
            quota_bytes: Bytes of all files at a time.
            wait_seconds: How long an upload waits for space before it is refused.

        Raises:
            OSError: The folder cannot be written.
        """
        self._quota = quota_bytes
        self._wait = wait_seconds
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in parent.glob(f"{_PREFIX}*"):
            _remove_if_dead(old)
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # Locked before it gets its name, so that no other process ever finds it free.
        fresh = self._folder / f"{_LOCK}.new"
        self._lock = fresh.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self._folder / _LOCK)

    @property
    def used_bytes(self) -> int:
        """Bytes reserved now."""
        return self._used

    async def reserve(self, manifest: Manifest) -> SpooledFile:
        """Makes room for a file; waits for it, in turn.

        Raises:
            ResourceExhausted: No room in time.
        """
        size = manifest.size
        if self._waiting or self._used + size > self._quota:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (size, turn)
            self._waiting.append(entry)
            try:
                async with asyncio.timeout(self._wait):
                    await turn
            except BaseException as error:
                if turn.done() and not turn.cancelled():
                    self._used -= size
                else:
                    with suppress(ValueError):  # its turn came just when it gave up
                        self._waiting.remove(entry)
                self._give()
                if not isinstance(error, TimeoutError):
                    raise
                raise ResourceExhausted(
                    Reason.QUOTA_EXCEEDED,
                    f"the Loader's disk quota of {self._quota:,} bytes is used up; upload again when other files are "
                    "done, or raise loader.spool_bytes",
                    metadata={"limit_bytes": self._quota},
                    retry_after=5.0,
                ) from None
        else:
            self._used += size
        descriptor, path = tempfile.mkstemp(dir=self._folder)
        return SpooledFile(self, Path(path), os.fdopen(descriptor, "wb"), manifest)

    def close(self) -> None:
        """Removes the folder and all files in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    def _release(self, size: int) -> None:
        self._used -= size
        self._give()

    def _give(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if self._used + size > self._quota:
                return
            self._waiting.popleft()
            if not turn.done():
                self._used += size
                turn.set_result(None)


class SpooledFile:
    """A file that is being uploaded, or waits to be read.

    Attributes:
        path: Where it lies.
    """

    def __init__(self, spool: Spool, path: Path, stream: BinaryIO, manifest: Manifest) -> None:
        self.path = path
        self._spool = spool
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
        self._spool._release(self._manifest.size)

    async def _flush(self, *, last: bool = False) -> None:
        pending, self._pending = bytes(self._pending), bytearray()
        try:
            await asyncio.to_thread(self._append, pending, last)
        except OSError as error:
            raise ResourceExhausted(
                Reason.QUOTA_EXCEEDED,
                "the Loader cannot write to its disk; make room in loader.spool_dir and upload again",
            ) from error

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


def _remove_if_dead(folder: Path) -> None:
    """Removes another process's folder unless it still holds its lock."""
    with suppress(OSError), (folder / _LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
