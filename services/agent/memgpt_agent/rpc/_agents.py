"""RPCs on agents: create, read, change, delete, export and import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import (
    block_pb2,
    profile_pb2,
)
from memgpt_runtime import clock
from memgpt_runtime.ids import new_id

from memgpt_agent import profiles
from memgpt_agent.loop import boot
from memgpt_agent.memory import memory_protos
from memgpt_agent.memory.client import call
from memgpt_agent.rpc import agent_names
from memgpt_agent.rpc._base import ServicerBase
from memgpt_agent.rpc.imported_pieces import ImportedPieces

_NAME_TRIES = 8


class AgentRpcs(ServicerBase):
    """RPCs on agents."""

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Any) -> pb.CreateAgentResponse:
        preset = request.preset or profiles.DEFAULT_PRESET
        persona = request.persona or profiles.DEFAULT_PERSONA
        human = request.human or profiles.DEFAULT_HUMAN
        time_zone = request.time_zone or self._settings.time_zone
        instructions = await self._profiles.text(profile_pb2.PROFILE_KIND_PRESET, preset)
        texts = {
            "persona": await self._profiles.text(profile_pb2.PROFILE_KIND_PERSONA, persona),
            "human": await self._profiles.text(profile_pb2.PROFILE_KIND_HUMAN, human),
        }
        request_id = request.request_id or new_id("req")
        # Memory chooses the first free one, once; chosen here, a repeated request could get another name.
        names = [request.name] if request.name else [agent_names.agent_name(request_id, n) for n in range(_NAME_TRIES)]
        new = state_pb.CreateAgentRequest(
            request_id=request_id,
            name=names[0],
            fallback_names=names[1:],
            preset=preset,
            persona=persona,
            human=human,
            system=request.system or instructions,
            model=request.model,
            context_window=request.context_window,
            time_zone=time_zone,
            blocks=_blocks(texts, request),
            description=request.description,
            tags=request.tags,
            user_id=request.user_id,
            message_ttl=request.message_ttl if request.HasField("message_ttl") else None,
            note_ttl=request.note_ttl if request.HasField("note_ttl") else None,
            messages=memory_protos.new_messages(boot.boot_sequence(clock.now(), time_zone)),
        )
        return pb.CreateAgentResponse(agent=(await call(self._memory.agents.CreateAgent(new))).agent)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Any) -> pb.GetAgentResponse:
        asked = state_pb.GetAgentRequest()
        if request.HasField("name"):
            asked.name = request.name
        else:
            asked.agent_id = request.agent_id
        return pb.GetAgentResponse(agent=(await call(self._memory.agents.GetAgent(asked))).agent)

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Any) -> pb.ListAgentsResponse:
        asked = state_pb.ListAgentsRequest(
            page_size=request.page_size,
            page_token=request.page_token,
            tags=request.tags,
            origin=request.origin,
            user_id=request.user_id,
        )
        page = await call(self._memory.agents.ListAgents(asked))
        return pb.ListAgentsResponse(
            agents=page.agents, next_page_token=page.next_page_token, total_size=page.total_size
        )

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Any) -> pb.UpdateAgentResponse:
        asked = state_pb.UpdateAgentRequest(agent=request.agent, update_mask=request.update_mask)
        return pb.UpdateAgentResponse(agent=(await call(self._memory.agents.UpdateAgent(asked))).agent)

    async def DeleteAgent(self, request: pb.DeleteAgentRequest, context: Any) -> pb.DeleteAgentResponse:
        asked = state_pb.DeleteAgentRequest(agent_id=request.agent_id, request_id=request.request_id or new_id("req"))
        await call(self._memory.agents.DeleteAgent(asked))
        return pb.DeleteAgentResponse()

    async def ExportAgent(self, request: pb.ExportAgentRequest, context: Any) -> AsyncIterator[pb.ExportAgentResponse]:
        async for piece in self._memory.export_agent(request.agent_id):
            yield pb.ExportAgentResponse(piece=piece)

    async def ImportAgent(
        self, request_iterator: AsyncIterator[pb.ImportAgentRequest], context: Any
    ) -> pb.ImportAgentResponse:
        checks = ImportedPieces(self._tools.allowed)

        async def requests() -> AsyncIterator[state_pb.ImportAgentRequest]:
            async for request in request_iterator:
                checks.check((request.piece, *request.more_pieces))
                yield state_pb.ImportAgentRequest(
                    piece=request.piece,
                    name=request.name,
                    request_id=request.request_id,
                    more_pieces=request.more_pieces,
                    shared_blocks=request.shared_blocks,
                )

        imported = await self._memory.import_agent(requests())
        return pb.ImportAgentResponse(
            agent=imported.agent,
            missing_source_names=imported.missing_source_names,
            blocked_tool_addresses=checks.blocked,
        )


def _blocks(profiles: dict[str, str], request: pb.CreateAgentRequest) -> list[block_pb2.BlockEdit]:
    """Return the core memory of a new agent: the blocks of its profiles, overridden and extended by the request's."""
    limit = request.core_memory_limit
    blocks = {label: block_pb2.BlockEdit(label=label, value=text, limit=limit) for label, text in profiles.items()}
    for given in request.blocks:
        block = blocks.setdefault(given.label, block_pb2.BlockEdit(limit=limit))
        block.MergeFrom(given)
    return list(blocks.values())
