"""Bounds the memory of requests that are being received.

gRPC hands over a message only when it is complete, and does not tell its size before. So a bounded number of
messages is received at a time, and others wait before their first byte is read: flow control keeps it with the client.
A slot is free again when the message has been parsed, which is at once for all but large ones. A message that takes
long keeps its slot while no other call needs it, and then its call ends: so the bound is strict, and no call waits
indefinitely for clients that do not send.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from memgpt_runtime import reasons

LARGE_BYTES = 1 << 20
"""Size from which a request's memory is given back to the system after it was handled."""


class ReceiveSlot:
    """A place among the messages that are being received."""

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free

    def release(self) -> None:
        """Free the place, once."""
        free, self._free = self._free, None
        if free is not None:
            free()


class ReceiveLimiter:
    """Lets a bounded number of messages be received at a time."""

    def __init__(self, most: int, patience: float, limit: float | None) -> None:
        """Set the bounds.

        Args:
            most: Messages that are received at a time.
            patience: Seconds that a message may take while others wait.
            limit: Seconds that a message may take in any case; None for no limit.
        """
        self._most = most
        self._patience = patience
        self._limit = limit
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._late: deque[asyncio.Timeout] = deque()
        self._reclaimed: set[asyncio.Timeout] = set()

    async def receive(self, read: Callable[[], Awaitable[bytes]]) -> tuple[bytes, ReceiveSlot]:
        """Receive a message when there is a place for it.

        Args:
            read: Reads the message.

        Returns:
            The message, and its place, to be released when it has been parsed.

        Raises:
            DeadlineExceeded: The message did not arrive within the limit.
            ResourceExhausted: Others wait, and the message did not arrive for long.
        """
        await self._acquire()
        slot = ReceiveSlot(self._release)
        try:
            return await self._read(read), slot
        except BaseException:
            slot.release()
            raise

    async def _acquire(self) -> None:
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._reclaim()
        try:
            await place
        except BaseException:
            if place.cancelled():
                with suppress(ValueError):  # passed over by a place that was released since
                    self._waiting.remove(place)
            else:  # it was handed over in the meantime
                self._release()
            raise

    def _release(self) -> None:
        """Hand a place to the call that has waited longest, which no longer counts as waiting then."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    async def _read(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        loop = asyncio.get_running_loop()
        started = loop.time()
        scope = asyncio.timeout(self._limit)
        timer = loop.call_later(self._patience, self._be_late, scope)
        try:
            async with scope:
                return await read()
        except TimeoutError:
            if not scope.expired():
                raise
            if self._limit is not None and loop.time() >= started + self._limit:
                raise reasons.deadline_exceeded(
                    f"the request did not arrive within {self._limit:g} s; send it again", limit_seconds=self._limit
                ) from None
            raise reasons.overloaded(
                f"the request did not arrive within {self._patience:g} s while other requests waited; send it again",
                limit=self._most,
            ) from None
        finally:
            timer.cancel()
            self._reclaimed.discard(scope)
            with suppress(ValueError):
                self._late.remove(scope)

    def _be_late(self, scope: asyncio.Timeout) -> None:
        self._late.append(scope)
        self._reclaim()

    def _reclaim(self) -> None:
        """End the calls that have been late for longest, one for each that waits."""
        while self._late and len(self._reclaimed) < len(self._waiting):
            scope = self._late.popleft()
            self._reclaimed.add(scope)
            if not scope.expired():  # its own limit may have just ended it
                scope.reschedule(0)


def return_memory() -> None:
    """Give freed memory back to the system: glibc keeps what other threads than the main one have freed."""
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
