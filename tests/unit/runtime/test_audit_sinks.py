"""Sinks of the audit log: rotation, several writers, files taken away, and a disk that fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from memgpt_runtime.audit import FileSink, StreamSink

LINE = b'{"n":%06d}\n'


def lines(path: Path) -> list[bytes]:
    """Every line of a log and its full files, oldest first."""
    files = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda file: -int(file.suffix[1:]))
    return b"".join(file.read_bytes() for file in [*files, path]).splitlines(keepends=True)


def test_a_full_file_is_renamed_and_the_oldest_deleted(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "audit.jsonl"
    sink = FileSink(path, max_bytes=10 * len(LINE % 0), keep=2)
    for number in range(45):
        sink.write(LINE % number)
    sink.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "audit.jsonl",
        "audit.jsonl.1",
        "audit.jsonl.2",
        "audit.jsonl.lock",
    ]
    assert lines(path) == [LINE % number for number in range(20, 45)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_full_files_to_keep_the_file_starts_again(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "audit.jsonl", max_bytes=30, keep=0)
    for number in range(4):
        sink.write(LINE % number)
    assert lines(tmp_path / "audit.jsonl") == [LINE % 2, LINE % 3]


def test_a_line_longer_than_the_limit_is_written_whole(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "audit.jsonl", max_bytes=16, keep=3)
    long = b"x" * 100 + b"\n"
    sink.write(long)
    sink.write(LINE % 1)
    assert lines(tmp_path / "audit.jsonl") == [long, LINE % 1]


def test_a_file_that_was_taken_away_is_created_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path, max_bytes=1000, keep=1)
    sink.write(LINE % 1)
    path.rename(tmp_path / "taken.jsonl")  # as logrotate does
    sink.write(LINE % 2)
    path.unlink()
    sink.write(LINE % 3)
    assert (tmp_path / "taken.jsonl").read_bytes() == LINE % 1
    assert path.read_bytes() == LINE % 3


def test_the_file_is_not_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"symbolic links"):
        FileSink(tmp_path / "audit.jsonl", max_bytes=1000, keep=1)


def test_several_processes_share_a_file_without_losing_or_mixing_lines(tmp_path: Path) -> None:
    path, processes, each = tmp_path / "audit.jsonl", 4, 500
    script = (
        "import sys; from pathlib import Path; from memgpt_runtime.audit import FileSink\n"
        "sink = FileSink(Path(sys.argv[1]), max_bytes=4000, keep=1000)\n"
        "first = int(sys.argv[2])\n"
        f"for number in range(first, first + {each}): sink.write(b'{{\"n\":%06d}}\\n' % number)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(index * each)]) for index in range(processes)
    ]
    assert [process.wait(60) for process in running] == [0] * processes
    assert sorted(lines(path)) == [LINE % number for number in range(processes * each)]
    assert len(list(tmp_path.glob("audit.jsonl.[0-9]*"))) > 4


def test_after_an_incomplete_line_the_next_one_begins_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path, max_bytes=1000, keep=1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(OSError, match="5 of 13 bytes"):
        sink.write(LINE % 1)

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        sink.write(LINE % 2)
    monkeypatch.setattr(os, "write", write)
    sink.write(LINE % 3)
    assert path.read_bytes() == (LINE % 1)[:5] + b"\n" + LINE % 3


def test_a_stream_without_a_reader_is_an_error() -> None:
    reading, writing = os.pipe()
    sink = StreamSink(writing)
    sink.write(LINE % 1)
    assert os.read(reading, 100) == LINE % 1
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        sink.write(LINE % 2)
    os.close(writing)


def test_a_stream_begins_a_new_line_after_an_incomplete_one() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    try:
        while True:
            filled += os.write(writing, b"x" * 4096)
    except BlockingIOError:
        pass
    os.read(reading, 4096)  # room for a part of the next line
    sink = StreamSink(writing)
    with pytest.raises(OSError, match=r"4096 of 6001 bytes"):
        sink.write(b"y" * 6000 + b"\n")
    os.read(reading, filled)
    sink.write(LINE % 1)
    sink.write(LINE % 2)
    assert os.read(reading, 4096) == b"\n" + LINE % 1 + LINE % 2
    os.close(reading)
    os.close(writing)
