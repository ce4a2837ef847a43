"""Times written into texts in an agent's own time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from memgpt_memory.messages import NewMessage

_FORMAT = "%Y-%m-%d %I:%M:%S %p %Z%z"
"""How MemGPT writes times, such as "2026-01-31 03:04:05 PM CET+0100"."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_time(text: str, placeholder: str, time: int, time_zone: str) -> str:
    """Put a time in place of a placeholder.

    Args:
        text: Any text.
        placeholder: What the text has where the time belongs; empty to change nothing.
        time: Microseconds since 1970.
        time_zone: IANA name of the agent's time zone.
    """
    if not placeholder or placeholder not in text:
        return text
    local = (_EPOCH + timedelta(microseconds=time)).astimezone(ZoneInfo(time_zone))
    return text.replace(placeholder, local.strftime(_FORMAT))


def write_times(messages: Sequence[NewMessage], placeholder: str, time: int, time_zone: str) -> list[NewMessage]:
    """Put a time in place of a placeholder in the texts of messages; see `write_time`."""
    return [replace(message, text=write_time(message.text, placeholder, time, time_zone)) for message in messages]
