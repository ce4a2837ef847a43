"""Attach sources to agents, detach them, and list them."""

from __future__ import annotations

from memgpt_memory.agents._agents import Agents
from memgpt_memory.agents._commands import AttachSource, DetachSource
from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._rows import Attachment
from memgpt_memory.agents._state import AgentState
from memgpt_memory.clock import Clock, now
from memgpt_memory.sources import LiveSource, Sources


class SourceAttachments:
    """Attaches sources to agents: an attachment is a link, and nothing is copied."""

    def __init__(self, agents: Agents, sources: Sources, clock: Clock) -> None:
        """Work on the given parts of one store."""
        self._agents = agents
        self._sources = sources
        self._clock = clock

    async def attach(self, live: LiveAgent, source_id: str) -> None:
        """Attach a source; do nothing if it is attached already.

        Raises:
            FailedPrecondition: The agent has too many sources.
            NotFound: There is no such source.
        """
        await self._sources.get(live.row.tenant, source_id)
        linked = {link.source_id for link in live.state.links}
        gone = linked - {source.id for _, source in await self.of(live.state)}
        async with live.lock:
            with self._clock.write(live.id) as revision:
                link = Attachment(source_id=source_id, stamp=revision, attached=now())
                await self._agents.repository.commit(live, AttachSource(link, gone))

    async def detach(self, live: LiveAgent, source_id: str) -> None:
        """Detach a source; a missing one is not an error."""
        await self._agents.repository.execute(live, DetachSource(source_id))

    async def of(self, state: AgentState) -> list[tuple[Attachment, LiveSource]]:
        """Return the attached sources that exist, in order of attachment."""
        found = await self._sources.find_many([link.source_id for link in state.links])
        return [(link, found[link.source_id]) for link in state.links if link.source_id in found]
