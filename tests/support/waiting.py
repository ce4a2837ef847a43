"""Wait for conditions that nothing announces: check them repeatedly, until a deadline that only a failure reaches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def wait_until(find: Callable[[], T], seconds: float = 60, *, ignore: type[Exception] | tuple[()] = ()) -> T:
    """Return the first true result of a function.

    Args:
        find: Called repeatedly.
        seconds: Maximum time.
        ignore: Exception of ``find`` that counts as a false result, such as a connection that is not accepted yet.

    Raises:
        AssertionError: There was no true result in time; the message has the last one.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if result := find():
                return result
            last = repr(result)
        except ignore as error:
            last = repr(error)  # the exception itself would keep what it has open, in a cycle with this frame
        assert time.monotonic() < deadline, f"not after {seconds:g} s: {last}"
        time.sleep(_PAUSE)


async def until(holds: Callable[[], object], seconds: float = 60) -> None:
    """Return once a condition holds that other tasks or processes bring about.

    Raises:
        TimeoutError: It did not hold in time.
    """
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.001)
