"""The interface of remote functions for the loop. ``client`` implements it over gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from memgpt_agent.domain import Tool


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A committed call that must be made. ``arguments`` is JSON text that fits the tool's schema."""

    tool: Tool
    arguments: str
    agent_id: str
    turn_id: str
    step: int

    @property
    def key(self) -> str:
        """Idempotency key: the same for every attempt at the same call, on any replica."""
        return f"{self.turn_id}-{self.step}"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of a call: a result or an error; the text is for the model."""

    ok: bool
    text: str


class Tools(Protocol):
    """Functions that run elsewhere."""

    async def call(self, call: ToolCall) -> ToolResult:
        """Make a call. A failure is a result too; nothing is raised."""
        ...
