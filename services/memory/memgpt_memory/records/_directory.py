"""The keys of all rows of the kinds that are listed, kept in memory so that a list need not scan the store."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from memgpt_memory.records._model import Record
from memgpt_memory.store.rows import RecordOwner

Body: TypeAlias = Mapping[str, Any]
"""The body of a row, which is JSON."""

_LABELS = ("tags", "origin", "user_id")
"""What agents are found by; missing in the row of one that has none."""

_NO_BODY: Body = {}


def labels_of(body: str) -> Body:
    """Return the labels in the body of an agent's row."""
    if not any(f'"{name}"' in body for name in _LABELS):  # faster than to parse it
        return _NO_BODY
    row = json.loads(body)
    return {name: row[name] for name in _LABELS if name in row}


BODIES: Mapping[str, Callable[[str], Body]] = dict.fromkeys(("profile", "load", "tenant"), json.loads)
"""Kinds whose bodies are kept too: they are small, and hold what the rows are listed by."""


class _Listing:
    """The rows of one kind and tenant: bodies by id, and the ids in order."""

    def __init__(self) -> None:
        self.bodies: dict[str, Body] = {}
        self._ids: list[str] | None = []
        self._by = ""
        self._ordered: list[str] = []

    @property
    def ids(self) -> Sequence[str]:
        if self._ids is None:
            self._ids = sorted(self.bodies)
        return self._ids

    def ordered(self, by: str) -> Sequence[str]:
        """Return the ids in order of a field of their bodies that is unique and never changes."""
        if self._by != by:
            self._by = by
            self._ordered = sorted(self.bodies, key=self._place)
        return self._ordered

    def put(self, id_: str, body: Body) -> None:
        known = id_ in self.bodies
        self.bodies[id_] = body
        if not known:
            self._ids = None
            if self._by:
                insort(self._ordered, id_, key=self._place)

    def forget(self, id_: str) -> None:
        if id_ in self.bodies:
            self._ids = None
            if self._by:  # in place: what a caller was given stays in step with the bodies
                del self._ordered[bisect_left(self._ordered, self._place(id_), key=self._place)]
            del self.bodies[id_]

    def _place(self, id_: str) -> str:
        return str(self.bodies[id_][self._by])


class Directory:
    """The rows of every kind that is listed, by kind and tenant.

    A kind is read from the store when it is first requested, and kept up to date by every write: only this process
    writes to the store. Writes that come while a kind is read are noted after the read.
    """

    def __init__(
        self,
        read: Callable[[str, bool], Awaitable[Sequence[Record | RecordOwner]]],
        bodies: Mapping[str, Callable[[str], Body]] = BODIES,
    ) -> None:
        """Create an empty directory.

        Args:
            read: Reads the rows of a kind from the store; its second argument says whether their bodies are needed.
            bodies: For each kind whose bodies are kept, what is kept of one.
        """
        self._read = read
        self._bodies = bodies
        self._listings: dict[tuple[str, str], _Listing] = {}
        self._where: dict[str, tuple[str, str]] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._written: dict[str, Record | None] = {}
        self._doubted: set[str] = set()

    async def ids(self, kind: str, tenant: str) -> Sequence[str]:
        """Return the keys of a tenant's rows of a kind, in order."""
        return (await self._listing(kind, tenant)).ids

    async def bodies(self, kind: str, tenant: str) -> Mapping[str, Body]:
        """Return what is kept of the bodies of a tenant's rows of a kind, by key."""
        return (await self._listing(kind, tenant)).bodies

    async def in_order(self, kind: str, tenant: str, by: str) -> tuple[Sequence[str], Mapping[str, Body]]:
        """Return the keys of the same rows in order of a field of their bodies, and what `bodies` returns."""
        listing = await self._listing(kind, tenant)
        return listing.ordered(by), listing.bodies

    def lacks(self, kind: str, tenant: str, id_: str) -> bool:
        """Return whether a tenant is known to have no row of a kind with a key: not before the kind has been read."""
        task = self._loads.get(kind)
        if task is None or not task.done() or _failed(task):
            return False
        listing = self._listings.get((kind, tenant))
        return listing is None or id_ not in listing.bodies

    async def tenants(self, kind: str) -> Sequence[str]:
        """Return the tenants that have rows of a kind."""
        await self._loaded(kind)
        return [tenant for (other, tenant), listing in self._listings.items() if other == kind and listing.bodies]

    def put(self, records: Iterable[Record]) -> None:
        """Note rows that were written."""
        for record in records:
            self._written.pop(record.id, None)  # it may be there as deleted
            task = self._loads.get(record.kind)
            if task is None:
                continue  # the kind was never requested
            if task.done():
                self._note(record)
            else:
                self._written[record.id] = record

    def delete(self, ids: Iterable[str]) -> None:
        """Note rows that were deleted."""
        reading = any(not task.done() for task in self._loads.values())
        for id_ in ids:
            if reading:
                self._written[id_] = None
            self._delete(id_)

    def doubt(self, records: Iterable[Record]) -> None:
        """Read the kinds of these rows again: their write failed, and may have taken effect."""
        for kind in {one.kind for one in records if one.id not in self._where or one.kind in self._bodies}:
            task = self._loads.get(kind)
            if task is not None and task.done():
                del self._loads[kind]
            elif task is not None:
                self._doubted.add(kind)

    async def _listing(self, kind: str, tenant: str) -> _Listing:
        await self._loaded(kind)
        return self._listings.setdefault((kind, tenant), _Listing())

    async def _loaded(self, kind: str) -> None:
        """Wait until the rows of a kind have been read."""
        task = self._loads.get(kind)
        if task is None or _failed(task):
            task = self._loads[kind] = asyncio.create_task(self._load(kind))
        try:
            await asyncio.shield(task)
        except BaseException:
            if task.done() and self._loads.get(kind) is task:
                del self._loads[kind]
            raise

    async def _load(self, kind: str) -> None:
        for key in [key for key in self._listings if key[0] == kind]:
            for id_ in self._listings.pop(key).bodies:
                del self._where[id_]
        # What was noted during a read that failed is older than this one.
        self._written = {id_: one for id_, one in self._written.items() if one is None or one.kind != kind}
        rows = await self._read(kind, kind in self._bodies)
        bodies = await asyncio.to_thread(lambda: list(map(self._body, rows)))  # many take long
        for row, body in zip(rows, bodies, strict=True):
            self._put(kind, row.tenant, row.id, body)
        for id_, written in list(self._written.items()):
            if written is None:
                self._delete(id_)
            elif written.kind == kind:
                self._note(written)
                del self._written[id_]
        if all(task.done() or other == kind for other, task in self._loads.items()):
            self._written.clear()
        if kind in self._doubted:
            self._doubted.remove(kind)
            del self._loads[kind]  # it is read again when it is next needed

    def _note(self, record: Record) -> None:
        self._put(record.kind, record.tenant, record.id, self._body(record))

    def _body(self, row: Record | RecordOwner) -> Body:
        if not isinstance(row, Record) or row.kind not in self._bodies:
            return _NO_BODY
        return self._bodies[row.kind](row.body)

    def _put(self, kind: str, tenant: str, id_: str, body: Body) -> None:
        self._where[id_] = kind, tenant
        self._listings.setdefault((kind, tenant), _Listing()).put(id_, body)

    def _delete(self, id_: str) -> None:
        key = self._where.pop(id_, None)
        if key is not None:
            self._listings[key].forget(id_)


def _failed(task: asyncio.Task[None]) -> bool:
    """Whether a read has failed after all who waited for it had gone."""
    return task.done() and (task.cancelled() or task.exception() is not None)
