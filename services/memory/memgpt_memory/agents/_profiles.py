"""Profiles: named texts of personas, humans and presets that users added."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_runtime import reasons
from memgpt_runtime.errors import NotFound
from memgpt_runtime.names import check_name, comparable

from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.records import Records, TextRows, key_of


@dataclass(frozen=True, slots=True)
class Profile:
    """A text under a name; `kind` is persona, human or preset."""

    kind: str
    name: str
    text: str
    updated: int


class Profiles:
    """The profiles of every tenant."""

    def __init__(self, records: Records) -> None:
        """Keep profiles among `records`."""
        self._records = records
        self._rows = TextRows(records, "profile")

    async def put(self, tenant: str, kind: str, name: str, text: str) -> Profile:
        """Write a profile; an existing one is replaced.

        Raises:
            InvalidArgument: The name is blank, or holds what cannot be seen.
        """
        check_name("name", name)
        key = await self._key(tenant, kind, name)
        async with self._rows.lock(key):
            stored = await self._rows.put(key, tenant, {"kind": kind, "name": name}, text)
        return Profile(kind, name, text, stored["updated"])

    async def get(self, tenant: str, kind: str, name: str) -> Profile:
        """Read a profile.

        Raises:
            NotFound: There is no such profile.
        """
        found = await self._rows.get(await self._key(tenant, kind, name), tenant)
        if found is None:
            raise unknown_profile(kind, name)
        body, text = found
        return Profile(kind, name, text, body["updated"])

    async def list(self, tenant: str, kind: str, size: int, after: str) -> Page[Profile]:
        """Return a page of profiles by name, after the name `after`."""
        bodies = await self._records.bodies("profile", tenant)
        keys = {body["name"]: key for key, body in bodies.items() if body["kind"] == kind}
        page = list_page(sorted(keys), size, after)
        found = await self._rows.get_many([keys[name] for name in page.items], tenant)
        items = [Profile(kind, body["name"], text, body["updated"]) for body, text in found]
        return Page(items, page.next_token, page.total)

    async def delete(self, tenant: str, kind: str, name: str) -> None:
        """Delete a profile.

        Raises:
            NotFound: There is no such profile.
        """
        key = await self._key(tenant, kind, name)
        async with self._rows.lock(key):
            if await self._rows.get_held(key, tenant) is None:
                raise unknown_profile(kind, name)
            await self._rows.delete(key)

    async def _key(self, tenant: str, kind: str, name: str) -> str:
        """Return the key of the row of a profile."""
        key, former = (key_of("profile", tenant, kind, form) for form in (comparable(name), name))
        if former != key and await self._records.get(former) is not None:
            return former  # an earlier version used names as they were given
        return key


def unknown_profile(kind: str, name: str) -> NotFound:
    """Return the error for a profile that does not exist or is hidden from the caller."""
    return reasons.profile_not_found(
        f'no {kind} is named "{name}"; list profiles to see their names, or add one', kind=kind, name=name
    )
