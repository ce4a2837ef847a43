"""The RPC surface of the Agent: every RPC only translates and delegates."""

from __future__ import annotations

from memgpt_agent.rpc._agents import AgentRpcs
from memgpt_agent.rpc._heartbeats import HeartbeatRpcs
from memgpt_agent.rpc._history import HistoryRpcs
from memgpt_agent.rpc._profiles import ProfileRpcs
from memgpt_agent.rpc._remote_tools import RemoteToolRpcs
from memgpt_agent.rpc._sources import SourceRpcs
from memgpt_agent.rpc._turns import TurnRpcs
from memgpt_agent.rpc._window import WindowRpcs


class AgentServicer(
    AgentRpcs, TurnRpcs, HeartbeatRpcs, HistoryRpcs, WindowRpcs, SourceRpcs, RemoteToolRpcs, ProfileRpcs
):
    """Implements ``memgpt.agent.v1.AgentService``; the protos document its RPCs."""
