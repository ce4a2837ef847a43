"""Times of messages as MemGPT 0.1 to 0.3 stored them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import parse_json
from memgpt.cli.imports.times import parse_time

_HOUR = timedelta(hours=1)
_NEAR = timedelta(minutes=7)
"""Most time between the text of a message and its row. Time zones differ by a multiple of 15 minutes."""


def time_in(text: str, zone: tzinfo = UTC) -> datetime | None:
    """Return the time in the envelope of an event or a result."""
    if not text.startswith("{"):
        return None
    try:
        envelope = parse_json(text, "")
    except CliError:
        return None
    return parse_time(envelope.get("time"), zone) if isinstance(envelope, dict) else None


class RowClock:
    """Reads the times in rows of 0.3, which do not tell their zone.

    The first versions stored the local time of the machine, later ones UTC. Envelopes of events and results have the
    local time with its offset: the closest one tells which it is, also across daylight saving time and an upgrade.
    """

    def __init__(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Look for the first row that tells.

        Args:
            rows: Text and time of rows, in the order in which they were written.
        """
        shifts = (shift for text, time in rows if (shift := _shift(text, time)) is not None)
        self._shift = next(shifts, timedelta(0))
        self._before: datetime | None = None
        self.is_local = bool(self._shift) or any(shifts)

    def time(self, text: str, stored: Any) -> datetime | None:
        """Return when a message was written. Call it in the order in which rows were written."""
        shift, time = _shift(text, stored), parse_time(stored)
        if time is None:
            return None
        if shift is not None:
            self._shift = shift
        elif self._before and time - self._shift < self._before <= time - self._shift + _HOUR:
            self._shift -= _HOUR  # clocks were set back since the last envelope
        self._before = time - self._shift
        return self._before


def _shift(text: str, stored: Any) -> timedelta | None:
    """Return how far the stored time is ahead of UTC: not at all or by the zone's offset; None if it is unknown."""
    told, time = time_in(text), parse_time(stored)
    if told is None or time is None:
        return None
    offset = told.utcoffset() or timedelta(0)
    for shift in (timedelta(0), offset):
        if abs(time - shift - told) < _NEAR:
            return shift
    return None


def in_order(times: Iterable[datetime | None]) -> Iterator[datetime | None]:
    """Yield local times with the hour that repeats when clocks are set back told apart: times do not go back."""
    before: datetime | None = None
    for time in times:
        if time is not None and before is not None and time.astimezone(UTC) < before.astimezone(UTC):
            later = time.replace(fold=1)
            if later.astimezone(UTC) >= before.astimezone(UTC):
                yield (before := later)
                continue
        before = time or before
        yield time
