"""Locks of a Lite file, on disks with rules of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memgpt_memory.maintenance.replacement import held
from memgpt_memory.store.lite.opening import open_file
from memgpt_runtime.errors import FailedPrecondition

from tests.support.nfs import use_nfs_locks


def test_a_store_on_nfs_opens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_nfs_locks(monkeypatch)
    path = tmp_path / "milvus.db"
    for _ in range(2):
        open_file(path, durable=True).close()


def test_a_store_in_use_on_nfs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_nfs_locks(monkeypatch)
    path = tmp_path / "milvus.db"
    engine = open_file(path, durable=True)
    try:
        with pytest.raises(FailedPrecondition, match="in use"):
            open_file(path, durable=True)
        with pytest.raises(FailedPrecondition, match="in use"), held(path):
            pass
    finally:
        engine.close()


def test_the_system_says_why_a_store_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "milvus.db"
    open_file(path, durable=True).close()

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(FailedPrecondition, match=r"No locks available"):
        open_file(path, durable=True)


def test_writes_are_synced_where_there_is_no_fdatasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on macOS.
    from memgpt_memory.store.lite.private import sync_log

    class Collection:
        data_dir = str(tmp_path)

        class _wal:  # noqa: N801 - the name that Lite has
            _data_sink = (tmp_path / "data.log").open("wb")
            _delta_sink = None

    (tmp_path / "wal").mkdir()
    synced: list[int] = []
    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", synced.append)
    with Collection._wal._data_sink as log:
        assert sync_log(Collection) == ["data.log"]
        assert synced[0] == log.fileno()
