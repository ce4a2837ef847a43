"""The plan of a load: which files must be uploaded, given its manifest and what the source already holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from memgpt_runtime import reasons
from memgpt_runtime.errors import FieldViolation

from memgpt_loader.failures import FailureReason
from memgpt_loader.model import FileState, Load, LoadFile, Manifest, SourceRef, StoredFile
from memgpt_loader.parsing.extract import is_current

MAX_NAMES_BYTES = 2 << 20
"""Maximum size of all names of a load in bytes of UTF-8: a load with 10,000 files fits into one response."""


def files_by_name(manifests: Sequence[Manifest]) -> dict[str, LoadFile]:
    """Return the files of a load by name.

    Raises:
        InvalidArgument: A name occurs twice, or the names have too many bytes together.
    """
    if sum(len(manifest.name.encode()) for manifest in manifests) > MAX_NAMES_BYTES:
        raise reasons.too_large(
            f"the names of the files have more than {MAX_NAMES_BYTES >> 20} MiB together; use several loads",
            field="files",
            limit_bytes=MAX_NAMES_BYTES,
        )
    files: dict[str, LoadFile] = {}
    duplicates = []
    for index, manifest in enumerate(manifests):
        if manifest.name in files:
            duplicates.append(FieldViolation(f"files[{index}].name", "duplicate name; give each file its own"))
        files[manifest.name] = LoadFile(manifest)
    if duplicates:
        raise reasons.invalid_fields("duplicate file name in the load", duplicates)
    return files


def request_digest(ref: SourceRef, manifests: Sequence[Manifest], *, sync: bool, tags: tuple[str, ...] | None) -> str:
    """Return a digest that differs for different requests."""
    files = [[each.name, each.size, each.sha256] for each in manifests]
    body = [
        ref.source_id,
        ref.name,
        ref.description,
        files,
        *(["sync"] if sync else []),
        *([] if tags is None else [[*tags]]),
    ]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def reconcile(
    load: Load,
    stored: Mapping[str, StoredFile],
    chunker_version: str,
    max_bytes: int,
    present: FileState = FileState.UNCHANGED,
) -> dict[str, StoredFile]:
    """Set the state of every file that needs no upload.

    Args:
        load: The load; the states of its files are changed.
        stored: What the source holds, by name.
        chunker_version: The current version of the chunking rules.
        max_bytes: Size of the largest accepted file.
        present: State of a file that the source already holds.

    Returns:
        Stored files whose labels must change; their state is PROCESSING.
    """
    relabel: dict[str, StoredFile] = {}
    for name, file in load.files.items():
        if file.state is not FileState.AWAITING_UPLOAD:
            continue
        manifest, held = file.manifest, stored.get(name)
        file.tags = load.tags if load.tags is not None else held.tags if held is not None else ()
        if (
            held is not None
            and held.sha256 == manifest.sha256
            and is_current(held.chunker_version, chunker_version, held.notes)
        ):
            if held.passages:
                file.state, file.documents, file.passages = present, held.documents, held.passages
                file.notes = held.notes
                if file.tags != held.tags:
                    file.state = FileState.PROCESSING
                    relabel[name] = held
            else:
                file.state, file.reason = FileState.EMPTY, FailureReason.EMPTY
                file.message = "the file held no text when it was loaded before, and has not changed"
        elif manifest.size > max_bytes:
            file.state, file.reason = FileState.FAILED, FailureReason.TOO_LARGE
            file.message = (
                f"the file has {manifest.size:,} bytes, more than the {max_bytes:,} that the "
                "Loader accepts; split it, or raise loader.max_file_bytes"
            )
    return relabel


def get_file(load: Load, name: str) -> LoadFile:
    """Return a file of a load by name.

    Raises:
        NotFound: The load has no such file.
    """
    file = load.files.get(name)
    if file is None:
        raise reasons.file_not_found(
            "the load has no such file; use a name from its manifest", load_id=load.load_id, file=name
        )
    return file


_STORED = (FileState.LOADED, FileState.UNCHANGED)
"""States in which a repeated upload is accepted, since the first response may have been lost. A file that one Loader
stored is UNCHANGED for another one that completes the load."""


def needs_upload(load: Load, file: LoadFile, *, cancelling: bool = False) -> bool:
    """Whether a file's bytes are still missing.

    Raises:
        FailedPrecondition: The file has ended, so its bytes are not needed.
    """
    if cancelling or load.cancel_requested or load.end_time is not None:
        if file.state in _STORED:
            return False
        why = "its load has ended; create a new one"
    elif file.state is FileState.AWAITING_UPLOAD:
        return True
    elif file.state is FileState.PROCESSING or file.state in _STORED:
        return False
    else:
        why = file.message or "it was cancelled"
    raise reasons.upload_not_expected(
        f"the file is not expected: {why}", load_id=load.load_id, file=file.manifest.name, state=file.state.value
    )
