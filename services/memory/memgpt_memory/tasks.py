"""Work that must not stop half way because its caller went away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def run_to_end(work: Awaitable[_T]) -> _T:
    """Awaits `work` to its end; a cancellation of the caller takes effect only then."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()  # seen, so that nobody warns of it
        raise cancelled
    return running.result()


async def all_to_end(*works: Awaitable[object]) -> None:
    """Awaits all works to their ends, then raises the first failure, if any."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
