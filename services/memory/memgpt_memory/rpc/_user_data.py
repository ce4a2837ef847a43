"""`UserDataService`: export and erasure of everything about one user."""

from __future__ import annotations

from collections.abc import AsyncIterator

from memgpt.memory.v1 import agent_piece_pb2, user_data_service_pb2_grpc
from memgpt.memory.v1 import user_data_service_pb2 as pb
from memgpt_runtime.context import principal, tenant
from memgpt_runtime.ids import new_id

from memgpt_memory.clock import now
from memgpt_memory.core import Core
from memgpt_memory.maintenance.transfer import FORMAT_VERSION
from memgpt_memory.maintenance.user_data import UserReceipt
from memgpt_memory.restrictions import check_unrestricted
from memgpt_memory.rpc import _agent_pieces as pieces
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer


class UserDataServicer(Servicer, user_data_service_pb2_grpc.UserDataServiceServicer):
    """Everything about one user. A key that is restricted to agents may not use it."""

    @property
    def _core(self) -> Core:
        check_unrestricted(principal().agents)
        return super()._core

    async def ExportUser(self, request: pb.ExportUserRequest, context: Context) -> AsyncIterator[pb.ExportUserResponse]:
        core, owner = self._core, tenant()
        for block in await core.user_data.blocks(owner, request.user_id):
            yield pb.ExportUserResponse(shared_block=convert.shared_block(block))
        async for live in core.user_data.agents(owner, request.user_id):
            header = agent_piece_pb2.ExportHeader(format_version=FORMAT_VERSION, export_time=convert.timestamp(now()))
            yield pb.ExportUserResponse(piece=agent_piece_pb2.AgentPiece(header=header))
            async for piece in core.transfers.export(live):
                yield pb.ExportUserResponse(piece=await pieces.to_proto(core, piece))

    async def EraseUser(self, request: pb.EraseUserRequest, context: Context) -> pb.EraseUserResponse:
        core, owner = self._core, tenant()

        async def erase(_: str, __: str) -> bytes:
            receipt = await core.user_data.erase(owner, request.user_id, request.request_id)
            return _response(receipt).SerializeToString()

        answer = await core.idempotency.run(
            owner, "EraseUser", request.request_id, convert.fingerprint(request), lambda: new_id("erasure"), erase
        )
        return pb.EraseUserResponse.FromString(answer)


def _response(receipt: UserReceipt) -> pb.EraseUserResponse:
    return pb.EraseUserResponse(
        agent_count=receipt.agents,
        block_count=receipt.blocks,
        message_count=receipt.messages,
        note_count=receipt.notes,
        shared_block_count=receipt.shared_blocks,
        end_time=convert.timestamp(receipt.ended),
    )
