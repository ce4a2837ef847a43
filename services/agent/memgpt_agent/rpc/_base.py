"""The common part of the Agent's RPCs."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceServicer

from memgpt_agent.config import AgentSettings
from memgpt_agent.loop.turn_loop import TurnLoop
from memgpt_agent.loop.turn_registry import TurnRegistry
from memgpt_agent.memory.client import MemoryClient
from memgpt_agent.remote_tools.client import ToolClient
from memgpt_agent.rpc.profile_store import ProfileStore

if TYPE_CHECKING:  # importing openai takes a second
    from memgpt_agent.models.openai_model import OpenAIModel


class ServicerBase(AgentServiceServicer):
    """The parts that the RPCs delegate to."""

    def __init__(
        self,
        settings: AgentSettings,
        memory: MemoryClient,
        loop: TurnLoop,
        turns: TurnRegistry,
        tools: ToolClient,
        endpoint: OpenAIModel | None,
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._loop = loop
        self._turns = turns
        self._tools = tools
        self._endpoint = endpoint
        self._profiles = ProfileStore(memory)


def new_time_placeholder() -> str:
    """Return a text that no message contains by chance. Memory replaces it by the time in the agent's time zone."""
    return f"time-{secrets.token_hex(12)}"
