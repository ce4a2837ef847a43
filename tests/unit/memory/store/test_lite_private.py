"""What we rely on of milvus_lite beyond what it publishes."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pytest
from memgpt_memory.store.layout import RECORDS
from memgpt_memory.store.lite import private
from memgpt_memory.store.lite.engine import VERSION, Engine

STORE = Path(private.__file__).parent


def test_this_release_of_milvus_lite_has_every_private_attribute_that_is_used(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "milvus.db")
    try:
        engine.prepare(RECORDS)
        database = engine._database
        missing = private.missing_uses(database, database.get_collection(RECORDS.name))
    finally:
        engine.close()
    assert not missing, (
        f"milvus-lite {VERSION} has changed what {private.__name__} relies on: {'; '.join(missing)}. "
        "Read its changes, adapt that module, and run tests/integration/memory."
    )


def test_a_write_that_fails_leaves_the_file_of_that_name_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data_1_2.parquet"
    private._CheckedParquet.write_table(pa.table({"a": [1, 2]}), str(path))

    def torn(_: pa.Table, where: str, **__: object) -> None:
        Path(where).write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("pyarrow.parquet.write_table", torn)
        with pytest.raises(OSError, match="No space"):
            private._CheckedParquet.write_table(pa.table({"a": [3]}), str(path))
    assert private._CheckedParquet.read_table(str(path)).to_pydict() == {"a": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_attribute_is_reported_with_what_it_is_needed_for(tmp_path: Path) -> None:
    class Empty:
        _wal = object()

    missing = private.missing_uses(Empty(), Empty())
    assert len(missing) == sum(not use.owner.endswith(("_module", "_class")) for use in private.USES)
    assert "collection._wal.size_bytes, needed to know whether the log holds anything" in missing


def test_no_other_module_imports_milvus_lite_or_names_its_private_attributes() -> None:
    names = [f".{use.name}" for use in private.USES if use.name.startswith("_") and use.name != "_collections"]
    for module in STORE.parent.rglob("*.py"):
        text = module.read_text()
        if module.name == "private.py":
            continue
        assert not [name for name in names if name in text], module
        assert "milvus_lite" not in text or module.name in ("engine.py", "__init__.py"), module
