"""Notes: gathered by kind, worded for people, within bounds."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from memgpt.common.v1 import file_note_pb2
from memgpt_loader.loads.plan import reconcile
from memgpt_loader.memory.file_notes import from_proto, to_proto
from memgpt_loader.model import FileState, Load, LoadFile, Manifest, StoredFile
from memgpt_loader.notes import MAX_MESSAGE_CHARS, MAX_NOTES, MAX_WHERE_CHARS, Note, NoteKind, Notes
from memgpt_loader.parsing.extract import chunker_version


def test_pages_are_gathered_into_ranges() -> None:
    notes = Notes()
    for page in (7, 3, 5, 6):
        notes.add(NoteKind.SCANNED_PAGE, page=page)
    (note,) = notes
    assert (note.kind, note.count, note.where) == (NoteKind.SCANNED_PAGE, 4, "pages 3, 5-7")
    assert note.message.startswith("4 pages without text but with pictures, probably scans (pages 3, 5-7); run OCR")


def test_one_of_a_kind_is_singular() -> None:
    notes = Notes()
    notes.add(NoteKind.HIDDEN, page=2, unit="slide")
    (note,) = notes
    assert note.message == "1 hidden part left out (slide 2)"


def test_notes_of_a_file_within_another_name_it() -> None:
    inner, notes = Notes(), Notes()
    inner.add(NoteKind.PICTURE, page=1)
    notes.extend(inner, "a.pdf")
    (note,) = notes
    assert (note.where, note.message) == ("a.pdf, page 1", "a.pdf: 1 picture without a text alternative (page 1)")


def test_notes_without_end_stay_within_bounds() -> None:
    notes = Notes()
    for number in range(5000):
        notes.add(NoteKind.ATTACHMENT, f"file {number} {'x' * 300}")
        notes.add(NoteKind.BAD_RECORD, f"line {number}", reason=f"{number} " * 500)
        notes.extend(notes if number < 5 else (), "within")
    kept = list(notes)
    assert len(kept) == MAX_NOTES + 1
    assert kept[-1].kind is NoteKind.TOO_MUCH
    assert max(len(note.where) for note in kept) <= MAX_WHERE_CHARS
    assert max(len(note.message) for note in kept) <= MAX_MESSAGE_CHARS


def test_a_note_comes_back_from_memory_as_it_was_stored() -> None:
    for kind in NoteKind:
        note = Note(kind, 2, "page 3", "2 things (page 3)")
        assert from_proto(to_proto(note)) == note
    assert from_proto(file_note_pb2.FileNote(count=1, message="of a later version")) is None
    assert from_proto(file_note_pb2.FileNote(kind=999)) is None  # type: ignore[arg-type]


def test_a_file_that_the_source_holds_keeps_its_notes() -> None:
    """Whether it was stored before the load, or by a Loader that ended before it could say so."""
    note = Note(NoteKind.PICTURE, 1, "page 1", "1 picture")
    held = StoredFile("a" * 64, "4.5-300", 1, 3, notes=(note,))
    for present in (FileState.UNCHANGED, FileState.LOADED):
        files = {"a.pdf": LoadFile(Manifest("a.pdf", 9, "a" * 64))}
        load = Load("load_x", "default", "source_x", "s", "", "", files, dt.datetime.now(dt.UTC))
        reconcile(load, {"a.pdf": held}, "4.5-300", 100, present)
        assert (load.files["a.pdf"].state, load.files["a.pdf"].notes) == (present, (note,))


@pytest.mark.parametrize(
    ("kind", "held_with", "now", "again"),
    [
        (NoteKind.SCANNED_PAGE, "", "eng", True),
        (NoteKind.UNDECODABLE_TEXT, "", "eng", True),
        (NoteKind.PICTURE, "eng", "eng+deu", True),
        (NoteKind.PICTURE, "eng", "eng", False),
        (NoteKind.PICTURE, "eng", "", False),
        (NoteKind.HIDDEN, "", "eng", False),
        (None, "", "eng", False),
    ],
)
def test_a_file_with_pictures_is_loaded_again_when_their_text_can_be_read(
    kind: NoteKind | None, held_with: str, now: str, again: bool
) -> None:
    notes = (Note(kind, 1, "page 1", "1 thing"),) if kind else ()
    held = StoredFile("a" * 64, chunker_version(300, 0, held_with), 1, 3, notes=notes)
    load = Load(
        "load_x",
        "default",
        "source_x",
        "s",
        "",
        "",
        {"a.pdf": LoadFile(Manifest("a.pdf", 9, "a" * 64))},
        dt.datetime.now(dt.UTC),
    )
    reconcile(load, {"a.pdf": held}, chunker_version(300, 0, now), 100)
    assert load.files["a.pdf"].state is (FileState.AWAITING_UPLOAD if again else FileState.UNCHANGED)
    other = dataclasses.replace(held, chunker_version=chunker_version(200, 0, now))
    load.files["a.pdf"].state = FileState.AWAITING_UPLOAD
    reconcile(load, {"a.pdf": other}, chunker_version(300, 0, now), 100)
    assert load.files["a.pdf"].state is FileState.AWAITING_UPLOAD
