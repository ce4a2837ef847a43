"""The files of a Lite store: their size, and links to them for a snapshot.

Lite keeps rows in immutable files and logs that only grow, and removes a file only after its replacement is in place.
So links that are made between two writes stay a consistent copy.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from memgpt_memory.store.port import StoreFile

SNAPSHOTS = "backup"
"""Folder within a store for the links of snapshots in use."""

INDEXES = "search"
"""Folder within a store for the search indexes."""

CHECKSUMS = "checksums"
"""Folder within a store for the checksums of logs."""

_LEFT_OUT = frozenset({"LOCK", SNAPSHOTS, INDEXES, CHECKSUMS, "indexes", "snapshots"})
"""Not in a snapshot: locks, and indexes, which are rebuilt when they are missing."""

_UNSTEADY = (".prev", ".tmp")
"""Suffixes of files that are written in place and are of no use in a snapshot."""


def size_of(store: Path) -> int:
    """Return the bytes of all files of a store, without snapshots in use."""
    total = 0
    for folder, folders, names in os.walk(store):
        if Path(folder) == store and SNAPSHOTS in folders:
            folders.remove(SNAPSHOTS)
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # removed by a background compaction
                continue
    return total


def link(store: Path, into: Path) -> list[StoreFile]:
    """Link every file of a store into a new folder, in milliseconds; nothing may write in the meantime."""
    linked: list[StoreFile] = []
    for folder, folders, names in os.walk(store):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        place = Path(folder).relative_to(store)
        (into / place).mkdir(parents=True, exist_ok=True)
        for name in sorted(set(names) - _LEFT_OUT):
            if name.endswith(_UNSTEADY):
                continue
            source, target = Path(folder) / name, into / place / name
            size = source.stat().st_size
            try:
                os.link(source, target)
            except OSError:  # a file system without links
                shutil.copyfile(source, target)
            linked.append(StoreFile((place / name).as_posix(), target, size))
    return linked


def remove_snapshots(store: Path) -> None:
    """Remove the snapshots that a crash left behind."""
    shutil.rmtree(store / SNAPSHOTS, ignore_errors=True)
