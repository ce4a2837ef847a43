"""The policy for retries after a failure; the loop is stamina's.

::

    policy = RetryPolicy(seconds=60, retryable=(Unavailable,))
    async for attempt in policy.attempts():
        with attempt:
            return await call()
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, cast

import stamina

from memgpt_runtime.errors import Reason, ServiceError, Unavailable


def is_rate_limit(error: Exception) -> bool:
    """Whether an error is a rate limit of a model's endpoint, which passes."""
    return isinstance(error, ServiceError) and error.reason == Reason.MODEL_RATE_LIMITED and not is_spent(error)


def is_spent(error: Exception) -> bool:
    """Whether an error says that the account at a model's endpoint has no balance or quota left."""
    return isinstance(error, ServiceError) and "account" in error.metadata


class Attempts(Protocol):
    """Attempts to iterate over, with `async for` or with `for`."""

    def __iter__(self) -> Iterator[stamina.Attempt]: ...

    def __aiter__(self) -> AsyncIterator[stamina.Attempt]: ...


class RetryPolicy:
    """Exponential backoff that honors the `retry_after` of errors and gives up `seconds` after the first failure.

    `progressed` restarts the time, so that long work is retried as long as it makes progress, and given up once it
    keeps failing at the same place. An endpoint that is rate limiting requests works, and may ask for longer waits:
    they have a limit of their own.
    """

    def __init__(
        self,
        *,
        seconds: float,
        retryable: tuple[type[Exception], ...] | Callable[[Exception], bool] = (Unavailable,),
        initial: float = 0.1,
        maximum: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        rate_limit_seconds: float | None = None,
        waiting: Callable[[Exception, float], None] | None = None,
    ) -> None:
        """Set up the policy for one piece of work.

        Args:
            seconds: How long to keep trying, from the first failure since the last progress.
            retryable: Exceptions after which another attempt makes sense, or a function that returns whether it does.
            initial: Seconds to wait after the first failure; doubled after each.
            maximum: Longest wait in seconds, unless the error asks for a longer one.
            clock: Seconds on a monotonic clock.
            rate_limit_seconds: In place of `seconds` for rate limits of a model's endpoint; None for the same.
            waiting: Called with the error and the seconds of each wait.
        """
        self._seconds = seconds
        self._retryable = (lambda error: isinstance(error, retryable)) if isinstance(retryable, tuple) else retryable
        self._initial = self._backoff = initial
        self._maximum = maximum
        self._clock = clock
        self._rate_limit_seconds = rate_limit_seconds
        self._waiting = waiting
        self._deadline: float | None = None
        self._rate_limit_deadline: float | None = None

    def progressed(self) -> None:
        """Note progress: the next failure counts as the first."""
        self._deadline = self._rate_limit_deadline = None
        self._backoff = self._initial

    def __call__(self, error: Exception) -> float | bool:
        """Return how many seconds to wait after an error, or False to give up; stamina's hook."""
        if not self._retryable(error):
            return False
        wait = max(self._backoff, getattr(error, "retry_after", None) or 0.0)
        if self._clock() + wait > self._deadline_after(error):
            return False
        self._backoff = min(self._maximum, 2 * self._backoff)
        wait += random.uniform(0.0, 0.2) * min(wait, self._maximum)  # noqa: S311 - spreads retries, not a secret
        if self._waiting is not None:
            self._waiting(error, wait)
        return wait

    def _deadline_after(self, error: Exception) -> float:
        now = self._clock()
        if self._rate_limit_seconds is not None and is_rate_limit(error):
            self._deadline = None  # what was out of order responds again
            if self._rate_limit_deadline is None:
                self._rate_limit_deadline = now + self._rate_limit_seconds
            return self._rate_limit_deadline
        if self._deadline is None:
            self._deadline = now + self._seconds
        return self._deadline

    def attempts(self) -> Attempts:
        """Return stamina's attempts under this policy."""
        return cast("Attempts", stamina.retry_context(on=self, attempts=None, timeout=None))
