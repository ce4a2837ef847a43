"""The request to stop: from a signal, or because the parent process is gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from memgpt_runtime.parent import watch_parent


class StopSignal:
    """The request to stop.

    Attributes:
        requested: Set when the server must stop.
        hurry: Set by a second request.
        cause: The origin of the request, for the log.
        pause: Whether load balancers need time to notice.
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.hurry = asyncio.Event()
        self.cause = ""
        self.pause = True
        self._starting: asyncio.Task[Any] | None = asyncio.current_task()

    def started(self) -> None:
        """Note that the server has started: from now on a request drains it, instead of cancelling the start."""
        self._starting = None

    def request(self, cause: str, *, pause: bool) -> None:
        """Request the stop; a second request ends all waiting."""
        if self.requested.is_set():
            self.hurry.set()
            return
        self.cause, self.pause = cause, pause
        self.requested.set()
        if self._starting is not None:
            self._starting.cancel()

    def install(self, parent_fd: int | None) -> Callable[[], None]:
        """Listen for signals and for the parent's end. Returns a function that undoes it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: self.request("SIGTERM", pause=True))
        loop.add_signal_handler(signal.SIGINT, lambda: self.request("SIGINT", pause=False))
        unwatch = None
        if parent_fd is not None:
            unwatch = watch_parent(parent_fd, lambda: self.request("parent exited", pause=False))

        def undo() -> None:
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)
            if unwatch is not None:
                unwatch()

        return undo
