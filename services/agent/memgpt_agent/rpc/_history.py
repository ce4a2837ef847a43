"""RPCs that take back or edit messages: Undo, Rethink, Rewrite."""

from __future__ import annotations

from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import (
    message_pb2,
)
from memgpt_runtime.ids import new_id

from memgpt_agent.loop.tool_executor import cancelled_call
from memgpt_agent.memory.client import call
from memgpt_agent.rpc._base import ServicerBase, new_time_placeholder


class HistoryRpcs(ServicerBase):
    """RPCs that take back or edit messages."""

    async def Undo(self, request: pb.UndoRequest, context: Any) -> pb.UndoResponse:
        asked = state_pb.RewindMessagesRequest(
            agent_id=request.agent_id, request_id=request.request_id or new_id("req"), count=request.count
        )
        return pb.UndoResponse(removed_count=(await call(self._memory.agents.RewindMessages(asked))).rewound_count)

    async def Rethink(self, request: pb.RethinkRequest, context: Any) -> pb.RethinkResponse:
        return pb.RethinkResponse(message=await self._edit(request, state_pb.MESSAGE_PART_THOUGHT))

    async def Rewrite(self, request: pb.RewriteRequest, context: Any) -> pb.RewriteResponse:
        return pb.RewriteResponse(message=await self._edit(request, state_pb.MESSAGE_PART_REPLY))

    async def _edit(
        self, request: pb.RethinkRequest | pb.RewriteRequest, part: state_pb.MessagePart.ValueType
    ) -> message_pb2.Message:
        placeholder = new_time_placeholder()
        asked = state_pb.EditMessageRequest(
            agent_id=request.agent_id,
            request_id=request.request_id or new_id("req"),
            text=request.text,
            part=part,
            call_result=cancelled_call(placeholder),
            time_placeholder=placeholder,
        )
        return (await call(self._memory.agents.EditMessage(asked))).message
