"""Agents: the aggregate, its rows, the one way in which it changes, and the directory of all agents."""

from __future__ import annotations

from memgpt_memory.agents._agents import Agents, check_settings, settings_etag
from memgpt_memory.agents._commits import MAX_BLOCKS, Change, Commits
from memgpt_memory.agents._live import LEASE_SECONDS, LiveAgent, Ticket
from memgpt_memory.agents._profiles import Profile, Profiles
from memgpt_memory.agents._ranges import Ranges
from memgpt_memory.agents._rewinds import Rewind, Rewinds
from memgpt_memory.agents._rows import (
    AgentRow,
    Block,
    BlockEdit,
    CurrentTurn,
    Link,
    ToolFunction,
    ToolServer,
    TurnRow,
    TurnState,
)

__all__ = [
    "LEASE_SECONDS",
    "MAX_BLOCKS",
    "AgentRow",
    "Agents",
    "Block",
    "BlockEdit",
    "Change",
    "Commits",
    "CurrentTurn",
    "Link",
    "LiveAgent",
    "Profile",
    "Profiles",
    "Ranges",
    "Rewind",
    "Rewinds",
    "Ticket",
    "ToolFunction",
    "ToolServer",
    "TurnRow",
    "TurnState",
    "check_settings",
    "settings_etag",
]
