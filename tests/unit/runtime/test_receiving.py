"""The number of messages that are received at a time, and what happens to those that take long."""

from __future__ import annotations

import asyncio

import pytest
from memgpt_runtime.errors import DeadlineExceeded, ResourceExhausted
from memgpt_runtime.interceptors.receiving import ReceiveLimiter


async def arrived() -> bytes:
    return b"message"


async def never() -> bytes:
    message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    return await message


async def test_a_message_waits_until_another_has_been_parsed() -> None:
    limiter = ReceiveLimiter(1, patience=60, limit=60)

    async def rpc(entered: asyncio.Event, parse: asyncio.Event) -> None:
        _, slot = await limiter.receive(arrived)
        entered.set()
        await parse.wait()
        slot.release()
        slot.release()  # has no further effect

    entered, parse = [asyncio.Event() for _ in range(3)], [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for pair in zip(entered, parse, strict=True):
            group.create_task(rpc(*pair))
        for number in range(3):
            await entered[number].wait()
            assert [one.is_set() for one in entered] == [other <= number for other in range(3)]
            parse[number].set()


async def test_a_message_that_does_not_arrive_gives_its_place_up_to_others() -> None:
    limiter = ReceiveLimiter(2, patience=0.01, limit=None)
    async with asyncio.timeout(60):
        silent = [asyncio.create_task(limiter.receive(never)) for _ in range(2)]
        await asyncio.sleep(0)  # both have a place
        for _ in range(3):
            raw, slot = await limiter.receive(arrived)
            assert raw == b"message"
            slot.release()
        ended, _ = await asyncio.wait(silent, return_when=asyncio.FIRST_COMPLETED)
    assert [type(one.exception()) for one in ended] == [ResourceExhausted]
    assert silent[1] not in ended  # one place was enough
    silent[1].cancel()


async def test_a_late_message_keeps_its_place_without_a_reader() -> None:
    limiter = ReceiveLimiter(1, patience=0, limit=None)
    message = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(limiter.receive(lambda: message))
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, late.set)  # after the patience
    await late.wait()
    message.set_result(b"late")
    raw, _ = await reading
    assert raw == b"late"


async def test_a_message_that_never_arrives_ends_at_the_limit() -> None:
    limiter = ReceiveLimiter(1, patience=60, limit=0.01)
    async with asyncio.timeout(60):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded, match="did not arrive within"):
                await limiter.receive(never)


async def test_a_caller_that_gives_up_takes_no_place() -> None:
    limiter = ReceiveLimiter(1, patience=60, limit=60)
    reading = asyncio.create_task(limiter.receive(never))
    waiting = asyncio.create_task(limiter.receive(never))
    await asyncio.sleep(0)
    for one in (waiting, reading):
        one.cancel()
    await asyncio.gather(waiting, reading, return_exceptions=True)
    async with asyncio.timeout(60):
        await limiter.receive(arrived)


async def test_a_call_that_ends_just_when_a_place_is_released_ends_like_others() -> None:
    limiter = ReceiveLimiter(1, patience=60, limit=60)
    _, slot = await limiter.receive(arrived)
    waiting = asyncio.create_task(limiter.receive(arrived))
    await asyncio.sleep(0)
    waiting.cancel()
    slot.release()  # before the call has run again
    with pytest.raises(asyncio.CancelledError):
        await waiting
    _, slot = await limiter.receive(arrived)
    slot.release()
