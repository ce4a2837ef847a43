"""Agents: which there are, how they begin and end, and what is done to one outside of a turn."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from memgpt_runtime.errors import (
    Aborted,
    AlreadyExists,
    NotFound,
    Reason,
    invalid,
)

from memgpt_memory.agents._commits import Change, Commits, no_agent
from memgpt_memory.agents._live import LiveAgent
from memgpt_memory.agents._rows import AgentRow, BlockEdit, Insert, Link, ToolServer
from memgpt_memory.clock import Clock
from memgpt_memory.messages import NewMessage
from memgpt_memory.paging import Page, list_page
from memgpt_memory.passages import Passage, note_id, passage_of
from memgpt_memory.records import IdempotencyStore, Names, Record, Records
from memgpt_memory.tasks import run_to_end

_MIN_CONTEXT_WINDOW = 1_024
_REMEMBERED_INSERTS = 8
"""Requests that stored notes and are known in the agent's own row: see `Insert`."""
_MAX_CACHED = 4_096


class Agents:
    """The agents of every tenant."""

    def __init__(
        self,
        commits: Commits,
        records: Records,
        names: Names,
        requests: IdempotencyStore,
        clock: Clock,
        lease_seconds: float,
    ) -> None:
        """Keeps agents in the given parts of one store; leases hold for `lease_seconds` unless renewed."""
        self.lease_seconds = lease_seconds
        self.commits = commits
        self.messages = commits.messages
        self.passages = commits.passages
        self._records = records
        self._names = names
        self._requests = requests
        self._clock = clock
        self._cache: OrderedDict[str, LiveAgent] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LiveAgent | None]] = {}
        self._started = asyncio.get_running_loop().time()
        self.on_purge: list[Callable[[LiveAgent], Awaitable[None]]] = []
        self._importing: set[str] = set()

    async def create(
        self,
        tenant: str,
        agent_id: str,
        settings: AgentRow,
        *,
        other_names: Sequence[str] = (),
        system: str,
        blocks: Sequence[BlockEdit],
        messages: Sequence[NewMessage],
    ) -> LiveAgent:
        """Creates an agent, all or nothing. Repeated under the same id, it answers the agent that is there.

        Args:
            tenant: Whose it is.
            agent_id: Its id.
            settings: Its row.
            other_names: What to call it where its name is taken: the first that is free.
            system: Its instructions.
            blocks: Its core memory.
            messages: Its first messages.

        Raises:
            AlreadyExists: Other agents have the name and all the others.
            InvalidArgument: A block's value is over its limit, or the time zone is unknown.
        """
        check_settings(settings)
        existing = await self._load(agent_id)
        if existing is not None and not existing.row.deleting:
            return existing
        try:
            async with self._names.claim(tenant, "agent", settings.name, agent_id, self._called(settings.name)):
                live = LiveAgent(agent_id, settings)
                async with live.lock:
                    await self.commits.commit(
                        live, Change(messages=messages, blocks=blocks, by_people=True, texts={"system": system})
                    )
                return self._keep(live)
        except AlreadyExists:
            if not other_names:
                raise
        renamed, rest = settings.model_copy(update={"name": other_names[0]}), other_names[1:]
        return await self.create(
            tenant, agent_id, renamed, other_names=rest, system=system, blocks=blocks, messages=messages
        )

    async def get(self, tenant: str, agent_id: str) -> LiveAgent:
        """The agent.

        Raises:
            NotFound: There is none, or it is another tenant's.
        """
        live = await self._load(agent_id)
        if live is None or live.row.tenant != tenant:
            raise no_agent(agent_id)
        self.commits.check_exists(live)
        return live

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
                await self.commits.commit(live, Change(texts=texts, edit=edit))

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
                await self.commits.commit(live, Change(edit=mark))
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
                await self.commits.commit(live, Change(blocks=blocks, by_people=True, texts=texts))
            return self._keep(live)

    async def sweep(self) -> None:
        """Deletes rows that no agent uses any more, and that a failure or a crash has left."""
        for record in await self._records.find("agent"):
            live = await self._load(record.id)
            if live is not None and not live.row.deleting:
                async with live.lock:
                    await self.commits.sweep(live)

    async def insert_notes(
        self, live: LiveAgent, texts: Sequence[str], tags: Sequence[str], request_key: str = ""
    ) -> list[Passage]:
        """Stores notes; a long one as several passages. With a key of a request that did so already, answers those."""
        async with live.lock:
            await self.commits.settle(live)
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

            return (await self.commits.commit(live, Change(notes=texts, tags=tags, edit=remember))).passages

    async def delete_notes(self, live: LiveAgent, ids: Iterable[str]) -> int:
        """Deletes notes; answers how many there were. Ids of anything else are passed over."""
        prefix = f"{live.id}-n"
        async with live.lock:
            await self.commits.settle(live)
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

            await self.commits.commit(live, Change(texts={"dead_notes": dead.dump()}, edit=count))
        # Invisible already; their rows go now, or with the agent.
        gone = [note_id(live.id, number) for number in sorted(there)]
        await self.commits.tidy(self.passages.delete(live.row.tenant, live.id, gone, unread=True))
        return len(there)

    async def set_links(self, live: LiveAgent, edit: Callable[[list[Link], int], list[Link] | None]) -> None:
        """Changes the attachments; `edit` gets the links and a stamp, and answers None to change nothing."""
        async with live.lock:
            await self.commits.settle(live)
            with self._clock.write(live.id) as stamp:
                links = edit(list(live.links), stamp)
                if links is not None:
                    body = json.dumps([link.model_dump() for link in links]) if links else ""
                    await self.commits.commit(live, Change(texts={"links": body}))

    async def set_tools(self, live: LiveAgent, edit: Callable[[list[ToolServer]], list[ToolServer] | None]) -> None:
        """Changes the functions that run elsewhere; `edit` answers None to change nothing."""
        async with live.lock:
            await self.commits.settle(live)
            tools = edit(list(live.tools))
            if tools is not None:
                body = json.dumps([server.model_dump() for server in tools], ensure_ascii=False) if tools else ""
                await self.commits.commit(live, Change(texts={"tools": body}))

    async def _load(self, agent_id: str) -> LiveAgent | None:
        live = self._cache.get(agent_id)
        if live is not None:
            self._cache.move_to_end(agent_id)
            if live.stale and not live.lock.locked():
                async with live.lock:
                    await self.commits.settle(live)
            return live
        task = self._loading.get(agent_id)
        if task is None:
            task = self._loading[agent_id] = asyncio.create_task(self._read_into_cache(agent_id))
            task.add_done_callback(lambda _: self._loading.pop(agent_id, None))
        return await asyncio.shield(task)

    async def _read_into_cache(self, agent_id: str) -> LiveAgent | None:
        live = await self.commits.read(agent_id)
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
