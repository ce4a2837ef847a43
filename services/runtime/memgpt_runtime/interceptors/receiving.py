"""Bounds the memory of requests that are being received.

gRPC hands a request over only when it is complete, and tells nothing of its size before. So a bounded number of unary
requests is received at a time, and others wait before their first byte is read: flow control keeps it with the client.
A slot is free again when the request has been parsed, which is at once for all but large ones.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
from collections.abc import Callable
from contextlib import suppress

LARGE_BYTES = 1 << 20
"""Size from which a request's memory is given back to the system after it was handled."""


class _Slot:
    """A place among the requests that are being received."""

    def __init__(self, free: Callable[[], None], seconds: float) -> None:
        self._free: Callable[[], None] | None = free
        self._timer = asyncio.get_running_loop().call_later(seconds, self.release)

    def release(self) -> None:
        """Free the place, once."""
        free, self._free = self._free, None
        if free is not None:
            self._timer.cancel()
            free()


_slot: contextvars.ContextVar[_Slot | None] = contextvars.ContextVar("receiving_slot", default=None)


class ReceiveLimiter:
    """Lets a bounded number of requests be received at a time."""

    def __init__(self, most: int, seconds: float) -> None:
        """Set the bounds.

        Args:
            most: Requests that are received at a time.
            seconds: Time after which a request that has not arrived no longer counts, so that it blocks no other.
        """
        self._free = asyncio.Semaphore(most)
        self._seconds = seconds

    async def enter(self) -> None:
        """Wait until the request of this RPC may be received."""
        await self._free.acquire()
        _slot.set(_Slot(self._free.release, self._seconds))

    @staticmethod
    def leave() -> None:
        """Let the next request be received: that of this RPC has been parsed."""
        slot = _slot.get()
        if slot is not None:
            slot.release()


def return_memory() -> None:
    """Give freed memory back to the system: glibc keeps what other threads than the main one have freed."""
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
