"""API keys: create, find, list, rotate, revoke and delete them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from memgpt_runtime import reasons
from memgpt_runtime.auth.api_keys import new_token
from memgpt_runtime.errors import NotFound
from memgpt_runtime.ids import new_id
from memgpt_runtime.names import comparable

from memgpt_memory.access._model import ApiKeyRow, SecretRow
from memgpt_memory.clock import now
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.records import Names, Record, Records

KIND = "apikey"

MOST_KEYS = 1_000
"""Maximum number of keys of a tenant."""

_HINT_CHARS = 4
_LAST_USE = 60 * 1_000_000
"""Microseconds between two writes of the time of a key's last use."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What a new key permits; see `CreateApiKeyRequest` in the contract."""

    tenant: str
    name: str
    role: int
    expires: int = 0
    agents: Sequence[str] = ()
    sources: Sequence[str] = ()


class ApiKeys:
    """The keys of every tenant. Secrets are stored as hashes only."""

    def __init__(self, records: Records, names: Names) -> None:
        """Keep keys among `records`."""
        self._records = records
        self._names = names
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, new: NewApiKey, keep: Callable[[str], None] | None = None) -> tuple[ApiKeyRow, str]:
        """Create a key. Returns it and its token, which is not stored.

        Args:
            new: What the key permits.
            keep: Called with the token before the key is stored; if it raises, there is no key.

        Raises:
            AlreadyExists: Another key of the tenant has the name.
            FailedPrecondition: The tenant has as many keys as it can have.
            InvalidArgument: The name is blank, or the time of expiry has passed.
        """
        if new.expires and new.expires <= now():
            raise reasons.invalid_field("expire_time has passed; use a time in the future", field="expire_time")
        async with self._lock(f"keys of {new.tenant}"):  # several at once would each find room for one more
            if len(await self._records.ids(KIND, new.tenant)) >= MOST_KEYS:
                raise reasons.wrong_state(
                    f"the tenant has {MOST_KEYS:,} API keys, the maximum; delete keys that are no longer used",
                    resource="api_keys",
                    state="FULL",
                )
            return await self._create(new, keep)

    async def _create(self, new: NewApiKey, keep: Callable[[str], None] | None) -> tuple[ApiKeyRow, str]:
        key_id = new_id("key")
        async with self._names.claim(new.tenant, "api_key", new.name, key_id, self._called(new.name)):
            secret, token = _new_secret(key_id)
            if keep is not None:
                keep(token)
            row = ApiKeyRow(
                id=key_id,
                tenant=new.tenant,
                name=new.name,
                role=new.role,
                agents=tuple(sorted(set(new.agents))),
                sources=tuple(sorted(set(new.sources))),
                created=now(),
                expires=new.expires,
                secrets=(secret,),
            )
            await self._put(row)
        return row, token

    async def get(self, tenant: str, key_id: str) -> ApiKeyRow:
        """Return a key.

        Raises:
            NotFound: There is no such key, or it belongs to another tenant.
        """

        async def find(id_: str) -> ApiKeyRow | None:
            return (await self.find_many([id_])).get(id_)

        row = await self._records.find_of_tenant(KIND, tenant, key_id, find, lambda row: row.tenant)
        if row is None:
            raise _unknown_key(key_id)
        return row

    async def get_by_name(self, tenant: str, name: str) -> ApiKeyRow:
        """Return the key with a name.

        Raises:
            NotFound: There is no such key.
        """
        key_id = await self._names.find(tenant, "api_key", name)
        row = (await self.find_many([key_id])).get(key_id) if key_id else None
        if row is None or row.tenant != tenant or comparable(row.name) != comparable(name):
            raise _unknown_key(name)
        return row

    async def list(self, tenant: str, size: int, after: str) -> Page[ApiKeyRow]:
        """Return a page of keys in order of creation, after the id `after`."""
        page = list_page(await self._records.ids(KIND, tenant), size, after)
        found = await self.find_many(page.items)
        return Page([found[id_] for id_ in page.items if id_ in found], page.next_token, page.total)

    async def rotate(self, tenant: str, key_id: str, overlap: int) -> tuple[ApiKeyRow, str]:
        """Give a key a new secret; the former one stays valid for `overlap` microseconds.

        Raises:
            FailedPrecondition: The key is revoked or has expired.
            NotFound: There is no such key.
        """
        token = ""

        def change(row: ApiKeyRow) -> ApiKeyRow:
            nonlocal token
            if row.revoked or (row.expires and row.expires <= now()):
                raise reasons.wrong_state(
                    "the API key is revoked or has expired; create a new one",
                    resource="api_key",
                    state="REVOKED" if row.revoked else "EXPIRED",
                )
            secret, token = _new_secret(key_id)
            former = row.secrets[0].model_copy(update={"expires": now() + overlap})
            return row.model_copy(update={"secrets": (secret, former)})

        row = await self._change(tenant, key_id, change)
        return row, token

    async def revoke(self, tenant: str, key_id: str) -> ApiKeyRow:
        """Revoke a key; one that is revoked does not change.

        Raises:
            NotFound: There is no such key.
        """
        return await self._change(
            tenant, key_id, lambda row: row if row.revoked else row.model_copy(update={"revoked": now()})
        )

    async def delete(self, tenant: str, key_id: str) -> None:
        """Delete a key.

        Raises:
            NotFound: There is no such key.
        """
        async with self._lock(key_id):
            row = await self.get(tenant, key_id)
            await self._records.delete([key_id])
            await self._names.release(tenant, "api_key", row.name, key_id, self._called(row.name))

    async def find_many(self, ids: Sequence[str]) -> dict[str, ApiKeyRow]:
        """Return the keys that exist, by their ids."""
        records = await self._records.get_many(ids)
        return {
            id_: ApiKeyRow.model_validate_json(record.body) for id_, record in records.items() if record.kind == KIND
        }

    async def note_use(self, rows: Iterable[ApiKeyRow]) -> None:
        """Store the time of the last use of keys, once a minute at most."""
        time = now()
        for row in rows:
            if time - row.last_used >= _LAST_USE:

                def change(row: ApiKeyRow) -> ApiKeyRow:
                    return row.model_copy(update={"last_used": max(row.last_used, time)})

                try:
                    await self._change(row.tenant, row.id, change)
                except NotFound:  # deleted in the meantime
                    continue

    async def _change(self, tenant: str, key_id: str, change: Callable[[ApiKeyRow], ApiKeyRow]) -> ApiKeyRow:
        async with self._lock(key_id):
            row = await self.get(tenant, key_id)
            changed = change(row)
            if changed is not row:
                await self._put(changed)
            return changed

    async def _put(self, row: ApiKeyRow) -> None:
        await self._records.put(Record(row.id, KIND, row.tenant, "", row.created, row.model_dump_json()))

    def _lock(self, what: str) -> asyncio.Lock:
        return self._locks.setdefault(what, asyncio.Lock())

    def _called(self, name: str) -> Callable[[str], Awaitable[bool]]:
        async def check(key_id: str) -> bool:
            row = (await self.find_many([key_id])).get(key_id)
            return row is not None and comparable(row.name) == comparable(name)

        return check


def valid_secrets(row: ApiKeyRow) -> list[SecretRow]:
    """Return the secrets of a key that are accepted now."""
    return [secret for secret in row.secrets if not secret.expires or secret.expires > now()]


def _new_secret(key_id: str) -> tuple[SecretRow, str]:
    token, digest = new_token(key_id)
    return SecretRow(digest=digest.hex(), hint=token[-_HINT_CHARS:], created=now()), token


def _unknown_key(key: str) -> NotFound:
    return reasons.api_key_not_found(f'unknown API key "{key}"; list API keys to see their ids', api_key=key)
