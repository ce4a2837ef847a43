"""Notes on files as protobuf messages."""

from __future__ import annotations

from memgpt.common.v1 import file_note_pb2

from memgpt_loader.formats import Note


def to_proto(note: Note) -> file_note_pb2.FileNote:
    """Convert a note to the message that Memory stores and callers receive."""
    return file_note_pb2.FileNote(
        kind=file_note_pb2.FileNoteKind.Value(f"FILE_NOTE_KIND_{note.kind.value}"),
        count=note.count,
        where=note.where,
        message=note.message,
    )
