"""RPCs on sources, which are forwarded to Memory."""

from __future__ import annotations

from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.memory.v1 import (
    source_service_pb2,
)
from memgpt_runtime.ids import new_id

from memgpt_agent.memory.client import call
from memgpt_agent.rpc._base import ServicerBase


class SourceRpcs(ServicerBase):
    """RPCs on sources."""

    async def AttachSource(self, request: pb.AttachSourceRequest, context: Any) -> pb.AttachSourceResponse:
        asked = source_service_pb2.AttachSourceRequest(agent_id=request.agent_id, source_id=request.source_id)
        return pb.AttachSourceResponse(agent=(await call(self._memory.sources.AttachSource(asked))).agent)

    async def DetachSource(self, request: pb.DetachSourceRequest, context: Any) -> pb.DetachSourceResponse:
        asked = source_service_pb2.DetachSourceRequest(agent_id=request.agent_id, source_id=request.source_id)
        return pb.DetachSourceResponse(agent=(await call(self._memory.sources.DetachSource(asked))).agent)

    async def ListSources(self, request: pb.ListSourcesRequest, context: Any) -> pb.ListSourcesResponse:
        asked = source_service_pb2.ListSourcesRequest(page_size=request.page_size, page_token=request.page_token)
        page = await call(self._memory.sources.ListSources(asked))
        return pb.ListSourcesResponse(
            sources=page.sources, next_page_token=page.next_page_token, total_size=page.total_size
        )

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: Any) -> pb.UpdateSourceResponse:
        asked = source_service_pb2.UpdateSourceRequest(source=request.source, update_mask=request.update_mask)
        return pb.UpdateSourceResponse(source=(await call(self._memory.sources.UpdateSource(asked))).source)

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Any) -> pb.DeleteSourceResponse:
        asked = source_service_pb2.DeleteSourceRequest(
            source_id=request.source_id, request_id=request.request_id or new_id("req")
        )
        await call(self._memory.sources.DeleteSource(asked))
        return pb.DeleteSourceResponse()
