"""`SharedBlockService`: blocks of core memory that several agents have in common."""

from __future__ import annotations

from memgpt.memory.v1 import shared_block_service_pb2 as pb
from memgpt.memory.v1 import shared_block_service_pb2_grpc
from memgpt_runtime.context import principal, tenant
from memgpt_runtime.ids import new_id

from memgpt_memory.agents import LiveAgent
from memgpt_memory.blocks import BlockEdit
from memgpt_memory.core import Core
from memgpt_memory.restrictions import check_unrestricted
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer


class SharedBlockServicer(Servicer, shared_block_service_pb2_grpc.SharedBlockServiceServicer):
    """Blocks of core memory that several agents have in common. A key that is restricted to agents may not use them."""

    @property
    def _core(self) -> Core:
        check_unrestricted(principal().agents)
        return super()._core

    async def CreateSharedBlock(
        self, request: pb.CreateSharedBlockRequest, context: Context
    ) -> pb.CreateSharedBlockResponse:
        core, owner = self._core, tenant()

        async def create(seed: str, _: str) -> bytes:
            content = BlockEdit(
                request.name,
                request.value,
                limit=request.limit,
                read_only=request.read_only,
                description=request.description,
            )
            block = await core.shared_blocks.create(owner, seed, content, request.user_id)
            # The stored response holds no text: the value may be replaced and erased.
            return block.id.encode()

        answer = await core.idempotency.run(
            owner,
            "CreateSharedBlock",
            request.request_id,
            convert.fingerprint(request),
            lambda: new_id("block"),
            create,
        )
        block = await core.shared_blocks.get(owner, answer.decode())
        return pb.CreateSharedBlockResponse(block=convert.shared_block(block))

    async def GetSharedBlock(self, request: pb.GetSharedBlockRequest, context: Context) -> pb.GetSharedBlockResponse:
        blocks = self._core.shared_blocks
        if request.block_id:
            block = await blocks.get(tenant(), request.block_id)
        else:
            block = await blocks.get_by_name(tenant(), request.name)
        return pb.GetSharedBlockResponse(block=convert.shared_block(block))

    async def ListSharedBlocks(
        self, request: pb.ListSharedBlocksRequest, context: Context
    ) -> pb.ListSharedBlocksResponse:
        size, after = self._after(request)
        page = await self._core.shared_blocks.list(tenant(), size, after)
        blocks = map(convert.shared_block, page.items)
        shown, following = self._fit(blocks, page.next_token, lambda block: block.block_id)
        return pb.ListSharedBlocksResponse(
            blocks=shown,
            next_page_token=self._next(request, following),
            total_size=page.total,
        )

    async def UpdateSharedBlock(
        self, request: pb.UpdateSharedBlockRequest, context: Context
    ) -> pb.UpdateSharedBlockResponse:
        blocks, id_ = self._core.shared_blocks, request.block.block_id
        edit = convert.shared_block_edit(request.block, (await blocks.get(tenant(), id_)).row.name)
        return pb.UpdateSharedBlockResponse(block=convert.shared_block(await blocks.update(tenant(), id_, edit)))

    async def DeleteSharedBlock(
        self, request: pb.DeleteSharedBlockRequest, context: Context
    ) -> pb.DeleteSharedBlockResponse:
        await self._core.block_attachments.delete(tenant(), request.block_id, detach=request.detach)
        return pb.DeleteSharedBlockResponse()

    async def AttachBlock(self, request: pb.AttachBlockRequest, context: Context) -> pb.AttachBlockResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        block = await self._core.block_attachments.attach(live, request.block_id, request.label)
        return pb.AttachBlockResponse(block=convert.block(block))

    async def DetachBlock(self, request: pb.DetachBlockRequest, context: Context) -> pb.DetachBlockResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        await self._core.block_attachments.detach(live, request.block_id)
        return pb.DetachBlockResponse()

    async def ListBlockAgents(self, request: pb.ListBlockAgentsRequest, context: Context) -> pb.ListBlockAgentsResponse:
        core = self._core
        size, after = self._after(request)
        block = await core.shared_blocks.get(tenant(), request.block_id)
        page = await core.block_attachments.page(block.id, size, after)
        return pb.ListBlockAgentsResponse(
            agents=[_block_agent(live, block.id) for live in page.items],
            next_page_token=self._next(request, page.next_token),
            total_size=page.total,
        )


def _block_agent(live: LiveAgent, block_id: str) -> pb.BlockAgent:
    label = next((one.label for one in live.row.shared if one.block_id == block_id), "")
    return pb.BlockAgent(agent_id=live.id, agent_name=live.row.name, label=label)
