"""Agents: the aggregate, the commands that change it, and the directory of all agents."""

from __future__ import annotations

from memgpt_memory.agents._agent_notes import AgentNotes
from memgpt_memory.agents._agent_usage import AgentUsage
from memgpt_memory.agents._agents import Agents
from memgpt_memory.agents._block_attachments import BlockAttachments
from memgpt_memory.agents._commands import (
    AddStep,
    AttachBlock,
    AttachSource,
    CancelTurn,
    Command,
    CreateAgent,
    DeleteAgent,
    DeleteBlock,
    DeleteNotes,
    DeleteToolServer,
    DetachBlock,
    DetachSource,
    EndTurn,
    Expire,
    ForgetMessages,
    FreeBytes,
    InsertNotes,
    NoteTurn,
    PutToolServer,
    ReleaseTurn,
    ResumeTurn,
    SetBlock,
    SetHeartbeats,
    StartTurn,
    StepCommit,
    TurnStart,
    UpdateSettings,
)
from memgpt_memory.agents._core_memory import CoreMemory
from memgpt_memory.agents._decide import MAX_ATTACHMENTS, decide
from memgpt_memory.agents._draft import Transition
from memgpt_memory.agents._heartbeats import HeartbeatEdit, heartbeats_etag
from memgpt_memory.agents._live_agent import LEASE_SECONDS, LiveAgent, Waiter
from memgpt_memory.agents._own_blocks import MAX_BLOCKS
from memgpt_memory.agents._profiles import Profile, Profiles, unknown_profile
from memgpt_memory.agents._ranges import Ranges
from memgpt_memory.agents._repository import AgentRepository, CommitResult, check_exists, has_mark
from memgpt_memory.agents._rewinds import Rewind, Rewinds
from memgpt_memory.agents._rows import (
    AgentRow,
    Attachment,
    Block,
    CurrentTurn,
    SharedRef,
    ToolFunction,
    ToolServer,
    TurnRow,
    TurnState,
)
from memgpt_memory.agents._settings import check_settings, settings_etag
from memgpt_memory.agents._shared_links import link_record
from memgpt_memory.agents._source_attachments import SourceAttachments
from memgpt_memory.agents._state import TEXT_FIELDS, AgentState, block_text_name
from memgpt_memory.agents._tool_servers import with_server
from memgpt_memory.agents._turn_pointers import turn_pointer, turn_pointer_id
from memgpt_memory.agents._turn_state import AgentTurn, EndedTurn, Lease, NoTurn, RunningTurn, lease_lost

__all__ = [
    "LEASE_SECONDS",
    "MAX_ATTACHMENTS",
    "MAX_BLOCKS",
    "TEXT_FIELDS",
    "AddStep",
    "AgentNotes",
    "AgentRepository",
    "AgentRow",
    "AgentState",
    "AgentTurn",
    "AgentUsage",
    "Agents",
    "AttachBlock",
    "AttachSource",
    "Attachment",
    "Block",
    "BlockAttachments",
    "CancelTurn",
    "Command",
    "CommitResult",
    "CoreMemory",
    "CreateAgent",
    "CurrentTurn",
    "DeleteAgent",
    "DeleteBlock",
    "DeleteNotes",
    "DeleteToolServer",
    "DetachBlock",
    "DetachSource",
    "EndTurn",
    "EndedTurn",
    "Expire",
    "ForgetMessages",
    "FreeBytes",
    "HeartbeatEdit",
    "InsertNotes",
    "Lease",
    "LiveAgent",
    "NoTurn",
    "NoteTurn",
    "Profile",
    "Profiles",
    "PutToolServer",
    "Ranges",
    "ReleaseTurn",
    "ResumeTurn",
    "Rewind",
    "Rewinds",
    "RunningTurn",
    "SetBlock",
    "SetHeartbeats",
    "SharedRef",
    "SourceAttachments",
    "StartTurn",
    "StepCommit",
    "ToolFunction",
    "ToolServer",
    "Transition",
    "TurnRow",
    "TurnStart",
    "TurnState",
    "UpdateSettings",
    "Waiter",
    "block_text_name",
    "check_exists",
    "check_settings",
    "decide",
    "has_mark",
    "heartbeats_etag",
    "lease_lost",
    "link_record",
    "settings_etag",
    "turn_pointer",
    "turn_pointer_id",
    "unknown_profile",
    "with_server",
]
