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

from memgpt_runtime.errors import ServiceError, Unavailable


class Attempts(Protocol):
    """Attempts to iterate over, with `async for` or with `for`."""

    def __iter__(self) -> Iterator[stamina.Attempt]: ...

    def __aiter__(self) -> AsyncIterator[stamina.Attempt]: ...


class RetryPolicy:
    """Exponential backoff that honors `ServiceError.retry_after` and gives up `seconds` after the first failure.

    `progressed` restarts the time, so that long work is retried as long as it makes progress, and given up once it
    keeps failing at the same place.
    """

    def __init__(
        self,
        *,
        seconds: float,
        retryable: tuple[type[Exception], ...] | Callable[[Exception], bool] = (Unavailable,),
        initial: float = 0.1,
        maximum: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up the policy for one piece of work.

        Args:
            seconds: How long to keep trying, from the first failure since the last progress.
            retryable: Exceptions after which another attempt makes sense, or a function that returns whether it does.
            initial: Seconds to wait after the first failure; doubled after each.
            maximum: Longest wait in seconds, unless the error asks for a longer one.
            clock: Seconds on a monotonic clock.
        """
        self._seconds = seconds
        self._retryable = (lambda error: isinstance(error, retryable)) if isinstance(retryable, tuple) else retryable
        self._initial = self._backoff = initial
        self._maximum = maximum
        self._clock = clock
        self._deadline: float | None = None

    def progressed(self) -> None:
        """Note progress: the next failure counts as the first."""
        self._deadline = None
        self._backoff = self._initial

    def __call__(self, error: Exception) -> float | bool:
        """Return how many seconds to wait after an error, or False to give up; stamina's hook."""
        if not self._retryable(error):
            return False
        if self._deadline is None:
            self._deadline = self._clock() + self._seconds
        wait = self._backoff
        if isinstance(error, ServiceError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if self._clock() + wait > self._deadline:
            return False
        self._backoff = min(self._maximum, 2 * self._backoff)
        return wait * random.uniform(1.0, 1.2)  # noqa: S311 - spreads retries, not used for security

    def attempts(self) -> Attempts:
        """Return stamina's attempts under this policy."""
        return cast("Attempts", stamina.retry_context(on=self, attempts=None, timeout=None))
