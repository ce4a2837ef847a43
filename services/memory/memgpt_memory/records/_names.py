"""Unique names within a tenant and a kind: each is a row that holds the id it belongs to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from memgpt_runtime import reasons
from memgpt_runtime.context import principal
from memgpt_runtime.names import check_name, comparable

from memgpt_memory.clock import now
from memgpt_memory.records._model import Record
from memgpt_memory.records._records import Records, key_of


def name_key(tenant: str, kind: str, name: str) -> str:
    """Return the key of the row of a name."""
    return key_of("name", tenant, kind, comparable(name))


class Names:
    """The owners of names. A claim that a crash left does not count if its owner does not exist or has another name.

    Attributes:
        check_tenant: Raises an error if nothing may be created in a tenant; called before every claim.
    """

    def __init__(self, records: Records) -> None:
        """Keep names among `records`."""
        self._records = records
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.check_tenant: Callable[[str], None] = lambda _: None

    @asynccontextmanager
    async def claim(
        self, tenant: str, kind: str, name: str, owner: str, holds: Callable[[str], Awaitable[bool]]
    ) -> AsyncIterator[None]:
        """Take a name for `owner`, which is created or renamed within the block.

        Raises:
            AlreadyExists: Another owner, for which `holds` is true, has it.
            InvalidArgument: It is blank, or holds what cannot be seen.
            ServiceError: What `check_tenant` raises.
        """
        check_name("name", name)
        key = name_key(tenant, kind, name)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            self.check_tenant(tenant)  # a long call may have begun before the tenant was deleted
            holder = await self.find(tenant, kind, name)
            if holder and holder != owner and await holds(holder):
                # A restricted key must not learn the ids of what it may not use.
                details = {} if principal().restricted else {f"{kind}_id": holder}
                raise reasons.name_taken(
                    f'name "{name}" is taken by another {kind}; choose another name or delete that {kind}',
                    name=name,
                    **details,
                )
            if holder != owner:
                await self._records.put(Record(key, "name", tenant, owner, now(), json.dumps({"id": owner})))
                if (former := key_of("name", tenant, kind, name)) != key:
                    await self._records.delete([former])  # of an owner that no longer has it
            yield

    async def find(self, tenant: str, kind: str, name: str) -> str:
        """Return the owner of a name, or the empty text. The owner may not exist, or have another name by now."""
        key, former = name_key(tenant, kind, name), key_of("name", tenant, kind, name)
        # An earlier version stored names as they were given; their owners keep them.
        holder = await self._holder(former) if former != key else ""
        return holder or await self._holder(key)

    async def release(
        self, tenant: str, kind: str, name: str, owner: str, called: Callable[[str], Awaitable[bool]]
    ) -> None:
        """Release a name, if `owner` has it, unless it is called so again."""
        key = name_key(tenant, kind, name)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            for row in dict.fromkeys((key, key_of("name", tenant, kind, name))):
                if await self._holder(row) == owner and not await called(owner):
                    await self._records.delete([row])

    async def release_all(self, names: Sequence[Record], owner: str) -> None:
        """Release names, if `owner` has them."""
        for record in names:
            lock = self._locks.setdefault(record.id, asyncio.Lock())
            async with lock:
                if await self._holder(record.id) == owner:
                    await self._records.delete([record.id])

    async def _holder(self, key: str) -> str:
        record = await self._records.get(key)
        return str(json.loads(record.body)["id"]) if record else ""
