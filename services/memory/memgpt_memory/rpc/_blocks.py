"""`BlockService`."""

from __future__ import annotations

from memgpt.memory.v1 import block_service_pb2 as pb
from memgpt.memory.v1 import block_service_pb2_grpc
from memgpt_runtime.context import tenant
from memgpt_runtime.errors import NotFound, Reason

from memgpt_memory.agents import Change
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer


class BlockServicer(Servicer, block_service_pb2_grpc.BlockServiceServicer):
    """Core memory, for people and tools."""

    async def GetBlock(self, request: pb.GetBlockRequest, context: Context) -> pb.GetBlockResponse:
        """See the contract."""
        live = await self._core.agents.get(tenant(), request.agent_id)
        for block in live.all_blocks():
            if block.label == request.label:
                return pb.GetBlockResponse(block=convert.block(block))
        raise NotFound(
            Reason.BLOCK_NOT_FOUND,
            f"The agent has no block {request.label!r}: list its blocks to see their labels.",
            metadata={"label": request.label},
        )

    async def ListBlocks(self, request: pb.ListBlocksRequest, context: Context) -> pb.ListBlocksResponse:
        """See the contract."""
        live = await self._core.agents.get(tenant(), request.agent_id)
        return pb.ListBlocksResponse(blocks=[convert.block(block) for block in live.all_blocks()])

    async def SetBlock(self, request: pb.SetBlockRequest, context: Context) -> pb.SetBlockResponse:
        """See the contract."""
        agents = self._core.agents
        live = await agents.get(tenant(), request.agent_id)
        change = Change(blocks=[convert.block_edit(request.block)], by_people=True)
        async with live.lock:
            committed = await agents.commits.commit(live, change)
        return pb.SetBlockResponse(block=convert.block(committed.blocks[0]))

    async def DeleteBlock(self, request: pb.DeleteBlockRequest, context: Context) -> pb.DeleteBlockResponse:
        """See the contract."""
        agents = self._core.agents
        live = await agents.get(tenant(), request.agent_id)
        async with live.lock:
            await agents.commits.settle(live)
            if any(reference.label == request.label for reference in live.row.blocks):
                await agents.commits.commit(live, Change(drop_block=request.label))
        return pb.DeleteBlockResponse()
