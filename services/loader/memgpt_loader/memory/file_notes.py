"""File notes as protobuf messages."""

from __future__ import annotations

from memgpt.common.v1 import file_note_pb2

from memgpt_loader.formats import Note, NoteKind


def to_proto(note: Note) -> file_note_pb2.FileNote:
    """Convert a note to the message that Memory stores and callers receive."""
    return file_note_pb2.FileNote(
        kind=file_note_pb2.FileNoteKind.Value(f"FILE_NOTE_KIND_{note.kind.value}"),
        count=note.count,
        where=note.where,
        message=note.message,
    )


def from_proto(note: file_note_pb2.FileNote) -> Note | None:
    """Convert a stored note back; None if a later version of the Loader wrote it and its kind is unknown."""
    try:
        kind = NoteKind(file_note_pb2.FileNoteKind.Name(note.kind).removeprefix("FILE_NOTE_KIND_"))
    except ValueError:
        return None
    return Note(kind, note.count, note.where, note.message)
