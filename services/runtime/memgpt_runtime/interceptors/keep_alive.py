"""Keep-alive messages on silent streams: proxies and load balancers end streams that are silent for a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message

_END = object()


class StreamKeepAlive:
    """Sends messages on silent streams."""

    def __init__(self, seconds: float, messages: Mapping[str, Message]) -> None:
        """Set the interval.

        Args:
            seconds: Silence after which a message is sent.
            messages: The message to send, by full method name; streams of other methods stay silent.
        """
        self._seconds = seconds
        self._messages = messages

    def fill(self, method: str, responses: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """Return the responses of a method, with its message in between whenever they are silent."""
        message = self._messages.get(method)
        return responses if message is None else _filled(responses, message, self._seconds)


async def _filled(responses: AsyncGenerator[Any], message: Message, seconds: float) -> AsyncGenerator[Any]:
    # The handler runs in one task of its own: a timeout inside it would not survive a change of tasks.
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def pump() -> None:
        async with aclosing(responses):
            async for response in responses:
                queue.put_nowait(response)
                await queue.join()  # the handler continues when the response has been written, as without this stage

    pumping = asyncio.create_task(pump(), name="keep-alive")
    pumping.add_done_callback(lambda _: queue.put_nowait(_END))
    try:
        while True:
            try:
                async with asyncio.timeout(seconds):
                    response = await queue.get()
            except TimeoutError:
                yield message
                continue
            if response is _END:
                break
            yield response
            queue.task_done()
        await pumping  # raises what the handler raised
    finally:
        pumping.cancel()
        await asyncio.wait({pumping})
