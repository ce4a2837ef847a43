"""The RPCs in progress, so that a drain can refuse new ones and end those that do not end by themselves."""

from __future__ import annotations

import asyncio
from typing import Any


class InFlight:
    """The RPCs in progress.

    Attributes:
        refusing: Whether new calls are refused.
        refused: Number of calls that were refused.
        expired: Whether `expire` was called: then the server, not the caller, caused a cancellation.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.refusing = False
        self.refused = 0
        self.expired = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """Their tasks."""
        return frozenset(self._tasks)

    def add(self, task: asyncio.Task[Any]) -> None:
        """Keep an RPC's task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def refuse_new(self) -> None:
        """Refuse new calls from now on."""
        self.refusing = True

    def expire(self) -> None:
        """End all RPCs in progress with UNAVAILABLE."""
        self.expired = True
        for task in self._tasks:
            task.cancel()
