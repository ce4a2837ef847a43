"""Durations and times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from memgpt.cli.errors import MISUSE, CliError

_DURATION = re.compile(r"([0-9]{1,6})([smhdwy])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
FOREVER = "forever"


def parse_duration(text: str) -> timedelta:
    """Return a duration such as ``90s``, ``15m``, ``24h``, ``30d``, ``2w`` or ``1y``, which is 365 days.

    Raises:
        CliError: The text is not valid.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CliError(f'"{text}" is not a duration; write one such as 24h or 30d', MISUSE)
    return int(found[1]) * _UNITS[found[2]]


def parse_ttl(text: str) -> timedelta | None:
    """Return a time to live: a duration, or zero for ``forever``; None for the empty text.

    Raises:
        CliError: The text is neither.
    """
    if not text:
        return None
    try:
        return timedelta() if text == FOREVER else parse_duration(text)
    except CliError as error:
        raise CliError(f'"{text}" is not a time to live; write one such as 30d or 1y, or {FOREVER}', MISUSE) from error


def ttl_text(ttl: timedelta) -> str:
    """Return a time to live in its largest whole unit, as `parse_ttl` reads it."""
    for unit in ("d", "h", "m"):
        if ttl and not ttl % _UNITS[unit]:
            return f"{ttl // _UNITS[unit]:,}{unit}".replace(",", "")
    return f"{ttl // _UNITS['s']}s" if ttl else FOREVER


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
