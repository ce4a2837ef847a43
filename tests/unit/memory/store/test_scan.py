"""Reads of many rows of a Lite file: what was written, whether it is in files or in the log."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from memgpt_memory.store.expressions import render
from memgpt_memory.store.filters import AllOf, AnyOf, Between, Condition, Equals, Not, OneOf, for_rows
from memgpt_memory.store.layout import RECORDS, partition_name, passages
from memgpt_memory.store.lite import scan
from memgpt_memory.store.lite.engine import Engine
from memgpt_memory.store.mapping import Columns, columns_of, to_columns
from memgpt_memory.store.rows import IndexedPassageRow, RecordRow, RowOwner
from milvus_lite.storage.delta_index import DeltaIndex

PASSAGES = passages("scan", 2, full_text=True)
COLUMNS = columns_of(RecordRow)
KEYS = [f"r{number}" for number in range(60)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path / "milvus.db")
    for collection in (RECORDS, PASSAGES):
        made.prepare(collection)
        made.load(collection)
    yield made
    made.close()


def a_row(key: str, source: random.Random) -> RecordRow:
    kind, parent = source.choice(["agent", "naïve", 'a "b"']), source.choice(["", "x", "y"])
    return RecordRow(key, kind, "t", parent, source.randrange(9), "body")


CONDITIONS: list[Condition] = [
    Equals("kind", "naïve"),
    AllOf((Equals("kind", 'a "b"'), OneOf("parent", ["x", "y"]))),
    OneOf("parent", []),
    AnyOf((Between("created", 2, 5), Not(Equals("kind", "agent")))),
]


@pytest.mark.parametrize("seed", range(6))
def test_reads_agree_with_what_was_written(engine: Engine, seed: int) -> None:
    source = random.Random(seed)
    kept: dict[str, RecordRow] = {}
    for _ in range(60):
        match source.randrange(5):
            case 0:
                keys = source.sample(KEYS, 5)
                engine.delete(RECORDS.name, keys, None)
                for key in keys:
                    kept.pop(key, None)
            case 1:
                engine.flush(RECORDS.name)
                engine.forget_deletions(RECORDS.name, engine.last_write(RECORDS.name))
            case _:
                rows = [a_row(key, source) for key in source.sample(KEYS, 7)]
                engine.write(RECORDS.name, to_columns(RECORDS, rows), None)
                kept |= {row.id: row for row in rows}
        found = [RecordRow(**row) for row in engine.get(RECORDS.name, KEYS, COLUMNS, [])]  # type: ignore[arg-type]
        assert {row.id: row for row in found} == kept
        assert len(found) == len(kept) == engine.count(RECORDS.name)
        for condition in CONDITIONS:
            rows_found = engine.query(RECORDS.name, render(condition), COLUMNS, [])
            wanted = {row.id: row for row in kept.values() if for_rows(condition)(row)}
            assert {str(row["id"]): RecordRow(**row) for row in rows_found} == wanted  # type: ignore[arg-type]
            assert len(rows_found) == len(wanted)


@pytest.mark.parametrize("flushed", [True, False])
def test_partitions_are_told_apart(engine: Engine, flushed: bool) -> None:
    here, there = partition_name(0), partition_name(1)
    for partition in (here, there):
        rows = [
            IndexedPassageRow(
                f"{partition}-{n}", partition, "", n, n, n, "", "text", embedding=np.zeros(2, np.float32), words=""
            )
            for n in range(10)
        ]
        engine.write(PASSAGES.name, to_columns(PASSAGES, rows), partition)
    if flushed:
        engine.flush(PASSAGES.name)
    columns = columns_of(RowOwner)
    assert {row["owner"] for row in engine.query(PASSAGES.name, "", columns, [there])} == {there}
    keys = [f"{partition}-{n}" for partition in (here, there) for n in range(10)]
    assert {row["owner"] for row in engine.get(PASSAGES.name, keys, columns, [here])} == {here}
    assert len(engine.get(PASSAGES.name, keys, columns, [])) == len(engine.query(PASSAGES.name, "", columns, [])) == 20


def test_a_row_in_two_files_counts_once() -> None:
    def file(**numbers: int) -> scan.FileRows:
        keys = list(numbers)
        table = pa.table({"id": keys})
        return scan.FileRows(
            table, keys, np.array(list(numbers.values()), np.uint64), {key: row for row, key in enumerate(keys)}
        )

    view = scan.CollectionView("id", [file(a=1, b=2), file(a=1, b=3, c=4)], None, {"c": 5}, {})
    assert scan.count(view) == 2
    assert sorted(str(row["id"]) for row in scan.query(view, None, ["id"])) == ["a", "b"]
    assert sorted(str(row["id"]) for row in scan.get(view.files, view.deletions, ["a", "b", "c", "d"], ["id"])) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("count", [1, 20])
def test_reads_do_not_copy_every_deletion(engine: Engine, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    with_deletions(engine, KEYS[count:])
    for copied in ("snapshot", "frozen_copy"):
        monkeypatch.setattr(DeltaIndex, copied, property(lambda _: pytest.fail("deletions were copied")))
    for found in (
        engine.get(RECORDS.name, KEYS[: count + 1], COLUMNS, ()),
        engine.query(RECORDS.name, "", COLUMNS, ()),
    ):
        assert sorted(str(row["id"]) for row in found) == sorted(KEYS[:count])
    assert engine.count(RECORDS.name) == count


def test_a_compaction_during_a_read_brings_no_deleted_row_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction removes the rows from the files, then forgets their deletions; a read still has the old files."""
    with_deletions(engine, KEYS[1:])
    query = scan.query
    reads: list[list[Columns]] = []

    def compacted_before(view: scan.CollectionView, holds: scan.Holds | None, columns: Sequence[str]) -> list[Columns]:
        if not reads:
            engine.rewrite(RECORDS.name, engine.partitions(RECORDS.name)[0])
            engine.drop_deletions(RECORDS.name, engine.last_write(RECORDS.name))
        reads.append(query(view, holds, columns))
        return reads[-1]

    monkeypatch.setattr(scan, "query", compacted_before)
    assert [row["id"] for row in engine.query(RECORDS.name, "", COLUMNS, ())] == KEYS[:1]
    assert [len(rows) for rows in reads] == [len(KEYS), 1]


def with_deletions(engine: Engine, keys: list[str]) -> None:
    """Write a row for each of `KEYS`, and delete some."""
    source = random.Random(1)
    engine.write(RECORDS.name, to_columns(RECORDS, [a_row(key, source) for key in KEYS]), None)
    engine.flush(RECORDS.name)
    engine.delete(RECORDS.name, keys, None)
    engine.flush(RECORDS.name)
