"""The events of a turn."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_agent.domain import TurnState, Usage
from memgpt_agent.models.base import DeltaKind

NOTICE_EVICTED = "Older messages left the context window; a summary stands for them, and recall memory keeps them."
NOTICE_PRESSURE = "The context window is filling up: the agent was told to save what matters."


@dataclass(frozen=True, slots=True)
class Started:
    """The turn has left the queue and has an id. Provisional."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The turn waits for ``ahead`` others. Provisional."""

    ahead: int


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """The model is called with a prompt of ``prompt_tokens`` tokens. Provisional."""

    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Thought:
    """The agent's inner thought."""

    text: str


@dataclass(frozen=True, slots=True)
class FunctionCalled:
    """The agent calls a function; ``arguments`` is JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """The function's result, or what went wrong."""

    call_id: str
    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """The agent speaks to the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice about the agent's memory that may interest the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text as it comes from the model. Provisional."""

    kind: DeltaKind
    attempt: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class StepRestarted:
    """The step runs again: forget its deltas. Provisional."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing happened for a while, and the turn still runs. Provisional."""


@dataclass(frozen=True, slots=True)
class Done:
    """The turn ended. Always the last event."""

    state: TurnState
    reason: str
    steps: int
    usage: Usage


Body = (
    Started
    | Queued
    | ModelCalled
    | Thought
    | FunctionCalled
    | FunctionResult
    | AssistantMessage
    | Usage
    | Notice
    | Delta
    | StepRestarted
    | KeepAlive
    | Done
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a turn. ``sequence`` counts a turn's durable events from 1; it is 0 for provisional ones."""

    sequence: int
    step: int
    body: Body
