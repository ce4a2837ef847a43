"""Small rows by key, and texts of any length under versions.

A text is replaced by writing a new version beside the old one; it becomes current when the row that points to it is
written. So one row's write makes any number of changes visible at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from memgpt_memory.records._directory import Body, Directory, labels_of
from memgpt_memory.records._model import MissingTextError, Record, TextRef
from memgpt_memory.store import Store
from memgpt_memory.store.filters import Between, Equals, OneOf, all_of
from memgpt_memory.store.layout import MAX_VARCHAR_BYTES, RECORDS
from memgpt_memory.store.rows import Key, RecordKind, RecordOwner, Row

_T = TypeVar("_T")

_PARENTS = 500
"""Maximum number of keys in one filter."""

_OWNERS = ("request", "load", "profile")
"""Kinds of rows to which others belong, besides agents and sources."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def key_of(kind: str, *parts: str) -> str:
    """Return a key that follows from its parts: the kind and 128 bits of a hash."""
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{kind}-{digest}"


def split(text: str, limit: int = MAX_VARCHAR_BYTES) -> list[str]:
    """Split a text into pieces of at most `limit` bytes of UTF-8, never within a character."""
    if len(text) * 4 <= limit:
        return [text]
    pieces: list[str] = []
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + limit, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # a continuation byte
            end -= 1
        pieces.append(data[start:end].decode())
        start = end
    return pieces or [""]


class Records:
    """Reads and writes rows of the collection of records."""

    def __init__(self, store: Store) -> None:
        """Keep rows in `store`."""
        self._store = store
        self._directory = Directory(self._read_listed)
        self._labels = Directory(self._read_listed, {"agent": labels_of})  # apart: lists do not wait for the bodies
        self._directories = (self._directory, self._labels)

    async def get(self, id: str) -> Record | None:  # noqa: A002 - the field's own name
        """Read a row; None if there is none."""
        return (await self.get_many([id])).get(id)

    async def get_many(self, ids: Sequence[str]) -> dict[str, Record]:
        """Read rows; missing ones are not in the result."""
        return await self._store.get(RECORDS, ids, Record)

    async def put(self, *records: Record) -> None:
        """Write rows, replacing those with the same keys; return when they are stored."""
        try:
            await self._store.upsert(RECORDS, records)
        except BaseException:
            for directory in self._directories:
                directory.doubt(records)
            raise
        for directory in self._directories:
            directory.put(records)

    async def delete(self, ids: Sequence[str], *, unread: bool = False) -> None:
        """Delete rows; missing ones are not an error. See `Store.delete`."""
        await self._store.delete(RECORDS, ids, unread=unread)
        for directory in self._directories:
            directory.delete(ids)

    async def ids(self, kind: str, tenant: str) -> Sequence[str]:
        """Return the keys of a tenant's rows of a kind that is listed, in order, without reading them."""
        return await self._directory.ids(kind, tenant)

    async def tenants(self, kind: str) -> Sequence[str]:
        """Return the tenants that have rows of a kind that is listed."""
        return await self._directory.tenants(kind)

    async def find_of_tenant(
        self,
        kind: str,
        tenant: str,
        id: str,  # noqa: A002 - the field's own name
        find: Callable[[str], Awaitable[_T | None]],
        owner: Callable[[_T], str],
    ) -> _T | None:
        """Find what a tenant has by an id that a caller sent; None if it has nothing of this id.

        The duration of a call reveals nothing about other tenants: the first call that finds nothing loads the tenant's
        ids, and later calls do not read ids that are not among them.

        Args:
            kind: The kind of its row, one that is listed.
            tenant: The tenant.
            id: The id.
            find: Reads it by its id, whichever tenant has it.
            owner: Returns the tenant that has it.
        """
        if self._directory.lacks(kind, tenant, id):
            return None
        found = await find(id)
        if found is not None and owner(found) == tenant:
            return found
        await self._directory.ids(kind, tenant)
        return None

    async def bodies(self, kind: str, tenant: str) -> Mapping[str, Body]:
        """Return the bodies of a tenant's profiles or loads by their keys, without reading them."""
        return await self._directory.bodies(kind, tenant)

    async def labels(self, tenant: str) -> Mapping[str, Body]:
        """Return the tags, origins and users of a tenant's agents by their ids, as far as they have any."""
        return await self._labels.bodies("agent", tenant)

    async def in_order(self, kind: str, tenant: str, by: str) -> tuple[Sequence[str], Mapping[str, Body]]:
        """Return the keys of the same rows in order of a field that is unique and never changes, and their bodies."""
        return await self._directory.in_order(kind, tenant, by)

    async def kinds(self, tenant: str) -> list[RecordKind]:
        """Return the keys and kinds of all rows of a tenant."""
        return await self._store.query(RECORDS, Equals("tenant", tenant), RecordKind)

    async def find(self, kind: str, *, tenant: str | None = None, parent: str | None = None) -> list[Record]:
        """Read all rows of a kind, in order of the key."""
        conditions = [Equals("kind", kind)]
        if tenant is not None:
            conditions.append(Equals("tenant", tenant))
        if parent is not None:
            conditions.append(Equals("parent", parent))
        return await self._store.query(RECORDS, all_of(*conditions), Record)

    async def find_children(self, kind: str, parents: Sequence[str]) -> list[Record]:
        """Return all rows of a kind that belong to one of the parents."""
        found: list[Record] = []
        for start in range(0, len(parents), _PARENTS):
            condition = all_of(Equals("kind", kind), OneOf("parent", parents[start : start + _PARENTS]))
            found += await self._store.query(RECORDS, condition, Record)
        return found

    async def _read_listed(self, kind: str, with_bodies: bool) -> Sequence[Record | RecordOwner]:
        if with_bodies:
            return await self.find(kind)
        return await self._store.query(RECORDS, Equals("kind", kind), RecordOwner)

    async def find_owned(self, parent: str) -> tuple[list[Record], list[Record]]:
        """Return the requests about an agent or a source, and its names."""
        condition = all_of(Equals("parent", parent), OneOf("kind", ["request", "name"]))
        found = await self._store.query(RECORDS, condition, Record)
        return [row for row in found if row.kind == "request"], [row for row in found if row.kind == "name"]

    async def older(self, kind: str, time: int) -> list[str]:
        """Return the keys of the rows of a kind that were written before a time."""
        condition = all_of(Equals("kind", kind), Between("created", end=time))
        return ids_of(await self._store.query(RECORDS, condition, Key))

    async def delete_children(self, parent: str) -> None:
        """Delete all rows that belong to `parent`, and first those that belong to these: a crash leaves no orphans.

        Names stay: their holders must release them (see `Names.release_all`). Delete the row of `parent` afterwards,
        which makes all of this durable.
        """
        levels: list[list[str]] = []
        level = [parent]
        while level:
            found: list[RecordKind] = []
            for start in range(0, len(level), _PARENTS):
                condition = OneOf("parent", level[start : start + _PARENTS])
                rows = await self._store.query(RECORDS, condition, RecordKind)
                found += [row for row in rows if row.kind != "name"]
            levels.append(ids_of(found))
            level = [row.id for row in found if row.kind in _OWNERS]
        for ids in reversed(levels):
            await self.delete(ids, unread=True)

    async def read_texts(self, owner: str, references: Mapping[str, TextRef]) -> dict[str, str]:
        """Read texts of an owner by their names."""
        return (await self.read_texts_of_many({owner: references}))[owner]

    async def read_texts_of_many(self, references: Mapping[str, Mapping[str, TextRef]]) -> dict[str, dict[str, str]]:
        """Read texts of several owners, by owner and by name.

        Raises:
            MissingTextError: A text has gone.
        """
        wanted = {
            owner: {name: text_ids(owner, name, reference) for name, reference in of_owner.items()}
            for owner, of_owner in references.items()
        }
        ids = [id_ for of_owner in wanted.values() for of_name in of_owner.values() for id_ in of_name]
        rows = await self.get_many(ids) if ids else {}
        missing = next((id_ for id_ in ids if id_ not in rows), None)
        if missing is not None:
            raise MissingTextError(missing)
        return {
            owner: {name: "".join(rows[id_].body for id_ in of_name) for name, of_name in of_owner.items()}
            for owner, of_owner in wanted.items()
        }


def text_records(tenant: str, owner: str, name: str, version: int, text: str) -> tuple[TextRef, list[Record]]:
    """Return a text as rows to be stored, and the reference to them. The empty text needs none.

    Args:
        tenant: The tenant that owns it.
        owner: Key of the row that it belongs to.
        name: Which text of the owner, at most 11 characters.
        version: A version not used before for this owner and name, except by a failed write.
        text: Any length.
    """
    if not text:
        return TextRef(), []
    pieces = split(text)
    reference = TextRef(version=version, parts=len(pieces))
    return reference, [
        Record(id_, "text", tenant, owner, 0, piece)
        for id_, piece in zip(text_ids(owner, name, reference), pieces, strict=True)
    ]


def text_ids(owner: str, name: str, reference: TextRef) -> list[str]:
    """Return the keys of a text's rows."""
    return [f"{owner}-{name}-{_base36(reference.version)}-{_base36(part)}" for part in range(reference.parts)]


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def ids_of(rows: Iterable[Row]) -> list[str]:
    """Return the keys of rows."""
    return [row.id for row in rows]
