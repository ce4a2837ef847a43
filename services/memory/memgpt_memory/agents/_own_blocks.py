"""Edits of the blocks that belong to one agent alone."""

from __future__ import annotations

from memgpt_memory.agents import _errors as errors
from memgpt_memory.agents._rows import AgentRow, BlockRef
from memgpt_memory.agents._state import block_etag
from memgpt_memory.blocks import DEFAULT_BLOCK_LIMIT, BlockEdit, block_changed, new_content, unknown_block
from memgpt_memory.records import TextRef

MAX_BLOCKS = 32
"""Maximum number of blocks of one agent, shared ones included."""


def apply_edit(row: AgentRow, values: dict[str, str], edit: BlockEdit, *, by_people: bool, time: int) -> BlockRef:
    """Edit one of the own blocks of an agent whose next row is being built.

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
    reference = found or _new_block(row, edit, by_people=by_people, time=time)
    value, limit = new_content(
        edit,
        value=values.get(edit.label, ""),
        limit=reference.limit,
        etag=block_etag(found) if found else "",
        read_only=reference.read_only,
        by_people=by_people,
    )
    reference.limit = limit
    reference.updated = time
    if edit.read_only is not None:
        reference.read_only = edit.read_only
    values[edit.label] = value
    return reference


def _new_block(row: AgentRow, edit: BlockEdit, *, by_people: bool, time: int) -> BlockRef:
    if not by_people:
        raise unknown_block(edit.label)
    if edit.etag:
        raise block_changed(edit.label, "")
    check_room(row)
    reference = BlockRef(label=edit.label, text=TextRef(), limit=edit.limit or DEFAULT_BLOCK_LIMIT, updated=time)
    row.blocks.append(reference)
    return reference


def check_room(row: AgentRow) -> None:
    """Reject another block of an agent that has as many as it may have.

    Raises:
        FailedPrecondition: It has.
    """
    if len(row.blocks) + len(row.shared) >= MAX_BLOCKS:
        raise errors.too_many_blocks(MAX_BLOCKS)
