"""Messages, and what they consist of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_MESSAGE_BYTES = 1 << 20
"""Longest text of a message, in bytes of UTF-8."""


class Role(StrEnum):
    """The sender of a message."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function call as the model made it.

    Attributes:
        call_id: Pairs it with its result.
        name: The function's name.
        arguments: JSON text that may be invalid.
        endpoint_data: Data that the model's endpoint expects back with the call, as JSON; usually empty.
    """

    call_id: str
    name: str
    arguments: str
    endpoint_data: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call of the model; ``cached_tokens`` are those of the prompt that its endpoint had cached."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        """Tokens of both."""
        return self.prompt_tokens + self.completion_tokens


def text_size(text: str, call: FunctionCall | None) -> int:
    """Return the bytes of UTF-8 in the text and the call of a message."""
    return len(text.encode()) + (len((call.arguments + call.endpoint_data).encode()) if call is not None else 0)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be stored; `replaces` is the sequence of the message that it is a copy of, edited or not."""

    role: Role
    text: str
    function_call: FunctionCall | None = None
    call_id: str = ""
    usage: Usage | None = None
    replaces: int | None = None

    @property
    def size(self) -> int:
        """Bytes of UTF-8 that people or the model wrote in it."""
        return text_size(self.text, self.function_call)


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message; `sequence` counts from 0 without gaps within the agent."""

    id: str
    agent_id: str
    sequence: int
    role: Role
    text: str
    created: int
    turn_id: str = ""
    step: int = 0
    function_call: FunctionCall | None = None
    call_id: str = ""
    usage: Usage | None = None
    replaces: int | None = None
