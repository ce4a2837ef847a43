from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from dataclasses import replace

import pytest
from memgpt_loader.failures import FailureReason
from memgpt_loader.formats import Note, NoteKind
from memgpt_loader.loads.records import MAX_BYTES, from_record, to_record
from memgpt_loader.model import FileState, Load, LoadFile, LoadState, Manifest


def load_of(count: int, name: str = "folder/file {n}.pdf") -> Load:
    files = [LoadFile(Manifest(name.format(n=n), n, hashlib.sha256(str(n).encode()).hexdigest())) for n in range(count)]
    return Load(
        load_id="load_1",
        tenant="default",
        source_id="source_1",
        source_name="Büche 📚",
        request_id="r",
        digest="d",
        files={file.manifest.name: file for file in files},
        create_time=dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC),
    )


def test_a_load_survives() -> None:
    load = load_of(3)
    first = load.files["folder/file 0.pdf"]
    first.state, first.reason, first.message, first.sequence = FileState.FAILED, FailureReason.EMPTY, "Empty.", 7
    load.state, load.end_time, load.sequence = LoadState.COMPLETED, load.create_time + dt.timedelta(seconds=1), 9
    assert from_record(to_record(load), "default") == load


def test_the_largest_load_fits() -> None:
    assert len(to_record(load_of(10_000)).state) < MAX_BYTES


def test_one_that_does_not_fit_is_refused() -> None:
    files = {
        name: LoadFile(Manifest(name, n, hashlib.sha256(name.encode()).hexdigest()))
        for n in range(10_000)
        for name in ["".join(hashlib.sha512(f"{n} {part}".encode()).hexdigest() for part in range(4))]
    }
    with pytest.raises(ValueError, match="record"):
        to_record(replace(load_of(0), files=files))


@pytest.mark.parametrize("state", [b"", b"nonsense", b"x\x9c\xabV\xaa\x05\x00\x00\xa6\x01*"])
def test_foreign_bytes_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError):
        from_record(replace(to_record(load_of(1)), state=state), "default")


def test_a_note_survives_and_records_without_one_are_read() -> None:
    load = load_of(2)
    load.files["folder/file 0.pdf"].notes = (Note(NoteKind.SCANNED_PAGE, 2, "pages 2-3", "2 pages without text"),)
    assert from_record(to_record(load), "default") == load


def test_reasons_and_kinds_of_a_later_version_are_read() -> None:
    load = load_of(1)
    file = load.files["folder/file 0.pdf"]
    file.reason = FailureReason.BROKEN
    file.notes = (Note(NoteKind.SCANNED_PAGE, 2, "pages 2-3", "2 pages without text"),)
    record = to_record(load)
    state = zlib.decompress(record.state).replace(b"BROKEN", b"CURSED").replace(b"SCANNED_PAGE", b"SUNG")
    read = from_record(replace(record, state=zlib.compress(state)), "default").files["folder/file 0.pdf"]
    assert (read.reason, read.notes[0].kind) == (FailureReason.INTERNAL, NoteKind.MISSING_PART)
