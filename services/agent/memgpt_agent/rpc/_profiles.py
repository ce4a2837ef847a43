"""RPCs on profiles and models."""

from __future__ import annotations

from typing import Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.memory.v1 import (
    store_service_pb2,
)

from memgpt_agent.memory.client import call
from memgpt_agent.models.offline.model import NAME as OFFLINE
from memgpt_agent.rpc._base import ServicerBase


class ProfileRpcs(ServicerBase):
    """RPCs on profiles and models."""

    async def PutProfile(self, request: pb.PutProfileRequest, context: Any) -> pb.PutProfileResponse:
        return pb.PutProfileResponse(profile=await self._profiles.put(request.kind, request.name, request.text))

    async def GetProfile(self, request: pb.GetProfileRequest, context: Any) -> pb.GetProfileResponse:
        return pb.GetProfileResponse(profile=await self._profiles.get(request.kind, request.name))

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Any) -> pb.ListProfilesResponse:
        found, token = await self._profiles.page(request.kind, request.page_size, request.page_token)
        return pb.ListProfilesResponse(profiles=found, next_page_token=token)

    async def DeleteProfile(self, request: pb.DeleteProfileRequest, context: Any) -> pb.DeleteProfileResponse:
        await self._profiles.delete(request.kind, request.name)
        return pb.DeleteProfileResponse()

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        store = await call(self._memory.store.GetStore(store_service_pb2.GetStoreRequest()))
        name = self._settings.model_name()
        mode = self._endpoint.mode().value if self._endpoint is not None and name != OFFLINE else name
        return pb.GetModelResponse(
            model=name,
            mode=mode,
            context_window=self._settings.window_tokens(),
            embedding_model=store.embedding_model,
            backend=store.backend,
        )
