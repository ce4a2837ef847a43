"""Texts under names: personas, humans, presets that people added; and the records of loads, for the Loader."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from memgpt_runtime.errors import Aborted, NotFound, Reason
from memgpt_runtime.names import check_name

from memgpt_memory.clock import now
from memgpt_memory.listing import list_page
from memgpt_memory.model import Page, Record, TextRef
from memgpt_memory.records import Records, key_of, text_ids

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Profile:
    """A text under a name; `kind` is persona, human or preset."""

    kind: str
    name: str
    text: str
    updated: int


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """What the Loader remembers of a load; `state` is its own business."""

    load_id: str
    source_id: str
    request_id: str
    state: bytes
    etag: str
    updated: int


class _TextRows:
    """Rows with a long text beside a small body: the body's row is written last, and says which text counts."""

    def __init__(self, records: Records, kind: str) -> None:
        self._records = records
        self._kind = kind
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, key: str) -> asyncio.Lock:
        """To be held from reading a row, to decide on what to write, until it is written."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def put(self, key: str, tenant: str, body: dict[str, str], text: str, parent: str = "") -> dict[str, Any]:
        """Writes a row, which goes with `parent`; answers its body as it is stored. Hold the lock."""
        former = await self._records.get(key)
        old = TextRef.model_validate(json.loads(former.body)["text"]) if former else TextRef()
        version = int(json.loads(former.body)["version"]) + 1 if former else 1
        reference, rows = self._records.text_records(tenant, key, "text", version, text)
        await self._records.put(*rows)
        stored = {**body, "text": reference.model_dump(), "version": version, "updated": now()}
        created = former.created if former else now()
        await self._records.put(Record(key, self._kind, tenant, parent, created, json.dumps(stored)))
        await self._records.delete(text_ids(key, "text", old), unread=True)
        return stored

    async def get(self, key: str, tenant: str) -> tuple[dict[str, Any], str] | None:
        """Reads a row's body and text."""
        async with self.lock(key):  # between the row and its text nobody may replace them
            return await self.get_held(key, tenant)

    async def get_held(self, key: str, tenant: str) -> tuple[dict[str, Any], str] | None:
        """The same for who holds the lock."""
        record = await self._records.get(key)
        if record is None or record.tenant != tenant:
            return None
        body = json.loads(record.body)
        texts = await self._records.read_texts(key, {"text": TextRef.model_validate(body["text"])})
        return body, texts["text"]

    async def delete(self, key: str) -> None:
        """Deletes a row with its text."""
        await self._records.delete_children(key)
        await self._records.delete([key])


class Profiles:
    """The profiles of every tenant."""

    def __init__(self, records: Records) -> None:
        """Keeps profiles among `records`."""
        self._records = records
        self._rows = _TextRows(records, "profile")

    async def put(self, tenant: str, kind: str, name: str, text: str) -> Profile:
        """Writes a profile; an existing one is replaced.

        Raises:
            InvalidArgument: The name is blank, or holds what cannot be seen.
        """
        check_name("name", name)
        key = key_of("profile", tenant, kind, name)
        async with self._rows.lock(key):
            stored = await self._rows.put(key, tenant, {"kind": kind, "name": name}, text)
        return Profile(kind, name, text, stored["updated"])

    async def get(self, tenant: str, kind: str, name: str) -> Profile:
        """Reads a profile.

        Raises:
            NotFound: There is none.
        """
        found = await self._rows.get(key_of("profile", tenant, kind, name), tenant)
        if found is None:
            raise _no_profile(kind, name)
        body, text = found
        return Profile(kind, name, text, body["updated"])

    async def page(self, tenant: str, kind: str, size: int, after: str) -> Page[Profile]:
        """A page of profiles by name."""
        names = sorted(
            body["name"]
            for record in await self._records.find("profile", tenant=tenant)
            if (body := json.loads(record.body))["kind"] == kind
        )
        page = list_page(names, size, after)
        items = await _present(self.get(tenant, kind, name) for name in page.items)
        return Page(items, page.next_token, len(names))

    async def delete(self, tenant: str, kind: str, name: str) -> None:
        """Deletes a profile.

        Raises:
            NotFound: There is none.
        """
        key = key_of("profile", tenant, kind, name)
        async with self._rows.lock(key):
            if await self._rows.get_held(key, tenant) is None:
                raise _no_profile(kind, name)
            await self._rows.delete(key)


async def _present(reads: Iterable[Awaitable[_T]]) -> list[_T]:
    """What there is of a page's items: one may have been deleted since they were listed."""
    found: list[_T] = []
    for read in reads:
        with suppress(NotFound):
            found.append(await read)
    return found


def _no_profile(kind: str, name: str) -> NotFound:
    return NotFound(
        Reason.PROFILE_NOT_FOUND,
        f"There is no {kind} named {name!r}: list them to see their names, or add one.",
        metadata={"kind": kind, "name": name},
    )


def _load_record(body: dict[str, Any], state: bytes) -> LoadRecord:
    return LoadRecord(body["load"], body["source"], body["request"], state, f"v{body['version']}", body["updated"])


class LoadRecords:
    """The records of loads. They go with their sources: hold `Sources.writing` while one is written."""

    def __init__(self, records: Records) -> None:
        """Keeps them among `records`."""
        self._records = records
        self._rows = _TextRows(records, "load")

    async def put(self, tenant: str, record: LoadRecord) -> LoadRecord:
        """Writes a record.

        Raises:
            Aborted: The etag is set and the record has changed since.
        """
        key = key_of("load", tenant, record.load_id)
        async with self._rows.lock(key):
            former = await self._rows.get_held(key, tenant)
            if record.etag and (former is None or f"v{former[0]['version']}" != record.etag):
                raise Aborted(
                    Reason.ETAG_MISMATCH, "The record has changed since it was read: read it again, then repeat."
                )
            body = {"load": record.load_id, "source": record.source_id, "request": record.request_id}
            if record.request_id:
                pointer = json.dumps({"load": record.load_id})
                request_key = self._request_key(tenant, record.request_id)
                await self._records.put(Record(request_key, "loadrequest", tenant, record.source_id, now(), pointer))
            text = base64.b64encode(record.state).decode()
            stored = await self._rows.put(key, tenant, body, text, record.source_id)
        return _load_record(stored, record.state)

    async def get(self, tenant: str, load_id: str) -> LoadRecord:
        """Reads a record.

        Raises:
            NotFound: There is none.
        """
        found = await self._rows.get(key_of("load", tenant, load_id), tenant)
        if found is None:
            raise NotFound(
                Reason.LOAD_NOT_FOUND,
                f"There is no load {load_id!r}: list the loads to see their ids.",
                metadata={"load_id": load_id},
            )
        body, text = found
        return _load_record(body, base64.b64decode(text))

    async def find(self, tenant: str, request_id: str) -> LoadRecord:
        """Reads the record of the load that a request created.

        Raises:
            NotFound: There is none.
        """
        pointer = await self._records.get(self._request_key(tenant, request_id))
        if pointer is None:
            raise NotFound(
                Reason.LOAD_NOT_FOUND,
                f"There is no load of the request {request_id!r}.",
                metadata={"request_id": request_id},
            )
        return await self.get(tenant, json.loads(pointer.body)["load"])

    async def page(self, tenant: str, source_id: str, size: int, after: str) -> Page[LoadRecord]:
        """A page of records, the latest first; `after` is the last load's id."""
        ids = sorted(
            (
                body["load"]
                for record in await self._records.find("load", tenant=tenant)
                if (body := json.loads(record.body))["source"] == source_id or not source_id
            ),
            reverse=True,
        )
        start = ids.index(after) + 1 if after in ids else 0
        page = ids[start : start + size]
        more = start + size < len(ids)
        items = await _present(self.get(tenant, id_) for id_ in page)
        return Page(items, page[-1] if more else "", len(ids))

    @staticmethod
    def _request_key(tenant: str, request_id: str) -> str:
        return key_of("loadreq", tenant, request_id)
