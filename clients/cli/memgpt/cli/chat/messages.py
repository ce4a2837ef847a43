"""Messages, calls and results formatted for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from memgpt.agent.v1.event_pb2 import FunctionResult
from memgpt.memory.v1.message_pb2 import Message, Role

SEARCHES = frozenset({"archival_memory_search", "conversation_search", "conversation_search_date"})
_UPDATES = frozenset({"core_memory_append", "core_memory_replace", "archival_memory_insert"})
# The first only concerns the agent's loop; the second is shown as a thought.
_HIDDEN_ARGUMENTS = frozenset({"request_heartbeat", "inner_thoughts"})
_ARGUMENT_CHARACTERS = 160
_RESULT_CHARACTERS = 200
QUOTE_CHARACTERS = 240
"""Maximum characters of a quoted message."""

_PAGE = re.compile(r"\(page (\d+)/(\d+)\)")


def shorten(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters, cut between words if they are separated."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    blank = line.rfind(" ", limit * 3 // 4, limit)
    return line[: blank if blank >= 0 else limit - 1] + "…"


def call_line(name: str) -> str:
    """Return the line that shows a function call."""
    if name in SEARCHES:
        return f"⚡🧠 [function] searching memory with {name}"
    if name in _UPDATES:
        return f"⚡🧠 [function] updating memory with {name}"
    return f"⚡ [function] calling {name}"


def argument_line(arguments: str) -> str:
    """Return the arguments of a call as ``key: value`` pairs, or unchanged if they are not valid JSON."""
    try:
        values = json.loads(arguments)
    except (ValueError, RecursionError):
        return shorten(arguments, _ARGUMENT_CHARACTERS)
    if not isinstance(values, dict):
        return shorten(arguments, _ARGUMENT_CHARACTERS)
    shown = [
        f"{key}: {shorten(json.dumps(value, ensure_ascii=False), _ARGUMENT_CHARACTERS)}"
        for key, value in values.items()
        if key not in _HIDDEN_ARGUMENTS
    ]
    return ", ".join(shown)


def result_line(result: FunctionResult) -> str:
    """Return the result of a function on one line; for a search only its paging."""
    head, found, _ = result.text.partition("): [")
    text = f"{head})" if found and head.startswith("Showing ") else result.text
    return f"{'🟢' if result.ok else '🔴'} {shorten(text, _RESULT_CHARACTERS)}"


def page_of(result: FunctionResult) -> str:
    """Return which page of hits a search returned, such as ``page 3 of 14``; empty if there is none."""
    page = _PAGE.search(result.text[:_RESULT_CHARACTERS]) if result.name in SEARCHES else None
    return f"page {int(page[1]) + 1} of {int(page[2]) + 1}" if page else ""


def message_lines(message: Message) -> Iterable[str]:
    """Yield the lines that show a message of the context window."""
    if message.role == Role.ROLE_SYSTEM:
        yield f"[system] {message.text}"
    elif message.role == Role.ROLE_ASSISTANT:
        if message.text:
            yield f"💭 {message.text}"
        if message.HasField("function_call"):
            spoken = spoken_in(message)
            call = message.function_call
            yield f"🤖 {spoken}" if spoken else f"⚡ {call.name}({argument_line(call.arguments)})"
    else:
        kind = _field(message.text, "type")
        text = _field(message.text, "message") or _field(message.text, "reason")
        if message.role == Role.ROLE_TOOL:
            mark = "🔴" if _field(message.text, "status") == "Failed" else "🟢"
            yield f"   {mark} {shorten(text, _RESULT_CHARACTERS)}"
        elif kind == "user_message":
            yield f"🧑 {text}"
        else:
            yield f"[{kind or 'event'}] {text}".rstrip()


def quoted_lines(message: Message) -> Iterable[str]:
    """Yield the lines that quote a message to the user: of an event that is hidden from the user, its kind alone."""
    if message.role == Role.ROLE_USER and not asked_in(message):
        yield f"[{_field(message.text, 'type') or 'event'}]"
    else:
        yield from message_lines(message)


def spoken_in(message: Message) -> str:
    """Return the text that an agent's message sends to the user; empty if there is none."""
    call = message.function_call
    return _field(call.arguments, "message") if call.name == "send_message" else ""


def asked_in(message: Message) -> str:
    """Return the user's text in a message; empty for other events."""
    user = message.role == Role.ROLE_USER and _field(message.text, "type") == "user_message"
    return _field(message.text, "message") if user else ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The last messages of both sides; each may be empty."""

    asked: str
    answered: str


def last_exchange(messages: Iterable[Message]) -> Exchange:
    """Return the user's last message and the last message to the user."""
    asked = answered = ""
    for message in messages:
        asked = asked_in(message) or asked
        answered = spoken_in(message) or answered
    return Exchange(asked, answered)


def _field(envelope: str, key: str) -> str:
    try:
        value = json.loads(envelope)
    except (ValueError, RecursionError):
        return ""
    return str(value.get(key, "")) if isinstance(value, dict) else ""
