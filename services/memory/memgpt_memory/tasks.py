"""Work that must not stop halfway because its caller went away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


async def run_to_end(work: Awaitable[_T]) -> _T:
    """Await `work` to its end; a cancellation of the caller takes effect only then."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        # What `asyncio.wait` does, for one task only: every commit runs this.
        woken = running.get_loop().create_future()
        running.add_done_callback(partial(_wake, woken))
        try:
            await woken
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()  # retrieved, so that asyncio does not warn about it
        raise cancelled
    return running.result()


async def all_to_end(*works: Awaitable[object]) -> None:
    """Await all of `works` to their ends, then raise the first failure, if any."""
    if len(works) == 1:  # the usual case, without a task
        await works[0]
        return
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _wake(sleeper: asyncio.Future[None], _: object) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
