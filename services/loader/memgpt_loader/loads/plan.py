"""Which files a load wants: what its manifest says, beside what its source holds already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from memgpt_runtime.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound, Reason

from memgpt_loader.failures import FailureReason
from memgpt_loader.loads.live import LiveLoad
from memgpt_loader.model import FileState, Load, LoadFile, Manifest, SourceRef, StoredFile


def unique(manifests: Sequence[Manifest]) -> dict[str, LoadFile]:
    """The files of a manifest by their names.

    Raises:
        InvalidArgument: A name occurs twice.
    """
    files: dict[str, LoadFile] = {}
    twice = []
    for index, manifest in enumerate(manifests):
        if manifest.name in files:
            twice.append(
                FieldViolation(f"files[{index}].name", "occurs twice in the load; give each file its own name")
            )
        files[manifest.name] = LoadFile(manifest)
    if twice:
        raise InvalidArgument(Reason.INVALID_FIELD, "a file name occurs twice in the load", violations=twice)
    return files


def digest(ref: SourceRef, manifests: Sequence[Manifest], *, sync: bool, tags: tuple[str, ...] | None) -> str:
    """Tells two requests for a load apart."""
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


def judge(
    load: Load,
    visible: Mapping[str, StoredFile],
    chunker_version: str,
    max_bytes: int,
    state: FileState = FileState.UNCHANGED,
) -> dict[str, StoredFile]:
    """Tells the files that are wanted from those that are visible already, or can never be read.

    Args:
        load: The load; the states of its files are set.
        visible: What its source holds, by name.
        chunker_version: Rules by which files are read now.
        max_bytes: Bytes of the largest file that is taken.
        state: Of a file that is visible already.

    Returns:
        Those that are visible under other labels, which they are to lose.
    """
    labelled: dict[str, StoredFile] = {}
    for name, file in load.files.items():
        if file.state is not FileState.WANTED:
            continue
        manifest, stored = file.manifest, visible.get(name)
        file.tags = load.tags if load.tags is not None else stored.tags if stored is not None else ()
        version = (manifest.sha256, chunker_version)
        if stored is not None and (stored.sha256, stored.chunker_version) == version:
            if stored.passages:
                file.state, file.documents, file.passages = state, stored.documents, stored.passages
                if file.tags != stored.tags:
                    file.state = FileState.PROCESSING
                    labelled[name] = stored
            else:
                file.state, file.reason = FileState.EMPTY, FailureReason.EMPTY
                file.message = "The file held no text when it was loaded before, and has not changed."
        elif manifest.size > max_bytes:
            file.state, file.reason = FileState.FAILED, FailureReason.TOO_LARGE
            file.message = (
                f"The file has {manifest.size:,} bytes, more than the {max_bytes:,} that the "
                "Loader accepts. Split it, or raise loader.max_file_bytes."
            )
    return labelled


def file_of(live: LiveLoad, name: str) -> LoadFile:
    """The file of a name.

    Raises:
        NotFound: The load has none.
    """
    file = live.load.files.get(name)
    if file is None:
        raise NotFound(
            Reason.FILE_NOT_FOUND,
            "the load has no file of this name; use the names of its manifest",
            metadata={"load_id": live.load.load_id, "file": name},
        )
    return file


def wanted(live: LiveLoad, file: LoadFile) -> bool:
    """Whether a file's bytes are awaited; False if they are here.

    Raises:
        FailedPrecondition: They never will be.
    """
    if live.cancelling or live.load.end_time is not None:
        if file.state is FileState.LOADED:
            return False
        why = "its load has ended; create another"
    elif file.state is FileState.WANTED:
        return True
    elif file.state in (FileState.PROCESSING, FileState.LOADED):
        return False
    elif file.state is FileState.UNCHANGED:
        why = "this version is loaded already"
    else:
        why = file.message or "it was cancelled"
    raise FailedPrecondition(
        Reason.UPLOAD_NOT_WANTED,
        f"the file is not wanted: {why}",
        metadata={"load_id": live.load.load_id, "file": file.manifest.name, "state": file.state.value},
    )
