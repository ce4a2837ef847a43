"""RPCs on the context window: its content, core memory, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.memory.v1 import (
    block_service_pb2,
)
from memgpt_runtime.ids import new_id
from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_agent.context_window.usage import measure
from memgpt_agent.memory import memory_protos
from memgpt_agent.memory.client import call
from memgpt_agent.rpc import event_protos
from memgpt_agent.rpc._base import ServicerBase

_HEADER_BYTES = 6
"""Maximum size of the tag and the length of a message in a list."""


class WindowRpcs(ServicerBase):
    """RPCs on the context window."""

    async def GetContext(self, request: pb.GetContextRequest, context: Any) -> pb.GetContextResponse:
        loaded = await self._memory.load_context_proto(request.agent_id)
        domain = memory_protos.context(loaded)
        view = self._loop.view(domain)
        usage, sizes = measure(view.fitted().context, view.window, view.functions)
        head = len(sizes) - len(domain.messages)
        shown = [event_protos.composed_message(message) for message, _ in sizes[:head]] + list(loaded.messages)
        response = pb.GetContextResponse(
            agent=loaded.agent,
            blocks=loaded.blocks,
            total_tokens=usage.total,
            tokens=pb.ContextTokens(**asdict(usage)),
            context_window=view.window.tokens,
            archival_count=loaded.archival_count,
            summary=loaded.summary,
        )
        if response.ByteSize() > PAGE_BYTES:
            response.agent.ClearField("attachments")
        messages = [
            pb.ContextMessage(message=message, tokens=size) for message, (_, size) in zip(shown, sizes, strict=True)
        ]
        newest = _newest(messages, PAGE_BYTES - response.ByteSize())
        response.messages.extend(newest)
        response.omitted_message_count = len(messages) - len(newest)
        return response

    async def SetBlock(self, request: pb.SetBlockRequest, context: Any) -> pb.SetBlockResponse:
        asked = block_service_pb2.SetBlockRequest(agent_id=request.agent_id, block=request.block)
        return pb.SetBlockResponse(block=(await call(self._memory.blocks.SetBlock(asked))).block)

    async def DeleteBlock(self, request: pb.DeleteBlockRequest, context: Any) -> pb.DeleteBlockResponse:
        asked = block_service_pb2.DeleteBlockRequest(agent_id=request.agent_id, label=request.label)
        await call(self._memory.blocks.DeleteBlock(asked))
        return pb.DeleteBlockResponse()

    async def Summarize(self, request: pb.SummarizeRequest, context: Any) -> pb.SummarizeResponse:
        count, summary = await self._turns.summarize(request.agent_id, request.request_id or new_id("req"))
        return pb.SummarizeResponse(evicted_count=count, summary=summary)


def _newest(messages: Sequence[pb.ContextMessage], room: int) -> Sequence[pb.ContextMessage]:
    """Return the last messages that fit into a number of bytes."""
    first = len(messages)
    while first and room >= (size := messages[first - 1].ByteSize() + _HEADER_BYTES):
        room -= size
        first -= 1
    return messages[first:]
