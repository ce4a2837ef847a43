"""Rows that number the turns of an agent, so that they can be listed in order."""

from __future__ import annotations

from memgpt_memory.agents._state import AgentState
from memgpt_memory.records import Record


def turn_pointer_id(agent_id: str, number: int) -> str:
    """Return the key of the row that names an agent's turn by its number."""
    return f"{agent_id}-t{number}"


def turn_pointer(state: AgentState, number: int, key: str) -> Record:
    """Return the row that names an agent's turn by its number; `key` is that of the turn's row."""
    return Record(turn_pointer_id(state.id, number), "turnkey", state.row.tenant, state.id, 0, key)
