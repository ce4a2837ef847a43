"""The agents of every tenant: create, find, list, change, delete and import them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

from memgpt_runtime.agent_rules import check_context_window, check_time_zone, check_ttl
from memgpt_runtime.context import principal
from memgpt_runtime.errors import AlreadyExists, Reason, Unavailable
from memgpt_runtime.names import comparable

from memgpt_memory.agents._cache import AgentCache
from memgpt_memory.agents._commands import CreateAgent, DeleteAgent, UpdateSettings
from memgpt_memory.agents._errors import unknown_agent, unknown_agent_name
from memgpt_memory.agents._heartbeats import HEARTBEAT
from memgpt_memory.agents._lifetimes import LIFETIME
from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._repository import AgentRepository, check_exists
from memgpt_memory.agents._rows import AgentRow
from memgpt_memory.agents._settings import check_settings
from memgpt_memory.agents._state import AgentState
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.messages import Message
from memgpt_memory.quotas import Quotas
from memgpt_memory.records import IdempotencyStore, Journal, Names, Record, Records, ids_of
from memgpt_memory.restrictions import permitted_ids
from memgpt_memory.tasks import all_to_end, run_to_end

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
        self._cache = AgentCache(repository, lease_seconds)
        self.on_purge: list[Callable[[LiveAgent], Awaitable[None]]] = []
        self.before_read: Callable[[Sequence[LiveAgent]], Awaitable[None]] = _nothing
        self._importing: set[str] = set()

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
        check_settings(settings)
        existing = await self._cache.find(agent_id)
        if existing is not None and not existing.row.deleting:
            return existing
        try:
            async with (
                self._quotas.reserve(tenant, agents=1),
                self._names.claim(tenant, "agent", settings.name, agent_id, self._called(settings.name)),
            ):
                live = LiveAgent(AgentState(agent_id, settings))
                await self.repository.execute(live, content)
                return self._cache.add(live)
        except AlreadyExists:
            if not fallback_names:
                raise
        renamed, rest = settings.model_copy(update={"name": fallback_names[0]}), fallback_names[1:]
        return await self.create(tenant, agent_id, renamed, content, fallback_names=rest)

    async def get(self, tenant: str, agent_id: str, *, for_deletion: bool = False) -> LiveAgent:
        """Return an agent.

        Args:
            tenant: The tenant that owns it.
            agent_id: Its id.
            for_deletion: Whether it is read only to be deleted: then what has expired is not hidden before.

        Raises:
            NotFound: There is no such agent, or it belongs to another tenant.
        """
        live = await self._find(tenant, agent_id) if principal().may_use_agent(agent_id) else None
        if live is None:
            raise unknown_agent(agent_id)
        check_exists(live)
        if not for_deletion:
            await self.before_read([live])
        return live

    async def _find(self, tenant: str, agent_id: str) -> LiveAgent | None:
        """Return an agent of a tenant, also one that is being deleted."""
        return await self._records.find_of_tenant(
            "agent", tenant, agent_id, self._cache.find, lambda live: live.row.tenant
        )

    async def get_by_name(self, tenant: str, name: str) -> LiveAgent:
        """Return the agent with a name.

        Raises:
            NotFound: There is no such agent.
        """
        agent_id = await self._names.find(tenant, "agent", name)
        # What the caller may not use is not read: the duration of a call would tell that it exists.
        live = await self._cache.find(agent_id) if agent_id and principal().may_use_agent(agent_id) else None
        if live is None or not await self._called(name)(agent_id):
            raise unknown_agent_name(name)
        await self.before_read([live])
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
        unfinished = await self._cache.find_many(self._journal.of("agent"))
        hidden = {id_ for id_, live in unfinished.items() if live is None or live.row.deleting}
        ids = permitted_ids(
            await self._matching(tenant, set(tags), origin, user_id)
            if tags or origin or user_id
            else await self._records.ids("agent", tenant),
            principal().agents,
        )
        page = list_page([id_ for id_ in ids if id_ not in hidden] if hidden else ids, size, after)
        found = (await self._cache.find_many(page.items)).values()
        agents = [live for live in found if live is not None and not live.row.deleting]
        await self.before_read(agents)
        return Page(agents, page.next_token, page.total)

    async def _matching(self, tenant: str, tags: set[str], origin: str, user_id: str) -> Sequence[str]:
        """Return the ids of agents with all of the tags, the origin and the user, in order."""
        labels = await self._records.labels(tenant)
        return await asyncio.to_thread(_labeled, list(labels.items()), tags, origin, user_id)  # many take long

    async def with_heartbeats(self, tenant: str | None, size: int, after: str) -> Page[LiveAgent]:
        """Return a page of the agents that have timed heartbeats, in order of creation, after the id `after`.

        Args:
            tenant: The tenant that owns them; None for those of all tenants.
            size: Maximum number of agents.
            after: The last id of the page before; empty for the first page.
        """
        rows = await self._records.find(HEARTBEAT, tenant=tenant)
        page = list_page(permitted_ids(sorted(row.parent for row in rows), principal().agents), size, after)
        found = [await self._cache.find(id_) for id_ in page.items]
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
                `user_id`, and, in microseconds, `message_ttl` and `note_ttl`.
            etag: The etag that was read; empty to skip the check.

        Raises:
            Aborted: The settings have changed since.
        """
        live = await self.get(tenant, agent_id)
        check_time_zone(str(changes.get("time_zone", "")))
        check_context_window(cast("int", changes.get("context_window", 0)))
        for field in ("message_ttl", "note_ttl"):
            check_ttl(field, cast("int", changes.get(field, 0)))
        texts = {name: str(changes.pop(name)) for name in _TEXTS if name in changes}
        command = UpdateSettings(changes, texts, etag)
        new_name = str(changes.get("name", live.row.name))
        if new_name == live.row.name:
            await self.repository.execute(live, command)
        else:
            old_name = live.row.name
            async with self._names.claim(tenant, "agent", new_name, agent_id, self._called(new_name)):
                await self.repository.execute(live, command)
            await self._names.release(tenant, "agent", old_name, agent_id, self._called(old_name))
        with suppress(Unavailable):  # the change is stored; the next read hides what has expired
            await self.before_read([live])
        return live

    async def delete(self, tenant: str, agent_id: str) -> None:
        """Delete an agent with everything it owns. The first write hides it; the rest is deleted even after a crash.

        Raises:
            NotFound: There is no such agent.
        """
        live = await self._find(tenant, agent_id)
        if live is None or not live.row.deleting:  # otherwise resume the deletion
            live = await self.get(tenant, agent_id, for_deletion=True)
            await self.repository.delete(live, partial(self._deletion, live))
        await run_to_end(self._purge(live))

    @asynccontextmanager
    async def _deletion(self, live: LiveAgent) -> AsyncIterator[DeleteAgent]:
        row = live.row
        async with (
            self._quotas.spent_by_deleted(row.tenant, row.token_day, row.tokens_today) as spent,
            self._journal.beginning("agent", live.id) as journal,
        ):
            yield DeleteAgent(journal, spent)

    async def deleting(self, tenant: str, user_id: str) -> Sequence[LiveAgent]:
        """Return the agents of a user whose deletion has begun but not ended; not those that are being imported."""
        ids = [id_ for id_ in self._journal.of("agent") if id_ not in self._importing]
        unfinished = (await self._cache.find_many(ids)).values()
        found = [live for live in unfinished if live is not None and live.row.deleting]
        return [live for live in found if (live.row.tenant, live.row.user_id) == (tenant, user_id)]

    async def resume_deletions(self) -> None:
        """Finish deletions that failed or that a crash interrupted, and remove the remains of failed imports."""
        for agent_id in self._journal.of("agent"):
            if agent_id in self._importing or await self._journal.end_if(agent_id, partial(self._gone, agent_id)):
                continue
            row = await self._read_row(agent_id)
            if row is not None and row.deleting and agent_id not in self._importing:
                await self._purge(LiveAgent(AgentState(agent_id, row)))

    async def _gone(self, agent_id: str) -> bool:
        """Whether nothing of an agent is left to delete."""
        row = await self._read_row(agent_id)
        return row is None or not row.deleting

    async def _read_row(self, agent_id: str) -> AgentRow | None:
        record = await self._records.get(agent_id)
        return AgentRow.model_validate_json(record.body) if record is not None else None

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
        """
        existing = await self._cache.find(agent_id)
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
            held = self._cache.find_cached(agent_id)
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
            return self._cache.add(live)

    async def sweep(self) -> None:
        """Delete unused rows that a failure or a crash left behind."""
        async for live in self.all():
            async with live.lock:
                await self.repository.sweep(live)

    async def find_many(self, ids: Sequence[str]) -> Sequence[LiveAgent]:
        """Return the agents that exist, in the order of `ids`."""
        found = await self._cache.find_many(ids)
        return [live for id_ in ids if (live := found[id_]) is not None and not live.row.deleting]

    async def with_lifetimes(self) -> Sequence[str]:
        """Return the ids of the agents, of every tenant, that may have a time to live."""
        return [record.parent for record in await self._records.find(LIFETIME)]

    async def all(self) -> AsyncIterator[LiveAgent]:
        """Yield the agents of every tenant; each is in memory only as long as it is needed."""
        for agent_id in ids_of(await self._records.find("agent")):
            live = await self._cache.find(agent_id)
            if live is not None and not live.row.deleting:
                yield live

    async def read_context(self, live: LiveAgent, *, messages: bool) -> tuple[AgentState, Sequence[Message]]:
        """Read the agent's state, and the messages in its context window, as of one instant.

        Args:
            live: The agent.
            messages: Whether to read the window's messages.
        """
        await self.before_read([live])
        async with live.lock:  # no commit comes in between
            await self.repository.find_outcome(live)
            state = live.state
            return state, await self.messages.read(live.id, state.window) if messages else []

    def _called(self, name: str) -> Callable[[str], Awaitable[bool]]:
        """Return a check that an id belongs to an agent with this name: an outdated claim of a name does not count."""

        async def check(agent_id: str) -> bool:
            live = await self._cache.find(agent_id)
            return live is not None and not live.row.deleting and comparable(live.row.name) == comparable(name)

        return check

    async def _purge(self, live: LiveAgent) -> None:
        """Delete all rows of an agent marked as deleted; its own row goes last, so that a crash leaves the mark."""
        tenant = live.row.tenant
        requests, names = await self._records.find_owned(live.id)
        if not live.row.importing:  # the request of a failed import may be sent again
            await self._requests.forget(requests, Reason.AGENT_NOT_FOUND)
        await all_to_end(
            self.messages.delete_from(live.id),
            *(forget(live) for forget in self.on_purge),
            self.passages.delete_where(tenant, live.id),
            self._names.release_all(names, live.id),
        )
        await self._records.delete_children(live.id)
        await self._records.delete([live.id])
        await self._journal.end(live.id)
        self._cache.remove(live.id)
        live.notify()


async def _nothing(_: Sequence[LiveAgent]) -> None:
    pass


def _labeled(
    agents: Sequence[tuple[str, Mapping[str, Any]]], tags: set[str], origin: str, user_id: str
) -> Sequence[str]:
    return sorted(
        id_
        for id_, labels in agents
        if tags <= set(labels.get("tags", ()))
        and origin in ("", labels.get("origin"))
        and user_id in ("", labels.get("user_id"))
    )
