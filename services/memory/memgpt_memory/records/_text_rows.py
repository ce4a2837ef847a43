"""Rows with a small body and a long text, such as profiles and the records of loads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any
from weakref import WeakValueDictionary

from memgpt_memory.clock import now
from memgpt_memory.records._model import Record, TextRef
from memgpt_memory.records._records import Records, ids_of, text_ids, text_records


class TextRows:
    """Rows with a small body and a long text. The body's row is written last, and names the current text."""

    def __init__(self, records: Records, kind: str) -> None:
        """Keep rows of `kind` among `records`."""
        self._records = records
        self._kind = kind
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock to hold from the read that a write depends on until the write is done."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def put(self, key: str, tenant: str, body: dict[str, str], text: str, parent: str = "") -> dict[str, Any]:
        """Write a row, which is deleted with `parent`; return its body as it is stored. Hold the lock."""
        former = await self._records.get(key)
        old = TextRef.model_validate(json.loads(former.body)["text"]) if former else TextRef()
        version = int(json.loads(former.body)["version"]) + 1 if former else 1
        reference, rows = text_records(tenant, key, "text", version, text)
        await self._records.put(*rows)
        stored = {**body, "text": reference.model_dump(), "version": version, "updated": now()}
        created = former.created if former else now()
        await self._records.put(Record(key, self._kind, tenant, parent, created, json.dumps(stored)))
        await self._records.delete(text_ids(key, "text", old), unread=True)
        return stored

    async def get(self, key: str, tenant: str) -> tuple[dict[str, Any], str] | None:
        """Read a row's body and text."""
        async with self.lock(key):  # they must not be replaced between the two reads
            return await self.get_held(key, tenant)

    async def get_held(self, key: str, tenant: str) -> tuple[dict[str, Any], str] | None:
        """Read a row's body and text. Hold the lock."""
        record = await self._records.get(key)
        if record is None or record.tenant != tenant:
            return None
        body = json.loads(record.body)
        texts = await self._records.read_texts(key, {"text": TextRef.model_validate(body["text"])})
        return body, texts["text"]

    async def get_many(self, keys: Sequence[str], tenant: str) -> list[tuple[dict[str, Any], str]]:
        """Read the bodies and texts of rows, in the order of `keys`; missing ones are not in the result."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self.lock(key))
            records = await self._records.get_many(keys)
            bodies = {key: json.loads(record.body) for key, record in records.items() if record.tenant == tenant}
            texts = await self._records.read_texts_of_many(
                {key: {"text": TextRef.model_validate(body["text"])} for key, body in bodies.items()}
            )
        return [(bodies[key], texts[key]["text"]) for key in keys if key in bodies]

    async def delete(self, key: str) -> None:
        """Delete a row with its text."""
        texts = await self._records.find_children("text", [key])
        await self._records.delete([*ids_of(texts), key])  # at once: a crash leaves neither without the other
