"""Durations and times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from memgpt.cli.errors import MISUSE, CliError

_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Return a duration such as ``90s``, ``15m``, ``24h`` or ``30d``.

    Raises:
        CliError: It is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CliError(f'"{text}" is not a duration; write one such as 24h or 30d', MISUSE)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def parse_expiry(text: str, now: datetime) -> datetime:
    """Return a time in the future: a duration from now, a date of UTC, or a time, of UTC unless it has a zone.

    Raises:
        CliError: It is none of these, or not in the future.
    """
    try:
        if _DURATION.fullmatch(text):
            time = now + parse_duration(text)
        else:
            time = datetime.fromisoformat(text)
            time = time if time.tzinfo else time.replace(tzinfo=UTC)
            time = time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CliError(
            f'"{text}" is not a time; write one such as 30d, 2027-01-31 or 2027-01-31T12:00Z', MISUSE
        ) from error
    if time <= now:
        raise CliError(f'"{text}" is not in the future', MISUSE)
    return time
