"""Core memory: read and write the blocks that an agent has, its own and shared ones."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_runtime.context import principal

from memgpt_memory.agents._commands import SetBlock
from memgpt_memory.agents._errors import unknown_agent
from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._repository import AgentRepository, check_exists
from memgpt_memory.agents._rows import Block
from memgpt_memory.agents._shared_links import shared_as
from memgpt_memory.agents._state import AgentState
from memgpt_memory.blocks import BlockEdit, unknown_block
from memgpt_memory.restrictions import check_unrestricted


class CoreMemory:
    """The blocks of every agent."""

    def __init__(self, repository: AgentRepository) -> None:
        """Change blocks with commits of `repository`."""
        self._repository = repository

    async def list(self, state: AgentState) -> Sequence[Block]:
        """Return the agent's blocks: its own in order of creation, then the shared ones in order of attachment.

        Raises:
            NotFound: The agent has been deleted in the meantime.
        """
        if state.row.deleting:  # it may lack its texts
            raise unknown_agent(state.id)
        own = state.all_blocks()
        if not state.row.shared:
            return own
        found = await self._repository.shared.find_many(one.block_id for one in state.row.shared)
        return [*own, *(shared_as(one.label, found[one.block_id]) for one in state.row.shared if one.block_id in found)]

    async def get(self, state: AgentState, label: str) -> Block:
        """Return the block of a label.

        Raises:
            NotFound: The agent has none.
        """
        block = next((block for block in await self.list(state) if block.label == label), None)
        if block is None:
            raise unknown_block(label)
        return block

    async def set(self, live: LiveAgent, edit: BlockEdit) -> Block:
        """Write a block on behalf of a person. A new label creates a block; a shared one changes for all its agents.

        Raises:
            Aborted: The block's etag does not match.
            FailedPrecondition: The agent has too many blocks.
            InvalidArgument: The value is over the block's limit.
            PermissionDenied: The block is shared, and the caller's key is restricted to some agents.
        """
        shared = self._repository.shared
        async with live.lock:
            await self._repository.settle(live)
            found = await shared.find_many(one.block_id for one in live.row.shared)
            attached = next((one.block_id for one in live.row.shared if one.label == edit.label), "")
            if attached in found:
                check_exists(live)
                check_unrestricted(principal().agents)
                return shared_as(edit.label, await shared.update(live.row.tenant, attached, edit))
            gone = {one.block_id for one in live.row.shared} - found.keys()
            return (await self._repository.commit(live, SetBlock(edit, gone))).blocks[0]
