"""The cache of agents: each is read from the store once, and stays in memory while anything uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._repository import AgentRepository
from memgpt_memory.agents._state import AgentState
from memgpt_memory.object_cache import ObjectCache
from memgpt_memory.shared_reads import SharedReads

_MAX_AGENTS = 4_096


class AgentCache:
    """The agents in memory, including those being deleted. There is never more than one `LiveAgent` of an agent."""

    def __init__(self, repository: AgentRepository, lease_seconds: float) -> None:
        """Read missing agents from `repository`; a lease found there holds for `lease_seconds` from now."""
        self._repository = repository
        self._agents = ObjectCache[LiveAgent](_MAX_AGENTS, lambda live: live.idle)
        self._reads = SharedReads(self._read)
        self._leases_end = asyncio.get_running_loop().time() + lease_seconds

    async def find(self, agent_id: str) -> LiveAgent | None:
        """Return an agent from the cache or the store; None if there is none."""
        live = self._agents.get(agent_id)
        if live is None:
            # It may have been created in the meantime.
            return (await self._reads.get([agent_id])).get(agent_id) or self._agents.peek(agent_id)
        if live.uncertain and not live.lock.locked():
            await self._repository.read_state(live)
        return live

    async def find_many(self, ids: Sequence[str]) -> dict[str, LiveAgent | None]:
        """Return agents from the cache or the store by their ids; None for missing ones."""
        missing = dict.fromkeys(id_ for id_ in ids if id_ not in self._agents)
        read = await self._reads.get(list(missing)) if missing else {}
        return {id_: await self.find(id_) if id_ in read or id_ not in missing else None for id_ in ids}

    def find_cached(self, agent_id: str) -> LiveAgent | None:
        """Return an agent if it is in the cache."""
        return self._agents.peek(agent_id)

    def add(self, live: LiveAgent) -> LiveAgent:
        """Add a new agent. An entry in use stays and is returned instead, since two would overwrite each other."""
        held = self._agents.peek(live.id)
        if held is not None and not held.row.deleting:
            return held
        self._agents.put(live.id, live)
        return live

    def remove(self, agent_id: str) -> None:
        """Remove an agent whose rows are gone."""
        self._agents.remove(agent_id)

    async def _read(self, ids: Sequence[str]) -> Mapping[str, LiveAgent]:
        states = await self._repository.read_many(ids)
        return {id_: self._admit(id_, state) for id_, state in states.items()}

    def _admit(self, agent_id: str, state: AgentState) -> LiveAgent:
        """Add an agent that was read. An entry that was added in the meantime stays."""
        held = self._agents.peek(agent_id)
        if held is not None:
            return held
        live = LiveAgent(state)
        # A lease that was held when this process started may still be in use, so it gets its full duration.
        live.lease_ends = 0.0 if live.running is not None and live.running.released else self._leases_end
        self._agents.put(agent_id, live)
        return live
