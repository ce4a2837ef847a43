"""`RecallMemoryService`."""

from __future__ import annotations

import json
from typing import Any

from memgpt.memory.v1 import recall_memory_service_pb2 as pb
from memgpt.memory.v1 import recall_memory_service_pb2_grpc
from memgpt_runtime.context import tenant

from memgpt_memory.model import Role
from memgpt_memory.recall import RecallQuery
from memgpt_memory.servicers import convert
from memgpt_memory.servicers.base import Servicer


class RecallMemoryServicer(Servicer, recall_memory_service_pb2_grpc.RecallMemoryServiceServicer):
    """Every message that an agent ever had."""

    async def SearchMessages(self, request: pb.SearchMessagesRequest, context: Any) -> pb.SearchMessagesResponse:
        """See the contract."""
        if request.mode == pb.RECALL_MODE_SEMANTIC:
            raise convert.not_yet("Semantic search of messages")
        live = await self._core.agents.get(tenant(), request.agent_id)
        size, payload = self._page(request)
        roles = frozenset(convert.ROLES_BACK[role] for role in request.roles if role in convert.ROLES_BACK)
        if not request.roles:
            roles = frozenset((Role.USER, Role.ASSISTANT))
        query = RecallQuery(request.query, request.start_date, request.end_date, roles)
        position = tuple(payload["at"]) if payload else None
        page = await self._core.recall.search(live, query, size, 0 if position else request.skip, position)
        return pb.SearchMessagesResponse(
            messages=[convert.message(message) for message in page.items],
            next_page_token=self._token(request, {"at": json.loads(page.next_token)} if page.next_token else None),
            total_size=page.total,
        )

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Any) -> pb.ListMessagesResponse:
        """See the contract."""
        live = await self._core.agents.get(tenant(), request.agent_id)
        size, payload = self._page(request)
        page = await self._core.recall.page(live, size, tuple(payload["at"]) if payload else None)
        return pb.ListMessagesResponse(
            messages=[convert.message(message) for message in page.items],
            next_page_token=self._token(request, {"at": json.loads(page.next_token)} if page.next_token else None),
            total_size=page.total,
        )
