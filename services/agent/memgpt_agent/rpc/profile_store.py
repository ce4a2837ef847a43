"""Profiles: those that ship with the suite, then those that users added, which are stored in Memory."""

from __future__ import annotations

import re

from memgpt.memory.v1 import profile_pb2
from memgpt.memory.v1 import profile_service_pb2 as pb
from memgpt_runtime import errors, reasons
from memgpt_runtime.pagination import check_token, normalize_page_size

from memgpt_agent.memory.client import MemoryClient, call
from memgpt_agent.profiles import ProfileKind, built_in

_KINDS = {
    profile_pb2.PROFILE_KIND_PERSONA: ProfileKind.PERSONA,
    profile_pb2.PROFILE_KIND_HUMAN: ProfileKind.HUMAN,
    profile_pb2.PROFILE_KIND_PRESET: ProfileKind.PRESET,
}
_WORDS = {ProfileKind.PERSONA: "persona", ProfileKind.HUMAN: "human", ProfileKind.PRESET: "preset"}

# A position among built-in profiles is not worth forging; Memory's own tokens are authenticated.
_BUILT_IN_TOKEN = re.compile(r"builtin-(\d)-(\d{1,4})")
_MEMORY_TOKEN = "added-"  # noqa: S105 - not a password


class ProfileStore:
    """All profiles."""

    def __init__(self, memory: MemoryClient) -> None:
        self._memory = memory

    async def text(self, kind: profile_pb2.ProfileKind.ValueType, name: str) -> str:
        """Return the text of a profile.

        Raises:
            NotFound: There is no such profile; the message names the built-in ones.
        """
        return (await self.get(kind, name)).text

    async def get(self, kind: profile_pb2.ProfileKind.ValueType, name: str) -> profile_pb2.Profile:
        """Return a profile. Raises NotFound, see ``text``."""
        texts = built_in(_KINDS[kind])
        if name in texts:
            return _shipped(kind, name)
        try:
            return (await call(self._memory.profiles.GetProfile(pb.GetProfileRequest(kind=kind, name=name)))).profile
        except errors.NotFound as error:
            word = _WORDS[_KINDS[kind]]
            raise reasons.profile_not_found(
                f'unknown {word} "{name}"; use one of {", ".join(texts)}, or add it with `memgpt add {word}`',
                kind=word,
                name=name,
            ) from error

    async def put(self, kind: profile_pb2.ProfileKind.ValueType, name: str, text: str) -> profile_pb2.Profile:
        """Write a profile. Raises FailedPrecondition for one that ships with the suite."""
        self._must_be_added(kind, name)
        request = pb.PutProfileRequest(kind=kind, name=name, text=text)
        return (await call(self._memory.profiles.PutProfile(request))).profile

    async def delete(self, kind: profile_pb2.ProfileKind.ValueType, name: str) -> None:
        """Delete a profile. Raises FailedPrecondition for one that ships with the suite, NotFound if unknown."""
        self._must_be_added(kind, name)
        await call(self._memory.profiles.DeleteProfile(pb.DeleteProfileRequest(kind=kind, name=name)))

    async def page(
        self, kind: profile_pb2.ProfileKind.ValueType, page_size: int, page_token: str
    ) -> tuple[list[profile_pb2.Profile], str]:
        """Return a page of profiles, and the token of the next page."""
        size = normalize_page_size(page_size)
        names = list(built_in(_KINDS[kind]))
        begin = self._place(kind, page_token, len(names))
        found = [_shipped(kind, name) for name in names[begin : begin + size]]
        if begin + size < len(names):
            return found, f"builtin-{kind}-{begin + size}"
        token = page_token.removeprefix(_MEMORY_TOKEN) if page_token.startswith(_MEMORY_TOKEN) else ""
        if len(found) == size:
            # The page is exactly full; find out whether there is another one.
            probe = pb.ListProfilesRequest(kind=kind, page_size=1)
            behind = (await call(self._memory.profiles.ListProfiles(probe))).profiles
            return found, f"builtin-{kind}-{len(names)}" if behind else ""
        request = pb.ListProfilesRequest(kind=kind, page_size=size - len(found), page_token=token)
        added = await call(self._memory.profiles.ListProfiles(request))
        following = f"{_MEMORY_TOKEN}{added.next_page_token}" if added.next_page_token else ""
        return [*found, *added.profiles], following

    def _place(self, kind: profile_pb2.ProfileKind.ValueType, token: str, count: int) -> int:
        if not token:
            return 0
        if token.startswith(_MEMORY_TOKEN):
            return count
        match = _BUILT_IN_TOKEN.fullmatch(token)
        if match is None or int(match[1]) != kind or not 0 < int(match[2]) <= count:
            raise reasons.invalid_page_token("page_token is not valid for this request; start again without it")
        return int(match[2])

    def _must_be_added(self, kind: profile_pb2.ProfileKind.ValueType, name: str) -> None:
        if name in built_in(_KINDS[kind]):
            raise reasons.in_use(
                f'the {_WORDS[_KINDS[kind]]} "{name}" ships with the suite and cannot be changed; choose another name',
                resource="profile",
                name=name,
            )


def check_profile_token(token: str) -> None:
    """Check the form of a page token.

    Raises:
        InvalidArgument: No server creates such a token.
    """
    if token.startswith(_MEMORY_TOKEN):
        check_token(token.removeprefix(_MEMORY_TOKEN))
    elif token and _BUILT_IN_TOKEN.fullmatch(token) is None:
        raise reasons.invalid_page_token("page_token is not valid for this request; start again without it")


def _shipped(kind: profile_pb2.ProfileKind.ValueType, name: str) -> profile_pb2.Profile:
    return profile_pb2.Profile(kind=kind, name=name, text=built_in(_KINDS[kind])[name], built_in=True)
