"""The interface through which the loop reports times, for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """Times of a turn that ran here, in seconds since it was requested.

    Attributes:
        state: How it ended, as in ``TurnState``; ``suspended`` if any replica may resume it.
        queued: Until it left the queue.
        first_text: Until the first text for the user; None if there was none.
        total: Until it ended, or was left.
    """

    state: str
    queued: float
    first_text: float | None
    total: float


class Observer:
    """Receives what the loop reports, and ignores it."""

    def turn_left(self, times: TurnTimes) -> None:
        """Record a turn that has ended here, or was left."""

    def function_called(self, name: str, seconds: float, *, ok: bool, remote: bool) -> None:
        """Record a call of a function, built-in or remote."""
