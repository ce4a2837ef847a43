"""The common part of the functions that edit core memory."""

from __future__ import annotations

from memgpt_agent.domain import Block, BlockEdit, Context, Effects
from memgpt_agent.functions.function import FunctionError, FunctionOutput, Parameter

BLOCK = Parameter("name", "string", "The block: human for facts about the user, persona for yourself, or another.")


def editable_block(context: Context, label: str) -> Block:
    """Return the block to edit.

    Raises:
        FunctionError: There is no such block, or it is read-only.
    """
    for block in context.blocks:
        if block.label == label:
            if block.read_only:
                raise FunctionError(f'Nothing was changed: the block "{label}" is read-only.')
            return block
    labels = ", ".join(block.label for block in context.blocks) or "none"
    raise FunctionError(f'Core memory has no block "{label}". Its blocks: {labels}.')


def edit(block: Block, value: str) -> FunctionOutput:
    """Return the edit that gives the block a new value.

    Raises:
        FunctionError: The value exceeds the block's limit.
    """
    if len(value) > block.limit:
        raise FunctionError(
            f'Nothing was changed: the block "{block.label}" would have {len(value):,} characters, but its limit is'
            f" {block.limit:,}. Shorten the text, make room with core_memory_replace, or use archival_memory_insert."
        )
    effects = Effects(blocks=(BlockEdit(block.label, value, block.etag),))
    return FunctionOutput(f'The block "{block.label}" now has {len(value):,} of {block.limit:,} characters.', effects)
