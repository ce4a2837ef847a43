"""Wake every task that waits for the next change of some state."""

from __future__ import annotations

import asyncio


class Broadcast:
    """Wakes all current waiters at once.

    A waiter that takes `next` before it reads the state misses no change::

        while True:
            change = broadcast.next
            if state_is_fine():
                return
            await change.wait()
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """An event that is set at the next `notify`."""
        return self._event

    def notify(self) -> None:
        """Wake the current waiters; later ones wait for the next call."""
        event, self._event = self._event, asyncio.Event()
        event.set()
