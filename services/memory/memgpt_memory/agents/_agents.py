"""The agents of every tenant: create, find, list, change, delete and import them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.context import principal
from memgpt_runtime.errors import AlreadyExists, Reason, ServiceError

from memgpt_memory.agents._commands import (
    CountBytes,
    CreateAgent,
    DeleteAgent,
    DeleteNotes,
    InsertNotes,
    SetBlock,
    UpdateSettings,
)
from memgpt_memory.agents._errors import unknown_agent, unknown_agent_name
from memgpt_memory.agents._heartbeats import HEARTBEAT
from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._repository import AgentRepository, check_exists
from memgpt_memory.agents._rows import AgentRow, Block
from memgpt_memory.agents._shared_links import shared_as
from memgpt_memory.agents._state import AgentState
from memgpt_memory.blocks import BlockEdit, unknown_block
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.messages import Message, text_size
from memgpt_memory.passages import Passage, note_id, passage_of
from memgpt_memory.quotas import Amounts, Quotas
from memgpt_memory.records import IdempotencyStore, Journal, Names, Record, Records
from memgpt_memory.restrictions import check_may_create, permitted_ids
from memgpt_memory.tasks import run_to_end

_MIN_CONTEXT_WINDOW = 1_024
_MAX_CACHED = 4_096
_READ = 64
"""Rows of agents that are read at a time to add up what they use."""

_COUNTED = 256
"""Messages or notes that are read at a time to count their bytes."""

_log = structlog.get_logger(__name__)
_TEXTS = ("system", "description")
"""Settings that are stored as texts of their own."""


class Agents:
    """The agents of every tenant."""

    def __init__(
        self,
        repository: AgentRepository,
        records: Records,
        names: Names,
        requests: IdempotencyStore,
        journal: Journal,
        quotas: Quotas,
        lease_seconds: float,
    ) -> None:
        """Keep agents in the given parts of one store; leases hold for `lease_seconds` unless renewed."""
        self.lease_seconds = lease_seconds
        self.repository = repository
        self.messages = repository.messages
        self.passages = repository.passages
        self._records = records
        self._names = names
        self._requests = requests
        self._journal = journal
        self._quotas = quotas
        # Not a cache of cachetools, since an agent with waiters must stay, however long ago it was used.
        self._cache: OrderedDict[str, LiveAgent] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LiveAgent | None]] = {}
        self._started = asyncio.get_running_loop().time()
        self.on_purge: list[Callable[[LiveAgent], Awaitable[None]]] = []
        self._importing: set[str] = set()
        self._counting: set[asyncio.Task[None]] = set()

    async def create(
        self,
        tenant: str,
        agent_id: str,
        settings: AgentRow,
        content: CreateAgent,
        *,
        fallback_names: Sequence[str] = (),
    ) -> LiveAgent:
        """Create an agent, all or nothing. If an agent with this id exists, return that one.

        Args:
            tenant: The tenant that owns it.
            agent_id: Its id.
            settings: Its row.
            content: Its texts, blocks and first messages.
            fallback_names: Alternatives if its name is taken; the first free one is used.

        Raises:
            AlreadyExists: The name and every fallback name are taken.
            InvalidArgument: A block's value is over its limit, or the time zone is unknown.
            ResourceExhausted: The tenant has as many agents as it may have.
        """
        check_may_create("agents", principal().agents)
        check_settings(settings)
        existing = await self._load(agent_id)
        if existing is not None and not existing.row.deleting:
            return existing
        try:
            async with (
                self._quotas.reserve(tenant, agents=1),
                self._names.claim(tenant, "agent", settings.name, agent_id, self._called(settings.name)),
            ):
                live = LiveAgent(AgentState(agent_id, settings))
                await self.repository.execute(live, content)
                return self._keep(live)
        except AlreadyExists:
            if not fallback_names:
                raise
        renamed, rest = settings.model_copy(update={"name": fallback_names[0]}), fallback_names[1:]
        return await self.create(tenant, agent_id, renamed, content, fallback_names=rest)

    async def get(self, tenant: str, agent_id: str) -> LiveAgent:
        """Return an agent.

        Raises:
            NotFound: There is no such agent, or it belongs to another tenant.
        """
        live = await self._load(agent_id)
        if live is None or live.row.tenant != tenant or not principal().may_use_agent(agent_id):
            raise unknown_agent(agent_id)
        check_exists(live)
        return live

    async def get_by_name(self, tenant: str, name: str) -> LiveAgent:
        """Return the agent with a name.

        Raises:
            NotFound: There is no such agent.
        """
        agent_id = await self._names.find(tenant, "agent", name)
        live = await self._load(agent_id) if agent_id else None
        if live is None or live.row.name != name or live.row.deleting or not principal().may_use_agent(agent_id):
            raise unknown_agent_name(name)
        return live

    async def list(
        self, tenant: str, size: int, after: str, *, tags: Sequence[str] = (), origin: str = "", user_id: str = ""
    ) -> Page[LiveAgent]:
        """Return a page of agents in order of creation, after the id `after`.

        Args:
            tenant: The tenant that owns them.
            size: Number of agents per page.
            after: Id of the last agent of the page before; empty for the first page.
            tags: Only agents with all of these tags.
            origin: Only agents with this origin; empty for all.
            user_id: Only agents of this user; empty for all.
        """
        unfinished = await self._load_many(self._journal.of("agent"))
        hidden = {id_ for id_, live in unfinished.items() if live is None or live.row.deleting}
        ids = permitted_ids(
            await self._matching(tenant, set(tags), origin, user_id)
            if tags or origin or user_id
            else await self._records.ids("agent", tenant),
            principal().agents,
        )
        page = list_page([id_ for id_ in ids if id_ not in hidden] if hidden else ids, size, after)
        found = (await self._load_many(page.items)).values()
        agents = [live for live in found if live is not None and not live.row.deleting]
        return Page(agents, page.next_token, page.total)

    async def _matching(self, tenant: str, tags: set[str], origin: str, user_id: str) -> Sequence[str]:
        """Return the ids of agents with all of the tags, the origin and the user, in order."""
        rows = await self._records.find("agent", tenant=tenant)
        found = ((record.id, AgentRow.model_validate_json(record.body)) for record in rows)
        return sorted(
            id_
            for id_, row in found
            if tags <= set(row.tags)
            and row.origin == (origin or row.origin)
            and row.user_id == (user_id or row.user_id)
        )

    async def with_heartbeats(self, tenant: str | None, size: int, after: str) -> Page[LiveAgent]:
        """Return a page of the agents that have timed heartbeats, in order of creation, after the id `after`.

        Args:
            tenant: The tenant that owns them; None for those of all tenants.
            size: Most agents.
            after: The last id of the page before; empty for the first page.
        """
        rows = await self._records.find(HEARTBEAT, tenant=tenant)
        page = list_page(permitted_ids(sorted(row.parent for row in rows), principal().agents), size, after)
        found = [await self._load(id_) for id_ in page.items]
        return Page(
            [live for live in found if live is not None and not live.row.deleting and live.state.heartbeats],
            page.next_token,
        )

    async def update(
        self, tenant: str, agent_id: str, changes: dict[str, str | int | Sequence[str]], etag: str
    ) -> LiveAgent:
        """Change settings.

        Args:
            tenant: The tenant that owns it.
            agent_id: The agent.
            changes: New values of `name`, `system`, `model`, `context_window`, `time_zone`, `description`, `tags`,
                `user_id`.
            etag: The etag that was read; empty to skip the check.

        Raises:
            Aborted: The settings have changed since.
        """
        live = await self.get(tenant, agent_id)
        if "time_zone" in changes:
            check_time_zone(str(changes["time_zone"]))
        _check_context_window(cast("int", changes.get("context_window", 0)))
        texts = {name: str(changes.pop(name)) for name in _TEXTS if name in changes}
        command = UpdateSettings(changes, texts, etag)
        new_name = str(changes.get("name", live.row.name))
        if new_name == live.row.name:
            await self.repository.execute(live, command)
        else:
            old_name = live.row.name
            async with self._names.claim(tenant, "agent", new_name, agent_id, self._called(new_name)):
                await self.repository.execute(live, command)
            await self._names.release(tenant, "agent", old_name, agent_id)
        return live

    async def delete(self, tenant: str, agent_id: str) -> None:
        """Delete an agent with everything it owns. The first write hides it; the rest is deleted even after a crash.

        Raises:
            NotFound: There is no such agent.
        """
        live = await self._load(agent_id)
        if live is None or live.row.tenant != tenant or not live.row.deleting:  # otherwise resume the deletion
            live = await self.get(tenant, agent_id)
            await self._quotas.keep_tokens(tenant, live.row.token_day, live.row.tokens_today)
            async with self._journal.beginning("agent", agent_id) as journal:
                await self.repository.execute(live, DeleteAgent(journal))
        await run_to_end(self._purge(live))

    async def deleting(self, tenant: str, user_id: str) -> Sequence[LiveAgent]:
        """Return the agents of a user whose deletion has begun but not ended."""
        unfinished = (await self._load_many(self._journal.of("agent"))).values()
        found = [live for live in unfinished if live is not None and live.row.deleting]
        return [live for live in found if (live.row.tenant, live.row.user_id) == (tenant, user_id)]

    async def resume_deletions(self) -> None:
        """Finish deletions that failed or that a crash interrupted, and remove the remains of failed imports."""
        for agent_id in self._journal.of("agent"):
            if agent_id not in self._importing:
                record = await self._records.get(agent_id)
                row = AgentRow.model_validate_json(record.body) if record is not None else None
                if row is None or not row.deleting:
                    await self._journal.end(agent_id)
                elif agent_id not in self._importing:
                    await self._purge(LiveAgent(AgentState(agent_id, row)))

    async def find_unfinished(self) -> None:
        """Find deletions and imports in progress in a store that predates the journal."""
        for record in await self._records.find("agent"):
            if AgentRow.model_validate_json(record.body).deleting:
                self._journal.pending[record.id] = "agent"

    @asynccontextmanager
    async def importing(self, agent_id: str, settings: AgentRow) -> AsyncIterator[LiveAgent | None]:
        """Create an agent in many writes. Nothing is visible before `complete`; without it, the writes are undone.

        Yields:
            The agent that already has this id, which the caller must not change; None if there is none.

        Raises:
            AlreadyExists: Another agent has the name.
            PermissionDenied: The caller's key is restricted to some agents.
        """
        check_may_create("agents", principal().agents)
        existing = await self._load(agent_id)
        if existing is not None and not existing.row.deleting:
            yield existing
            return
        async with self._names.claim(settings.tenant, "agent", settings.name, agent_id, self._called(settings.name)):
            pass  # fail before anything is sent; the name is claimed again at the end
        row = settings.model_copy(update={"deleting": True, "importing": True})
        mark = Record(agent_id, "agent", row.tenant, "", row.created, row.model_dump_json())

        async def purge() -> None:
            await self._records.put(mark)  # the last write may have taken effect although it failed
            await self._purge(LiveAgent(AgentState(agent_id, row)))

        self._importing.add(agent_id)
        try:
            if existing is not None:
                await purge()
            async with self._journal.beginning("agent", agent_id) as journal:
                await self._records.put(journal, mark)
            yield None
        finally:
            self._importing.discard(agent_id)
            held = self._cache.get(agent_id)
            if held is None or held.row.deleting:
                await run_to_end(purge())
            else:
                await self._journal.end(agent_id)

    async def complete(self, agent_id: str, settings: AgentRow, content: CreateAgent) -> LiveAgent:
        """Complete an import, which makes the agent visible.

        Args:
            agent_id: Its id.
            settings: Its row, with the counters of what has been written.
            content: Its texts and blocks.

        Raises:
            AlreadyExists: Another agent has taken the name in the meantime.
        """
        live = LiveAgent(AgentState(agent_id, settings))
        async with self._names.claim(settings.tenant, "agent", settings.name, agent_id, self._called(settings.name)):
            await self.repository.execute(live, content)
            return self._keep(live)

    async def sweep(self) -> None:
        """Delete unused rows that a failure or a crash left behind."""
        for record in await self._records.find("agent"):  # of every tenant
            live = await self._load(record.id)
            if live is not None and not live.row.deleting:
                async with live.lock:
                    await self.repository.sweep(live)

    async def set_block(self, live: LiveAgent, edit: BlockEdit) -> Block:
        """Write a block on behalf of a person. A new label creates a block; a shared one changes for all its agents.

        Raises:
            Aborted: The block's etag does not match.
            FailedPrecondition: The agent has too many blocks.
            InvalidArgument: The value is over the block's limit.
        """
        shared = self.repository.shared
        async with live.lock:
            await self.repository.settle(live)
            attached = next((one for one in live.row.shared if one.label == edit.label), None)
            if attached is not None and await shared.find_many([attached.block_id]):
                check_exists(live)
                return shared_as(edit.label, await shared.update(live.row.tenant, attached.block_id, edit))
            return (await self.repository.commit(live, SetBlock(edit))).blocks[0]

    async def blocks(self, state: AgentState) -> Sequence[Block]:
        """Return the agent's blocks: its own in order of creation, then the shared ones in order of attachment."""
        own = state.all_blocks()
        if not state.row.shared:
            return own
        found = await self.repository.shared.find_many(one.block_id for one in state.row.shared)
        return [*own, *(shared_as(one.label, found[one.block_id]) for one in state.row.shared if one.block_id in found)]

    async def block(self, state: AgentState, label: str) -> Block:
        """Return the block of a label.

        Raises:
            NotFound: The agent has none.
        """
        block = next((block for block in await self.blocks(state) if block.label == label), None)
        if block is None:
            raise unknown_block(label)
        return block

    async def find_many(self, ids: Sequence[str]) -> Sequence[LiveAgent]:
        """Return the agents that exist, in the order of `ids`."""
        found = await self._load_many(ids)
        return [live for id_ in ids if (live := found[id_]) is not None and not live.row.deleting]

    async def insert_notes(self, live: LiveAgent, command: InsertNotes) -> Sequence[Passage]:
        """Store notes. A repeated request returns the notes that it stored before."""
        async with live.lock:
            await self.repository.settle(live)
            key = command.request_key
            done = next((insert for insert in live.row.inserts if key and insert.key == key), None)
            if done is None:
                return (await self.repository.commit(live, command)).passages
            ids = [note_id(live.id, number) for number in range(done.first, done.first + done.count)]
            rows = await self.passages.read(live.row.tenant, {live.id: ids})
            return [passage_of(rows[id_]) for id_ in ids if id_ in rows]

    async def delete_notes(self, live: LiveAgent, ids: Iterable[str]) -> int:
        """Delete notes and return how many existed. Ids of anything else are ignored."""
        numbers = {number for id_ in ids if (number := _note_number(live.id, id_)) is not None}
        async with live.lock:
            await self.repository.settle(live)
            before = live.state.dead_notes
            freed = await self._size_of_notes(live, [n for n in numbers if n not in before])
            await self.repository.commit(live, DeleteNotes(numbers, freed))
            deleted = [n for n in sorted(numbers) if n in live.state.dead_notes and n not in before]
        if deleted:  # already invisible; their rows are deleted now or with the agent
            gone = [note_id(live.id, number) for number in deleted]
            await self.repository.tidy(self.passages.delete(live.row.tenant, live.id, gone, unread=True))
        return len(deleted)

    async def amounts(self, tenant: str) -> Sequence[tuple[str, Amounts]]:
        """Return what every agent of a tenant uses, by its id; the bytes of an older version's are counted later."""
        ids = await self._records.ids("agent", tenant)
        found: list[tuple[str, Amounts]] = []
        uncounted: list[str] = []
        for start in range(0, len(ids), _READ):  # so few that calls in the meantime do not wait
            for id_, record in (await self._records.get_many(ids[start : start + _READ])).items():
                row = AgentRow.model_validate_json(record.body)
                if not row.deleting:
                    found.append((id_, row.amounts))
                    if row.text_bytes is None:
                        uncounted.append(id_)
        self._count_bytes(uncounted)
        return found

    def _count_bytes(self, ids: Sequence[str]) -> None:
        """Count the bytes of agents of an older version, in the background."""
        if ids:
            task = asyncio.create_task(self._count_all(ids))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)

    async def close(self) -> None:
        """Stop background work of this class."""
        for task in self._counting:
            task.cancel()
        await asyncio.gather(*self._counting, return_exceptions=True)

    async def _count_all(self, ids: Sequence[str]) -> None:
        for agent_id in ids:
            try:
                await self._count_bytes_of(agent_id)
            except ServiceError as error:  # counted again by the next process
                _log.info("agent_not_counted", agent_id=agent_id, error=str(error))

    async def _count_bytes_of(self, agent_id: str) -> None:
        live = await self._load(agent_id)
        if live is None:
            return
        async with live.lock:
            await self.repository.settle(live)
            row, size = live.row, 0
            if row.deleting or row.text_bytes is not None:
                return
            for start in range(0, row.message_count, _COUNTED):
                numbers = range(start, min(start + _COUNTED, row.message_count))
                found = await self.messages.read(live.id, numbers)
                size += sum(text_size(message.text, message.function_call) for message in found)
            for start in range(0, row.next_note, _COUNTED):
                numbers = range(start, min(start + _COUNTED, row.next_note))
                size += await self._size_of_notes(live, [n for n in numbers if n not in live.state.dead_notes])
            await self.repository.commit(live, CountBytes(size))

    async def _size_of_notes(self, live: LiveAgent, numbers: Sequence[int]) -> int:
        ids = [note_id(live.id, number) for number in numbers if number < live.row.next_note]
        rows = await self.passages.read(live.row.tenant, {live.id: ids})
        return sum(len(row.text.encode()) for row in rows.values())

    async def note_texts(self, live: LiveAgent, ids: Sequence[str]) -> Sequence[str]:
        """Return the texts of those of the agent's notes that exist. Ids of anything else are ignored."""
        numbers = {id_: number for id_ in ids if (number := _note_number(live.id, id_)) is not None}
        dead = live.state.dead_notes
        existing = [id_ for id_, number in numbers.items() if number < live.row.next_note and number not in dead]
        rows = await self.passages.read(live.row.tenant, {live.id: existing})
        return [rows[id_].text for id_ in existing if id_ in rows]

    async def all(self) -> Sequence[LiveAgent]:
        """Return the agents of every tenant."""
        return await self.find_many([record.id for record in await self._records.find("agent")])

    async def read_context(self, live: LiveAgent, *, messages: bool) -> tuple[AgentState, Sequence[Message]]:
        """Read the agent's state, and the messages in its context window, as of one instant.

        Args:
            live: The agent.
            messages: Whether to read the window's messages.
        """
        async with live.lock:  # no commit comes in between
            await self.repository.settle(live)
            state = live.state
            return state, await self.messages.read(live.id, state.window) if messages else []

    async def read_state(self, live: LiveAgent) -> AgentState:
        """Return the agent as of one instant; after a failed write, first find out whether it took effect."""
        async with live.lock:
            await self.repository.settle(live)
            return live.state

    async def _load_many(self, ids: Sequence[str]) -> dict[str, LiveAgent | None]:
        """Return agents from the cache or the store, including those being deleted; None for missing ones."""
        missing = [id_ for id_ in ids if id_ not in self._cache]
        states = await self.repository.read_many(missing) if missing else {}
        for id_, state in states.items():
            self._admit(id_, state)
        return {id_: await self._load(id_) if id_ in states or id_ not in missing else None for id_ in ids}

    async def _load(self, agent_id: str) -> LiveAgent | None:
        live = self._cache.get(agent_id)
        if live is not None:
            self._cache.move_to_end(agent_id)
            if live.uncertain and not live.lock.locked():
                await self.read_state(live)
            return live
        task = self._loading.get(agent_id)
        if task is None:
            task = self._loading[agent_id] = asyncio.create_task(self._read(agent_id))
            task.add_done_callback(lambda _: self._loading.pop(agent_id, None))
        return await asyncio.shield(task)

    async def _read(self, agent_id: str) -> LiveAgent | None:
        state = await self.repository.read(agent_id)
        if state is None:
            return self._cache.get(agent_id)  # it may have been created in the meantime
        return self._admit(agent_id, state)

    def _admit(self, agent_id: str, state: AgentState) -> LiveAgent:
        """Add an agent that was read to the cache. An entry that was added in the meantime stays."""
        held = self._cache.get(agent_id)
        if held is not None:
            return held
        live = self._cache[agent_id] = LiveAgent(state)
        # A lease that was held when this process started may still be in use, so it gets its full duration.
        live.lease_ends = self._started + self.lease_seconds
        if len(self._cache) > _MAX_CACHED:
            for id_ in [id_ for id_, old in list(self._cache.items())[: _MAX_CACHED // 8] if old.idle]:
                if id_ != agent_id:
                    del self._cache[id_]
        return live

    def _keep(self, live: LiveAgent) -> LiveAgent:
        """Add a new agent to the cache. An entry in use stays, since two would overwrite each other."""
        held = self._cache.get(live.id)
        if held is not None and not held.row.deleting:
            return held
        self._cache[live.id] = live
        return live

    def _called(self, name: str) -> Callable[[str], Awaitable[bool]]:
        """Return a check that an id belongs to an agent with this name: an outdated claim of a name does not count."""

        async def check(agent_id: str) -> bool:
            live = await self._load(agent_id)
            return live is not None and not live.row.deleting and live.row.name == name

        return check

    async def _purge(self, live: LiveAgent) -> None:
        """Delete all rows of an agent marked as deleted; its own row goes last, so that a crash leaves the mark."""
        tenant = live.row.tenant
        requests, names = await self._records.find_owned(live.id)
        if not live.row.importing:  # the request of a failed import may be sent again
            await self._requests.forget(requests, Reason.AGENT_NOT_FOUND)
        await self.messages.delete_from(live.id)
        for forget in self.on_purge:
            await forget(live)
        await self.passages.delete_where(tenant, live.id)
        await self._names.release_all(names, live.id)
        await self._records.delete_children(live.id)
        await self._records.delete([live.id])
        await self._journal.end(live.id)
        self._cache.pop(live.id, None)
        live.notify()


def _note_number(agent_id: str, id_: str) -> int | None:
    """Return the number of an agent's note, or None for the id of anything else."""
    prefix = note_id(agent_id, 0).removesuffix("0")
    number = id_.removeprefix(prefix)
    return int(number) if id_.startswith(prefix) and number.isdecimal() and len(number) < 16 else None


def check_settings(row: AgentRow) -> None:
    """Reject invalid settings."""
    check_time_zone(row.time_zone)
    _check_context_window(row.context_window)


def check_time_zone(name: str) -> None:
    """Reject an unknown time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise reasons.invalid_field(
            f'unknown time zone "{name}"; use an IANA name such as Europe/Berlin or UTC', field="time_zone"
        ) from error


def _check_context_window(tokens: int) -> None:
    if tokens and tokens < _MIN_CONTEXT_WINDOW:
        raise reasons.invalid_field(
            f"context_window must be 0 (the service's setting) or at least {_MIN_CONTEXT_WINDOW:,} tokens",
            field="context_window",
        )
