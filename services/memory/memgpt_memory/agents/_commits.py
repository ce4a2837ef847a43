"""The one way in which an agent's state changes.

A commit writes rows under numbers and versions that nobody reads yet, and then the agent's row, which makes all of
them count. Whatever lies beyond the row's counters does not exist, so a crash at any instant leaves the agent as it
was before or after.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import structlog
from memgpt_runtime.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ServiceError,
    Unavailable,
    invalid,
)

from memgpt_memory.agents._live import LiveAgent, block_text_name
from memgpt_memory.agents._ranges import Ranges
from memgpt_memory.agents._rewinds import Rewinds
from memgpt_memory.agents._rows import DEFAULT_BLOCK_LIMIT, AgentRow, Block, BlockEdit, BlockRef, Link, ToolServer
from memgpt_memory.clock import Clock, now
from memgpt_memory.messages import Message, Messages, NewMessage, message_rows, stored
from memgpt_memory.passages import Embedded, Passage, Passages, note_id, texts_of
from memgpt_memory.records import Record, Records, TextRef, ids_of, text_ids
from memgpt_memory.tasks import all_to_end, run_to_end

_log = structlog.get_logger(__name__)

MAX_BLOCKS = 32


@dataclass(slots=True)
class Change:
    """All that one commit changes.

    Attributes:
        messages: New messages.
        turn_id: The turn they came about in.
        step: The step of it.
        blocks: New values of blocks.
        by_people: Whether people edit the blocks: they may make new ones, and write those that are read-only.
        notes: Texts for archival memory.
        tags: Labels of the notes.
        texts: New `system`, `summary`, `links`, `tools`, `dead_notes` or `rewinds`.
        drop_block: Label of a block to delete.
        edit: Changes the row itself.
        more: Further rows to be written before the agent's.
    """

    messages: Sequence[NewMessage] = ()
    turn_id: str = ""
    step: int = 0
    blocks: Sequence[BlockEdit] = ()
    by_people: bool = False
    notes: Sequence[str] = ()
    tags: Sequence[str] = ()
    texts: dict[str, str] = field(default_factory=dict)
    drop_block: str = ""
    edit: Callable[[AgentRow, int], None] | None = None
    more: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has stored."""

    messages: list[Message]
    blocks: list[Block]
    passages: list[Passage]


class Commits:
    """Changes agents, and reads them as their last commit left them."""

    def __init__(self, records: Records, messages: Messages, passages: Passages, clock: Clock) -> None:
        """Writes into the given parts of one store."""
        self.messages = messages
        self.passages = passages
        self._records = records
        self._clock = clock
        self._background: set[asyncio.Task[None]] = set()

    async def commit(self, live: LiveAgent, change: Change) -> Committed:
        """Writes a change whole, or nothing of it that anybody can see. Hold `live.lock`.

        It runs to its end even when the caller goes away.

        Raises:
            Aborted: A block's etag does not match.
            InvalidArgument: Something is too long; nothing was written.
            Unavailable: The store failed; the change has happened whole or not at all.
        """
        if not live.lock.locked():
            raise RuntimeError("commit without the agent's lock")
        await self.settle(live)
        self.check_exists(live)
        return await run_to_end(self._commit(live, change))

    async def settle(self, live: LiveAgent) -> None:
        """After a failed write: finds out whether it happened, and clears away what it left behind.

        Hold `live.lock`, and call it before reading `live.row` to decide on a change.
        """
        if live.stale:
            fresh = await self.read(live.id)
            if fresh is None:
                if live.row.message_count:
                    raise no_agent(live.id)
            else:
                live.row, live.blocks, live.system, live.summary = fresh.row, fresh.blocks, fresh.system, fresh.summary
                live.links, live.tools = fresh.links, fresh.tools
                live.dead_notes, live.rewinds = fresh.dead_notes, fresh.rewinds
            live.stale = False
            live.notify()
        if live.uncertain:
            row = live.row
            messages = [id_ for id_ in live.uncertain["messages"] if _number(id_, live.id, "m") >= row.message_count]
            notes = [id_ for id_ in live.uncertain["notes"] if _number(id_, live.id, "n") >= row.next_note]
            used = _used_texts(live)
            texts = [id_ for id_ in live.uncertain["texts"] if id_ not in used]
            await self.messages.delete(messages)
            await self.passages.delete(row.tenant, live.id, notes)
            await self._records.delete(texts)
            left = (await self.passages.read(row.tenant, {live.id: notes})) if notes else {}
            if left or (texts and await self._records.get_many(texts)):
                raise Unavailable(
                    Reason.STORE_UNAVAILABLE, "Milvus has not yet undone a failed write; try again.", retry_after=2
                )
            live.uncertain = {}

    async def read(self, agent_id: str) -> LiveAgent | None:
        """The agent as its rows have it; None when there is none."""
        record = await self._records.get(agent_id)
        if record is None or record.kind != "agent":
            return None
        row = AgentRow.model_validate_json(record.body)
        references = {
            **{_TEXT_NAMES[name]: getattr(row, name) for name in _TEXT_NAMES},
            **{block_text_name(reference.label): reference.text for reference in row.blocks},
        }
        texts = await self._records.read_texts(agent_id, references)
        return LiveAgent(
            agent_id,
            row,
            blocks={reference.label: texts[block_text_name(reference.label)] for reference in row.blocks},
            system=texts["system"],
            summary=texts["summary"],
            links=_links(texts["links"]),
            tools=_tools(texts["tools"]),
            dead_notes=Ranges.parse(texts["dead"]),
            rewinds=Rewinds.parse(texts["rewinds"]),
        )

    async def sweep(self, live: LiveAgent) -> None:
        """Deletes rows that the agent does not use any more, and that a failure or a crash has left."""
        await self.settle(live)
        row, used = live.row, _used_texts(live)
        texts = ids_of(await self._records.find("text", parent=live.id))
        await self._records.delete([id_ for id_ in texts if id_ not in used])
        notes = await self.passages.ids(row.tenant, live.id)
        numbers = {id_: _number(id_, live.id, "n") for id_ in notes}
        gone = [id_ for id_, number in numbers.items() if number >= row.next_note or number in live.dead_notes]
        await self.passages.delete(row.tenant, live.id, gone, unread=True)
        await self.messages.delete_from(live.id, row.message_count)

    @staticmethod
    def check_exists(live: LiveAgent) -> None:
        """Refuses an agent that has been deleted meanwhile. Look again once the lock is held: nothing may come after.

        Raises:
            NotFound: It has been.
        """
        if live.row.deleting:
            raise no_agent(live.id)

    async def tidy(self, work: object) -> None:
        """Clears away what nobody sees any more; a failure costs only space, until the owner is deleted."""
        try:
            await work  # type: ignore[misc]
        except ServiceError as error:
            _log.info("tidying_failed", error=str(error))

    async def close(self) -> None:
        """Waits for work in the background."""
        if self._background:
            await asyncio.wait(self._background)

    async def _commit(self, live: LiveAgent, change: Change) -> Committed:
        row = live.row.copied()
        time = now()
        texts = dict(change.texts)
        superseded: list[str] = []
        written: list[Record] = list(change.more)
        version = row.next_text
        row.next_text += 1

        values = dict(live.blocks)
        touched = _edit_blocks(live, row, change, values, time)
        for reference in touched:
            name = block_text_name(reference.label)
            superseded += text_ids(live.id, name, reference.text)
            reference.text, records = self._records.text_records(
                row.tenant, live.id, name, version, values[reference.label]
            )
            reference.text = TextRef(version=version, parts=reference.text.parts)
            written += records
        if change.drop_block:
            dropped = [reference for reference in row.blocks if reference.label == change.drop_block]
            row.blocks = [reference for reference in row.blocks if reference.label != change.drop_block]
            superseded += [id_ for ref in dropped for id_ in text_ids(live.id, block_text_name(ref.label), ref.text)]
            values.pop(change.drop_block, None)
        for name, text in texts.items():
            superseded += text_ids(live.id, _TEXT_NAMES[name], getattr(row, name))
            written_text, records = self._records.text_records(row.tenant, live.id, _TEXT_NAMES[name], version, text)
            setattr(row, name, written_text)
            written += records

        first_message = row.message_count
        rows = [
            one
            for offset, new in enumerate(change.messages)
            for one in message_rows(live.id, first_message + offset, time, change.turn_id, change.step, new)
        ]
        row.message_count += len(change.messages)
        pieces = await texts_of(change.notes)
        if change.notes and not pieces:
            raise invalid("texts", "A note must hold more than white space.")
        embedded = await self.passages.embed(pieces) if pieces else None
        first_note = row.next_note
        row.next_note += len(pieces)
        row.updated = time
        if change.edit is not None:
            change.edit(row, time)
        body = row.model_dump_json(exclude_defaults=True)

        attempted = {
            "messages": ids_of(rows),
            "notes": [note_id(live.id, first_note + offset) for offset in range(len(pieces))],
            "texts": ids_of([record for record in written if record.kind == "text"]),
        }
        passages: list[Passage] = []
        # Only what archival memory holds has a place in the order of commits: after a mere step, rankings stay good.
        ordered = embedded is not None or not texts.keys().isdisjoint(("links", "dead_notes"))
        with self._clock.write(live.id) if ordered else nullcontext(0) as stamp:

            async def write_notes(embedded: Embedded) -> None:
                passages.extend(
                    await self.passages.write_notes(
                        row.tenant, live.id, first_note, embedded, tags=change.tags, stamp=stamp, created=time
                    )
                )

            writes: list[Coroutine[Any, Any, None]] = []
            if rows:
                writes.append(self.messages.write(rows))
            if written:
                writes.append(self._records.put(*written))
            if embedded is not None:
                writes.append(write_notes(embedded))
            try:
                await all_to_end(*writes)
            except BaseException:
                live.uncertain = attempted
                raise
            try:
                await self._records.put(Record(live.id, "agent", row.tenant, "", row.created, body))
            except BaseException:
                live.uncertain = attempted
                live.stale = True
                raise
            live.row = row
            if pieces:
                live.recent_notes.append((stamp, first_note))
            live.blocks = values
            live.system = texts.get("system", live.system)
            live.summary = texts.get("summary", live.summary)
            if "links" in texts:
                live.links = _links(texts["links"])
            if "tools" in texts:
                live.tools = _tools(texts["tools"])
            if "dead_notes" in texts:
                live.dead_notes = Ranges.parse(texts["dead_notes"])
            if "rewinds" in texts:
                live.rewinds = Rewinds.parse(texts["rewinds"])
        live.notify()
        if superseded:
            self._later(self._records.delete(superseded, unread=True))
        return Committed(
            [
                stored(live.id, first_message + offset, time, change.turn_id, change.step, new)
                for offset, new in enumerate(change.messages)
            ],
            [live.block(reference) for reference in touched],
            passages,
        )

    def _later(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self.tidy(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


_TEXT_NAMES = {
    "system": "system",
    "summary": "summary",
    "links": "links",
    "tools": "tools",
    "dead_notes": "dead",
    "rewinds": "rewinds",
}


def no_agent(agent_id: str) -> NotFound:
    """What is said of an agent that does not exist."""
    return NotFound(
        Reason.AGENT_NOT_FOUND,
        f"There is no agent {agent_id!r}. List the agents to see their ids.",
        metadata={"agent_id": agent_id},
    )


def _edit_blocks(live: LiveAgent, row: AgentRow, change: Change, values: dict[str, str], time: int) -> list[BlockRef]:
    """Applies block edits to the row's references and to `values`; answers the touched references."""
    touched: list[BlockRef] = []
    by_label = {reference.label: reference for reference in row.blocks}
    for edit in change.blocks:
        reference = by_label.get(edit.label)
        if reference is None:
            if not change.by_people:
                raise NotFound(
                    Reason.BLOCK_NOT_FOUND,
                    f"The agent has no block {edit.label!r}; it has {', '.join(by_label) or 'none'}.",
                    metadata={"label": edit.label},
                )
            if edit.etag:
                raise Aborted(
                    Reason.ETAG_MISMATCH,
                    f"There is no block {edit.label!r} any more: leave the etag out to make it anew.",
                    metadata={"label": edit.label},
                )
            if len(by_label) >= MAX_BLOCKS:
                raise FailedPrecondition(
                    Reason.WRONG_STATE, f"An agent has at most {MAX_BLOCKS} blocks: delete one first."
                )
            reference = BlockRef(
                label=edit.label, text=TextRef(), limit=edit.limit or DEFAULT_BLOCK_LIMIT, updated=time
            )
            row.blocks.append(reference)
            by_label[edit.label] = reference
        elif edit.etag and edit.etag != live.block(reference).etag:
            raise Aborted(
                Reason.ETAG_MISMATCH,
                f"Block {edit.label!r} has changed since it was read: read it again, then repeat.",
                metadata={"label": edit.label},
            )
        if reference.read_only and not change.by_people:
            raise FailedPrecondition(
                Reason.WRONG_STATE, f"Block {edit.label!r} is read-only: only people can change it, by SetBlock."
            )
        limit = edit.limit or reference.limit
        value = values.get(edit.label, "") if edit.value is None else edit.value
        if len(value) > limit:
            raise InvalidArgument(
                Reason.BLOCK_LIMIT_EXCEEDED,
                f"Block {edit.label!r} may have {limit} characters, and this value has {len(value)}: shorten "
                "it, or raise "
                "the limit.",
                field="blocks.value",
                metadata={"label": edit.label, "limit": limit, "length": len(value)},
            )
        reference.limit = limit
        reference.updated = time
        if edit.read_only is not None:
            reference.read_only = edit.read_only
        values[edit.label] = value
        if reference not in touched:
            touched.append(reference)
    return touched


def _used_texts(live: LiveAgent) -> set[str]:
    """Keys of all texts that the agent's row points to."""
    row = live.row
    return {id_ for name in _TEXT_NAMES for id_ in text_ids(live.id, _TEXT_NAMES[name], getattr(row, name))} | {
        id_ for ref in row.blocks for id_ in text_ids(live.id, block_text_name(ref.label), ref.text)
    }


def _links(text: str) -> list[Link]:
    return [Link.model_validate(link) for link in json.loads(text)] if text else []


def _tools(text: str) -> list[ToolServer]:
    return [ToolServer.model_validate(server) for server in json.loads(text)] if text else []


def _number(id_: str, owner: str, kind: str) -> int:
    return int(id_.removeprefix(f"{owner}-{kind}").split("-")[0])
