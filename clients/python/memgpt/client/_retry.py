"""The retry policy for broken calls."""

from __future__ import annotations

import random
import time

from memgpt.client.errors import ServiceError

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 3.0


class RetryPolicy:
    """Exponential backoff from 0.2 s to 3 s, until a deadline that every sign of life extends.

    The time runs from the first failure: a connection that hangs may take longer to fail than the policy allows.

    Attributes:
        interrupted: Whether a failure occurred after the last sign of life.
    """

    def __init__(self, seconds: float, renewed: float | None = None) -> None:
        """Start before the first attempt.

        Args:
            seconds: Time for retries until the first sign of life.
            renewed: Time for retries after each sign of life; None for `seconds`.
        """
        self.interrupted = False
        self._seconds = seconds
        self._renewed = seconds if renewed is None else renewed
        self._deadline: float | None = None
        self._pause = FIRST_PAUSE

    def renew(self) -> None:
        """Record a sign of life: the next failure counts as the first one."""
        self.interrupted = False
        self._seconds = self._renewed
        self._deadline = None
        self._pause = FIRST_PAUSE

    def pause(self, error: ServiceError) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            error: Why the last attempt failed; its `retry_after` is a lower bound of the pause.

        Raises:
            ServiceError: `error` itself, if the next attempt would be after the deadline.
        """
        self.interrupted = True
        if self._deadline is None:
            self._deadline = time.monotonic() + self._seconds
        # Jitter: many clients may lose the same server at once and should not reconnect at once.
        pause = max(self._pause * random.uniform(0.8, 1.2), error.retry_after or 0.0)  # noqa: S311 - not a secret
        if time.monotonic() + pause > self._deadline:
            raise error
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return pause
