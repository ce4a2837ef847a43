"""When a broken call is retried, and when it is given up."""

from __future__ import annotations

import random
import time

from memgpt.client.errors import ServiceError

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


class RetryPolicy:
    """Pauses that double from 0.2 s to 5 s, until a deadline that every sign of life moves on.

    Attributes:
        interrupted: Whether a failure came after the last sign of life.
    """

    def __init__(self, seconds: float, renewed: float | None = None) -> None:
        """Start the clock.

        Args:
            seconds: Time until the first sign of life.
            renewed: Time after each sign of life; None for the same.
        """
        self.interrupted = False
        self._renewed = seconds if renewed is None else renewed
        self._deadline = time.monotonic() + seconds
        self._pause = FIRST_PAUSE

    def renew(self) -> None:
        """Note a sign of life: the deadline moves on, and the next pause is short again."""
        self.interrupted = False
        self._deadline = max(self._deadline, time.monotonic() + self._renewed)
        self._pause = FIRST_PAUSE

    def pause(self, error: ServiceError) -> float:
        """Return the seconds to wait before the next try.

        Args:
            error: Why the last try failed; its `retry_after` is a lower bound of the pause.

        Raises:
            ServiceError: `error` itself, when the deadline would pass.
        """
        self.interrupted = True
        # Many clients lose the same server at the same time; they should not return in step.
        pause = max(self._pause * random.uniform(0.8, 1.2), error.retry_after or 0.0)  # noqa: S311 - no secret
        if time.monotonic() + pause > self._deadline:
            raise error
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return pause
