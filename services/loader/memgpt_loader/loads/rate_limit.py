"""The rate limit of the embedding endpoint, as the files of one load have met it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from memgpt_loader.model import Wait

_SPREAD = 1.0
"""Seconds over which the files of a load are spread after a limit."""


class RateLimit:
    """Makes the other files of a load wait with the one that met the limit: each refused call may count toward it."""

    def __init__(self) -> None:
        self._wait: Wait | None = None

    def met(self, wait: Wait) -> None:
        """Note that a call was refused."""
        if self._wait is None or wait.until > self._wait.until:
            self._wait = wait

    async def passed(self, waiting: Callable[[Wait], None]) -> bool:
        """Wait until calls make sense again, and return whether there was a wait.

        Args:
            waiting: Called with each pause.
        """
        waited = False
        while (wait := self._wait) is not None and wait.seconds:
            waited = True
            waiting(wait)
            await asyncio.sleep(wait.seconds + random.uniform(0.0, _SPREAD))  # noqa: S311 - not a secret
        return waited
