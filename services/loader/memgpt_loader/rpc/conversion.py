"""Conversion of loads, files and formats to protos."""

from __future__ import annotations

import datetime as dt

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.loader.v1 import load_pb2, loader_service_pb2
from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_loader.formats import Format
from memgpt_loader.memory.file_notes import to_proto as note_to_proto
from memgpt_loader.model import Load, LoadFile, Manifest, Wait

_MAX_NOTE_CHARS = 1000


def file_to_proto(file: LoadFile) -> load_pb2.LoadFile:
    """Convert a file of a load."""
    reason = file.reason.value if file.reason else "UNSPECIFIED"
    return load_pb2.LoadFile(
        manifest=load_pb2.FileManifest(name=file.manifest.name, size=file.manifest.size, sha256=file.manifest.sha256),
        state=load_pb2.FileState.Value(f"FILE_STATE_{file.state.value}"),
        document_count=file.documents,
        passage_count=file.passages,
        failure_reason=load_pb2.FileFailureReason.Value(f"FILE_FAILURE_REASON_{reason}"),
        failure_message=file.message,
        note="\n".join(note.message for note in file.notes)[:_MAX_NOTE_CHARS],
        notes=map(note_to_proto, file.notes),
        wait=None if file.wait is None else _wait_to_proto(file.wait),
    )


def _wait_to_proto(wait: Wait) -> load_pb2.Wait:
    delay = Duration()
    delay.FromMilliseconds(round(wait.seconds * 1000))
    return load_pb2.Wait(message=wait.message, delay=delay)


def manifests(request: loader_service_pb2.CreateLoadRequest) -> list[Manifest]:
    """Return the manifests of a request."""
    return [Manifest(file.name, file.size, file.sha256) for file in request.files]


def load_to_proto(load: Load, *, with_files: bool = True) -> load_pb2.Load:
    """Convert a load, with or without its files.

    If it exceeds the size of a response, its files lack notes, and if need be messages of failures, too.
    """
    converted = _load_to_proto(load, with_files=with_files)
    for fields in (("note", "notes"), ("failure_message",)):
        if converted.ByteSize() <= PAGE_BYTES:
            break
        for file in converted.files:
            for field in fields:
                file.ClearField(field)
    return converted


def _load_to_proto(load: Load, *, with_files: bool) -> load_pb2.Load:
    return load_pb2.Load(
        load_id=load.load_id,
        source_id=load.source_id,
        source_name=load.source_name,
        state=load_pb2.LoadState.Value(f"LOAD_STATE_{load.state.value}"),
        files=[file_to_proto(file) for file in load.files.values()] if with_files else [],
        document_count=load.documents,
        passage_count=load.passages,
        create_time=_timestamp(load.create_time),
        end_time=_timestamp(load.end_time) if load.end_time else None,
        removed_count=load.removed,
        tags=None if load.tags is None else load_pb2.Tags(tags=load.tags),
    )


def format_to_proto(each: Format) -> loader_service_pb2.FileFormat:
    """Convert a file format."""
    return loader_service_pb2.FileFormat(
        name=each.name,
        media_types=list(each.media_types),
        extensions=each.extensions,
        reads=each.reads,
        omits=each.omits,
        pages=each.pages,
    )


def _timestamp(time: dt.datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
