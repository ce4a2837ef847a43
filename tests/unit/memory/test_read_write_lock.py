"""The lock for many readers or one writer."""

from __future__ import annotations

import asyncio

import pytest
from memgpt_memory.store.locks import ReadWriteLock


@pytest.mark.parametrize("writer", [True, False])
async def test_a_waiter_that_ends_just_when_the_lock_is_released_ends_like_others(writer: bool) -> None:
    lock = ReadWriteLock()

    async def wait() -> None:
        async with lock.write() if writer else lock.read():
            pass

    async with lock.write():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10), lock.write():
        pass
