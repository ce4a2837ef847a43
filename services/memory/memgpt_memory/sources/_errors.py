"""The errors that sources raise, one constructor per reason."""

from __future__ import annotations

from memgpt_runtime import reasons
from memgpt_runtime.errors import Aborted, InvalidArgument, NotFound, Reason, invalid


def unknown_source(source_id: str) -> NotFound:
    """No source has this id, or it is another tenant's."""
    return NotFound(
        Reason.SOURCE_NOT_FOUND,
        f'unknown source "{source_id}"; list sources to see their ids',
        metadata={"source_id": source_id},
    )


def unknown_source_name(name: str) -> NotFound:
    """No source has this name."""
    return NotFound(
        Reason.SOURCE_NOT_FOUND,
        f'no source is named "{name}"; list sources to see their names, or load one',
        metadata={"name": name},
    )


def source_deleted(name: str) -> NotFound:
    """The source was deleted while something was being written to it."""
    return NotFound(Reason.SOURCE_NOT_FOUND, f'source "{name}" was deleted in the meantime')


def unknown_load(load_id: str) -> NotFound:
    """No load has this id."""
    return NotFound(
        Reason.LOAD_NOT_FOUND, f'unknown load "{load_id}"; list loads to see their ids', metadata={"load_id": load_id}
    )


def unknown_load_request(request_id: str) -> NotFound:
    """No load was created by this request."""
    return NotFound(
        Reason.LOAD_NOT_FOUND, f'no load was created by request "{request_id}"', metadata={"request_id": request_id}
    )


def load_changed(etag: str) -> Aborted:
    """The record of a load has changed; `etag` is the current one, empty if there is none."""
    return reasons.etag_mismatch(
        "the load record has changed since it was read; read it again and retry", resource="load", etag=etag
    )


def passage_out_of_order(index: int, following: int) -> InvalidArgument:
    """A passage of an upload is not the next one."""
    return invalid("batch.passages.index", f"passage index {index} is not the next index; send {following}")


def passages_missing(promised: int, received: int) -> InvalidArgument:
    """An upload ends with a different number of passages than it declared."""
    return InvalidArgument(
        Reason.UPLOAD_MISMATCH,
        f"finish promises {promised} passages, but {received} were received; send the file again from its header",
        field="finish.passage_count",
    )
