"""`RecallMemoryService`: searches and lists of all messages of an agent, and forgetting."""

from __future__ import annotations

import json

from memgpt.memory.v1 import recall_memory_service_pb2 as pb
from memgpt.memory.v1 import recall_memory_service_pb2_grpc
from memgpt_runtime.context import tenant

from memgpt_memory.messages import Role
from memgpt_memory.recall import RecallMode, RecallQuery
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer

_MODES = {
    pb.RECALL_MODE_UNSPECIFIED: RecallMode.TEXT,
    pb.RECALL_MODE_TEXT: RecallMode.TEXT,
    pb.RECALL_MODE_SEMANTIC: RecallMode.SEMANTIC,
    pb.RECALL_MODE_HYBRID: RecallMode.HYBRID,
}
_MODES_BACK = {mode: value for value, mode in _MODES.items()}


class RecallMemoryServicer(Servicer, recall_memory_service_pb2_grpc.RecallMemoryServiceServicer):
    """All messages of an agent."""

    async def SearchMessages(self, request: pb.SearchMessagesRequest, context: Context) -> pb.SearchMessagesResponse:
        async with self._core.searching(tenant()):
            return await self._search(request)

    async def _search(self, request: pb.SearchMessagesRequest) -> pb.SearchMessagesResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        size, payload = self._page(request)
        roles = frozenset(convert.ROLES_BACK[role] for role in request.roles if role in convert.ROLES_BACK)
        if not request.roles:
            roles = frozenset((Role.USER, Role.ASSISTANT))
        mode = _MODES[request.mode]
        query = RecallQuery(
            request.query,
            request.start_date,
            request.end_date,
            roles,
            mode,
            request.include_rewound,
            request.before_sequence if request.HasField("before_sequence") else None,
            request.neighbors,
        )
        with self._core.timed_search("recall", mode.value):
            found = await self._core.recall.search(live, query, size, 0 if payload else request.skip, payload)
            around = await self._core.recall.neighbors(live, query, found.messages)
        return pb.SearchMessagesResponse(
            messages=[convert.message(message, live.state.rewinds) for message in found.messages],
            next_page_token=self._token(request, found.following),
            total_size=found.total,
            mode=_MODES_BACK[found.mode],
            scores=[
                pb.RecallScore(dense_score=convert.cosine(hit.dense), text_score=hit.text, fused_score=hit.fused)
                for hit in found.scores
            ],
            neighbors=[
                pb.MessageNeighbors(
                    before=[convert.message(message, live.state.rewinds) for message in one.before],
                    after=[convert.message(message, live.state.rewinds) for message in one.after],
                )
                for one in around
            ],
        )

    async def ForgetMessages(self, request: pb.ForgetMessagesRequest, context: Context) -> pb.ForgetMessagesResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        forgotten = await self._core.forgetting.messages(live, request.sequences)
        return pb.ForgetMessagesResponse(forgotten_count=forgotten.messages)

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        size, payload = self._page(request)
        page = await self._core.recall.page(live, size, tuple(payload["at"]) if payload else None)
        return pb.ListMessagesResponse(
            messages=[convert.message(message, live.state.rewinds) for message in page.items],
            next_page_token=self._token(request, {"at": json.loads(page.next_token)} if page.next_token else None),
            total_size=page.total,
        )
