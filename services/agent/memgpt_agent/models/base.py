"""What the loop asks of a chat model.

Beside the two errors here, a model raises those of ``memgpt_runtime.errors``: ``Unavailable`` when the endpoint cannot
be reached, ``ResourceExhausted`` when it wants to be asked later, ``FailedPrecondition`` when a setting has to be
changed first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from memgpt_agent.domain import NO_USAGE, FunctionCall, Message, Usage
from memgpt_agent.functions import Function


class ContextOverflowError(Exception):
    """The endpoint says that the prompt is longer than its context window."""


class BadAnswerError(Exception):
    """The model's answer is of no use, and was so when asked again. The text tells people why, and what to try."""


class DeltaKind(StrEnum):
    """What a piece of streamed text belongs to."""

    THOUGHT = "thought"
    MESSAGE = "message"


class Sink(Protocol):
    """Where a model's text goes while it comes."""

    def delta(self, kind: DeltaKind, text: str) -> None:
        """More text. It is provisional until the step is committed."""
        ...

    def restart(self, reason: str) -> None:
        """What was streamed of this step is void; it runs again, for ``reason`` (a sentence for people)."""
        ...


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model.

    Attributes:
        messages: The prompt, system message first.
        functions: The functions it may call, one a time; none when plain text is wanted.
        model: The model's name; empty for the service's own setting.
        max_tokens: The most tokens that it may write; 0 for no bound.
        note: What changes from step to step, as JSON text: the last message of the prompt, and of no later one.
        guided_note: The same with advice for small models, who need it in the mode ``json_schema``.
    """

    messages: Sequence[Message]
    functions: Sequence[Function] = ()
    model: str = ""
    max_tokens: int = 0
    note: str = ""
    guided_note: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer.

    Attributes:
        text: Its text; beside a call, inner thought. Never empty where a request has no functions.
        call: The function call, if there is one.
        usage: Tokens that it took, repetitions included.
        further: Calls of the same answer that follow ``call``, each to be made in a step of its own.
    """

    text: str
    call: FunctionCall | None = None
    usage: Usage = NO_USAGE
    further: tuple[FunctionCall, ...] = ()


class ChatModel(Protocol):
    """A chat model."""

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Return the answer to one request, streaming text to ``sink`` where possible."""
        ...
