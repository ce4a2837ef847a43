"""Every use of private attributes of milvus_lite, and why each is needed.

Lite publishes no way to abandon a store without flushing it, to compact it on request, to link its files, or to keep
columns that nothing reads out of memory. `USES` lists what is relied on, and
``tests/unit/memory/store/test_lite_private.py`` fails when a release changes one.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from milvus_lite.constants import DEFAULT_PARTITION
from milvus_lite.db import MilvusLite
from milvus_lite.engine import collection as engine_module
from milvus_lite.engine import compaction as compaction_module
from milvus_lite.engine import flush as flush_module
from milvus_lite.engine.collection import Collection
from milvus_lite.exceptions import SchemaValidationError
from milvus_lite.schema.arrow_builder import build_data_schema, build_delta_schema
from milvus_lite.schema.persistence import load_schema
from milvus_lite.search.filter import evaluate_mask
from milvus_lite.storage import data_file as data_file_module
from milvus_lite.storage import delta_file as delta_file_module
from milvus_lite.storage.data_file import parse_seq_range
from milvus_lite.storage.manifest import Manifest
from milvus_lite.storage.segment import Segment

from memgpt_memory.store.layout import WORDS
from memgpt_memory.store.lite import scan
from memgpt_memory.store.lite.checksums import CHECKSUM, add_footer_checksum, is_footer_altered, manifest_checksum
from memgpt_memory.store.lite.index.search_index import ColumnChunk
from memgpt_memory.store.lite.scan import CollectionView, FileRows, Holds, LogRows
from memgpt_memory.store.mapping import Columns

_T = TypeVar("_T")

_GROUP_ROWS = 8_192
"""Rows of a row group of a file."""

_CHUNK_ROWS = 16_384
"""Rows that are read at a time."""


@dataclass(frozen=True, slots=True)
class Use:
    """A private attribute that this module relies on.

    Attributes:
        owner: The attributes that lead to its owner, from a ``MilvusLite`` or a ``Collection`` on.
        name: The attribute.
        why: What it is needed for.
        callable: Whether it is a method.
    """

    owner: str
    name: str
    why: str
    callable: bool = False


USES = (
    Use("database", "_collections", "find the collections that are open"),
    Use("database", "_collection_dir", "remove the folder that a crash left of a collection", callable=True),
    Use("database", "_release_lock", "give the file up without flushing", callable=True),
    Use("collection", "_bg_closed", "stop the background work of an abandoned engine"),
    Use("collection", "_bg_executor", "wait for the background work of an abandoned engine"),
    Use("collection._wal", "_data_sink", "keep buffered rows of an abandoned engine from reaching its log"),
    Use("collection._wal", "_delta_sink", "keep buffered deletions of an abandoned engine from reaching its log"),
    Use("collection._wal", "size_bytes", "know whether the log holds anything"),
    Use("collection", "_recovered_wal_bytes", "know whether logs of earlier processes hold anything"),
    Use(
        "collection",
        "_trigger_flush",
        "flush deletions too: the public flush ignores a log without rows",
        callable=True,
    ),
    Use("collection", "_next_seq", "know up to which write everything is in files"),
    Use("collection", "_maintenance_lock", "keep the background work out while files are rewritten or linked"),
    Use("collection", "_manifest", "list and change the files of a partition"),
    Use("collection._manifest", "get_data_files", "list the files of a partition", callable=True),
    Use("collection._manifest", "get_all_delta_files", "list the deletions of each partition", callable=True),
    Use("collection._manifest", "remove_delta_files", "forget deletions that hide nothing any more", callable=True),
    Use("collection._manifest", "add_delta_file", "keep the other deletions in one file", callable=True),
    Use("collection._manifest", "save", "forget them durably", callable=True),
    Use("collection", "_delta_index", "know which rows are deleted"),
    Use("collection._delta_index", "is_deleted", "know which rows are deleted", callable=True),
    Use("collection._delta_index", "snapshot", "know what was deleted since a write"),
    Use("collection._delta_index", "_map", "know which rows are deleted without a copy of all deletions"),
    Use("collection._delta_index", "gc_below", "forget deletions that hide nothing any more", callable=True),
    Use("collection", "_refresh_segment_cache", "read the files that a compaction wrote", callable=True),
    Use("collection", "_segment_cache", "look for deleted rows in files"),
    Use("collection", "_compaction_mgr", "compact on request: the public call does nothing"),
    Use("collection._compaction_mgr", "_compact_files", "compact on request", callable=True),
    Use("collection", "_schedule_bg_maintenance", "remove files that a compaction replaced", callable=True),
    Use("engine_module", "Segment", "keep vectors and words out of memory"),
    Use("flush_module", "write_data_file", "write rows durably before their log is removed", callable=True),
    Use("flush_module", "write_delta_file", "write deletions durably before their log is removed", callable=True),
    Use(
        "compaction_module",
        "write_data_file",
        "write rows durably before their old files go",
        callable=True,
    ),
    Use("data_file_module", "pq", "write and check the checksums of files of rows"),
    Use("delta_file_module", "pq", "write and check the checksums of files of deletions"),
    Use("manifest_class", "_to_payload", "add a checksum to a manifest", callable=True),
    Use("collection", "_compile_filter", "evaluate a condition on whole columns", callable=True),
    Use("collection", "_memtable", "read the rows that are only in the log"),
    Use("collection._memtable", "_insert_batches", "read the rows that are only in the log"),
    Use("collection._memtable", "get", "read a row of the log", callable=True),
    Use("collection._memtable", "is_locally_deleted", "know which rows the log deletes", callable=True),
    Use("collection._memtable", "pk_index_snapshot", "know which rows of the log count", callable=True),
    Use("collection._memtable", "delete_index_snapshot", "know the deletions in the log", callable=True),
    Use("collection", "_wait_for_bg", "wait for the background work", callable=True),
)


def missing_uses(database: MilvusLite, collection: Collection) -> list[str]:
    """Return what this version of Lite lacks or has in another form, each with what it is needed for."""
    found = []
    for use in USES:
        owners = {
            "database": database,
            "collection": collection,
            "engine_module": engine_module,
            "flush_module": flush_module,
            "compaction_module": compaction_module,
            "data_file_module": data_file_module,
            "delta_file_module": delta_file_module,
            "manifest_class": Manifest,
        }
        owner = owners[use.owner.split(".")[0]]
        for step in use.owner.split(".")[1:]:
            owner = getattr(owner, step, None)
        value = getattr(owner, use.name, None)
        if not hasattr(owner, use.name) or (use.callable and not callable(value)):
            found.append(f"{use.owner}.{use.name}, needed to {use.why}")
    return found


def folder_of(database: MilvusLite, name: str) -> Path:
    """Return the folder of a collection, whether it exists or not."""
    return Path(database._collection_dir(name))


def abandon(database: MilvusLite) -> None:
    """Drop an engine with nothing flushed, as a crash would; wait for its background work.

    The public ``close`` flushes, which after a failed write would lose acknowledged rows.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for collection in database._collections.values():
            collection._bg_closed = True
            collection._bg_executor.shutdown(wait=True)
            for log in (collection._wal._data_sink, collection._wal._delta_sink):
                if log is not None:
                    # What could not be written is still buffered, and must not be written when the log is closed.
                    os.dup2(nowhere, log.fileno())
                    log.close()
        database._release_lock()
    finally:
        os.close(nowhere)


def last_write(collection: Collection) -> int:
    """Return the number of the collection's last write."""
    return int(collection._next_seq) - 1


def flush(collection: Collection) -> int:
    """Move everything from a collection's log to files and remove the log; nothing may write in the meantime.

    Returns:
        The number of the last write that is in files: all of them.
    """
    if collection._wal.size_bytes or collection._recovered_wal_bytes:
        collection._trigger_flush()
    return last_write(collection)


def rewrite(collection: Collection, partition: str) -> None:
    """Rewrite a partition's files without the rows that were deleted or replaced, if there are any."""
    with collection._maintenance_lock:
        manifest, deletions = collection._manifest, collection._delta_index
        files = manifest.get_data_files(partition)
        collection._refresh_segment_cache()
        if len(files) < 2 and not any(
            deletions.is_deleted(key, int(number))
            for file in files
            for segment in [collection._segment_cache[partition, file]]
            for key, number in zip(segment.pks, segment.seqs, strict=True)
        ):
            return
        folder = str(Path(collection.data_dir) / "partitions" / partition)
        collection._compaction_mgr._compact_files(partition, folder, files, manifest, deletions)
        collection._refresh_segment_cache()


def drop_deletions(collection: Collection, flushed: int) -> None:
    """Forget deletions after every partition was rewritten: up to the write `flushed` they hide nothing."""
    with collection._maintenance_lock:
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
            (Path(collection.data_dir) / "partitions" / partition / file).unlink(missing_ok=True)
    collection._schedule_bg_maintenance()


def deletions(collection: Collection) -> int:
    """Return how many deletions a collection keeps."""
    return len(collection._delta_index)


def forget_deletions(collection: Collection, through: int) -> int:
    """Forget deletions up to a write that hide no row in any file; Lite keeps all since the oldest row was written.

    The others are put into one file, in place of one for each flush.

    Returns:
        How many are left.
    """
    with collection._maintenance_lock:
        manifest, numbers = collection._manifest, collection._delta_index._map
        collection._refresh_segment_cache()
        kept = {key: number for key, number in numbers.items() if number > through}
        for segment in collection._segment_cache.values():
            for key in numbers.keys() & segment.pk_to_row.keys():
                if segment.seqs[segment.pk_to_row[key]] < numbers[key]:
                    kept[key] = numbers[key]
        former = manifest.get_all_delta_files()
        partitions = Path(collection.data_dir) / "partitions"
        if kept:
            first, last = min(kept.values()), max(kept.values())
            taken = {parse_seq_range(file) for file in former[DEFAULT_PARTITION]}
            while (first, last) in taken:  # the last number of a name may be greater than those in the file
                last += 1
            columns = {collection.pk_field: list(kept), "_seq": list(kept.values())}
            table = pa.Table.from_pydict(columns, schema=build_delta_schema(collection.schema))
            name = flush_module.write_delta_file(table, str(partitions / DEFAULT_PARTITION), first, last)
            manifest.add_delta_file(DEFAULT_PARTITION, name)
        for partition, files in former.items():
            manifest.remove_delta_files(partition, files)
        manifest.save()
        for key in numbers.keys() - kept.keys():
            del numbers[key]
        for partition, files in former.items():
            for file in files:
                (partitions / partition / file).unlink(missing_ok=True)
    return len(kept)


def settle(database: MilvusLite) -> None:
    """Wait for the background work of every collection."""
    for collection in list(database._collections.values()):
        collection._wait_for_bg()


def maintenance_lock(collection: Collection) -> AbstractContextManager[object]:
    """Return the lock that keeps the background work of a collection out."""
    return cast("AbstractContextManager[object]", collection._maintenance_lock)


def maintenance_locks(database: MilvusLite) -> Iterator[AbstractContextManager[object]]:
    """Return the locks that keep the background work of every collection out."""
    for collection in list(database._collections.values()):
        yield maintenance_lock(collection)


class _SlimSegment(Segment):  # type: ignore[misc]
    """A file without its vectors and words in memory: the search index has them, and no read asks for them."""

    __slots__ = ()

    @classmethod
    def load(cls, file_path: str, partition: str, pk_field: str, vector_field: str | None) -> Segment:
        """Read the other columns."""
        file = pq.ParquetFile(file_path, page_checksum_verification=True)
        table = file.read([field.name for field in file.schema_arrow if not _is_searched(field)])
        keys = table.column(pk_field).to_pylist()
        return cls(
            file_path=file_path,
            partition=partition,
            pk_field=pk_field,
            vector_field=vector_field or "",
            pks=keys,
            seqs=table.column("_seq").to_numpy(),
            vectors=np.zeros((len(keys), 0), np.float32),
            table=table,
        )


def _is_searched(field: pa.Field) -> bool:
    return bool(field.name == WORDS or pa.types.is_fixed_size_list(field.type) or pa.types.is_binary(field.type))


def keep_files_slim() -> None:
    """Have Lite keep only those columns in memory that are read."""
    engine_module.Segment = _SlimSegment


def last_write_in(file: str) -> int:
    """Return the number of the last write in a file of rows or deletions, from its name."""
    return int(parse_seq_range(Path(file).name)[1])


def file_schemas(path: Path) -> Mapping[str, pa.Schema]:
    """Return the schemas of a collection's files by their kind; none if the collection's own, in `path`, is damaged."""
    try:
        _, schema = load_schema(str(path))
    except (FileNotFoundError, SchemaValidationError):
        return {}
    return {"data_files": build_data_schema(schema), "delta_files": build_delta_schema(schema)}


def write_rows(table: pa.Table, path: Path) -> None:
    """Write a file of rows in the place of another one."""
    _CheckedParquet.write_table(table, str(path))


class _CheckedParquet:
    """The functions of pyarrow.parquet that Lite uses: with checksums of pages and footers, and whole files or none."""

    @staticmethod
    def write_table(table: pa.Table, path: str) -> None:
        draft = Path(f"{path}.tmp")  # Lite removes at its start what a crash leaves of it
        try:
            # Small row groups: a damaged page makes only the rows of its own group unreadable.
            pq.write_table(table, str(draft), write_page_checksum=True, row_group_size=_GROUP_ROWS)
            add_footer_checksum(draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    @staticmethod
    def read_table(path: str) -> pa.Table:
        if is_footer_altered(Path(path)):
            raise pa.ArrowInvalid(f"the footer of {path} has been altered")
        return pq.read_table(path, page_checksum_verification=True)


def keep_checksums() -> None:
    """Have Lite write files with checksums; those without are read as before."""
    data_file_module.pq = delta_file_module.pq = _CheckedParquet
    if not hasattr(Manifest._to_payload, "checked"):
        Manifest._to_payload = _with_checksum(Manifest._to_payload)


def _with_checksum(to_payload: Callable[[object], dict[str, object]]) -> Callable[[object], dict[str, object]]:
    def payload(manifest: object) -> dict[str, object]:
        made = to_payload(manifest)
        return {**made, CHECKSUM: manifest_checksum(made)}

    payload.checked = True  # type: ignore[attr-defined]
    return payload


def sync_log(collection: Collection) -> list[str]:
    """Return when every write to a collection is on the disk.

    Returns:
        The names of its log files.
    """
    wal = collection._wal
    logs = [log for log in (wal._data_sink, wal._delta_sink) if log is not None]
    for log in logs:
        getattr(os, "fdatasync", os.fsync)(log.fileno())  # macOS has no fdatasync
    if _named_logs.get(wal, 0) < len(logs):  # a new file: its name must be on the disk as well
        sync_folder(Path(collection.data_dir) / "wal")
        _named_logs[wal] = len(logs)
    return [Path(log.name).name for log in logs]


_named_logs: WeakKeyDictionary[object, int] = WeakKeyDictionary()
"""How many files of each log have their names on the disk."""


def write_files_durably() -> None:
    """Make Lite sync the names of files before the manifest names them, since their log is removed after that."""
    if not hasattr(flush_module.write_data_file, "durable"):
        flush_module.write_data_file = _durably(flush_module.write_data_file)
        flush_module.write_delta_file = _durably(flush_module.write_delta_file)
        compaction_module.write_data_file = _durably(compaction_module.write_data_file)


def _durably(write: Callable[..., str]) -> Callable[..., str]:
    def written(table: pa.Table, partition_dir: str, *arguments: int, **options: int) -> str:
        name = write(table, partition_dir, *arguments, **options)
        for folder in list((Path(partition_dir) / name).parents)[:3]:  # data, the partition, partitions
            sync_folder(folder)
        sync_folder(Path(partition_dir).parents[1])
        return name

    written.durable = True  # type: ignore[attr-defined]
    return written


def sync_folder(folder: Path) -> None:
    """Return when the names of a folder's files are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(collection: Collection, partitions: Sequence[str], from_view: Callable[[CollectionView], _T]) -> _T:
    """Read from the rows of some partitions as of now, or of all; nothing may write in the meantime.

    The view has Lite's own map of deletions, not a copy: a store that is not compacted has ever more of them. When
    Lite's background work has replaced files since, deletions that the old files still need may be gone from it, and
    the rows are read again.
    """
    while True:
        segments = _segments(collection)
        found = from_view(_view(collection, segments, frozenset(partitions)))
        now = _segments(collection)
        if len(now) == len(segments) and all(map(operator.is_, segments, now)):
            return found


def _segments(collection: Collection) -> Sequence[Segment]:
    with collection._maintenance_lock:
        return tuple(collection._segment_cache.values())


def _view(collection: Collection, segments: Sequence[Segment], partitions: frozenset[str]) -> CollectionView:
    memtable = collection._memtable
    batches = list(memtable._insert_batches)
    starts = [0, *accumulate(batch.num_rows for batch in batches)]
    last = {key: (starts[batch] + row, number) for key, (batch, row, number) in memtable.pk_index_snapshot()}
    return CollectionView(
        key=collection.pk_field,
        files=_files(segments, partitions),
        log=LogRows(pa.Table.from_batches(batches), last, partitions) if batches else None,
        deletions=collection._delta_index._map,
        deletions_in_log={key: number for key, (number, _) in memtable.delete_index_snapshot().items()},
    )


def get(
    collection: Collection, keys: Sequence[str], columns: Sequence[str], partitions: Sequence[str]
) -> list[Columns]:
    """Read rows by key."""
    with collection._maintenance_lock:
        segments = tuple(collection._segment_cache.values())
        # Not a copy of all deletions: a store that is not compacted has ever more of them.
        deletions = {key: number for key in keys if (number := collection._delta_index._map.get(key)) is not None}
    memtable, wanted = collection._memtable, frozenset(partitions)
    in_log = {key: row for key in keys if (row := memtable.get(key, wanted or None)) is not None}
    found: list[Columns] = [{name: row[name] for name in columns} for row in in_log.values()]
    rest = [key for key in keys if key not in in_log and not memtable.is_locally_deleted(key)]
    return [*found, *scan.get(_files(segments, wanted), deletions, rest, columns)]


def _files(segments: Iterable[Segment], partitions: frozenset[str]) -> list[FileRows]:
    return [
        FileRows(segment.table, segment.pks, segment.seqs, segment.pk_to_row)
        for segment in segments
        if segment.num_rows and (not partitions or segment.partition in partitions)
    ]


def condition(collection: Collection, text: str) -> Holds | None:
    """Return the function that evaluates a filter; None for the empty one."""
    if not text:
        return None
    compiled = collection._compile_filter(text)
    return lambda table: np.asarray(evaluate_mask(compiled, table), np.bool_)


def changes_since(
    collection: Collection, since: int, columns: Sequence[str], vector: str, words: str
) -> Iterator[tuple[str, Iterable[ColumnChunk], list[str]]]:
    """Read what was written after a write, partition by partition; the log must be flushed.

    Hold `maintenance_lock`: the background work removes the files that it merges, as it does after a flush.

    Args:
        collection: The collection to read.
        since: The number of that write; 0 to read everything.
        columns: Small columns to read.
        vector: The column of the vectors.
        words: The column of the words; empty if there is none.

    Yields:
        The partition, its new rows as they are now, and the keys of rows that were deleted.
    """
    deletions: dict[str, int] = collection._delta_index.snapshot
    dead = [key for key, number in deletions.items() if number > since]
    for partition in collection.list_partitions():
        folder = Path(collection.data_dir) / "partitions" / partition
        # Earlier versions could list a file twice, or write a row to two files.
        files = [folder / file for file in dict.fromkeys(collection._manifest.get_data_files(partition))]
        fresh = [file for file in files if parse_seq_range(file.name)[1] > since]
        yield partition, _chunks(collection, fresh, since, deletions, (columns, vector, words)), dead


def _chunks(
    collection: Collection,
    files: Sequence[Path],
    since: int,
    deletions: dict[str, int],
    wanted: tuple[Sequence[str], str, str],
) -> Iterator[ColumnChunk]:
    columns, vector, words = wanted
    key = collection.pk_field
    latest: dict[str, int] = {}
    for file in files:
        table = pq.read_table(file, columns=[key, "_seq"], page_checksum_verification=True)
        for id_, number in zip(table.column(key).to_pylist(), table.column("_seq").to_pylist(), strict=True):
            if number > max(latest.get(id_, since), deletions.get(id_, since)):
                latest[id_] = number
    waiting: list[pa.Table] = []
    for file in files:
        names = ["_seq", key, *columns, vector, *([words] if words else [])]
        table = pq.read_table(file, columns=names, page_checksum_verification=True)
        rows = []
        pairs = zip(table.column(key).to_pylist(), table.column("_seq").to_pylist(), strict=True)
        for row, (id_, number) in enumerate(pairs):
            if latest.get(id_) == number:
                del latest[id_]
                rows.append(row)
        if rows:
            waiting.append(table.take(rows))
        if sum(one.num_rows for one in waiting) >= _CHUNK_ROWS:
            yield _chunk(pa.concat_tables(waiting), key, wanted)
            waiting = []
    if waiting:
        yield _chunk(pa.concat_tables(waiting), key, wanted)


def _chunk(table: pa.Table, key: str, wanted: tuple[Sequence[str], str, str]) -> ColumnChunk:
    columns, vector, words = wanted
    lists = table.column(vector).combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return ColumnChunk(
        keys=table.column(key).to_pylist(),
        columns={name: table.column(name).to_pylist() for name in columns},
        vectors=np.asarray(flat, np.float32).reshape(table.num_rows, -1),
        words=table.column(words).to_pylist() if words else [],
    )
