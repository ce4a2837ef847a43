"""What the loop needs of functions that run elsewhere. ``tool_client`` has what speaks gRPC with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from memgpt_agent.domain import Tool


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that is committed and to be made. ``arguments`` is JSON text that fits the tool's schema."""

    tool: Tool
    arguments: str
    agent_id: str
    turn_id: str
    step: int

    @property
    def key(self) -> str:
        """The same for the same call, whoever makes it and however often."""
        return f"{self.turn_id}-{self.step}"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call: a result, or what went wrong; the text is for the model."""

    ok: bool
    text: str


class Tools(Protocol):
    """Functions that run elsewhere."""

    async def call(self, call: ToolCall) -> ToolResult:
        """Makes a call. Whatever goes wrong with it is a result too: it raises nothing."""
        ...
