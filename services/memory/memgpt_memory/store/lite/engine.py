"""One open Lite file.

Lite appends every write to a log, keeps the rows in memory, and flushes them to files later. If the disk refuses a
part of that, two things go wrong. A torn record in the log hides the records after it from the next start, although
they were acknowledged. And a failed flush has dropped its rows from memory, and the next flush deletes the log that
still held them. So after a failed write nothing more may reach this engine: it is abandoned as in a crash, with nothing
flushed, and the file is opened again, which reads the log up to the tear.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

# Lite and Arrow read these at import. Unflushed rows are slow to search, so a small memtable is flushed early.
# Arrow's own allocator keeps what each thread has freed; the system's keeps less.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(4 << 20))
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

from milvus_lite.constants import DEFAULT_PARTITION
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import SchemaValidationError
from milvus_lite.schema.persistence import save_schema
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema

from memgpt_memory.store.batching import RefusedError
from memgpt_memory.store.layout import PARTITIONS, WORDS, Collection, Field, FieldType, partition_name
from memgpt_memory.store.lite import files, private, scan
from memgpt_memory.store.lite.checksums import LogChecksums, find_damage, flushed_logs
from memgpt_memory.store.lite.index.search_index import ColumnChunk
from memgpt_memory.store.lite.index.segment import has_words
from memgpt_memory.store.mapping import Columns
from memgpt_memory.store.port import StoreFile

VERSION = version("milvus-lite")

_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 128 << 10
"""See mallopt(3); glibc starts with this number of bytes."""

_TYPES = {
    FieldType.TEXT: DataType.VARCHAR,
    FieldType.WORDS: DataType.VARCHAR,
    FieldType.INTEGER: DataType.INT64,
    FieldType.VECTOR: DataType.FLOAT_VECTOR,
}


class EngineError(Exception):
    """Lite, or the disk below it, failed."""


class DamageError(Exception):
    """A collection's files are not what was written."""


class Engine:
    """A Lite file that is open in this process. Writes to a collection must not run concurrently with anything else."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        """Open a file, or create it.

        Args:
            path: The file.
            durable: Whether what is created and flushed must survive a power cut.
        """
        _return_freed_memory()
        private.keep_files_slim()
        private.keep_checksums()
        self._checksums: dict[str, LogChecksums] = {}
        self._opened: set[str] = set()
        if durable:
            private.write_files_durably()
        self._durable = durable
        self._path = path
        self._database = MilvusLite(str(path.absolute()))

    def has(self, name: str) -> bool:
        """Return whether a collection exists."""
        return bool(self._database.has_collection(name))

    def load(self, collection: Collection) -> None:
        """Read a collection's files, if it exists.

        A crash or a full disk while a collection is created leaves an empty folder, which is removed: Lite would
        refuse to create the collection. Lite's own indexes, which earlier versions built and nothing uses, are dropped.

        Raises:
            DamageError: A file is missing or altered.
            Exception: The libraries that read the files raise errors of any type; see `disk.is_damage`.
        """
        name = collection.name
        folder = private.folder_of(self._database, name)
        if not self.has(name):
            (folder / "schema.json.tmp").unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                folder.rmdir()
            return
        if damage := find_damage(folder) or self._log_checksums(name).find_damage():
            raise DamageError(damage)
        self._remove_flushed_logs(folder)
        if self._durable:
            self._sync_recovered_logs(folder / "wal")
        self._opened.add(name)
        found = self._database.get_collection(name)
        # Those of earlier versions have further columns. Lite would read and write rows without the missing ones.
        if missing := {field.name for field in _schema(collection).fields} - {
            field.name for field in found.schema.fields
        }:
            raise DamageError(f"its schema has no column {min(missing)}")
        for index in found.list_indexes():
            found.release()
            found.drop_index(index)
        found.load()

    def prepare(self, collection: Collection) -> None:
        """Create what is missing of a collection, and load it. A crash may have come between any two steps."""
        with _failures():
            self._opened.add(collection.name)
            if not self.has(collection.name):
                self._database.create_collection(collection.name, _schema(collection))
                if self._durable:
                    self._sync_created(private.folder_of(self._database, collection.name))
            found = self._database.get_collection(collection.name)
            if collection.partitioned:
                existing = set(found.list_partitions())
                for name in map(partition_name, range(PARTITIONS)):
                    if name not in existing:
                        found.create_partition(name)

    def drop(self, name: str) -> None:
        """Drop a collection, or what a crash has left of one."""
        self._log_checksums(name).remove()
        with _failures():
            if self.has(name):
                self._database.drop_collection(name)
            else:
                shutil.rmtree(private.folder_of(self._database, name), ignore_errors=True)

    def count(self, name: str) -> int:
        """Return the number of rows of a collection."""
        with _failures():
            return private.read(self._database.get_collection(name), (), scan.count)

    def write(self, name: str, rows: list[dict[str, object]], partition: str | None) -> None:
        """Write whole rows under their keys.

        Lite's insert replaces rows too; its upsert first reads each row, to keep columns that the caller left out.

        Raises:
            RefusedError: A row does not fit its collection; nothing was written.
        """
        with _failures():
            self._database.get_collection(name).insert(rows, partition or DEFAULT_PARTITION)

    def delete(self, name: str, ids: list[str], partition: str | None) -> None:
        """Delete rows by key."""
        with _failures():
            self._database.get_collection(name).delete(ids, partition)

    def get(self, name: str, ids: list[str], columns: Sequence[str], partitions: Sequence[str]) -> list[Columns]:
        """Read rows by key. Lite's own method copies all deletions first."""
        with _failures():
            return private.get(self._database.get_collection(name), ids, columns, partitions)

    def query(self, name: str, condition: str, columns: Sequence[str], partitions: Sequence[str]) -> list[Columns]:
        """Read the rows for which a filter holds."""
        with _failures():
            found = self._database.get_collection(name)
            holds = private.condition(found, condition)
            return private.read(found, partitions, lambda view: scan.query(view, holds, columns))

    def sync(self, name: str) -> None:
        """Return when every write to a collection is on the disk."""
        with _failures():
            for log in private.sync_log(self._database.get_collection(name)):
                self._log_checksums(name).note(log)

    def _log_checksums(self, name: str) -> LogChecksums:
        if name not in self._checksums:
            logs = private.folder_of(self._database, name) / "wal"
            self._checksums[name] = LogChecksums(self._path / files.CHECKSUMS / name, logs)
        return self._checksums[name]

    def _remove_flushed_logs(self, folder: Path) -> None:
        """Remove the logs that are in files: Lite would add their rows a second time."""
        if flushed := flushed_logs(folder):
            private.sync_folder(folder)  # the manifest must stay
            for log in flushed:
                log.unlink()

    def _sync_recovered_logs(self, folder: Path) -> None:
        """Sync what an earlier process, or an engine that was abandoned, had not: no later sync includes its logs."""
        logs = list(folder.glob("*"))
        for log in logs:
            with log.open("rb") as file:
                os.fsync(file.fileno())
        if logs:
            private.sync_folder(folder)

    def _sync_created(self, folder: Path) -> None:
        with (folder / "schema.json").open("rb") as schema:
            os.fsync(schema.fileno())
        for created in (folder, *folder.parents):
            private.sync_folder(created)
            if created == self._path.parent.absolute():
                return

    def last_write(self, name: str) -> int:
        """Return the number of a collection's last write."""
        return private.last_write(self._database.get_collection(name))

    def keeping_files(self, name: str) -> AbstractContextManager[object]:
        """Keep the background work from replacing a collection's files."""
        return private.maintenance_lock(self._database.get_collection(name))

    def changes_since(
        self, collection: Collection, since: int, columns: Sequence[str]
    ) -> Iterator[tuple[str, Iterable[ColumnChunk], list[str]]]:
        """Read what was written after a write, within `keeping_files` (see `private.changes_since`)."""
        found = self._database.get_collection(collection.name)
        words = WORDS if has_words(collection) else ""
        return private.changes_since(found, since, columns, collection.vector, words)

    def flush(self, name: str) -> int:
        """Move everything from a collection's log to files; return the number of the last write."""
        with _failures():
            return private.flush(self._database.get_collection(name))

    def partitions(self, name: str) -> list[str]:
        """Return the names of a collection's partitions."""
        return [str(one) for one in self._database.get_collection(name).list_partitions()]

    def size_of_partition(self, name: str, partition: str) -> int:
        """Return the bytes of a partition's files."""
        return files.size_of(private.folder_of(self._database, name) / "partitions" / partition)

    def rewrite(self, name: str, partition: str) -> None:
        """Rewrite a partition without what was deleted or replaced."""
        with _failures():
            private.rewrite(self._database.get_collection(name), partition)

    def drop_deletions(self, name: str, flushed: int) -> None:
        """Forget deletions up to a write, after every partition was rewritten."""
        with _failures():
            private.drop_deletions(self._database.get_collection(name), flushed)

    def deletions(self, name: str) -> int:
        """Return how many deletions a collection keeps."""
        return private.deletions(self._database.get_collection(name))

    def forget_deletions(self, name: str, through: int) -> int:
        """Forget deletions up to a write that hide nothing any more; return how many are left."""
        with _failures():
            return private.forget_deletions(self._database.get_collection(name), through)

    def settle(self) -> None:
        """Wait for the background work."""
        private.settle(self._database)

    def link(self, store: Path, into: Path) -> list[StoreFile]:
        """Link the store's files into a new folder."""
        with ExitStack() as stack:
            for lock in private.maintenance_locks(self._database):
                stack.enter_context(lock)
            return files.link(store, into)

    def close(self) -> None:
        """Flush and close the file. A log remains only if its rows could not be flushed, as on a full disk."""
        self._database.close()
        for name in self._opened:  # a damaged collection is not open, and its missing logs must be reported again
            self._log_checksums(name).remove_obsolete()

    def abandon(self) -> None:
        """Drop the engine with nothing flushed; the file can then be opened again. Nothing may call it any more."""
        private.abandon(self._database)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn Lite's errors, which are of any kind, into ours."""
    try:
        yield
    except SchemaValidationError as error:
        raise RefusedError(f"Milvus Lite refused a request: {error}") from error
    except Exception as error:
        raise EngineError(f"{type(error).__name__}: {error}") from error


def write_schema(collection: Collection, path: Path) -> None:
    """Write the file in which Lite keeps a collection's schema."""
    save_schema(_schema(collection), collection.name, str(path))


def _schema(collection: Collection) -> CollectionSchema:
    return CollectionSchema(
        [_field(collection, field) for field in collection.fields if field.type is not FieldType.SPARSE]
    )


def _field(collection: Collection, field: Field) -> FieldSchema:
    return FieldSchema(
        field.name,
        _TYPES[field.type],
        is_primary=field.name == collection.key,
        dim=field.size if field.type is FieldType.VECTOR else None,
        max_length=field.size if field.type in (FieldType.TEXT, FieldType.WORDS) else None,
    )


def _return_freed_memory() -> None:
    """Have glibc return freed memory: by default it keeps ever more, since Lite frees large blocks at each flush."""
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
