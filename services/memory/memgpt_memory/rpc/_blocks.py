"""`BlockService`: core memory of an agent."""

from __future__ import annotations

from memgpt.memory.v1 import block_service_pb2 as pb
from memgpt.memory.v1 import block_service_pb2_grpc
from memgpt_runtime.context import tenant

from memgpt_memory.agents import DeleteBlock
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer


class BlockServicer(Servicer, block_service_pb2_grpc.BlockServiceServicer):
    """Core memory, for people and tools."""

    async def GetBlock(self, request: pb.GetBlockRequest, context: Context) -> pb.GetBlockResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        return pb.GetBlockResponse(block=convert.block(await self._core.core_memory.get(live.state, request.label)))

    async def ListBlocks(self, request: pb.ListBlocksRequest, context: Context) -> pb.ListBlocksResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        return pb.ListBlocksResponse(
            blocks=[convert.block(block) for block in await self._core.core_memory.list(live.state)]
        )

    async def SetBlock(self, request: pb.SetBlockRequest, context: Context) -> pb.SetBlockResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        block = await self._core.core_memory.set(live, convert.block_edit(request.block))
        return pb.SetBlockResponse(block=convert.block(block))

    async def DeleteBlock(self, request: pb.DeleteBlockRequest, context: Context) -> pb.DeleteBlockResponse:
        agents = self._core.agents
        live = await agents.get(tenant(), request.agent_id)
        await agents.repository.execute(live, DeleteBlock(request.label))
        return pb.DeleteBlockResponse()
