"""The index of messages for searches by similarity: their vectors and words.

It can be built again from the messages at any time. A commit writes nothing here: a search first indexes the messages
since the last one, so only agents that are searched by similarity cost embeddings. How far the index reaches is written
after the rows, in a mark: a row under an id of its own. The ids of rows are derived from agent and message. A crash
costs at most one batch, which is then written again in place.

A mark is written once per batch and at the end of the process, not by every search. A server counts each of them as a
text without words until it compacts, and with as many marks as messages it would rank words by wrong statistics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from weakref import WeakValueDictionary

import numpy as np
import structlog
from cachetools import LRUCache
from memgpt_runtime.chunking import chunk
from memgpt_runtime.errors import ServiceError

from memgpt_memory.agents import LiveAgent
from memgpt_memory.embedding import unit_vectors
from memgpt_memory.messages import Message, Messages, spoken_text
from memgpt_memory.passages import EmbeddingIndex, Passages, indexed_words
from memgpt_memory.records import ids_of
from memgpt_memory.store.filters import Between, Equals, all_of
from memgpt_memory.store.layout import Collection, message_index, partition_of
from memgpt_memory.store.rows import IndexedMessageRow, Key, RowNumber, RowTime
from memgpt_memory.tasks import run_to_end

_log = structlog.get_logger(__name__)

_BATCH = 128
"""Messages that are indexed at a time: about what one call of an embedding endpoint takes."""

_PIECE_TOKENS = 300
_MAX_PIECES = 32
"""Pieces of a long message that are embedded; their mean stands for the message."""

_MAX_REMEMBERED = 10_000

_MAX_UNMARKED = 1_000
"""Agents whose marks may be outdated."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark that is to be written; the stored one ends at `first`."""

    collection: Collection
    partition: str
    row: IndexedMessageRow
    first: int


def index_id(agent_id: str, sequence: int) -> str:
    """Return the key of a message's row."""
    return f"{agent_id}-r{sequence}"


def sequence_of(id_: str) -> int:
    """Return the sequence that a key made by `index_id` encodes."""
    return int(id_.rpartition("-r")[2])


class MessageIndex:
    """The index of every agent, for the store's embedding model."""

    def __init__(self, messages: Messages, passages: Passages) -> None:
        """Index `messages`, with the model of `passages`."""
        self._messages = messages
        self._passages = passages
        self._opening = asyncio.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._ends: LRUCache[tuple[str, str], int] = LRUCache(_MAX_REMEMBERED)
        self._unmarked: dict[tuple[str, str], _Mark] = {}

    async def close(self) -> None:
        """Write the marks that are outdated. A failure costs the next process a part of a batch for each agent."""
        try:
            await self._write_marks()
        except ServiceError as error:
            _log.info("message_index_progress_save_failed", error=str(error))

    def collection(self, index: EmbeddingIndex) -> Collection:
        """Return the collection of the messages that a model has embedded."""
        embedder = index.embedder
        return message_index(embedder.model, embedder.dimension, full_text=index.collection.full_text)

    async def open(self) -> None:
        """Open the collection that a previous process built, if there is one."""
        collection = self.collection(self._passages.index)
        if await self._passages.store.has(collection):
            await self._prepare(collection)

    async def take_in(self, index: EmbeddingIndex, live: LiveAgent, count: int) -> Collection:
        """Index the messages below `count` that are not indexed yet. Hold the embedding index's `reading`."""
        collection = self.collection(index)
        async with self._lock(live):
            end = await self._end(collection, live) if not live.row.deleting else count
            while end < count and not live.row.deleting:
                await self._prepare(collection)
                following = min(end + _BATCH, count)
                forgotten = live.state.forgotten
                wanted = [sequence for sequence in range(end, following) if sequence not in forgotten]
                messages = await self._messages.read(live.id, wanted)
                rows = await self._rows(index, collection, messages)
                # To the end: the lock must not be released for a deletion while rows are being written.
                await run_to_end(self._write(index, collection, live, rows, following))
                end = following
        return collection

    async def forget(self, live: LiveAgent) -> None:
        """Delete the index rows of a deleted agent."""
        index = self._passages.index
        collection = self.collection(index)
        async with index.reading(), self._lock(live):
            if self._passages.store.is_open(collection):
                partition = partition_of(live.row.tenant, live.id)
                condition = Equals("owner", live.id)
                rows = await self._passages.store.query(collection, condition, Key, partitions=[partition])
                await self._passages.store.delete(collection, ids_of(rows), partition=partition, unread=True)
            self._ends.pop((collection.name, live.id), None)
            self._unmarked.pop((collection.name, live.id), None)

    async def drop(self, live: LiveAgent, sequences: Iterable[int]) -> None:
        """Delete the index rows of forgotten messages, after those that are being written."""
        index = self._passages.index
        collection = self.collection(index)
        async with index.reading(), self._lock(live):
            if self._passages.store.is_open(collection):
                ids = [index_id(live.id, sequence) for sequence in sequences]
                partition = partition_of(live.row.tenant, live.id)
                await self._passages.store.delete(collection, ids, partition=partition)

    async def drop_older(self, live: LiveAgent, before: int) -> None:
        """Delete the index rows of forgotten messages that were stored before a time."""
        index = self._passages.index
        collection = self.collection(index)
        async with index.reading(), self._lock(live):
            if self._passages.store.is_open(collection):
                partition = partition_of(live.row.tenant, live.id)
                condition = all_of(Equals("owner", live.id), Between("created", 1, before))  # the mark has the time 0
                rows = await self._passages.store.query(collection, condition, RowTime, partitions=[partition])
                ids = [row.id for row in rows if row.sequence in live.state.forgotten]
                for start in range(0, len(ids), _BATCH):
                    await self._passages.store.delete(collection, ids[start : start + _BATCH], partition=partition)

    async def sweep(self, live: LiveAgent) -> None:
        """Delete the index rows of forgotten messages that a failure or a crash left behind."""
        for first, end in live.state.forgotten.pieces:
            for start in range(first, end, _BATCH):
                await self.drop(live, range(start, min(start + _BATCH, end)))

    def _lock(self, live: LiveAgent) -> asyncio.Lock:
        return self._locks.setdefault(live.id, asyncio.Lock())

    async def _prepare(self, collection: Collection) -> None:
        async with self._opening:
            if not self._passages.store.is_open(collection):
                # It is new, or was dropped when the store moved to another model: it is still empty.
                for ends in (self._ends, self._unmarked):
                    for key in [key for key in ends if key[0] == collection.name]:
                        del ends[key]
                await self._passages.store.open([collection])

    async def _end(self, collection: Collection, live: LiveAgent) -> int:
        """Return the message at which the index of an agent ends."""
        if not self._passages.store.is_open(collection):
            return 0
        key = collection.name, live.id
        if key not in self._ends:
            id_ = _end_id(live.id)
            partition = partition_of(live.row.tenant, live.id)
            rows = await self._passages.store.get(collection, [id_], RowNumber, partitions=[partition])
            self._ends[key] = rows[id_].sequence if id_ in rows else 0
        return self._ends[key]

    async def _rows(
        self, index: EmbeddingIndex, collection: Collection, messages: list[Message]
    ) -> list[IndexedMessageRow]:
        texts = [spoken_text(message).strip() for message in messages]
        pieces = await asyncio.to_thread(_pieces, texts)  # long ones take seconds
        flat = [piece for of_one in pieces for piece in of_one]
        if not flat:
            return []
        vectors = await index.embedder.embed(flat)
        rows: list[IndexedMessageRow] = []
        place = 0
        for message, text, of_one in zip(messages, texts, pieces, strict=True):
            if not of_one:  # the message has no spoken text
                continue
            mean = unit_vectors(np.mean(vectors[place : place + len(of_one)], axis=0, keepdims=True))[0]
            place += len(of_one)
            rows.append(
                IndexedMessageRow(
                    id=index_id(message.agent_id, message.sequence),
                    owner=message.agent_id,
                    sequence=message.sequence,
                    created=message.created,
                    role=message.role.value,
                    embedding=mean,
                    words=indexed_words(text) if collection.full_text else "",
                )
            )
        return rows

    async def _write(
        self, index: EmbeddingIndex, collection: Collection, live: LiveAgent, rows: list[IndexedMessageRow], end: int
    ) -> None:
        partition = partition_of(live.row.tenant, live.id)
        if rows:
            await self._passages.store.upsert(collection, rows, partition=partition)
        key = collection.name, live.id
        former = self._unmarked.get(key)
        first = former.first if former is not None else self._ends.get(key, 0)
        self._ends[key] = end
        row = IndexedMessageRow(
            id=_end_id(live.id),
            owner=live.id,
            sequence=end,
            created=0,
            role="",  # a search is always for some role
            embedding=np.zeros(index.embedder.dimension, dtype=np.float32),
            words="",
        )
        self._unmarked[key] = _Mark(collection, partition, row, first)
        if end - first >= _BATCH:
            await self._write_marks(key)
        elif len(self._unmarked) > _MAX_UNMARKED:
            await self._write_marks()

    async def _write_marks(self, *keys: tuple[str, str]) -> None:
        """Write the outdated marks of some agents, or of all."""
        wanted = {key: self._unmarked[key] for key in keys or list(self._unmarked)}
        groups: dict[tuple[str, str], list[_Mark]] = {}
        for mark in wanted.values():
            groups.setdefault((mark.collection.name, mark.partition), []).append(mark)
        for (_, partition), marks in groups.items():
            collection = marks[0].collection
            if self._passages.store.is_open(collection):  # it was dropped if the store moved to another model
                await self._passages.store.upsert(collection, [mark.row for mark in marks], partition=partition)
        for key, mark in wanted.items():
            if self._unmarked.get(key) is mark:
                del self._unmarked[key]


def _pieces(texts: list[str]) -> list[list[str]]:
    return [[piece.text for piece in islice(chunk(text, _PIECE_TOKENS), _MAX_PIECES)] for text in texts]


def _end_id(agent_id: str) -> str:
    return f"{agent_id}-r"
