"""Blocks of core memory that several agents have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call
from memgpt.client._ids import new_request_id
from memgpt.client.channel import CALL_TIMEOUT
from memgpt.client.errors import NotFound
from memgpt.memory.v1 import shared_block_service_pb2 as shared_pb
from memgpt.memory.v1.block_pb2 import Block
from memgpt.memory.v1.shared_block_pb2 import SharedBlock, SharedBlockEdit
from memgpt.memory.v1.shared_block_service_pb2_grpc import SharedBlockServiceStub

if TYPE_CHECKING:
    from memgpt.memory.v1.shared_block_service_pb2_grpc import SharedBlockServiceAsyncStub


class AsyncBlocks:
    """Shared blocks, and the agents that have them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: SharedBlockServiceAsyncStub = SharedBlockServiceStub(channel)

    async def create(
        self,
        name: str,
        value: str = "",
        *,
        limit: int = 0,
        read_only: bool = False,
        user_id: str = "",
        description: str = "",
    ) -> SharedBlock:
        """Create a shared block that no agent has yet.

        Args:
            name: Its name, unique within the tenant.
            value: Its text.
            limit: Maximum number of characters; 0 for 2,000.
            read_only: Whether agents cannot change it.
            user_id: The user that it belongs to, as the caller names users.
            description: What it is for; the models see it.
        """
        request = shared_pb.CreateSharedBlockRequest(
            request_id=new_request_id(),
            name=name,
            value=value,
            limit=limit,
            read_only=read_only,
            user_id=user_id,
            description=description,
        )
        return (await call(self._stub.CreateSharedBlock, request, CALL_TIMEOUT)).block

    async def get(self, block_id: str) -> SharedBlock:
        """Return a shared block."""
        request = shared_pb.GetSharedBlockRequest(block_id=block_id)
        return (await call(self._stub.GetSharedBlock, request, CALL_TIMEOUT)).block

    async def find(self, name_or_id: str) -> SharedBlock:
        """Return the shared block with a name or an id."""
        try:
            request = shared_pb.GetSharedBlockRequest(name=name_or_id)
            return (await call(self._stub.GetSharedBlock, request, CALL_TIMEOUT)).block
        except NotFound:
            if not name_or_id.startswith("block_"):
                raise
            return await self.get(name_or_id)

    def list(self) -> AsyncPages[SharedBlock]:
        """List the shared blocks in order of creation."""

        async def fetch(token: str) -> AsyncPage[SharedBlock]:
            request = shared_pb.ListSharedBlocksRequest(page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.ListSharedBlocks, request, CALL_TIMEOUT)
            return AsyncPage(response.blocks, response)

        return AsyncPages(fetch)

    async def update(self, edit: SharedBlockEdit) -> SharedBlock:
        """Write a shared block for all agents that have it."""
        request = shared_pb.UpdateSharedBlockRequest(block=edit)
        return (await call(self._stub.UpdateSharedBlock, request, CALL_TIMEOUT)).block

    async def delete(self, block_id: str, *, detach: bool = False) -> None:
        """Delete a shared block. Idempotent.

        Args:
            block_id: The block.
            detach: Whether to delete it although agents have it.
        """
        request = shared_pb.DeleteSharedBlockRequest(block_id=block_id, detach=detach)
        await call(self._stub.DeleteSharedBlock, request, CALL_TIMEOUT)

    async def attach(self, agent_id: str, block_id: str, label: str) -> Block:
        """Attach a shared block to an agent under a label. Idempotent."""
        request = shared_pb.AttachBlockRequest(agent_id=agent_id, block_id=block_id, label=label)
        return (await call(self._stub.AttachBlock, request, CALL_TIMEOUT)).block

    async def detach(self, agent_id: str, block_id: str) -> None:
        """Detach a shared block from an agent. Idempotent."""
        request = shared_pb.DetachBlockRequest(agent_id=agent_id, block_id=block_id)
        await call(self._stub.DetachBlock, request, CALL_TIMEOUT)

    def agents(self, block_id: str) -> AsyncPages[shared_pb.BlockAgent]:
        """List the agents that have a shared block."""

        async def fetch(token: str) -> AsyncPage[shared_pb.BlockAgent]:
            request = shared_pb.ListBlockAgentsRequest(block_id=block_id, page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.ListBlockAgents, request, CALL_TIMEOUT)
            return AsyncPage(response.agents, response)

        return AsyncPages(fetch)
