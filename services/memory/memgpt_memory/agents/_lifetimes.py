"""The time to live of an agent's messages and notes, and a row by which agents with one are found."""

from __future__ import annotations

from memgpt_memory.agents._rows import AgentRow
from memgpt_memory.records import Record, key_of

LIFETIME = "lifetime"
"""Kind of the rows that say which agents may have a time to live; `parent` is the agent."""


def lifetime_records(agent_id: str, row: AgentRow, time: int) -> list[Record]:
    """Return the row by which an agent with a time to live is found; none without. It is written before the agent's."""
    if not (row.message_ttl or row.note_ttl):
        return []
    return [Record(key_of(LIFETIME, agent_id), LIFETIME, row.tenant, agent_id, time, "{}")]
