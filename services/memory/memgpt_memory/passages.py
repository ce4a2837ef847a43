"""Passages as rows of archival memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from memgpt_memory.embedding import Vectors
from memgpt_memory.model import Citation, Passage
from memgpt_memory.store import filters
from memgpt_memory.store.layout import WORDS, Collection, partition_of
from memgpt_memory.store.milvus import Milvus
from memgpt_memory.words import words_of

PASSAGE_FIELDS = ["owner", "version", "sequence", "stamp", "created", "head", "text"]


def note_id(agent_id: str, sequence: int) -> str:
    """Key of an agent's own note."""
    return f"{agent_id}-n{sequence}"


def document_passage_id(version: str, index: int) -> str:
    """Key of a document's passage; `version` is that of its file."""
    return f"{version}-{index}"


class Passages:
    """Writes, reads and deletes passages of one owner at a time: an agent or a source."""

    def __init__(self, store: Milvus, collection: Collection) -> None:
        """Keeps rows in `collection` of `store`."""
        self.store = store
        self.collection = collection

    async def write_notes(
        self,
        tenant: str,
        agent_id: str,
        first: int,
        texts: Sequence[str],
        vectors: Vectors,
        *,
        tags: Sequence[str],
        stamp: int,
        created: int,
    ) -> list[Passage]:
        """Writes notes under consecutive numbers from `first` on."""
        head = json.dumps({"tags": list(tags)}, ensure_ascii=False) if tags else ""
        rows: list[dict[str, Any]] = [
            {
                "id": note_id(agent_id, first + offset),
                "owner": agent_id,
                "version": "",
                "sequence": first + offset,
                "stamp": stamp,
                "created": created,
                "head": head,
                "text": text,
                "embedding": vector.tolist(),
            }
            for offset, (text, vector) in enumerate(zip(texts, vectors, strict=True))
        ]
        await self.write_rows(tenant, agent_id, rows)
        return [passage_of(row) for row in rows]

    async def write_rows(self, tenant: str, owner: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes rows of one owner."""
        if self.collection.full_text:
            rows = [{**row, WORDS: " ".join(words_of(row["text"]))} for row in rows]
        await self.store.upsert(self.collection, rows, partition=partition_of(tenant, owner))

    async def read(self, tenant: str, ids_by_owner: Mapping[str, Sequence[str]]) -> dict[str, Mapping[str, Any]]:
        """Reads rows by key, each expected in its owner's partition; absent ones are absent from the answer."""
        ids = [id_ for ids in ids_by_owner.values() for id_ in ids]
        if not ids:
            return {}
        partitions = sorted({partition_of(tenant, owner) for owner in ids_by_owner})
        return await self.store.get(self.collection, ids, PASSAGE_FIELDS, partitions=partitions)

    async def delete(self, tenant: str, owner: str, ids: Sequence[str], *, unread: bool = False) -> None:
        """Deletes passages by key. See `Milvus.delete`."""
        await self.store.delete(self.collection, ids, partition=partition_of(tenant, owner), unread=unread)

    async def delete_where(self, tenant: str, owner: str, condition: str = "") -> None:
        """Deletes passages of an owner for which a condition holds, or all of them; nobody sees them any more."""
        partition = partition_of(tenant, owner)
        rows = await self.store.query(
            self.collection, filters.all_of(filters.equals("owner", owner), condition), [], partitions=[partition]
        )
        await self.store.delete(self.collection, [row["id"] for row in rows], partition=partition, unread=True)


def document_row(
    source_id: str,
    source_name: str,
    file_name: str,
    version: str,
    index: int,
    text: str,
    place: tuple[int, int, int],
    vector: Sequence[float],
    *,
    stamp: int,
    created: int,
) -> dict[str, Any]:
    """The row of a document's passage; `place` is page, start and end."""
    return {
        "id": document_passage_id(version, index),
        "owner": source_id,
        "version": version,
        "sequence": index,
        "stamp": stamp,
        "created": created,
        "head": json.dumps({"cite": [source_name, file_name, *place]}, ensure_ascii=False),
        "text": text,
        "embedding": list(vector),
    }


def passage_of(row: Mapping[str, Any], created: int | None = None) -> Passage:
    """A row as a passage; `created` overrides the row's own time."""
    head = json.loads(row["head"]) if row["head"] else {}
    cite = head.get("cite")
    return Passage(
        id=row["id"],
        text=row["text"],
        created=row["created"] if created is None else created,
        agent_id="" if cite else row["owner"],
        citation=Citation(row["owner"], *cite) if cite else None,
        tags=tuple(head.get("tags", ())),
    )
