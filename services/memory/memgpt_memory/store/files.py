"""The files of a Milvus Lite store in use: written anew without what was deleted, and linked for a backup.

Lite keeps rows in immutable files, and deletes and replaces by noting it: the former text stays in its file until a
compaction, which comes when there are enough files of a size, and on no request (`compact` is answered and does
nothing). So erasure drives the parts of Lite's own compaction from here. Its order is kept: new files, then the
manifest, then away with the old ones; a crash in between leaves files that the next start removes.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memgpt_memory.store.lite import Engine

BACKUPS = "backup"
"""Folder within a store for the links of backups under way."""

_LEFT_OUT = frozenset({"LOCK", BACKUPS, "indexes", "snapshots"})
"""Not in a backup: locks, and indexes, which a start builds when they are missing."""

_UNSTEADY = (".prev", ".tmp")
"""Ends of the names of files that are written in place, and are of no use in a backup."""


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """A file of a backup.

    Attributes:
        name: Its path within the store, with slashes.
        path: Where its link is.
        size: Bytes that belong to the backup: a log may have grown since.
    """

    name: str
    path: Path
    size: int


def size_of(store: Path) -> int:
    """Bytes of all files of a store, backups under way not counted."""
    total = 0
    for folder, folders, names in os.walk(store):
        if Path(folder) == store and BACKUPS in folders:
            folders.remove(BACKUPS)
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # a compaction of Lite's own goes on
                continue
    return total


def flush(engine: Engine, name: str) -> int:
    """Writes what is only in a collection's log to files, and removes the log; nobody may write meanwhile.

    Returns:
        The sequence number up to which everything is in files.
    """
    collection = _collection(engine, name)
    if collection._wal.size_bytes or collection._recovered_wal_bytes:
        collection._trigger_flush()
    return int(collection._next_seq) - 1


def partitions(engine: Engine, name: str) -> list[str]:
    """Names of a collection's partitions."""
    return list(_collection(engine, name)._manifest.list_partitions())


def size_of_partition(engine: Engine, name: str, partition: str) -> int:
    """Bytes of a partition's files."""
    return size_of(Path(_collection(engine, name)._data_dir) / "partitions" / partition)


def rewrite(engine: Engine, name: str, partition: str) -> None:
    """Writes a partition's rows anew, without those that were deleted or replaced; does nothing if there are none."""
    collection = _collection(engine, name)
    with collection._maintenance_lock:
        manifest, dead = collection._manifest, collection._delta_index
        files = manifest.get_data_files(partition)
        collection._refresh_segment_cache()
        if len(files) < 2 and not any(
            dead.is_deleted(key, int(number))
            for file in files
            for segment in [collection._segment_cache[partition, file]]
            for key, number in zip(segment.pks, segment.seqs, strict=True)
        ):
            return
        folder = str(Path(collection._data_dir) / "partitions" / partition)
        collection._compaction_mgr._compact_files(partition, folder, files, manifest, dead)
        collection._refresh_segment_cache()


def drop_deletions(engine: Engine, name: str, flushed: int) -> None:
    """Forgets deletions, once every partition has been rewritten: up to `flushed` nothing is left that they hide."""
    collection = _collection(engine, name)
    with collection._maintenance_lock:
        from milvus_lite.storage.data_file import parse_seq_range

        manifest = collection._manifest
        obsolete = [
            (partition, file)
            for partition, files in manifest.get_all_delta_files().items()
            for file in files
            if parse_seq_range(file)[1] <= flushed
        ]
        for partition, file in obsolete:
            manifest.remove_delta_files(partition, [file])
        collection._delta_index.gc_below(flushed + 1)
        if obsolete:
            manifest.save()
        for partition, file in obsolete:
            (Path(collection._data_dir) / "partitions" / partition / file).unlink(missing_ok=True)
    # Indexes of files that are gone go, those of new files are built.
    collection._schedule_bg_maintenance()


def settle(engine: Engine) -> None:
    """Returns when what Lite does in the background is over."""
    for collection in list(engine.database._collections.values()):
        collection._wait_for_bg()


def link(engine: Engine, store: Path, into: Path) -> list[LinkedFile]:
    """Links every file of a store into a new folder, in milliseconds; nobody may write meanwhile.

    The files are immutable, or logs that only grow: what belongs to the backup is their present size.
    """
    linked: list[LinkedFile] = []
    with ExitStack() as stack:
        for collection in list(engine.database._collections.values()):
            stack.enter_context(collection._maintenance_lock)
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
                linked.append(LinkedFile((place / name).as_posix(), target, size))
    return linked


def _collection(engine: Engine, name: str) -> Any:
    return engine.database.get_collection(name)
