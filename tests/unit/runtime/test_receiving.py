"""The number of requests that are received at a time."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

from memgpt_runtime.interceptors.receiving import ReceiveLimiter


def begun(limiter: ReceiveLimiter) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(limiter.enter(), context=copy_context())


async def test_a_request_waits_until_another_has_been_parsed() -> None:
    limiter = ReceiveLimiter(1, seconds=60)

    async def rpc(entered: asyncio.Event, parse: asyncio.Event) -> None:
        await limiter.enter()
        entered.set()
        await parse.wait()
        limiter.leave()
        limiter.leave()  # has no further effect

    entered, parse = [asyncio.Event() for _ in range(3)], [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for pair in zip(entered, parse, strict=True):
            group.create_task(rpc(*pair))
        for number in range(3):
            await entered[number].wait()
            assert [one.is_set() for one in entered] == [other <= number for other in range(3)]
            parse[number].set()


async def test_a_request_that_never_arrives_blocks_no_other_for_long() -> None:
    limiter = ReceiveLimiter(1, seconds=0.01)
    async with asyncio.timeout(10):
        for _ in range(3):
            await begun(limiter)


async def test_a_caller_that_gives_up_waiting_takes_no_place() -> None:
    limiter = ReceiveLimiter(1, seconds=0.01)
    await begun(limiter)
    waiting = begun(limiter)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(10):
        await begun(limiter)


async def test_what_is_parsed_outside_an_rpc_is_no_concern() -> None:
    ReceiveLimiter.leave()
