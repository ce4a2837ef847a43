"""Passages as rows of archival memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from memgpt_runtime import reasons
from memgpt_runtime.chunking import chunk
from memgpt_runtime.tokens import count_tokens

from memgpt_memory.embedding import Embedder, Vectors
from memgpt_memory.fulltext import words_of
from memgpt_memory.passages._model import Citation, Passage, VisibleVersion
from memgpt_memory.records import split
from memgpt_memory.store import Store
from memgpt_memory.store.filters import EVERY_ROW, Condition, Equals, all_of
from memgpt_memory.store.layout import MAX_VARCHAR_BYTES, Collection, partition_of
from memgpt_memory.store.locks import ReadWriteLock
from memgpt_memory.store.rows import IndexedPassageRow, Key, PassageRow, Row

MAX_NOTE_TOKENS = 300
"""Longest passage of a note, in tokens as `memgpt_runtime.tokens` counts them."""

_R = TypeVar("_R", bound=Row)

_QUICK = 20_000
"""Characters that are cut into passages without a thread: milliseconds, or 0.2 s in a script without spaces."""

_QUICK_ROWS = 512
"""Rows that are prepared without a thread."""

_GATE_SECONDS = 20.0
"""Longest wait of a write while the store switches its model."""

_MAX_CHANGES = 100_000
"""Ids of changed passages that are remembered for a copy; with more, all passages are compared again."""


def note_id(agent_id: str, sequence: int) -> str:
    """Return the key of an agent's note."""
    return f"{agent_id}-n{sequence}"


def document_passage_id(version: str, index: int) -> str:
    """Return the key of a document's passage; `version` is that of its file."""
    return f"{version}-{index}"


@dataclass(slots=True, eq=False)
class EmbeddingIndex:
    """An embedding model, and the collection of the passages that it has embedded.

    Attributes:
        embedder: The model.
        collection: The collection.
    """

    embedder: Embedder
    collection: Collection
    _in_use: ReadWriteLock = field(default_factory=ReadWriteLock)

    @property
    def name(self) -> str:
        """The name of the collection, which differs for every model."""
        return self.collection.name

    def reading(self) -> AbstractAsyncContextManager[None]:
        """Hold this while reading, so that the collection stays until the end."""
        return self._in_use.read()

    def unused(self) -> AbstractAsyncContextManager[None]:
        """Hold this while dropping the collection, which waits for all readers."""
        return self._in_use.write()


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """Texts with their vectors in an index."""

    index: EmbeddingIndex
    texts: Sequence[str]
    vectors: Vectors


class Changes:
    """Ids of passages that were written or deleted since a copy of all began, by partition.

    Attributes:
        lost: Whether there were too many to remember.
    """

    def __init__(self) -> None:
        """Start an empty record."""
        self.lost = False
        self._ids: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._ids.values())

    def add(self, partition: str, ids: Iterable[str]) -> None:
        """Record changed ids of a partition."""
        if not self.lost:
            self._ids.setdefault(partition, set()).update(ids)
            if len(self) > _MAX_CHANGES:
                self.lost = True
                self._ids.clear()

    def among(self, partition: str, id_: str) -> bool:
        """Whether a passage is among them."""
        return id_ in self._ids.get(partition, ())

    def take(self, most: int) -> dict[str, list[str]]:
        """Take up to `most` ids."""
        taken: dict[str, list[str]] = {}
        for partition in list(self._ids):
            ids = self._ids[partition]
            taken[partition] = [ids.pop() for _ in range(min(most, len(ids)))]
            most -= len(taken[partition])
            if not ids:
                del self._ids[partition]
            if not most:
                break
        return taken


class Passages:
    """Writes, reads and deletes passages of one owner at a time: an agent or a source.

    Attributes:
        store: Where they are.
        index: The current model and its collection. A move to another model replaces it, see `reembedding`.
        changes: Passages written while all are copied to another index; None if there is no copy in progress.
        closed: Whether writes are refused because it is not known which index is current.
    """

    def __init__(self, store: Store, index: EmbeddingIndex) -> None:
        """Keep rows in the collection of `index`."""
        self.store = store
        self.index = index
        self.changes: Changes | None = None
        self.closed = False
        self._gate = ReadWriteLock()

    @property
    def collection(self) -> Collection:
        """The store's collection of passages."""
        return self.index.collection

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        """Embed texts of passages to be written."""
        index = self.index
        return EmbeddedTexts(index, texts, await index.embedder.embed(texts))

    @asynccontextmanager
    async def write_barrier(self, within: float) -> AsyncIterator[bool]:
        """Hold writes back for the block. Searches and reads go on.

        Args:
            within: Longest wait for the writes in progress, in seconds; other writes wait for it too.

        Yields:
            Whether the writes in progress ended in time; if not, writes go on.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(within):
                    await stack.enter_async_context(self._gate.write())
            except TimeoutError:
                yield False
                return
            yield True

    async def write_notes(
        self,
        tenant: str,
        agent_id: str,
        first: int,
        embedded: EmbeddedTexts,
        *,
        tags: Sequence[str],
        stamp: int,
        created: int,
    ) -> list[Passage]:
        """Write notes under consecutive numbers from `first` on."""
        rows = [
            note_row(agent_id, first + offset, text, tags, stamp=stamp, created=created)
            for offset, text in enumerate(embedded.texts)
        ]
        await self.write_rows(tenant, agent_id, rows, embedded)
        return [passage_of(row) for row in rows]

    async def write_rows(self, tenant: str, owner: str, rows: Sequence[PassageRow], embedded: EmbeddedTexts) -> None:
        """Write rows of one owner; `embedded` are their texts."""
        partition = partition_of(tenant, owner)
        async with self._changing(partition, [row.id for row in rows]):
            if embedded.index is not self.index:  # the store has changed its model since
                embedded = await self.embed(embedded.texts)
            await self.write_into(self.index, partition, rows, embedded.vectors)

    async def write_into(
        self, index: EmbeddingIndex, partition: str, rows: Sequence[PassageRow], vectors: Vectors
    ) -> None:
        """Write rows with their vectors into an index, the store's own or another."""
        collection = index.collection
        if len(rows) <= _QUICK_ROWS:
            full = _full(collection, rows, vectors)
        else:
            full = await asyncio.to_thread(_full, collection, rows, vectors)
        await self.store.upsert(collection, full, partition=partition)

    async def read(self, tenant: str, ids_by_owner: Mapping[str, Sequence[str]]) -> dict[str, PassageRow]:
        """Read rows by key from their owners' partitions; missing ones are not in the result."""
        ids = [id_ for ids in ids_by_owner.values() for id_ in ids]
        if not ids:
            return {}
        partitions = sorted({partition_of(tenant, owner) for owner in ids_by_owner})
        index = self.index
        async with index.reading():
            return await self.store.get(index.collection, ids, PassageRow, partitions=partitions)

    async def ids(self, tenant: str, owner: str) -> list[str]:
        """Return the keys of all rows of an owner, visible or not."""
        return [row.id for row in await self.find(tenant, owner, EVERY_ROW, Key)]

    async def find(self, tenant: str, owner: str, condition: Condition, row: type[_R]) -> list[_R]:
        """Return the rows of an owner for which a condition holds, visible or not."""
        index = self.index
        condition = all_of(Equals("owner", owner), condition)
        async with index.reading():
            return await self.store.query(index.collection, condition, row, partitions=[partition_of(tenant, owner)])

    async def delete(self, tenant: str, owner: str, ids: Sequence[str], *, unread: bool = False) -> None:
        """Delete passages by key. See `Store.delete`."""
        partition = partition_of(tenant, owner)
        async with self._changing(partition, ids):
            await self.store.delete(self.collection, ids, partition=partition, unread=unread)

    async def delete_where(self, tenant: str, owner: str, condition: Condition = EVERY_ROW) -> None:
        """Delete the passages of an owner for which a condition holds, or all of them; they must be invisible."""
        partition = partition_of(tenant, owner)
        ids: list[str] = []
        async with self._changing(partition, ids):
            condition = all_of(Equals("owner", owner), condition)
            ids += [row.id for row in await self.store.query(self.collection, condition, Key, partitions=[partition])]
            await self.store.delete(self.collection, ids, partition=partition, unread=True)

    @asynccontextmanager
    async def _changing(self, partition: str, ids: Sequence[str]) -> AsyncIterator[None]:
        """Hold this while changing passages, so that `index` stays the same; the change is noted at the end.

        Raises:
            Unavailable: The store has been switching its model for too long; nothing was changed.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_GATE_SECONDS):
                    await stack.enter_async_context(self._gate.read())
            except TimeoutError:
                self._refuse()
            if self.closed:
                self._refuse()
            try:
                yield
            finally:
                if self.changes is not None:
                    self.changes.add(partition, ids)

    @staticmethod
    def _refuse() -> NoReturn:
        raise reasons.store_unavailable(
            "the store is changing its embedding model and Milvus does not respond; retry", retry_after=2
        )


def fits(text: str) -> bool:
    """Whether a note is short enough for one passage."""
    return len(text.encode()) <= MAX_VARCHAR_BYTES and count_tokens(text) <= MAX_NOTE_TOKENS


def _full(collection: Collection, rows: Sequence[PassageRow], vectors: Vectors) -> list[IndexedPassageRow]:
    return [
        IndexedPassageRow(
            row.id,
            row.owner,
            row.version,
            row.sequence,
            row.stamp,
            row.created,
            row.head,
            row.text,
            embedding=vector,
            words=indexed_words(row.text) if collection.full_text else "",
        )
        for row, vector in zip(rows, vectors, strict=True)
    ]


def indexed_words(text: str) -> str:
    """Return the words of a text as a row holds them: separated by spaces, and cut to what fits."""
    return split(" ".join(words_of(text)))[0]


async def texts_of(notes: Sequence[str]) -> list[str]:
    """Return the texts of the passages that notes become; a blank note becomes none."""
    if sum(map(len, notes)) <= _QUICK:
        return _cut(notes)
    return await asyncio.to_thread(_cut, notes)  # a mebibyte takes seconds, which would block other calls


def _cut(notes: Sequence[str]) -> list[str]:
    # White space has no tokens, but takes room in a row.
    pieces = (piece for note in notes for passage in chunk(note, MAX_NOTE_TOKENS) for piece in split(passage.text))
    return [stripped for piece in pieces if (stripped := piece.strip())]


def note_row(agent_id: str, number: int, text: str, tags: Sequence[str], *, stamp: int, created: int) -> PassageRow:
    """Return the row of an agent's note."""
    return PassageRow(
        id=note_id(agent_id, number),
        owner=agent_id,
        version="",
        sequence=number,
        stamp=stamp,
        created=created,
        head=json.dumps({"tags": list(tags)}, ensure_ascii=False) if tags else "",
        text=text,
    )


def document_row(
    source_id: str,
    source_name: str,
    file_name: str,
    version: str,
    index: int,
    text: str,
    place: tuple[int, int, int],
    *,
    stamp: int,
    created: int,
) -> PassageRow:
    """Return the row of a document's passage; `place` is page, start and end."""
    return PassageRow(
        id=document_passage_id(version, index),
        owner=source_id,
        version=version,
        sequence=index,
        stamp=stamp,
        created=created,
        head=json.dumps({"cite": [source_name, file_name, *place]}, ensure_ascii=False),
        text=text,
    )


def passage_of(row: PassageRow, file: VisibleVersion | None = None, source_name: str = "") -> Passage:
    """Convert a row to a passage.

    Args:
        row: The row.
        file: The file of a document's passage, which then has its time and its tags.
        source_name: The name of the file's source; its row has the one at the time of loading.
    """
    head = json.loads(row.head) if row.head else {}
    cite = head.get("cite")
    return Passage(
        id=row.id,
        text=row.text,
        created=row.created if file is None else file.created,
        agent_id="" if cite else row.owner,
        citation=Citation(row.owner, source_name or cite[0], *cite[1:]) if cite else None,
        tags=tuple(head.get("tags", ()) if file is None else file.tags),
    )
