"""One file in the spool."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from memgpt_runtime import reasons
from memgpt_runtime.errors import InvalidArgument, ResourceExhausted

from memgpt_loader.model import Manifest

_WRITE_BYTES = 1024 * 1024
"""Size of a write in bytes; chunks are collected, and each write runs in a thread."""


class SpooledFile:
    """A file that is being uploaded, or waits to be parsed.

    As a context manager it discards itself at the end, unless `keep` was called.

    Attributes:
        path: Path of the file.
    """

    def __init__(self, path: Path, stream: BinaryIO, manifest: Manifest, release: Callable[[], None]) -> None:
        self.path = path
        self._kept = False
        self._release = release
        self._stream = stream
        self._manifest = manifest
        self._hash = hashlib.sha256()
        self._size = 0
        self._pending = bytearray()
        self._discarded = False

    async def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            InvalidArgument: The file is larger than the manifest says.
        """
        self._size += len(chunk)
        if self._size > self._manifest.size:
            raise self._mismatch(f"more than the {self._manifest.size:,} bytes of the manifest were sent")
        self._pending += chunk
        if len(self._pending) >= _WRITE_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Check that the file matches its manifest.

        Raises:
            InvalidArgument: The size or the hash differs.
        """
        await self._flush(last=True)
        if self._size != self._manifest.size:
            raise self._mismatch(f"{self._size:,} bytes were sent, but the manifest says {self._manifest.size:,}")
        if self._hash.hexdigest() != self._manifest.sha256:
            raise self._mismatch("the SHA-256 of the bytes differs from the manifest's")

    def keep(self) -> None:
        """Let the file outlive its context; the caller discards it later."""
        self._kept = True

    def __enter__(self) -> SpooledFile:
        return self

    def __exit__(self, *_exc: object) -> None:
        if not self._kept:
            self.discard()

    def discard(self) -> None:
        """Remove the file and release its room. Idempotent."""
        if self._discarded:
            return
        self._discarded = True
        with suppress(OSError):  # buffered bytes may not fit on the disk
            self._stream.close()
        self.path.unlink(missing_ok=True)
        self._release()

    async def _flush(self, *, last: bool = False) -> None:
        pending, self._pending = bytes(self._pending), bytearray()
        try:
            await asyncio.to_thread(self._append, pending, last)
        except OSError as error:
            raise disk_full(len(pending)) from error

    def _append(self, data: bytes, last: bool) -> None:
        self._hash.update(data)
        self._stream.write(data)
        if last:
            self._stream.close()

    def _mismatch(self, what: str) -> InvalidArgument:
        return reasons.upload_mismatch(
            f"{what}; if the file has changed, create a new load for it", field="chunk", file=self._manifest.name
        )


def disk_full(needed_bytes: int) -> ResourceExhausted:
    """Return the error for a disk that refuses a write."""
    return reasons.quota_exceeded(
        "the Loader cannot write to its disk; free space in loader.spool_dir and upload again",
        quota="disk",
        limit=needed_bytes,
    )
