"""Repair of a Lite store's files: what is damaged is dropped, as little of it as possible, so that Lite opens the rest.

It works on a copy of the store. A file of rows keeps the row groups, or their first pages, whose checksums are right. A
file whose footer has been altered is kept if its columns are right. A manifest is made again from the files that are
there, and a log is cut to the last length whose checksum is right.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memgpt_memory.store.layout import MESSAGES, RECORDS, Collection, message_index, passages
from memgpt_memory.store.lite import disk, files, private
from memgpt_memory.store.lite.checksums import (
    CHECKSUM,
    find_damage,
    is_due,
    is_footer_altered,
    manifest_checksum,
    parse_note,
)
from memgpt_memory.store.lite.engine import write_schema

_BATCH_ROWS = 1_024
_MANIFEST = "manifest.json"
_SCHEMA = "schema.json"
_LEFT_OUT = frozenset({"LOCK", files.SNAPSHOTS, files.INDEXES})
_MADE = {"memgpt_passages_": passages, "memgpt_recall_": message_index}
"""How the collections of each embedding model are made, by the beginnings of their names."""


def copy(store: Path, into: Path) -> None:
    """Copy a store without what is derived from it. Files of rows never change, so they are linked."""

    def copied(source: str, target: str) -> str:
        if source.endswith(".parquet"):
            try:
                os.link(source, target)
            except OSError:  # a file system without links
                shutil.copyfile(source, target)
            return target
        return str(shutil.copyfile(source, target))

    shutil.copytree(
        store,
        into,
        copy_function=copied,
        ignore=lambda folder, _: _LEFT_OUT if Path(folder) == store else (),
        dirs_exist_ok=True,
    )


def mend(store: Path) -> list[str]:
    """Drop what is damaged from a store that nothing has open; return what was lost."""
    return [
        f"{folder.name}: {loss}"
        for folder in sorted((store / "collections").glob("*"))
        if folder.is_dir()
        for loss in _mend_collection(folder, store / files.CHECKSUMS / folder.name)
    ]


def collections(store: Path) -> Iterator[Collection]:
    """Yield the collections of a store, as far as their schemas can be known."""
    for folder in sorted((store / "collections").glob("*")):
        if (collection := _collection(folder)) is not None:
            yield collection


def _mend_collection(folder: Path, checksums: Path) -> Iterator[str]:
    yield from _mend_logs(folder, checksums)  # first: whether a log is missing depends on the manifest
    yield from _mend_manifest(folder)
    yield from _mend_files(folder)
    yield from _mend_schema(folder)


def _mend_logs(folder: Path, checksums: Path) -> Iterator[str]:
    for notes in sorted(checksums.glob("*")):
        log = folder / "wal" / notes.stem
        lines = notes.read_text(errors="replace").rpartition("\n")[0].splitlines()
        if lines and log.exists():
            whole = _whole_length(log, lines)
            if parse_note(lines[-1]) is None:
                yield f"{log.name}: its checksums; what follows its first {whole:,} bytes is kept unchecked"
            elif whole < (expected := _length(lines[-1])):
                with log.open("r+b") as file:
                    file.truncate(whole)
                yield f"{log.name}: the last {expected - whole:,} of {expected:,} bytes"
        elif lines and "manifest" not in find_damage(folder) and is_due(folder, log.name):
            yield f"{log.name}: all {_length(lines[-1]):,} bytes"
    shutil.rmtree(checksums, ignore_errors=True)


def _whole_length(log: Path, lines: Sequence[str]) -> int:
    """Return up to where a log is as it was written, at one of its syncs."""
    content = log.read_bytes()
    whole = checksum = place = 0
    for line in lines:
        noted = parse_note(line)
        if noted is None or not place <= noted[0] <= len(content):
            continue
        checksum = zlib.crc32(content[place : noted[0]], checksum)
        place = noted[0]
        if checksum == noted[1]:
            whole = place
    return whole


def _length(line: str) -> int:
    noted = parse_note(line)
    return 0 if noted is None else noted[0]


def _mend_manifest(folder: Path) -> Iterator[str]:
    damage = find_damage(folder)
    if "manifest" in damage:
        _write_manifest(folder, {"index_specs": {}, "schema_version": 1, "active_wal_number": None, **_found(folder)})
        yield f"{damage}; it was made again from the files, and may bring deleted rows back"


def _found(folder: Path) -> dict[str, Any]:
    """Return the files of every partition, and the number of the last write in them."""
    partitions: dict[str, dict[str, list[str]]] = {"_default": {"data_files": [], "delta_files": []}}
    last = 0
    for partition in sorted((folder / "partitions").glob("*")):
        listed = {
            f"{kind}_files": [f"{kind}/{file.name}" for file in sorted((partition / kind).glob("*.parquet"))]
            for kind in ("data", "delta")
        }
        partitions[partition.name] = listed
        numbers = [private.last_write_in(file) for names in listed.values() for file in names]
        last = max([last, *numbers])
    return {"partitions": partitions, "current_seq": last}


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    stored = {"manifest_format_version": 2, "version": 1, **manifest}
    (folder / _MANIFEST).write_text(json.dumps({**stored, CHECKSUM: manifest_checksum(stored)}))
    (folder / f"{_MANIFEST}.prev").unlink(missing_ok=True)


def _mend_files(folder: Path) -> Iterator[str]:
    path = folder / _MANIFEST
    if not path.exists():
        return
    manifest = json.loads(path.read_text())
    schemas = private.file_schemas(folder / _SCHEMA)
    changed = False
    for partition, listed in manifest["partitions"].items():
        for kind in ("data_files", "delta_files"):
            for name in list(listed[kind]):
                file = folder / "partitions" / partition / name
                altered = file.exists() and is_footer_altered(file)
                kept, rows = _mend_file(file, schemas.get(kind) if altered else None, altered=altered)
                if kept == 0:
                    listed[kind].remove(name)
                    changed = True
                if altered and 0 < kept == rows:
                    yield f"{partition}/{name}: its footer, which was written again; {rows} rows are kept"
                if kept < rows or not kept:
                    what = "rows" if kind == "data_files" else "deletions, whose rows may come back"
                    yield f"{partition}/{name}: {rows - kept or 'all'} of {rows or 'its'} {what}"
    if changed:
        _write_manifest(folder, {key: value for key, value in manifest.items() if key != CHECKSUM})


def _mend_file(path: Path, schema: pa.Schema | None, *, altered: bool) -> tuple[int, int]:
    """Rewrite a file without its damaged rows.

    Args:
        path: The file.
        schema: Its schema as it must be, if it is known.
        altered: Whether its footer has been altered: then the file is kept only if it has that schema.

    Returns:
        How many rows there are, and how many there were if that is known.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if altered and (schema is None or not file.schema_arrow.equals(schema)):
            raise pa.ArrowInvalid("the footer names other columns")
    except Exception as error:  # Arrow raises errors of any kind
        if not disk.is_damage(error):
            raise
        path.unlink(missing_ok=True)
        return 0, 0
    with file:
        rows = int(file.metadata.num_rows)
        batches = [batch for group in range(file.num_row_groups) for batch in _intact(file, group)]
        kept = sum(batch.num_rows for batch in batches)
        if kept and (altered or kept < rows):
            private.write_rows(pa.Table.from_batches(batches), path)
    if not kept:
        path.unlink()
    return kept, rows


def _intact(file: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a row group up to the first damaged page."""
    try:
        yield from file.iter_batches(_BATCH_ROWS, row_groups=[group])
    except Exception as error:  # Arrow raises errors of any kind
        if not disk.is_damage(error):
            raise


def _mend_schema(folder: Path) -> Iterator[str]:
    """Write a damaged schema again. One with the columns of the files is whole, if of an earlier version."""
    collection = _collection(folder)
    names, columns = _schema_names(folder), _columns(folder)
    if collection is None:
        return
    known = {one.name for one in collection.fields}
    if names is not None and names == columns and not names <= known:
        return
    path = folder / _SCHEMA
    before = path.read_bytes() if path.exists() else b""
    write_schema(collection, path)
    if path.read_bytes() != before:
        yield "its schema, which was written again; no row is affected"


def _schema_names(folder: Path) -> set[str] | None:
    try:
        return {field["name"] for field in json.loads((folder / _SCHEMA).read_text())["fields"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _columns(folder: Path) -> set[str] | None:
    schema = _stored_schema(folder)
    return None if schema is None else {name for name in schema.names if not name.startswith("_")}


def _stored_schema(folder: Path) -> pa.Schema | None:
    """Return the columns of the rows that are there. Until the first flush, all rows are in the log."""
    for path in [*sorted(folder.glob("partitions/*/data/*.parquet")), *sorted(folder.glob("wal/wal_data_*.arrow"))]:
        try:
            return _log_schema(path) if path.suffix == ".arrow" else pq.read_schema(path)
        except Exception as error:
            if not disk.is_damage(error):
                raise
    return None


def _log_schema(path: Path) -> pa.Schema:
    with path.open("rb") as log, pa.ipc.open_stream(log) as rows:
        return rows.schema


def _collection(folder: Path) -> Collection | None:
    """Return what a collection is made of; None for one of passages without any row."""
    fixed = {collection.name: collection for collection in (RECORDS, MESSAGES)}
    if folder.name in fixed:
        return fixed[folder.name]
    make = next((make for prefix, make in _MADE.items() if folder.name.startswith(prefix)), None)
    schema = _stored_schema(folder)
    if make is None or schema is None or "embedding" not in schema.names:
        return None
    dimension = schema.field("embedding").type.list_size
    return replace(make("", dimension, full_text="words" in schema.names), name=folder.name)
