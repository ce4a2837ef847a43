"""What one step of a turn changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from memgpt_memory.agents import BlockEdit, TurnState
from memgpt_memory.messages import NewMessage


@dataclass(frozen=True, slots=True)
class StepCommit:
    """All that one step changes."""

    messages: list[NewMessage] = field(default_factory=list)
    blocks: list[BlockEdit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    evict_before: int | None = None
    summary: str = ""
    outcome: tuple[TurnState, str] | None = None
