"""Edits of core memory."""

from __future__ import annotations

from memgpt_memory.agents import _errors as errors
from memgpt_memory.agents._rows import DEFAULT_BLOCK_LIMIT, AgentRow, BlockEdit, BlockRef
from memgpt_memory.agents._state import block_etag
from memgpt_memory.records import TextRef

MAX_BLOCKS = 32
"""Most blocks of one agent."""


def apply_edit(row: AgentRow, values: dict[str, str], edit: BlockEdit, *, by_people: bool, time: int) -> BlockRef:
    """Edit one block of an agent whose next row is being built.

    Args:
        row: The agent's next row; the block's reference in it is changed or appended.
        values: The values of the agent's blocks by label; the edited one is replaced.
        edit: The new content of the block.
        by_people: Whether a person makes the edit; people may create blocks and write read-only ones.
        time: Microseconds since 1970.

    Returns:
        The block's reference.

    Raises:
        Aborted: The block's etag does not match.
        FailedPrecondition: The block is read-only, or there are too many.
        InvalidArgument: The value is over the block's limit.
        NotFound: There is no such block, and the agent may not create it.
    """
    found = next((reference for reference in row.blocks if reference.label == edit.label), None)
    if found is None:
        reference = _new_block(row, edit, by_people=by_people, time=time)
    elif edit.etag and edit.etag != block_etag(found):
        raise errors.block_changed(edit.label, block_etag(found))
    else:
        reference = found
    if reference.read_only and not by_people:
        raise errors.block_read_only(edit.label)
    limit = edit.limit or reference.limit
    value = values.get(edit.label, "") if edit.value is None else edit.value
    if len(value) > limit:
        raise errors.block_too_long(edit.label, limit, len(value))
    reference.limit = limit
    reference.updated = time
    if edit.read_only is not None:
        reference.read_only = edit.read_only
    values[edit.label] = value
    return reference


def _new_block(row: AgentRow, edit: BlockEdit, *, by_people: bool, time: int) -> BlockRef:
    if not by_people:
        raise errors.unknown_block(edit.label)
    if edit.etag:
        raise errors.block_changed(edit.label, "")
    if len(row.blocks) >= MAX_BLOCKS:
        raise errors.too_many_blocks(MAX_BLOCKS)
    reference = BlockRef(label=edit.label, text=TextRef(), limit=edit.limit or DEFAULT_BLOCK_LIMIT, updated=time)
    row.blocks.append(reference)
    return reference
