"""Checksums of logs whose own lines are damaged, and of the footers of Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memgpt_memory.store.lite import private
from memgpt_memory.store.lite.checksums import LogChecksums, is_footer_altered
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


def test_any_altered_bit_of_a_footer_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = pa.table({"id": ["a", "b"], "text": ["one", "two"]})
    private.write_rows(rows, path)
    whole = path.read_bytes()
    assert not is_footer_altered(path)
    assert pq.read_table(path) == rows
    length = int.from_bytes(whole[-8:-4], "little")
    for place in range(len(whole) - 8 - length, len(whole) - 8):
        for bit in range(8):
            altered = bytearray(whole)
            altered[place] ^= 1 << bit
            path.write_bytes(altered)
            assert is_footer_altered(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet file at all"])
def test_a_file_without_a_footer_checksum_is_left_to_its_reader(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    assert not is_footer_altered(path)


def test_a_file_of_an_earlier_version_has_no_footer_checksum(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    assert not is_footer_altered(path)
