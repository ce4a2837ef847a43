"""Times in the texts and numbers of other systems."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Any

_FORMAT = "%Y-%m-%d %I:%M:%S %p"
_LOCAL = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [AP]M)(?: [^+-]*([+-]\d{4}))?\s*")


def parse_time(value: Any, zone: tzinfo = UTC) -> datetime | None:
    """Parse a time; return None if the value is not a time.

    Args:
        value: ISO 8601, MemGPT's ``2023-11-20 03:15:22 PM PST-0800``, or seconds since 1970.
        zone: Zone of a time that does not have its own.
    """
    try:
        time = _parsed(value, zone)
        # A time at either end of the calendar has none in other zones.
        return time if time is None or time.astimezone(UTC) else None
    except (ValueError, OverflowError, OSError):
        return None


def _parsed(value: Any, zone: tzinfo) -> datetime | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        return None
    if local := _LOCAL.fullmatch(value):
        text, offset = local.groups()
        if offset:
            return datetime.strptime(f"{text} {offset}", f"{_FORMAT} %z")
        return datetime.strptime(text, _FORMAT).replace(tzinfo=zone)
    time = datetime.fromisoformat(value)
    return time.replace(tzinfo=zone) if time.tzinfo is None else time
