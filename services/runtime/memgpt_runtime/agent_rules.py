"""Rules for the settings of an agent, and for texts: the Agent and Memory check them in requests of their own."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.duration_pb2 import Duration
from memgpt.memory.v1.block_pb2 import BlockEdit

from memgpt_runtime import reasons
from memgpt_runtime.names import check_name
from memgpt_runtime.validation import Problems

DEFAULT_BLOCK_LIMIT = 2_000
"""Default limit of a core-memory block, in characters (MemGPT's own default)."""

_MIN_CONTEXT_WINDOW = 1_024
_SHORTEST, _LONGEST = 60_000_000, 36_500 * 86_400_000_000
"""Shortest and longest time to live, in microseconds."""


def zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name; UTC for an empty one.

    Raises:
        ValueError: The name is unknown.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f'unknown time zone "{name}"; use an IANA name such as Europe/Berlin or UTC') from error


def check_time_zone(name: str, field: str = "time_zone") -> None:
    """Reject an unknown time zone.

    Raises:
        InvalidArgument: It is unknown.
    """
    try:
        zone(name)
    except ValueError as error:
        raise reasons.invalid_field(str(error), field=field) from error


def check_context_window(tokens: int, field: str = "context_window") -> None:
    """Reject a context window that is too small; 0 means the service's setting.

    Raises:
        InvalidArgument: It is too small.
    """
    if tokens and tokens < _MIN_CONTEXT_WINDOW:
        raise reasons.invalid_field(
            f"context_window must be 0 (the service's setting) or at least {_MIN_CONTEXT_WINDOW:,} tokens", field=field
        )


def check_ttl(name: str, microseconds: int, field: str = "") -> None:
    """Reject a time to live that is too short or too long.

    Args:
        name: `message_ttl` or `note_ttl`.
        microseconds: The time to live.
        field: Path of the field; by default its name.

    Raises:
        InvalidArgument: It is neither 0 nor between a minute and 100 years.
    """
    if microseconds and not _SHORTEST <= microseconds <= _LONGEST:
        raise reasons.invalid_field(
            f"{name} must be 0 (indefinitely) or between 60 s and 36,500 days", field=field or name
        )


def duration_microseconds(proto: Duration) -> int:
    """Return the microseconds of a duration, rounded up; 0 if it is unset."""
    return proto.seconds * 1_000_000 + -(-proto.nanos // 1_000)


def check_not_blank(text: str, field: str) -> None:
    """Reject text without anything to read. Empty text is the business of the field's constraints.

    Raises:
        InvalidArgument: It is only white space.
    """
    if text and not text.strip():
        raise reasons.invalid_field(f"{field} must not be blank", field=field)


def settings_problems(
    problems: Problems,
    *,
    name: str,
    time_zone: str,
    context_window: int,
    message_ttl: Duration,
    note_ttl: Duration,
    prefix: str = "",
) -> None:
    """Add what is wrong with the settings of an agent; an empty name and an empty time zone are not.

    Args:
        problems: Where to add it.
        name: The agent's name.
        time_zone: Its time zone.
        context_window: Its context window in tokens.
        message_ttl: How long its messages are kept.
        note_ttl: How long its notes are kept.
        prefix: Goes before the names of the fields, such as `agent.`.
    """
    if name:
        problems.check(check_name, f"{prefix}name", name)
    problems.check(check_time_zone, time_zone, f"{prefix}time_zone")
    problems.check(check_context_window, context_window, f"{prefix}context_window")
    for field, ttl in (("message_ttl", message_ttl), ("note_ttl", note_ttl)):
        problems.check(check_ttl, field, duration_microseconds(ttl), f"{prefix}{field}")


def new_block_problems(problems: Problems, blocks: Iterable[BlockEdit], limit: int) -> None:
    """Add what is wrong with the blocks of a new agent.

    Args:
        problems: Where to add it.
        blocks: The blocks of the request, in its field `blocks`.
        limit: Limit in characters of a block without one; 0 for the default.
    """
    seen = set()
    for index, block in enumerate(blocks):
        if block.label and block.label in seen:
            problems.add(f'duplicate block "{block.label}"; give each label once', field=f"blocks[{index}].label")
        seen.add(block.label)
        problems.check(
            check_block_value,
            block.label,
            len(block.value),
            block.limit or limit or DEFAULT_BLOCK_LIMIT,
            f"blocks[{index}].value",
        )


def check_block_value(label: str, length: int, limit: int, field: str = "blocks.value") -> None:
    """Reject the value of a block that is over its limit.

    Args:
        label: The label of the block.
        length: The length of its value in characters.
        limit: Its limit.
        field: Path of the value.

    Raises:
        InvalidArgument: It is longer.
    """
    if length > limit >= 0:
        raise reasons.block_limit_exceeded(
            f'value of block "{label}" has {length} characters, its limit is {limit};'
            " shorten the value or raise the limit",
            field=field,
            label=label,
            limit=limit,
            length=length,
        )
