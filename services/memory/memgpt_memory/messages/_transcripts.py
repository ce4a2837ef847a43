"""The spoken text of an agent's messages, cached for searches by words."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import NamedTuple

from cachetools import LRUCache

from memgpt_memory.fulltext import fold
from memgpt_memory.messages._messages import Messages
from memgpt_memory.messages._model import Message, Role

CHUNK = 500
"""Messages that are read and kept together."""

_MAX_BYTES = 64 << 20
"""Approximate size of the whole cache, in bytes."""

_BYTES_OF_A_LINE = 200


class Line(NamedTuple):
    """A message in the form that is compared with words.

    Attributes:
        sequence: Its place in recall memory.
        role: The sender.
        created: When it was stored.
        text: What was said or thought, folded; empty for events of the system's own.
        said: Whether the user or the agent said it to the other.
    """

    sequence: int
    role: Role
    created: int
    text: str
    said: bool


class _Kept(NamedTuple):
    """The cached lines of a chunk, up to the sequence `end`."""

    end: int
    lines: list[Line]
    bytes: int


class Transcripts:
    """The lines of agents that were searched recently. A stored message never changes, so the cache stays valid."""

    def __init__(self, messages: Messages) -> None:
        """Read `messages`."""
        self._messages = messages
        self._cache: LRUCache[tuple[str, int], _Kept] = LRUCache(_MAX_BYTES, lambda kept: kept.bytes)
        self._forgets = 0

    async def chunk(self, agent_id: str, number: int, count: int) -> list[Line]:
        """Return the lines of the messages from ``number * CHUNK`` on: `CHUNK` of them, or up to `count`, in order."""
        key = agent_id, number
        first, end = number * CHUNK, min((number + 1) * CHUNK, count)
        kept = self._cache.get(key) or _Kept(first, [], 0)
        if kept.end < end:
            forgets = self._forgets
            fresh = [line_of(one) for one in await self._messages.read(agent_id, range(kept.end, end))]
            grown = sum(_BYTES_OF_A_LINE + sys.getsizeof(line.text) for line in fresh)
            kept = _Kept(end, [*kept.lines, *fresh], kept.bytes + grown)
            former = self._cache.get(key)
            # Another search may have cached as much, or it may have read what is forgotten now.
            if (former is None or former.end < end) and self._forgets == forgets:
                self._cache.pop(key, None)
                with suppress(ValueError):  # larger than the whole cache
                    self._cache[key] = kept
        return kept.lines if kept.end == end else [line for line in kept.lines if line.sequence < end]

    def forget(self, agent_id: str) -> None:
        """Drop the lines of an agent some or all of whose messages were deleted."""
        self._forgets += 1
        for key in [key for key in self._cache if key[0] == agent_id]:
            del self._cache[key]


def line_of(message: Message) -> Line:
    """Return a message as a line."""
    text = fold(spoken_text(message).strip())
    return Line(message.sequence, message.role, message.created, text, bool(text) and _was_said(message))


def spoken_text(message: Message) -> str:
    """Return what was said or thought in a message, without its envelope; empty for system events.

    A user's message is a JSON envelope with the words in ``message``; what the agent says to the user is the argument
    of ``send_message``, in addition to its thought.
    """
    if message.role is Role.USER:
        envelope = _object(message.text)
        if envelope is None:
            return message.text
        return str(envelope.get("message", "")) if envelope.get("type") == "user_message" else ""
    if (
        message.role is Role.ASSISTANT
        and message.function_call is not None
        and message.function_call.name == "send_message"
    ):
        arguments = _object(message.function_call.arguments)
        return f"{message.text}\n{arguments.get('message', '')}" if arguments else message.text
    return message.text


def _was_said(message: Message) -> bool:
    if message.role is Role.ASSISTANT:
        return message.function_call is not None and message.function_call.name == "send_message"
    return message.role is Role.USER


def _object(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text, strict=False)  # line breaks as they are: such a call was run
    except (ValueError, RecursionError):  # a model may write invalid JSON
        return None
    return value if isinstance(value, dict) else None
