"""The interface of a chat model.

Besides the two errors here, a model raises those of ``memgpt_runtime.errors``: ``Unavailable`` if the endpoint cannot
be reached, ``ResourceExhausted`` if it is rate limiting requests, ``FailedPrecondition`` if a setting must be changed
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from memgpt_runtime import errors
from memgpt_runtime.errors import Reason

from memgpt_agent.domain import NO_USAGE, FunctionCall, Message, Usage
from memgpt_agent.functions import Function


class ContextOverflowError(Exception):
    """The endpoint says that the prompt is longer than its context window."""


class BadAnswerError(Exception):
    """The model's answer is unusable, also after a retry. The message tells people why, and what to try."""


class FilteredError(BadAnswerError):
    """A content filter, or the model itself, refuses what the prompt says; another prompt may be answered."""


NO_STATUS = "0"
"""In place of an HTTP status in the error about a connection that closes without an answer."""

_CRASHES = (NO_STATUS, "500", "502")
_SETTINGS = ("401", "404", "405", "407")


def may_be_for_content(error: errors.ServiceError) -> bool:
    """Whether an endpoint may have refused a prompt for what it says, or have crashed on it.

    It has if it answers other prompts.
    """
    status = error.metadata.get("status")
    if error.reason == Reason.MODEL_UNAVAILABLE:
        return status in _CRASHES
    return error.reason == Reason.MODEL_UNUSABLE and status not in _SETTINGS


class DeltaKind(StrEnum):
    """The kind of a piece of streamed text."""

    THOUGHT = "thought"
    MESSAGE = "message"


class Sink(Protocol):
    """Receives a model's text as it comes."""

    def delta(self, kind: DeltaKind, text: str) -> None:
        """Add text, which is provisional until the step is committed."""
        ...

    def restart(self, reason: str) -> None:
        """Discard the text of this step, which runs again for ``reason`` (a sentence for people)."""
        ...


class NullSink:
    """Receives text that no one reads."""

    def delta(self, kind: DeltaKind, text: str) -> None:
        """Drop the text."""

    def restart(self, reason: str) -> None:
        """Drop the reason."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a model.

    Attributes:
        messages: The prompt, system message first.
        functions: The functions it may call, one at a time; none if the answer must be plain text.
        model: The model's name; empty for the service's own setting.
        max_tokens: The most tokens that it may write, unless it reasons and is known to need more; 0 for no bound.
        most_tokens: The most tokens that it may write in any case: what the prompt leaves of the window; 0: no bound.
        note: The part that changes from step to step, the last message of this prompt only: blocks of core memory that
            changed, and a line of JSON.
        guided_note: The same with advice for small models, which need it in the mode ``json_schema``.
        withheld: Names of functions that an answer in the mode ``json_schema`` may not call now.
        learns: Whether an answer in the mode ``json_schema`` has a place for facts about the user beside its call.
        retried: Whether it is sent again after a failure of the endpoint.
    """

    messages: Sequence[Message]
    functions: Sequence[Function] = ()
    model: str = ""
    max_tokens: int = 0
    most_tokens: int = 0
    note: str = ""
    guided_note: str = ""
    withheld: frozenset[str] = frozenset()
    learns: bool = False
    retried: bool = True


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer.

    Attributes:
        text: Its text; with a call, the inner thought. Never empty if the request has no functions.
        call: The function call, if there is one.
        usage: Tokens used, including retries.
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
