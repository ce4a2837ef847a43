"""What agents use of their tenant's quota, read from their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from memgpt_runtime.errors import ServiceError

from memgpt_memory.agents._agent_notes import AgentNotes
from memgpt_memory.agents._agents import Agents
from memgpt_memory.agents._commands import CountBytes
from memgpt_memory.agents._rows import AgentRow
from memgpt_memory.messages import text_size
from memgpt_memory.quotas import Amounts
from memgpt_memory.records import Records

_ROWS = 64
"""Rows of agents that are read at a time, so few that other calls do not wait."""

_TEXTS = 256
"""Messages or notes that are read at a time to count their bytes."""

_log = structlog.get_logger(__name__)


class AgentUsage:
    """Reads what agents use. Rows of an older version lack the bytes: they are counted in the background."""

    def __init__(self, agents: Agents, notes: AgentNotes, records: Records) -> None:
        """Read the given parts of one store."""
        self._agents = agents
        self._notes = notes
        self._records = records
        self._counting: set[asyncio.Task[None]] = set()

    async def amounts(self, tenant: str) -> Sequence[tuple[str, Amounts]]:
        """Return what every agent of a tenant uses, by its id."""
        ids = await self._records.ids("agent", tenant)
        found: list[tuple[str, Amounts]] = []
        uncounted: list[str] = []
        for start in range(0, len(ids), _ROWS):
            for id_, record in (await self._records.get_many(ids[start : start + _ROWS])).items():
                row = AgentRow.model_validate_json(record.body)
                if not row.deleting:
                    found.append((id_, row.amounts))
                    if row.text_bytes is None:
                        uncounted.append(id_)
        if uncounted:
            task = asyncio.create_task(self._count(uncounted))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        return found

    async def close(self) -> None:
        """Stop counting."""
        for task in self._counting:
            task.cancel()
        await asyncio.gather(*self._counting, return_exceptions=True)

    async def _count(self, ids: Sequence[str]) -> None:
        for agent_id in ids:
            try:
                await self._count_one(agent_id)
            except ServiceError as error:  # counted again by the next process
                _log.info("agent_count_failed", agent_id=agent_id, error=str(error))

    async def _count_one(self, agent_id: str) -> None:
        for live in await self._agents.find_many([agent_id]):
            async with live.lock:
                await self._agents.repository.settle(live)
                row, size = live.row, 0
                if row.deleting or row.text_bytes is not None:
                    return
                for start in range(0, row.message_count, _TEXTS):
                    numbers = range(start, min(start + _TEXTS, row.message_count))
                    found = await self._agents.messages.read(
                        live.id, [n for n in numbers if n not in live.state.forgotten]
                    )
                    size += sum(text_size(message.text, message.function_call) for message in found)
                for start in range(0, row.next_note, _TEXTS):
                    numbers = range(start, min(start + _TEXTS, row.next_note))
                    size += await self._notes.size(live, [n for n in numbers if n not in live.state.dead_notes])
                await self._agents.repository.commit(live, CountBytes(size))
