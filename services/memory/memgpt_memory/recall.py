"""Recall memory: finding messages by words and by day."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from memgpt_runtime.errors import invalid

from memgpt_memory.listing import PAGE_BYTES
from memgpt_memory.live import LiveAgent
from memgpt_memory.messages import Messages
from memgpt_memory.model import Message, Page, Role

_CHUNK = 500
_SMALL_CHUNK = 100
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EVER = 1 << 62


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What is looked for; an empty field is no condition.

    Attributes:
        text: Words that must all occur, case ignored.
        first_day: ``YYYY-MM-DD`` in the agent's time zone.
        last_day: The same; it counts whole.
        roles: Whose messages.
    """

    text: str
    first_day: str
    last_day: str
    roles: frozenset[Role]


class Recall:
    """Searches and lists the messages of an agent, the latest first."""

    def __init__(self, messages: Messages) -> None:
        """Reads `messages`."""
        self._messages = messages

    async def search(
        self, live: LiveAgent, query: RecallQuery, size: int, skip: int, position: tuple[int, int, int] | None
    ) -> Page[Message]:
        """A page of matches.

        Args:
            live: The agent.
            query: What is looked for.
            size: Most messages.
            skip: Matches to pass over first.
            position: (messages that there were at the first page, matches passed, their total) from a token.

        Returns:
            The page; its token is the next position as JSON.
        """
        words = query.text.casefold().split()
        zone = ZoneInfo(live.row.time_zone)
        start = _day_start(query.first_day, zone, "start_date") if query.first_day else None
        end = _day_start(query.last_day, zone, "end_date", after=True) if query.last_day else None
        if start is not None and end is not None and start >= end:
            raise invalid("end_date", f"end_date {query.last_day} lies before start_date {query.first_day}.")
        count, passed, _ = position or (live.row.message_count, 0, 0)
        passed += skip
        items: list[Message] = []
        total = 0
        room = PAGE_BYTES
        # Every message is read: the total is exact, and no index knows "all of these words" in every script.
        for high in range(count, 0, -_CHUNK):
            for message in await self._messages.read(live.id, range(high - 1, max(high - _CHUNK, 0) - 1, -1)):
                if _matches(message, words, query.roles, start, end):
                    if passed <= total < passed + size and (room > 0 or not items):
                        room -= length_of(message)
                        if room >= 0 or not items:
                            items.append(message)
                    total += 1
        reached = passed + len(items)
        return Page(items, json.dumps([count, reached, total]) if reached < total else "", total)

    async def page(self, live: LiveAgent, size: int, position: tuple[int, int] | None) -> Page[Message]:
        """A page of all messages; `position` is (messages at the first page, messages passed)."""
        count, passed = position or (live.row.message_count, 0)
        high = count - passed
        items: list[Message] = []
        room = PAGE_BYTES
        while high > 0 and len(items) < size and room > 0:
            low = max(high - min(size - len(items), _SMALL_CHUNK), 0)
            for message in await self._messages.read(live.id, range(high - 1, low - 1, -1)):
                room -= length_of(message)
                if room < 0 and items:
                    break
                items.append(message)
            high = low
        reached = passed + len(items)
        return Page(items, json.dumps([count, reached]) if reached < count else "", count)


def length_of(message: Message) -> int:
    """Bytes of a message's texts."""
    arguments = message.function_call.arguments if message.function_call else ""
    return len(message.text.encode()) + len(arguments.encode())


def spoken_text(message: Message) -> str:
    """What was said or thought in a message, without its envelope; empty for events of the system's own.

    A user's message is an envelope of JSON with the words in ``message``; what the agent says to the user is the
    argument of ``send_message``, beside its thought.
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


def _object(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _matches(message: Message, words: list[str], roles: frozenset[Role], start: int | None, end: int | None) -> bool:
    if message.role not in roles:
        return False
    if (start is not None and message.created < start) or (end is not None and message.created >= end):
        return False
    if not words:
        return bool(spoken_text(message).strip())
    text = spoken_text(message).casefold()
    return all(word in text for word in words)


def _day_start(day: str, zone: ZoneInfo, field: str, *, after: bool = False) -> int:
    """The first microsecond of a day, or of the one after it."""
    try:
        if not _DAY.fullmatch(day):
            raise ValueError(day)
        when = date.fromisoformat(day)
    except ValueError as error:
        raise invalid(field, f"{day!r} is no day: give it as YYYY-MM-DD, such as 2026-01-31.") from error
    try:
        when += timedelta(days=int(after))
        return int(datetime.combine(when, time_of_day(), zone).timestamp() * 1_000_000)
    except OverflowError:  # the first and the last day that there are, such as for "ever since"
        return _EVER if after else -_EVER
