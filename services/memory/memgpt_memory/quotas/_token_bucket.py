"""Token buckets: rates per minute that allow bursts of a minute's worth."""

from __future__ import annotations

SECONDS = 60.0
"""The window of every rate."""


class TokenBucket:
    """A bucket that holds a minute's worth of tokens, is full at first, and fills evenly.

    Taking may leave it in debt, for work whose size is only known when it is done: then nothing is allowed until the
    debt is paid off. See https://en.wikipedia.org/wiki/Token_bucket.
    """

    __slots__ = ("_at", "_level")

    def __init__(self, per_minute: int, now: float) -> None:
        """Fill the bucket; `now` in seconds on a monotonic clock."""
        self._level = float(per_minute)
        self._at = now

    def level(self, per_minute: int, now: float) -> float:
        """Return the tokens in the bucket; `per_minute` is the current rate, which may have changed."""
        self._level = min(float(per_minute), self._level + (now - self._at) * per_minute / SECONDS)
        self._at = now
        return self._level

    def wait(self, per_minute: int, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until there are `tokens`; 0 if there are."""
        missing = min(tokens, float(per_minute)) - self.level(per_minute, now)
        return max(0.0, missing * SECONDS / per_minute)

    def take(self, tokens: float) -> None:
        """Take tokens, even if fewer are left."""
        self._level -= tokens
