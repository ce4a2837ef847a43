"""RPCs that register remote tools."""

from __future__ import annotations

from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_agent.memory import memory_protos
from memgpt_agent.memory.client import call
from memgpt_agent.remote_tools import addresses
from memgpt_agent.rpc._base import ServicerBase


class RemoteToolRpcs(ServicerBase):
    """RPCs that register remote tools."""

    async def RegisterTools(self, request: pb.RegisterToolsRequest, context: Any) -> pb.RegisterToolsResponse:
        address, found = await self._tools.list(request.address)
        asked = state_pb.PutToolServerRequest(
            agent_id=request.agent_id, server=memory_protos.tool_server(address, found)
        )
        return pb.RegisterToolsResponse(server=(await call(self._memory.agents.PutToolServer(asked))).server)

    async def ListTools(self, request: pb.ListToolsRequest, context: Any) -> pb.ListToolsResponse:
        asked = state_pb.ListToolServersRequest(agent_id=request.agent_id)
        response = pb.ListToolsResponse(servers=(await call(self._memory.agents.ListToolServers(asked))).servers)
        if response.ByteSize() > PAGE_BYTES:  # an earlier version registered more
            for server in response.servers:
                for function in server.functions:
                    function.ClearField("parameters")
        return response

    async def UnregisterTools(self, request: pb.UnregisterToolsRequest, context: Any) -> pb.UnregisterToolsResponse:
        # Normal forms are stored; a text that is not an address cannot have been stored.
        address = addresses.normal_or_same(request.address)
        asked = state_pb.DeleteToolServerRequest(agent_id=request.agent_id, address=address)
        await call(self._memory.agents.DeleteToolServer(asked))
        return pb.UnregisterToolsResponse()
