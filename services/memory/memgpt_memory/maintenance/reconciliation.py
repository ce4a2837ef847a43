"""Makes the rows of a repaired store agree with each other, after some of them were lost.

What an agent can do without is reset: a lost text is empty, a lost note counts as deleted, and a placeholder takes the
place of a lost message, outside the context window. A file that lost passages is dropped, so that it can be loaded
again. Nobody else may use the store in the meantime.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from memgpt_memory.agents import TEXT_FIELDS, AgentRow, Ranges, block_text_name, has_mark, link_record
from memgpt_memory.blocks import SharedBlock, SharedBlockRow
from memgpt_memory.clock import now
from memgpt_memory.messages import NewMessage, Role, message_id, message_rows
from memgpt_memory.passages import note_id
from memgpt_memory.records import Record, Records, TextRef, ids_of, name_key, text_ids, text_records
from memgpt_memory.sources import FileRow
from memgpt_memory.store import Store
from memgpt_memory.store.filters import Between, Equals, all_of
from memgpt_memory.store.layout import MESSAGES, RECORDS, Collection, partition_of
from memgpt_memory.store.rows import Key, MessageRow

LOST = "[This message was lost: the store was damaged.]"


class Reconciliation:
    """One pass over a store.

    Attributes:
        losses: What is lost.
    """

    def __init__(self, store: Store, passages: Sequence[Collection], losses: Sequence[str]) -> None:
        """Work on an open store.

        Args:
            store: The store.
            passages: Its collections of passages.
            losses: What was lost of its files.
        """
        self._store = store
        self._records = Records(store)
        self._passages = passages
        self.losses = list(losses)

    async def run(self) -> None:
        """Make every agent and every file agree with the rows that are there."""
        for record in await self._records.find("agent"):
            row = AgentRow.model_validate_json(record.body)
            if not row.deleting:
                await self._agent(record, row)
        for record in await self._records.find("shared_block"):
            block = SharedBlockRow.model_validate_json(record.body)
            if not block.deleting:
                await self._shared_block(record, block)
        for record in await self._records.find("source"):
            await self._name(record, "source", str(json.loads(record.body)["name"]))
        for record in await self._records.find("file"):
            await self._file(record, FileRow.model_validate_json(record.body))
        if self.losses:
            # Totals of sources are counted again when they are next read.
            await self._records.delete(ids_of(await self._records.find("summary")))

    async def _agent(self, record: Record, row: AgentRow) -> None:
        before = row.model_copy(deep=True)
        await self._texts(record, row)
        await self._messages(record, row)
        await self._notes(record, row)
        if row != before:
            await self._records.put(replace(record, body=row.model_dump_json(exclude_defaults=True)))
        await self._name(record, "agent", row.name)
        for shared in row.shared:
            link = link_record(shared.block_id, record.id, row.tenant, now())
            if await self._records.get(link.id) is None:
                await self._records.put(link)

    async def _texts(self, record: Record, row: AgentRow) -> None:
        texts = {text.stored_name: getattr(row, field) for field, text in TEXT_FIELDS.items()}
        texts |= {block_text_name(block.label): block.text for block in row.blocks}
        ids = {name: text_ids(record.id, name, reference) for name, reference in texts.items()}
        there = await self._store.get(RECORDS, [id_ for of_one in ids.values() for id_ in of_one], Key)
        lost = {name for name, of_one in ids.items() if not all(id_ in there for id_ in of_one)}
        for field, text in TEXT_FIELDS.items():
            if text.stored_name in lost:
                setattr(row, field, TextRef())
                self._lose(f"agent {record.id} ({row.name}): its {field}")
        for block in row.blocks:
            if block_text_name(block.label) in lost:
                block.text = TextRef()
                self._lose(f'agent {record.id} ({row.name}): the value of its block "{block.label}"')

    async def _messages(self, record: Record, row: AgentRow) -> None:
        condition = all_of(Equals("agent", record.id), Between("sequence", end=row.message_count))
        rows = {one.id: one for one in await self._store.query(MESSAGES, condition, MessageRow)}
        texts = await self._records.read_texts(record.id, {"forgotten": row.forgotten})
        forgotten = Ranges.parse(texts["forgotten"])
        numbers = (number for number in range(row.message_count) if number not in forgotten)
        lost = [number for number in numbers if not _is_whole(rows, message_id(record.id, number))]
        if not lost:
            return
        self._lose(f"agent {record.id} ({row.name}): {len(lost):,} of {row.message_count:,} messages")
        marks = [
            mark
            for number in lost
            for mark in message_rows(record.id, number, now(), "", 0, NewMessage(Role.USER, LOST))
        ]
        await self._store.upsert(MESSAGES, marks)
        if lost[-1] >= row.window_start:
            starts = (
                number for number in range(lost[-1] + 1, row.message_count) if _is_of_user(rows, record.id, number)
            )
            row.window_start = next(starts, row.message_count)

    async def _notes(self, record: Record, row: AgentRow) -> None:
        there: set[str] = set()
        for collection in self._passages:
            partitions = [partition_of(row.tenant, record.id)]
            found = await self._store.query(collection, Equals("owner", record.id), Key, partitions=partitions)
            there |= {one.id for one in found}
        texts = await self._records.read_texts(record.id, {"dead": row.dead_notes})
        dead = Ranges.parse(texts["dead"])
        lost = [n for n in range(row.next_note) if n not in dead and note_id(record.id, n) not in there]
        if not lost:
            return
        self._lose(f"agent {record.id} ({row.name}): {len(lost):,} of {row.next_note - len(dead):,} notes")
        dead = dead.add(lost)
        row.dead_notes, rows = text_records(row.tenant, record.id, "dead", row.next_text, dead.dump())
        row.dead_count, row.next_text = len(dead), row.next_text + 1
        await self._records.put(*rows)

    async def _shared_block(self, record: Record, row: SharedBlockRow) -> None:
        pending = row.pending
        committed = pending is not None and await has_mark(self._records, pending.agent_id, record.id, pending.mark)
        current = row.settled(committed=committed)
        texts = SharedBlock(record.id, current, "").text_ids
        if texts and len(await self._records.get_many(texts)) < len(texts):
            self._lose(f"shared block {record.id} ({row.name}): its value")
            empty = SharedBlock(record.id, current.model_copy(update={"text": TextRef()}), "")
            await self._records.put(empty.record())
        await self._name(record, "block", row.name)

    async def _name(self, record: Record, kind: str, name: str) -> None:
        key = name_key(record.tenant, kind, name)
        if await self._records.get(key) is None:
            body = json.dumps({"id": record.id})
            await self._records.put(Record(key, "name", record.tenant, record.id, now(), body))

    async def _file(self, record: Record, file: FileRow) -> None:
        if file.visible is None:
            return
        partitions = [partition_of(record.tenant, record.parent)]
        condition = all_of(Equals("owner", record.parent), Equals("version", file.visible.version))
        counts = [
            len(await self._store.query(collection, condition, Key, partitions=partitions))
            for collection in self._passages
        ]
        if max(counts, default=0) < file.visible.passages:
            self._lose(
                f'source {record.parent}: the file "{file.name}", of which {max(counts, default=0):,} of '
                f"{file.visible.passages:,} passages are left; load it again"
            )
            row = file.model_copy(update={"visible": None, "garbage": [*file.garbage, file.visible.version]})
            await self._records.put(
                Record(record.id, "file", record.tenant, record.parent, record.created, row.model_dump_json())
            )

    def _lose(self, what: str) -> None:
        self.losses.append(what)


def _is_whole(rows: dict[str, MessageRow], id_: str) -> bool:
    first = rows.get(id_)
    return first is not None and all(f"{id_}-{part}" in rows for part in range(1, json.loads(first.head)["parts"]))


def _is_of_user(rows: dict[str, MessageRow], agent_id: str, number: int) -> bool:
    row = rows.get(message_id(agent_id, number))
    return row is not None and json.loads(row.head)["role"] == Role.USER.value
