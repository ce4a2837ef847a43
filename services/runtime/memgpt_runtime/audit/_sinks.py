"""Where lines of the audit log are written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

_NEW_FILE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Sink(Protocol):
    """Takes encoded lines."""

    def write(self, line: bytes) -> None:
        """Write a line; it survives the death of this process.

        Raises:
            OSError: The line was not written, or not completely.
        """
        ...

    def close(self) -> None:
        """Release what the sink holds."""
        ...


class StreamSink:
    """Writes to an open descriptor, such as standard output, which stays open."""

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor`."""
        self._descriptor = descriptor
        self._torn = False

    def write(self, line: bytes) -> None:
        torn, self._torn = self._torn, True
        self._torn = _write(self._descriptor, line, after_torn=torn)

    def close(self) -> None:
        pass


class FileSink:
    """Appends to a file, which is renamed when it is full.

    The full file becomes ``NAME.1``, the former ``NAME.1`` becomes ``NAME.2``, and so on; the oldest is deleted.
    Several processes may write to one file: a line is one write to a file opened for appending, and a lock beside the
    file is held while it is renamed. A file that someone else renames or deletes is created again.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """Open the file, so that a mistake in its path is found at the start.

        Args:
            path: The file; its folder is created.
            max_bytes: Size at which the file is renamed.
            keep: Full files to keep.

        Raises:
            OSError: The file cannot be opened.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = -1
        self._inode = (0, 0)
        self._torn = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def write(self, line: bytes) -> None:
        if self._size() + len(line) > self._max_bytes:
            self._rotate()
            self._size()
        torn, self._torn = self._torn, True
        self._torn = _write(self._descriptor, line, after_torn=torn)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _size(self) -> int:
        """Return the size of the file under the path, which is open afterwards."""
        found = self._find()
        if found is None or self._descriptor < 0 or _identity(found) != self._inode:
            return self._open()
        return found.st_size

    def _open(self) -> int:
        self.close()
        self._descriptor = os.open(self._path, _NEW_FILE, 0o600)
        opened = os.fstat(self._descriptor)
        self._inode = _identity(opened)
        return opened.st_size

    def _find(self) -> os.stat_result | None:
        try:
            return self._path.lstat()
        except FileNotFoundError:
            return None

    def _rotate(self) -> None:
        with self._locked():
            found = self._find()
            if found is None or _identity(found) != self._inode or not found.st_size:
                return  # another process was first, or a single line is longer than the limit
            for number in range(self._keep - 1, 0, -1):
                with suppress(FileNotFoundError):
                    self._numbered(number).replace(self._numbered(number + 1))
            if self._keep:
                self._path.replace(self._numbered(1))
            else:
                self._path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._path.with_name(f"{self._path.name}.lock"), _NEW_FILE, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # which releases the lock

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _write(descriptor: int, line: bytes, *, after_torn: bool) -> bool:
    """Write a line, on a line of its own even after an incomplete one; return False, as the line is complete."""
    data = b"\n" + line if after_torn else line
    written = os.write(descriptor, data)
    if written < len(data):
        raise OSError(f"{written} of {len(data)} bytes were written")
    return False
