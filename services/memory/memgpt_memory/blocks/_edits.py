"""Edits of blocks, and the rules that every one of them obeys."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_runtime.agent_rules import DEFAULT_BLOCK_LIMIT as DEFAULT_BLOCK_LIMIT
from memgpt_runtime.agent_rules import check_block_value

from memgpt_memory.blocks import _errors as errors


@dataclass(frozen=True, slots=True)
class BlockEdit:
    """An edit of a block. An empty etag skips the check; None and a limit of 0 keep what there is."""

    label: str
    value: str | None
    etag: str = ""
    limit: int = 0
    read_only: bool | None = None
    description: str | None = None


def new_content(
    edit: BlockEdit, *, value: str, limit: int, etag: str, read_only: bool, by_people: bool
) -> tuple[str, int]:
    """Return the value and the limit that an edit gives to a block.

    Args:
        edit: The edit; its label appears in errors.
        value: The current value.
        limit: The current limit in characters.
        etag: The current etag.
        read_only: Whether only people may change the block.
        by_people: Whether a person makes the edit.

    Raises:
        Aborted: The block's etag does not match.
        FailedPrecondition: The block is read-only.
        InvalidArgument: The value is over the block's limit.
    """
    if edit.etag and edit.etag != etag:
        raise errors.block_changed(edit.label, etag)
    if read_only and not by_people:
        raise errors.block_read_only(edit.label)
    limit = edit.limit or limit
    value = value if edit.value is None else edit.value
    check_block_value(edit.label, len(value), limit)
    return value, limit
