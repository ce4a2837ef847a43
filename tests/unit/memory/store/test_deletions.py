"""Deletions that a Lite file keeps: only those that hide rows in files, also after a crash."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, NoReturn

import pytest
from memgpt_memory.store import new_store
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import RECORDS
from memgpt_memory.store.lite import store as lite_store
from memgpt_memory.store.lite.engine import Engine, EngineError
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.mapping import to_columns
from memgpt_memory.store.rows import Key, RecordRow
from milvus_lite.engine import flush
from milvus_lite.storage.manifest import Manifest

NAME = RECORDS.name


def a_row(key: str) -> RecordRow:
    return RecordRow(key, "agent", "t", "", 1, "body")


def opened(path: Path) -> Engine:
    engine = Engine(path, durable=True)
    engine.load(RECORDS)
    engine.prepare(RECORDS)
    return engine


def write(engine: Engine, *keys: str) -> None:
    engine.write(NAME, to_columns(RECORDS, [a_row(key) for key in keys]), None)


def keys_in(engine: Engine) -> list[str]:
    return sorted(str(row["id"]) for row in engine.query(NAME, "", ["id"], ()))


def files_of_deletions(path: Path) -> list[Path]:
    return list(path.rglob("delta_*.parquet"))


def filled(path: Path) -> Engine:
    """A file with an old row, many deletions that hide nothing, and two that hide rows in files."""
    engine = opened(path)
    write(engine, "old", "hidden", "hidden too", "written again")
    engine.flush(NAME)
    for number in range(10):
        write(engine, f"gone{number}")
        engine.delete(NAME, [f"gone{number}", "never was"], None)
        engine.flush(NAME)
    engine.delete(NAME, ["hidden", "written again"], None)
    engine.flush(NAME)
    engine.delete(NAME, ["hidden too"], None)
    write(engine, "written again")
    engine.flush(NAME)
    engine.settle()
    return engine


LEFT = ["old", "written again"]


def test_only_deletions_that_hide_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    engine = filled(path)
    assert engine.deletions(NAME) == 14
    left = engine.forget_deletions(NAME, engine.last_write(NAME))
    assert left == engine.deletions(NAME) <= 3
    assert keys_in(engine) == LEFT
    assert len(files_of_deletions(path)) == 1
    assert engine.forget_deletions(NAME, engine.last_write(NAME)) == left
    assert len(files_of_deletions(path)) == 1
    engine.abandon()
    engine = opened(path)
    assert (engine.deletions(NAME), keys_in(engine)) == (left, LEFT)
    engine.rewrite(NAME, "_default")
    assert engine.forget_deletions(NAME, engine.last_write(NAME)) == 0
    assert files_of_deletions(path) == []
    assert keys_in(engine) == LEFT
    engine.close()


def test_deletions_that_an_index_may_not_have_are_kept(tmp_path: Path) -> None:
    engine = filled(tmp_path / "a.db")
    through = engine.last_write(NAME)
    write(engine, "gone10")
    engine.delete(NAME, ["gone10"], None)
    engine.flush(NAME)
    assert engine.forget_deletions(NAME, through) == engine.forget_deletions(NAME, engine.last_write(NAME)) + 1
    engine.close()


@pytest.mark.parametrize(("owner", "step"), [(flush, "write_delta_file"), (Manifest, "save"), (Path, "unlink")])
def test_a_failure_at_any_step_brings_no_deleted_row_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    path = tmp_path / "a.db"
    engine = filled(path)

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(owner, step, fail)
        with pytest.raises(EngineError, match="Input/output"):
            engine.forget_deletions(NAME, engine.last_write(NAME))
    engine.abandon()
    engine = opened(path)
    assert keys_in(engine) == LEFT
    engine.forget_deletions(NAME, engine.last_write(NAME))
    assert (keys_in(engine), len(files_of_deletions(path))) == (LEFT, 1)
    engine.close()


async def test_the_deletions_of_a_store_do_not_grow_with_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lite_store, "FEW_DELETIONS", 20)
    path = tmp_path / "a.db"
    store = new_store(str(path))
    assert isinstance(store, LiteStore)
    await store.open([RECORDS])
    await store.upsert(RECORDS, [a_row("old")])
    store._open_engine.flush(NAME)
    most = 0
    for number in range(0, 400, 4):
        keys = [f"r{each}" for each in range(number, number + 4)]
        await store.upsert(RECORDS, [a_row(key) for key in keys])
        await store.delete(RECORDS, keys)
        store._open_engine.flush(NAME)
        most = max(most, store._open_engine.deletions(NAME))
    assert [row.id for row in await store.query(RECORDS, EVERY_ROW, Key)] == ["old"]
    await store.close()
    assert most <= 60
    assert len(files_of_deletions(path)) < 20
