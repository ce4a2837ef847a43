"""Timed heartbeats of an agent: a text for the Agent service only, and a row by which agents with one are found."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_memory.agents._rows import AgentRow
from memgpt_memory.records import Record, key_of

HEARTBEAT = "heartbeat"
"""Kind of the rows that say which agents may have timed heartbeats; `parent` is the agent."""


@dataclass(frozen=True, slots=True)
class HeartbeatEdit:
    """A new text of the timed heartbeats, to replace the one that was read with `etag`."""

    plan: str
    etag: str = ""


def heartbeats_etag(row: AgentRow) -> str:
    """Return an etag that changes with every write; empty if there are no timed heartbeats."""
    return f"h{row.heartbeats.version}" if row.heartbeats.version else ""


def heartbeat_record(agent_id: str, row: AgentRow, time: int) -> Record:
    """Return the row by which an agent with timed heartbeats is found. It is written before they are."""
    return Record(key_of(HEARTBEAT, agent_id), HEARTBEAT, row.tenant, agent_id, time, "{}")
