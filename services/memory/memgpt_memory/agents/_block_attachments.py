"""Attach shared blocks to agents, detach them, and find the agents that have one."""

from __future__ import annotations

from memgpt_memory.agents._agents import Agents
from memgpt_memory.agents._commands import AttachBlock, DetachBlock
from memgpt_memory.agents._core_memory import CoreMemory
from memgpt_memory.agents._errors import block_attached, too_many_agents_of_block
from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._rows import Block
from memgpt_memory.agents._shared_links import BLOCK_LINK
from memgpt_memory.blocks import SharedBlocks
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.records import Records
from memgpt_memory.tasks import run_to_end

MAX_AGENTS_OF_BLOCK = 1_000
"""Maximum number of agents that have one shared block."""


class BlockAttachments:
    """Attaches shared blocks to agents: the agent's row names the block, and the block has the value."""

    def __init__(self, agents: Agents, core_memory: CoreMemory, records: Records) -> None:
        """Work on the given parts of one store."""
        self._agents = agents
        self._core_memory = core_memory
        self._blocks: SharedBlocks = agents.repository.shared
        self._records = records

    async def attach(self, live: LiveAgent, block_id: str, label: str) -> Block:
        """Attach a block under a label; do nothing if it is attached under this label already.

        Raises:
            AlreadyExists: The agent has another block of this label.
            FailedPrecondition: The agent has too many blocks, or has this one under another label.
            NotFound: There is no such block.
            ResourceExhausted: Too many agents have it.
        """
        if self._has(live, block_id):
            await self._blocks.get(live.row.tenant, block_id)
        else:
            await self.check(live.row.tenant, block_id)
        attached = [one.block_id for one in live.row.shared]
        gone = set(attached) - (await self._blocks.find_many(attached)).keys()
        await self._agents.repository.execute(live, AttachBlock(block_id, label, gone))
        return await self._core_memory.get(live.state, label)

    async def check(self, tenant: str, block_id: str) -> None:
        """Check that one more agent can have a block.

        Raises:
            NotFound: There is no such block.
            ResourceExhausted: Too many agents have it.
        """
        await self._blocks.get(tenant, block_id)
        if await self._count(block_id) >= MAX_AGENTS_OF_BLOCK:
            raise too_many_agents_of_block(MAX_AGENTS_OF_BLOCK)

    async def detach(self, live: LiveAgent, block_id: str) -> None:
        """Detach a block; a missing one is not an error."""
        await self._agents.repository.execute(live, DetachBlock(block_id))

    async def agents_of(self, block_id: str) -> list[LiveAgent]:
        """Return the agents that have a block, in order of their creation."""
        links = await self._records.find(BLOCK_LINK, parent=block_id)
        found = await self._agents.find_many(sorted(link.body for link in links))
        return [live for live in found if self._has(live, block_id)]

    async def page(self, block_id: str, size: int, after: str) -> Page[LiveAgent]:
        """Return a page of the agents that have a block, after the id `after`."""
        agents = {live.id: live for live in await self.agents_of(block_id)}
        page = list_page(list(agents), size, after)
        return Page([agents[id_] for id_ in page.items], page.next_token, page.total)

    async def delete(self, tenant: str, block_id: str, *, detach: bool) -> None:
        """Delete a block; a missing one is not an error.

        Args:
            tenant: The tenant that owns it.
            block_id: The block.
            detach: Whether it is deleted although agents have it.

        Raises:
            FailedPrecondition: Agents have it.
        """
        await run_to_end(self._delete(tenant, block_id, detach=detach))

    async def _delete(self, tenant: str, block_id: str, *, detach: bool) -> None:
        if await self._blocks.find(tenant, block_id) is None:
            return
        async with self._blocks.locked([block_id]) as found:
            block = found.get(block_id)
            if block is None:
                return
            if not detach and (agents := await self.agents_of(block_id)):
                raise block_attached(block.row.name, len(agents))
            await self._blocks.hide(block)
        await self._blocks.purge(block_id)

    async def _count(self, block_id: str) -> int:
        """Return how many agents have a block. Few links are not worth reading the agents for."""
        links = await self._records.find(BLOCK_LINK, parent=block_id)
        return len(links) if len(links) < MAX_AGENTS_OF_BLOCK else len(await self.agents_of(block_id))

    @staticmethod
    def _has(live: LiveAgent, block_id: str) -> bool:
        return any(one.block_id == block_id for one in live.row.shared)
