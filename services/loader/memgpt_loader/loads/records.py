"""The encoding of a load as Memory persists it.

JSON, compressed: `{v, source, digest, created, ended, state, sequence, sync, removed, tags, holder, results, cancel,
leased, files}`, each file as a list.
"""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from memgpt_loader.failures import FailureReason
from memgpt_loader.formats import Note, NoteKind
from memgpt_loader.model import FileState, Load, LoadFile, LoadRecord, LoadState, Manifest

MAX_BYTES = 1024 * 1024
"""Maximum bytes of a record."""

_VERSION = 1
_MAX_NOTES_CHARS = 400_000
# Guards against a damaged record; 10,000 files with the longest names and messages take less.
_MAX_JSON_BYTES = 64 * 1024 * 1024


def to_record(load: Load, etag: str = "") -> LoadRecord:
    """Encode a load, to be written over the version of `etag`.

    Raises:
        ValueError: It is larger than `MAX_BYTES`.
    """
    budget = _NotesBudget()
    document = {
        "v": _VERSION,
        "source": load.source_name,
        "digest": load.digest,
        "created": load.create_time.timestamp(),
        "ended": load.end_time.timestamp() if load.end_time else None,
        "state": load.state.value,
        "sequence": load.sequence,
        "sync": load.sync,
        "removed": load.removed,
        "tags": load.tags,
        "holder": load.holder,
        "results": [_row(file, budget) for file in load.results.values()],
        "cancel": load.cancel_requested,
        "leased": load.lease_time.timestamp() if load.lease_time else None,
        "files": [_row(file, budget) for file in load.files.values()],
    }
    state = zlib.compress(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
    if len(state) > MAX_BYTES:
        raise ValueError(f"load record of {len(state):,} bytes")
    return LoadRecord(load.load_id, load.source_id, load.request_id, state, etag)


def from_record(record: LoadRecord, tenant: str) -> Load:
    """Decode a load.

    Raises:
        ValueError: Not a record of this version.
    """
    try:
        raw = zlib.decompressobj().decompress(record.state, _MAX_JSON_BYTES)
        document: dict[str, Any] = json.loads(raw)
        if document["v"] != _VERSION:
            raise ValueError(f"unknown version {document['v']} of a load record")
        return Load(
            load_id=record.load_id,
            tenant=tenant,
            source_id=record.source_id,
            source_name=record.source_name or document["source"],
            request_id=record.request_id,
            digest=document["digest"],
            files={file[0]: _file(file) for file in document["files"]},
            create_time=_time(document["created"]),
            state=LoadState(document["state"]),
            end_time=None if document["ended"] is None else _time(document["ended"]),
            sequence=document["sequence"],
            sync=document.get("sync", False),
            removed=document.get("removed", 0),
            tags=None if (tags := document.get("tags")) is None else tuple(tags),
            holder=document.get("holder", ""),
            results={file[0]: _file(file) for file in document.get("results", ())},
            cancel_requested=document.get("cancel", False),
            lease_time=None if (leased := document.get("leased")) is None else _time(leased),
        )
    except (zlib.error, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"not a load record: {error!r}") from error


def _row(file: LoadFile, budget: _NotesBudget) -> list[Any]:
    notes = [list(astuple(note)) for note in budget.take(file.notes)]
    return [
        file.manifest.name,
        file.manifest.size,
        file.manifest.sha256,
        file.state.value,
        file.documents,
        file.passages,
        file.reason.value if file.reason else None,
        file.message,
        file.sequence,
        *([notes] if notes else ()),
    ]


def _file(row: list[Any]) -> LoadFile:
    name, size, sha256, state, documents, passages, reason, message, sequence, *notes = row
    return LoadFile(
        Manifest(name, size, sha256),
        FileState(state),
        documents,
        passages,
        None if reason is None else _reason(reason),
        message,
        sequence,
        notes=_notes(notes[0]) if notes else (),
    )


class _NotesBudget:
    """Keeps a record within its limit: Memory also keeps the notes with each file."""

    def __init__(self) -> None:
        self._chars = _MAX_NOTES_CHARS

    def take(self, notes: Sequence[Note]) -> Sequence[Note]:
        """Return the notes if there is room for them, else none."""
        self._chars -= sum(len(note.where) + len(note.message) for note in notes)
        return notes if self._chars >= 0 else ()


def _notes(stored: str | list[list[Any]]) -> tuple[Note, ...]:
    if isinstance(stored, str):  # from a version in which notes had no kinds
        return (Note(NoteKind.MISSING_PART, 1, "", stored),)
    return tuple(Note(_kind(kind), *rest) for kind, *rest in stored)


def _reason(name: str) -> FailureReason:
    """Return a reason; INTERNAL for one of a later version, so that this one can go on with its loads."""
    try:
        return FailureReason(name)
    except ValueError:
        return FailureReason.INTERNAL


def _kind(name: str) -> NoteKind:
    """Return a kind of note; MISSING_PART for one of a later version. The note's message says what is meant."""
    try:
        return NoteKind(name)
    except ValueError:
        return NoteKind.MISSING_PART


def _time(stamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(stamp, dt.UTC)
