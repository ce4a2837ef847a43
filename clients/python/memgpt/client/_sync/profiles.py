# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Personas, humans and presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client._sync.calls import PAGE_SIZE, Page, Pages, call
from memgpt.client.channel import CALL_TIMEOUT
from memgpt.memory.v1.profile_pb2 import Profile, ProfileKind

if TYPE_CHECKING:
    from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub


class Profiles:
    """Personas, humans and presets."""

    def __init__(self, stub: AgentServiceStub) -> None:
        self._stub = stub

    def list(self, kind: ProfileKind.ValueType) -> Pages[Profile]:
        """List the built-in profiles, then the others by name."""

        def fetch(token: str) -> Page[Profile]:
            request = agent_pb.ListProfilesRequest(kind=kind, page_size=PAGE_SIZE, page_token=token)
            response = call(self._stub.ListProfiles, request, CALL_TIMEOUT)
            return Page(response.profiles, response)

        return Pages(fetch)

    def get(self, kind: ProfileKind.ValueType, name: str) -> Profile:
        """Get a profile."""
        request = agent_pb.GetProfileRequest(kind=kind, name=name)
        return (call(self._stub.GetProfile, request, CALL_TIMEOUT)).profile

    def put(self, kind: ProfileKind.ValueType, name: str, text: str) -> Profile:
        """Create a profile, or replace the one with the same name."""
        request = agent_pb.PutProfileRequest(kind=kind, name=name, text=text)
        return (call(self._stub.PutProfile, request, CALL_TIMEOUT)).profile

    def delete(self, kind: ProfileKind.ValueType, name: str) -> None:
        """Delete a profile."""
        request = agent_pb.DeleteProfileRequest(kind=kind, name=name)
        call(self._stub.DeleteProfile, request, CALL_TIMEOUT)
