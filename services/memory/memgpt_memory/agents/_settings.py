"""Rules for the settings of an agent, and the etag that guards them."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from memgpt_runtime import reasons

from memgpt_memory.agents._rows import AgentRow

_MIN_CONTEXT_WINDOW = 1_024
_SHORTEST, _LONGEST = 60_000_000, 36_500 * 86_400_000_000
"""Shortest and longest time to live, in microseconds."""


def check_settings(row: AgentRow) -> None:
    """Reject invalid settings.

    Raises:
        InvalidArgument: The time zone is unknown, the context window is too small, or a time to live too short or long.
    """
    check_time_zone(row.time_zone)
    check_context_window(row.context_window)
    check_ttl("message_ttl", row.message_ttl)
    check_ttl("note_ttl", row.note_ttl)


def check_time_zone(name: str) -> None:
    """Reject an unknown time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise reasons.invalid_field(
            f'unknown time zone "{name}"; use an IANA name such as Europe/Berlin or UTC', field="time_zone"
        ) from error


def check_context_window(tokens: int) -> None:
    """Reject a context window that is too small; 0 means the service's setting."""
    if tokens and tokens < _MIN_CONTEXT_WINDOW:
        raise reasons.invalid_field(
            f"context_window must be 0 (the service's setting) or at least {_MIN_CONTEXT_WINDOW:,} tokens",
            field="context_window",
        )


def check_ttl(field: str, microseconds: int) -> None:
    """Reject a time to live that is too short or too long.

    Raises:
        InvalidArgument: It is neither 0 nor between a minute and 100 years.
    """
    if microseconds and not _SHORTEST <= microseconds <= _LONGEST:
        raise reasons.invalid_field(f"{field} must be 0 (indefinitely) or between 60 s and 36,500 days", field=field)


def settings_etag(row: AgentRow) -> str:
    """An etag that changes with every write of the settings."""
    return f"s{row.settings_version}"
