"""Checksums of logs whose own lines are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from memgpt_memory.store.lite.checksums import LogChecksums
from memgpt_memory.store.lite.repair import _mend_logs

LOG = "wal_data_000001.arrow"


@pytest.mark.parametrize("line", [b"#28 1234\n", b"12\n", b"12 0x1f\n", b"\xff\xfe 7\n", "١٢ 7\n".encode()])
def test_a_damaged_line_is_reported_and_dropped(tmp_path: Path, line: bytes) -> None:
    checksums, logs = tmp_path / "checksums", tmp_path / "wal"
    logs.mkdir()
    (logs / LOG).write_bytes(b"a whole record")
    kept = LogChecksums(checksums, logs)
    kept.note(LOG)
    assert kept.find_damage() == ""
    with (checksums / f"{LOG}.crc").open("ab") as notes:
        notes.write(line)
    assert kept.find_damage() == f"the checksums of the log {LOG} cannot be read"
    (loss,) = _mend_logs(tmp_path, checksums)
    assert loss == f"{LOG}: its checksums; what follows its first 14 bytes is kept unchecked"
    assert (logs / LOG).read_bytes() == b"a whole record"
    assert LogChecksums(checksums, logs).find_damage() == ""
