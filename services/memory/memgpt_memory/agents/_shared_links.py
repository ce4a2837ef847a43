"""The rows that link a shared block to its agents, and the block as an agent has it."""

from __future__ import annotations

from memgpt_memory.agents._rows import Block
from memgpt_memory.blocks import SharedBlock
from memgpt_memory.records import Record, key_of

BLOCK_LINK = "block_link"
"""Kind of the rows that say which agents may have a shared block; `parent` is the block, the body is the agent."""


def shared_as(label: str, block: SharedBlock) -> Block:
    """Return a shared block as an agent has it under a label."""
    row = block.row
    return Block(
        label,
        block.value,
        row.limit,
        block.etag,
        row.updated,
        row.read_only,
        row.description,
        shared_id=block.id,
    )


def link_id(block_id: str, agent_id: str) -> str:
    """Return the key of the row that says that an agent may have a block."""
    return key_of(BLOCK_LINK, block_id, agent_id)


def link_record(block_id: str, agent_id: str, tenant: str, time: int) -> Record:
    """Return the row by which an agent of a block is found. It is written before the agent has the block."""
    return Record(link_id(block_id, agent_id), BLOCK_LINK, tenant, block_id, time, agent_id)
