"""A simulated disk on which only synced data survives a power cut.

After a power cut, a file has its content as of its last sync and its name as of the last sync of its folder, and
removals have taken effect: the worst that a real disk may do.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """The state of a folder that would survive a power cut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents: dict[Path, bytes] = {}
        self._names: set[Path] = set()
        self._lock = threading.Lock()  # a cut is one instant, regardless of other threads

    def _note_sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self._folder.parent):
            return
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._names |= set(path.iterdir())
        else:
            self._contents[path] = path.read_bytes()

    def _note_rename(self, source: Path, target: Path) -> None:
        content = self._contents.pop(source, None)
        if content is not None:
            self._contents[target] = content

    def cut(self, into: Path) -> None:
        """Write the surviving state of the folder into another one."""
        with self._lock:
            self._cut(into)

    def _cut(self, into: Path) -> None:
        for path, content in self._contents.items():
            if not path.is_relative_to(self._folder) or not path.exists():
                continue
            needed = [path, *(parent for parent in path.parents if parent.is_relative_to(self._folder))]
            if all(one in self._names for one in needed):
                left = into / path.relative_to(self._folder)
                left.parent.mkdir(parents=True, exist_ok=True)
                left.write_bytes(content)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record syncs while the context is open."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("fsync", "fdatasync"):
                patch.setattr(os, name, self._synced(getattr(os, name)))
            for name in ("replace", "rename"):
                patch.setattr(os, name, self._renamed(getattr(os, name)))
            yield

    def _synced(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(file: Any) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            with self._lock:
                sync(descriptor)
                self._note_sync(descriptor)

        return synced

    def _renamed(self, rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Any, target: Any, **options: Any) -> None:
            with self._lock:
                rename(source, target, **options)
                self._note_rename(Path(source), Path(target))

        return renamed
