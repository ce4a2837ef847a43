"""The records of loads, which the Loader keeps in Memory."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

from memgpt_runtime.context import principal

from memgpt_memory.clock import now
from memgpt_memory.list_pages import Page
from memgpt_memory.records import Body, Record, Records, TextRows, key_of
from memgpt_memory.sources._errors import load_changed, unknown_load, unknown_load_request
from memgpt_memory.sources._live_source import LiveSource
from memgpt_memory.sources._sources import Sources


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """The Loader's record of a load; only the Loader reads `state`. `source_name` is the current one."""

    load_id: str
    source_id: str
    request_id: str
    state: bytes
    etag: str
    updated: int
    source_name: str = ""


class LoadRecords:
    """The records of loads. They are deleted with their sources."""

    def __init__(self, records: Records, sources: Sources) -> None:
        """Keep them among `records`."""
        self._records = records
        self._sources = sources
        self._rows = TextRows(records, "load")

    async def put(self, tenant: str, record: LoadRecord) -> LoadRecord:
        """Write a record.

        Raises:
            Aborted: The etag is set and the record has changed since.
            NotFound: There is no such source.
        """
        source = await self._sources.get(tenant, record.source_id)
        key = key_of("load", tenant, record.load_id)
        async with source.writing(), self._rows.lock(key):
            former = await self._records.get(key)
            etag = "" if former is None else f"v{json.loads(former.body)['version']}"
            if record.etag and record.etag != etag:
                raise load_changed(etag)
            body = {"load": record.load_id, "source": record.source_id, "request": record.request_id}
            if record.request_id:
                pointer = json.dumps({"load": record.load_id})
                request_key = self._request_key(tenant, record.request_id)
                await self._records.put(Record(request_key, "loadrequest", tenant, record.source_id, now(), pointer))
            text = base64.b64encode(record.state).decode()
            stored = await self._rows.put(key, tenant, body, text, record.source_id)
        return _load_record(stored, record.state, source)

    async def get(self, tenant: str, load_id: str) -> LoadRecord:
        """Read a record.

        Raises:
            NotFound: There is no such record.
        """
        key = key_of("load", tenant, load_id)
        record = await self._records.get(key)
        source_id = json.loads(record.body)["source"] if record is not None and record.tenant == tenant else ""
        found = await self._read(tenant, {key: source_id}) if source_id else []
        if not found or not principal().may_use_source(source_id):
            raise unknown_load(load_id)
        return found[0]

    async def get_by_request(self, tenant: str, request_id: str) -> LoadRecord:
        """Read the record of the load that a request created.

        Raises:
            NotFound: There is no such record.
        """
        pointer = await self._records.get(self._request_key(tenant, request_id))
        if pointer is None:
            raise unknown_load_request(request_id)
        return await self.get(tenant, json.loads(pointer.body)["load"])

    async def list(self, tenant: str, source_id: str, size: int, after: str) -> Page[LoadRecord]:
        """Return a page of records, the latest first, after the load id `after`."""
        keys, bodies = await self._records.in_order("load", tenant, "load")
        # The load `after` may have been deleted since.
        end = bisect_left(keys, after, key=lambda key: bodies[key]["load"]) if after else len(keys)
        older = (key for key in (keys[place] for place in range(end - 1, -1, -1)) if _listed(bodies[key], source_id))
        wanted = list(islice(older, size + 1))
        page = wanted[:size]
        following = bodies[page[-1]]["load"] if len(wanted) > size else ""
        return Page(await self._read(tenant, {key: bodies[key]["source"] for key in page}), following)

    async def _read(self, tenant: str, source_ids: Mapping[str, str]) -> Sequence[LoadRecord]:
        """Read records by their keys and sources. Those of a source that is being deleted count as deleted."""
        sources = await self._sources.find_many(list(set(source_ids.values())))
        async with AsyncExitStack() as stack:
            for source in sources.values():
                await stack.enter_async_context(source.gate.read())  # a deletion removes their texts first
            keys = [key for key, id_ in source_ids.items() if id_ in sources and not sources[id_].row.deleting]
            found = await self._rows.get_many(keys, tenant)
        return [
            _load_record(body, base64.b64decode(text), sources[body["source"]])
            for body, text in found
            if body["source"] in sources  # unless another source has it by now
        ]

    @staticmethod
    def _request_key(tenant: str, request_id: str) -> str:
        return key_of("loadreq", tenant, request_id)


def _listed(body: Body, source_id: str) -> bool:
    return body["source"] == (source_id or body["source"]) and principal().may_use_source(body["source"])


def _load_record(body: dict[str, Any], state: bytes, source: LiveSource) -> LoadRecord:
    etag = f"v{body['version']}"
    return LoadRecord(body["load"], body["source"], body["request"], state, etag, body["updated"], source.row.name)
