"""The time of day, which a server for tests can stop.

Deadlines, leases, and pauses run by `time.monotonic`, stopped or not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_stopped: datetime | None = None


def stop(at: datetime) -> None:
    """Stop the clock of this process at a time, which has a time zone."""
    global _stopped
    _stopped = at


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC) if _stopped is None else _stopped.astimezone(UTC)


def seconds() -> float:
    """Return the seconds since 1970."""
    return time.time() if _stopped is None else _stopped.timestamp()


def microseconds() -> int:
    """Return the microseconds since 1970."""
    return time.time_ns() // 1_000 if _stopped is None else (_stopped - _EPOCH) // timedelta(microseconds=1)
