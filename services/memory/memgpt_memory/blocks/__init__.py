"""Blocks of core memory: the rules of an edit, and blocks that several agents have in common."""

from __future__ import annotations

from memgpt_memory.blocks._edits import DEFAULT_BLOCK_LIMIT, BlockEdit, new_content
from memgpt_memory.blocks._errors import block_changed, unknown_block, unknown_shared_block
from memgpt_memory.blocks._shared_block import MAX_SHARED_BLOCKS, PendingWrite, SharedBlock, SharedBlockRow, SharedWrite
from memgpt_memory.blocks._shared_blocks import SharedBlocks

__all__ = [
    "DEFAULT_BLOCK_LIMIT",
    "MAX_SHARED_BLOCKS",
    "BlockEdit",
    "PendingWrite",
    "SharedBlock",
    "SharedBlockRow",
    "SharedBlocks",
    "SharedWrite",
    "block_changed",
    "new_content",
    "unknown_block",
    "unknown_shared_block",
]
