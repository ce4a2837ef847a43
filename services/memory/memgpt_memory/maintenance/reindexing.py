"""New words for stored rows after the tokenizer has changed, in place and at start.

Rows are written again with the words of this version and the vectors that they have, before anything else reads or
writes them. The store's identity names the version once all rows have its words; after a crash it starts again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import TypeVar

import structlog
from memgpt_runtime import reasons

from memgpt_memory.messages import Messages, spoken_text
from memgpt_memory.passages import indexed_words
from memgpt_memory.store import Store
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import PARTITIONS, Collection, partition_name
from memgpt_memory.store.rows import IndexedMessageRow, IndexedPassageRow, Key, MessageIndexRow, PassageRow

_log = structlog.get_logger(__name__)
_R = TypeVar("_R", PassageRow, MessageIndexRow)

_BATCH = 500


async def reindex(store: Store, passages: Collection, message_index: Collection, lost: asyncio.Event) -> None:
    """Write the rows of an embedding model again with new words; `MESSAGES` must be open.

    Args:
        store: The store.
        passages: Collection of passages.
        message_index: Collection of indexed messages.
        lost: Set when another process has taken the store.

    Raises:
        Unavailable: Another process has taken the store.
    """
    existing = [each for each in (passages, message_index) if store.is_open(each) or await store.has(each)]
    await store.open(existing)
    if passages in existing:
        await _reindex(store, passages, PassageRow, IndexedPassageRow, _words_of_passages, lost)
    if message_index in existing:
        words = partial(_words_of_messages, Messages(store))
        await _reindex(store, message_index, MessageIndexRow, IndexedMessageRow, words, lost)


async def _words_of_passages(rows: Sequence[PassageRow]) -> list[str]:
    return await asyncio.to_thread(lambda: [indexed_words(row.text) for row in rows])


async def _words_of_messages(messages: Messages, rows: Sequence[MessageIndexRow]) -> list[str]:
    wanted: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.role:
            wanted[row.owner].append(row.sequence)
    texts = {
        (agent, message.sequence): spoken_text(message).strip()
        for agent, sequences in wanted.items()
        for message in await messages.read(agent, sorted(sequences))
    }
    found = [texts.get((row.owner, row.sequence), "") if row.role else "" for row in rows]
    return await asyncio.to_thread(lambda: [indexed_words(text) for text in found])


async def _reindex(
    store: Store,
    collection: Collection,
    kept: type[_R],
    full: type[IndexedPassageRow] | type[IndexedMessageRow],
    words: Callable[[Sequence[_R]], Awaitable[list[str]]],
    lost: asyncio.Event,
) -> None:
    total = await store.count(collection)
    if not total:
        return
    _log.warning("reindexing_started", collection=collection.name, rows=total)
    names = [field.name for field in fields(kept)]
    for partition in map(partition_name, range(PARTITIONS)):
        keys = [row.id for row in await store.query(collection, EVERY_ROW, Key, partitions=[partition], strong=True)]
        for start in range(0, len(keys), _BATCH):
            ids = keys[start : start + _BATCH]
            vectors = await store.vectors(collection, ids, partition=partition)
            found = await store.get(collection, ids, kept, partitions=[partition])
            rows = [row for id_, row in found.items() if id_ in vectors]
            fresh = [
                full(**{name: getattr(row, name) for name in names}, embedding=vectors[row.id], words=text)
                for row, text in zip(rows, await words(rows), strict=True)
            ]
            if lost.is_set():
                raise reasons.store_unavailable("another Memory process has taken over this store")
            await store.upsert(collection, fresh, partition=partition)
    _log.info("reindexing_finished", collection=collection.name, rows=total)
