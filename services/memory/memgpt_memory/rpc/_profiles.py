"""`ProfileService`: personas, humans and presets that users added."""

from __future__ import annotations

from memgpt.memory.v1 import profile_pb2, profile_service_pb2_grpc
from memgpt.memory.v1 import profile_service_pb2 as pb
from memgpt_runtime.context import principal, tenant

from memgpt_memory.agents import Profile, unknown_profile
from memgpt_memory.restrictions import check_unrestricted
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer

_KINDS = {
    profile_pb2.PROFILE_KIND_PERSONA: "persona",
    profile_pb2.PROFILE_KIND_HUMAN: "human",
    profile_pb2.PROFILE_KIND_PRESET: "preset",
}
_KINDS_BACK = {name: kind for kind, name in _KINDS.items()}


class ProfileServicer(Servicer, profile_service_pb2_grpc.ProfileServiceServicer):
    """Personas, humans and presets that people added.

    They are texts for new agents. A key that is restricted to agents cannot create any: for it there are no profiles.
    """

    async def PutProfile(self, request: pb.PutProfileRequest, context: Context) -> pb.PutProfileResponse:
        check_unrestricted(principal().agents)
        profile = await self._core.profiles.put(tenant(), _KINDS[request.kind], request.name, request.text)
        return pb.PutProfileResponse(profile=_proto(profile))

    async def GetProfile(self, request: pb.GetProfileRequest, context: Context) -> pb.GetProfileResponse:
        if principal().agents:
            raise unknown_profile(_KINDS[request.kind], request.name)
        profile = await self._core.profiles.get(tenant(), _KINDS[request.kind], request.name)
        return pb.GetProfileResponse(profile=_proto(profile))

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Context) -> pb.ListProfilesResponse:
        size, after = self._after(request)
        if principal().agents:
            return pb.ListProfilesResponse()
        page = await self._core.profiles.list(tenant(), _KINDS[request.kind], size, after)
        shown, following = self._fit(map(_proto, page.items), page.next_token, lambda profile: profile.name)
        return pb.ListProfilesResponse(profiles=shown, next_page_token=self._next(request, following))

    async def DeleteProfile(self, request: pb.DeleteProfileRequest, context: Context) -> pb.DeleteProfileResponse:
        check_unrestricted(principal().agents)
        await self._core.profiles.delete(tenant(), _KINDS[request.kind], request.name)
        return pb.DeleteProfileResponse()


def _proto(profile: Profile) -> profile_pb2.Profile:
    return profile_pb2.Profile(
        kind=_KINDS_BACK[profile.kind],
        name=profile.name,
        text=profile.text,
        update_time=convert.timestamp(profile.updated),
    )
