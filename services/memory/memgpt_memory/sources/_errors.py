"""The errors that sources raise, one constructor per reason."""

from __future__ import annotations

from memgpt_runtime import reasons
from memgpt_runtime.errors import Aborted, InvalidArgument, NotFound


def unknown_source(source_id: str) -> NotFound:
    """No source has this id, or it is another tenant's."""
    return reasons.source_not_found(f'unknown source "{source_id}"; list sources to see their ids', source_id=source_id)


def unknown_source_name(name: str) -> NotFound:
    """No source has this name."""
    return reasons.source_not_found(
        f'no source is named "{name}"; list sources to see their names, or load one', name=name, source_id=""
    )


def source_deleted(source_id: str, name: str) -> NotFound:
    """The source was deleted while something was being written to it."""
    return reasons.source_not_found(f'source "{name}" was deleted in the meantime', source_id=source_id)


def source_changed(etag: str) -> Aborted:
    """The name or the description of a source has changed; `etag` is the current one."""
    return reasons.etag_mismatch(
        "the source has changed since it was read; read it again and retry", resource="source", etag=etag
    )


def unknown_load(load_id: str) -> NotFound:
    """No load has this id."""
    return reasons.load_not_found(f'unknown load "{load_id}"; list loads to see their ids', load_id=load_id)


def unknown_load_request(request_id: str) -> NotFound:
    """No load was created by this request."""
    return reasons.load_not_found(f'no load was created by request "{request_id}"', request_id=request_id, load_id="")


def load_changed(etag: str) -> Aborted:
    """The record of a load has changed; `etag` is the current one, empty if there is none."""
    return reasons.etag_mismatch(
        "the load record has changed since it was read; read it again and retry", resource="load", etag=etag
    )


def passage_out_of_order(index: int, following: int) -> InvalidArgument:
    """A passage of an upload is not the next one."""
    return reasons.invalid_field(
        f"passage index {index} is not the next index; send {following}", field="batch.passages.index"
    )


def passages_missing(file: str, promised: int, received: int) -> InvalidArgument:
    """An upload ends with a different number of passages than it declared."""
    return reasons.upload_mismatch(
        f"finish declares {promised} passages, but {received} were received; send the file again from its header",
        field="finish.passage_count",
        file=file,
    )
