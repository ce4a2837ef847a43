"""Agents: their state, and the one way in which it changes.

A commit writes rows under numbers and versions that nobody reads yet, and then the agent's row, which makes all of
them count. Whatever lies beyond the row's counters does not exist, so a crash at any instant leaves the agent as it
was before or after.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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

from memgpt_memory.clock import Clock, now
from memgpt_memory.listing import list_page
from memgpt_memory.live import LiveAgent, block_text_name
from memgpt_memory.messages import Messages, message_rows, stored
from memgpt_memory.model import (
    DEFAULT_BLOCK_LIMIT,
    AgentRow,
    Block,
    BlockEdit,
    BlockRef,
    Insert,
    Link,
    Message,
    NewMessage,
    Page,
    Passage,
    Record,
    TextRef,
    ToolServer,
)
from memgpt_memory.names import Names
from memgpt_memory.passages import Passages, note_id, passage_of, texts_of
from memgpt_memory.ranges import Ranges
from memgpt_memory.records import Records, ids_of, text_ids
from memgpt_memory.requests import Requests
from memgpt_memory.rewinds import Rewinds
from memgpt_memory.tasks import all_to_end, run_to_end

_log = structlog.get_logger(__name__)

MAX_BLOCKS = 32
_MIN_CONTEXT_WINDOW = 1_024
_MAX_ROW_BYTES = 8 * 1024
_REMEMBERED_INSERTS = 8
"""Requests that stored notes and are known in the agent's own row: see `Insert`."""
_MAX_CACHED = 4_096


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


class Agents:
    """The agents of every tenant."""

    def __init__(
        self,
        records: Records,
        messages: Messages,
        passages: Passages,
        names: Names,
        requests: Requests,
        clock: Clock,
        lease_seconds: float,
    ) -> None:
        """Keeps agents in the given parts of one store; leases hold for `lease_seconds` unless renewed."""
        self.lease_seconds = lease_seconds
        self.messages = messages
        self.passages = passages
        self._records = records
        self._names = names
        self._requests = requests
        self._clock = clock
        self._cache: OrderedDict[str, LiveAgent] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LiveAgent | None]] = {}
        self._started = asyncio.get_running_loop().time()
        self._background: set[asyncio.Task[None]] = set()
        self.on_purge: list[Callable[[LiveAgent], Awaitable[None]]] = []
        self._importing: set[str] = set()

    async def create(
        self,
        tenant: str,
        agent_id: str,
        settings: AgentRow,
        *,
        system: str,
        blocks: Sequence[BlockEdit],
        messages: Sequence[NewMessage],
    ) -> LiveAgent:
        """Creates an agent, all or nothing. Repeated under the same id, it answers the agent that is there.

        Raises:
            AlreadyExists: Another agent has the name.
            InvalidArgument: A block's value is over its limit, or the time zone is unknown.
        """
        check_settings(settings)
        existing = await self._load(agent_id)
        if existing is not None and not existing.row.deleting:
            return existing
        async with self._names.claim(tenant, "agent", settings.name, agent_id, self._called(settings.name)):
            live = LiveAgent(agent_id, settings)
            async with live.lock:
                await self.commit(
                    live, Change(messages=messages, blocks=blocks, by_people=True, texts={"system": system})
                )
            return self._keep(live)

    async def get(self, tenant: str, agent_id: str) -> LiveAgent:
        """The agent.

        Raises:
            NotFound: There is none, or it is another tenant's.
        """
        live = await self._load(agent_id)
        if live is None or live.row.tenant != tenant:
            raise _not_found(agent_id)
        self.check_exists(live)
        return live

    @staticmethod
    def check_exists(live: LiveAgent) -> None:
        """Refuses an agent that has been deleted meanwhile. Look again once the lock is held: nothing may come after.

        Raises:
            NotFound: It has been.
        """
        if live.row.deleting:
            raise _not_found(live.id)

    async def find(self, tenant: str, name: str) -> LiveAgent:
        """The agent of a name.

        Raises:
            NotFound: There is none.
        """
        agent_id = await self._names.find(tenant, "agent", name)
        live = await self._load(agent_id) if agent_id else None
        if live is None or live.row.name != name or live.row.deleting:
            raise NotFound(
                Reason.AGENT_NOT_FOUND,
                f"There is no agent named {name!r}. List the agents to see their names.",
                metadata={"name": name},
            )
        return live

    async def page(self, tenant: str, size: int, after: str) -> Page[LiveAgent]:
        """A page of agents in order of creation, after the id `after`."""
        records = await self._records.find("agent", tenant=tenant)
        ids = [record.id for record in records if not json.loads(record.body).get("deleting")]
        page = list_page(ids, size, after)
        found = [await self._load(id_) for id_ in page.items]
        return Page([live for live in found if live is not None and not live.row.deleting], page.next_token, len(ids))

    async def update(self, tenant: str, agent_id: str, changes: dict[str, str | int], etag: str) -> LiveAgent:
        """Changes settings.

        Args:
            tenant: Whose it is.
            agent_id: The agent.
            changes: New values of `name`, `system`, `model`, `context_window`, `time_zone`.
            etag: What was read, or empty for no check.

        Raises:
            Aborted: The settings have changed since.
        """
        live = await self.get(tenant, agent_id)
        if "time_zone" in changes:
            check_time_zone(str(changes["time_zone"]))
        _check_context_window(int(changes.get("context_window", 0)))
        texts = {"system": str(changes["system"])} if "system" in changes else {}

        def edit(row: AgentRow, _: int) -> None:
            for name, value in changes.items():
                if name != "system":
                    setattr(row, name, value)
            row.settings_version += 1

        async def apply() -> None:
            async with live.lock:
                if etag and etag != settings_etag(live.row):
                    raise Aborted(
                        Reason.ETAG_MISMATCH, "The agent has changed since it was read: read it again, then repeat."
                    )
                await self.commit(live, Change(texts=texts, edit=edit))

        new_name = str(changes.get("name", live.row.name))
        if new_name == live.row.name:
            await apply()
        else:
            old_name = live.row.name
            async with self._names.claim(tenant, "agent", new_name, agent_id, self._called(new_name)):
                await apply()
            await self._names.release(tenant, "agent", old_name, agent_id)
        return live

    async def delete(self, tenant: str, agent_id: str) -> None:
        """Deletes an agent with all it owns: gone with the first write, what it owned follows, also after a crash.

        Raises:
            NotFound: There is none.
        """
        live = await self._load(agent_id)
        if live is None or live.row.tenant != tenant or not live.row.deleting:  # else it goes on where it failed
            live = await self.get(tenant, agent_id)

            def mark(row: AgentRow, _: int) -> None:
                row.deleting = True

            async with live.lock:
                await self.commit(live, Change(edit=mark))
        await run_to_end(self._purge(live))

    async def resume_deletions(self) -> None:
        """Finishes what a crash left of deletions."""
        for found in await self._records.find("agent"):
            if AgentRow.model_validate_json(found.body).deleting and found.id not in self._importing:
                record = await self._records.get(found.id)  # an import may have ended while others were deleted
                row = AgentRow.model_validate_json(record.body) if record is not None else None
                if row is not None and row.deleting and found.id not in self._importing:
                    await self._purge(LiveAgent(found.id, row))

    @asynccontextmanager
    async def importing(self, agent_id: str, settings: AgentRow) -> AsyncIterator[LiveAgent | None]:
        """Makes an agent in many writes, of which nobody sees anything before `complete`; without that, they go again.

        Yields:
            The agent that is there under this id already, for the caller to leave as it is; None if there is none.

        Raises:
            AlreadyExists: Another agent has the name.
        """
        existing = await self._load(agent_id)
        if existing is not None and not existing.row.deleting:
            yield existing
            return
        async with self._names.claim(settings.tenant, "agent", settings.name, agent_id, self._called(settings.name)):
            pass  # said before anything is sent; it is claimed again at the end
        row = settings.model_copy(update={"deleting": True, "importing": True})
        mark = Record(agent_id, "agent", row.tenant, "", row.created, row.model_dump_json())

        async def purge() -> None:
            await self._records.put(mark)  # the last write may have happened though it failed
            await self._purge(LiveAgent(agent_id, row))

        self._importing.add(agent_id)
        try:
            if existing is not None:
                await purge()
            await self._records.put(mark)
            yield None
        finally:
            self._importing.discard(agent_id)
            held = self._cache.get(agent_id)
            if held is None or held.row.deleting:
                await run_to_end(purge())

    async def complete(
        self, agent_id: str, settings: AgentRow, texts: dict[str, str], blocks: Sequence[BlockEdit]
    ) -> LiveAgent:
        """Ends an import: the agent is there.

        Args:
            agent_id: Its id.
            settings: Its row, with the counters of what has been written.
            texts: Its `system`, `summary` and `links`.
            blocks: Its core memory.

        Raises:
            AlreadyExists: Another agent has got the name meanwhile.
        """
        live = LiveAgent(agent_id, settings)
        async with self._names.claim(settings.tenant, "agent", settings.name, agent_id, self._called(settings.name)):
            async with live.lock:
                await self.commit(live, Change(blocks=blocks, by_people=True, texts=texts))
            return self._keep(live)

    async def sweep(self) -> None:
        """Deletes rows that no agent uses any more, and that a failure or a crash has left."""
        for record in await self._records.find("agent"):
            live = await self._load(record.id)
            if live is not None and not live.row.deleting:
                async with live.lock:
                    await self._sweep(live)

    async def _sweep(self, live: LiveAgent) -> None:
        await self.settle(live)
        row, used = live.row, _used_texts(live)
        texts = ids_of(await self._records.find("text", parent=live.id))
        await self._records.delete([id_ for id_ in texts if id_ not in used])
        notes = await self.passages.ids(row.tenant, live.id)
        numbers = {id_: _number(id_, live.id, "n") for id_ in notes}
        gone = [id_ for id_, number in numbers.items() if number >= row.next_note or number in live.dead_notes]
        await self.passages.delete(row.tenant, live.id, gone, unread=True)
        await self.messages.delete_from(live.id, row.message_count)

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

    async def insert_notes(
        self, live: LiveAgent, texts: Sequence[str], tags: Sequence[str], request_key: str = ""
    ) -> list[Passage]:
        """Stores notes; a long one as several passages. With a key of a request that did so already, answers those."""
        async with live.lock:
            await self.settle(live)
            done = next((one for one in live.row.inserts if request_key and one.key == request_key), None)
            if done is not None:
                ids = [note_id(live.id, number) for number in range(done.first, done.first + done.count)]
                rows = await self.passages.read(live.row.tenant, {live.id: ids})
                return [passage_of(rows[id_]) for id_ in ids if id_ in rows]

            first = live.row.next_note

            def remember(row: AgentRow, _: int) -> None:
                if request_key:
                    insert = Insert(key=request_key, first=first, count=row.next_note - first)
                    row.inserts = [*row.inserts, insert][-_REMEMBERED_INSERTS:]

            return (await self.commit(live, Change(notes=texts, tags=tags, edit=remember))).passages

    async def delete_notes(self, live: LiveAgent, ids: Iterable[str]) -> int:
        """Deletes notes; answers how many there were. Ids of anything else are passed over."""
        prefix = f"{live.id}-n"
        async with live.lock:
            await self.settle(live)
            numbers = {
                int(id_[len(prefix) :])
                for id_ in ids
                if id_.startswith(prefix) and id_[len(prefix) :].isdecimal() and len(id_) < len(prefix) + 16
            }
            there = {n for n in numbers if n < live.row.next_note and n not in live.dead_notes}
            if not there:
                return 0
            dead = live.dead_notes.add(there)

            def count(row: AgentRow, _: int) -> None:
                row.dead_count = len(dead)

            await self.commit(live, Change(texts={"dead_notes": dead.dump()}, edit=count))
        # Invisible already; their rows go now, or with the agent.
        gone = [note_id(live.id, number) for number in sorted(there)]
        await self._tidy(self.passages.delete(live.row.tenant, live.id, gone, unread=True))
        return len(there)

    async def set_links(self, live: LiveAgent, edit: Callable[[list[Link], int], list[Link] | None]) -> None:
        """Changes the attachments; `edit` gets the links and a stamp, and answers None to change nothing."""
        async with live.lock:
            await self.settle(live)
            with self._clock.write(live.id) as stamp:
                links = edit(list(live.links), stamp)
                if links is not None:
                    body = json.dumps([link.model_dump() for link in links]) if links else ""
                    await self.commit(live, Change(texts={"links": body}))

    async def set_tools(self, live: LiveAgent, edit: Callable[[list[ToolServer]], list[ToolServer] | None]) -> None:
        """Changes the functions that run elsewhere; `edit` answers None to change nothing."""
        async with live.lock:
            await self.settle(live)
            tools = edit(list(live.tools))
            if tools is not None:
                body = json.dumps([server.model_dump() for server in tools], ensure_ascii=False) if tools else ""
                await self.commit(live, Change(texts={"tools": body}))

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
        if len(body.encode()) > _MAX_ROW_BYTES:
            raise FailedPrecondition(
                Reason.WRONG_STATE,
                f"The agent's record would be larger than {_MAX_ROW_BYTES} bytes: delete some of its blocks.",
            )

        attempted = {
            "messages": [one["id"] for one in rows],
            "notes": [note_id(live.id, first_note + offset) for offset in range(len(pieces))],
            "texts": ids_of([record for record in written if record.kind == "text"]),
        }
        passages: list[Passage] = []
        # Only what archival memory holds has a place in the order of commits: after a mere step, rankings stay good.
        ordered = embedded is not None or not texts.keys().isdisjoint(("links", "dead_notes"))
        with self._clock.write(live.id) if ordered else nullcontext(0) as stamp:

            async def write_notes() -> None:
                if embedded is not None:
                    passages.extend(
                        await self.passages.write_notes(
                            row.tenant,
                            live.id,
                            first_note,
                            embedded,
                            tags=change.tags,
                            stamp=stamp,
                            created=time,
                        )
                    )

            try:
                await all_to_end(self.messages.write(rows), self._records.put(*written), write_notes())
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

    async def settle(self, live: LiveAgent) -> None:
        """After a failed write: finds out whether it happened, and clears away what it left behind.

        Hold `live.lock`, and call it before reading `live.row` to decide on a change.
        """
        if live.stale:
            fresh = await self._read(live.id)
            if fresh is None:
                if live.row.message_count:
                    raise _not_found(live.id)
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

    async def _load(self, agent_id: str) -> LiveAgent | None:
        live = self._cache.get(agent_id)
        if live is not None:
            self._cache.move_to_end(agent_id)
            if live.stale and not live.lock.locked():
                async with live.lock:
                    await self.settle(live)
            return live
        task = self._loading.get(agent_id)
        if task is None:
            task = self._loading[agent_id] = asyncio.create_task(self._read_into_cache(agent_id))
            task.add_done_callback(lambda _: self._loading.pop(agent_id, None))
        return await asyncio.shield(task)

    async def _read_into_cache(self, agent_id: str) -> LiveAgent | None:
        live = await self._read(agent_id)
        if agent_id in self._cache:  # it was made meanwhile
            return self._cache[agent_id]
        if live is None:
            return None
        # A lease that was held when this process started may still be: it gets its whole time.
        live.lease_ends = self._started + self.lease_seconds
        self._cache[agent_id] = live
        if len(self._cache) > _MAX_CACHED:
            for id_ in [id_ for id_, held in list(self._cache.items())[: _MAX_CACHED // 8] if held.idle]:
                if id_ != agent_id:
                    del self._cache[id_]
        return live

    def _keep(self, live: LiveAgent) -> LiveAgent:
        """Holds a new agent. One that was read and is used already stays: two would write over each other."""
        held = self._cache.get(live.id)
        if held is not None and not held.row.deleting:
            return held
        self._cache[live.id] = live
        return live

    async def _read(self, agent_id: str) -> LiveAgent | None:
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

    def _called(self, name: str) -> Callable[[str], Awaitable[bool]]:
        """Says of an id whether it is that of an agent of this name: a claim of an earlier name counts for nothing."""

        async def check(agent_id: str) -> bool:
            live = await self._load(agent_id)
            return live is not None and not live.row.deleting and live.row.name == name

        return check

    async def _purge(self, live: LiveAgent) -> None:
        """Deletes all rows of an agent that is marked as deleted: its own comes last, so a crash leaves it marked."""
        tenant = live.row.tenant
        if not live.row.importing:  # else the request may be sent again
            await self._requests.forget(tenant, live.id, Reason.AGENT_NOT_FOUND)
        await self.messages.delete_from(live.id)
        for forget in self.on_purge:
            await forget(live)
        await self.passages.delete_where(tenant, live.id)
        await self._names.release_all(tenant, live.id)
        await self._records.delete_children(live.id)
        await self._records.delete([live.id])
        self._cache.pop(live.id, None)
        live.notify()

    def _later(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._tidy(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tidy(self, work: object) -> None:
        """Clears away what nobody sees any more; a failure costs only space, until the owner is deleted."""
        try:
            await work  # type: ignore[misc]
        except ServiceError as error:
            _log.info("tidying_failed", error=str(error))


def _not_found(agent_id: str) -> NotFound:
    return NotFound(
        Reason.AGENT_NOT_FOUND,
        f"There is no agent {agent_id!r}. List the agents to see their ids.",
        metadata={"agent_id": agent_id},
    )


_TEXT_NAMES = {
    "system": "system",
    "summary": "summary",
    "links": "links",
    "tools": "tools",
    "dead_notes": "dead",
    "rewinds": "rewinds",
}


def settings_etag(row: AgentRow) -> str:
    """Changes with every write of the settings."""
    return f"s{row.settings_version}"


def check_settings(row: AgentRow) -> None:
    """Refuses what no agent may be."""
    check_time_zone(row.time_zone)
    _check_context_window(row.context_window)


def check_time_zone(name: str) -> None:
    """Refuses a name that is no IANA time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise invalid(
            "time_zone", f"{name!r} is no IANA time zone; give one such as 'Europe/Berlin' or 'UTC'."
        ) from error


def _check_context_window(tokens: int) -> None:
    if tokens and tokens < _MIN_CONTEXT_WINDOW:
        raise invalid(
            "context_window",
            f"context_window must be 0 (the service's own setting) or at least {_MIN_CONTEXT_WINDOW:,} tokens.",
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
