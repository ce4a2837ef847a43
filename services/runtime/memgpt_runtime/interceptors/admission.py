"""Receives the request of a call only after its caller was authorized, and discards the request of one that was not.

So callers without a credential cannot take places of `receiving` from others.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc

from memgpt_runtime.errors import ServiceError, Unauthenticated
from memgpt_runtime.interceptors.rpc import Call, Rpc

_DISCARD_SECONDS = 1.0


class DiscardRefused:
    """Reads and drops what the caller of a refused call still sends: a client that is sending would lose the status.

    It reads one message of unknown callers at a time, and one of known ones, each for a moment.
    """

    name = "discard"

    def __init__(self) -> None:
        self._unknown = asyncio.Semaphore(1)
        self._known = asyncio.Semaphore(1)

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call; if it is refused before its request was received, discard the request."""
        try:
            return await call()
        except ServiceError as error:
            if rpc.known and not rpc.admitted:
                await self._discard(rpc, self._unknown if isinstance(error, Unauthenticated) else self._known)
            raise

    async def _discard(self, rpc: Rpc, place: asyncio.Semaphore) -> None:
        with suppress(TimeoutError, grpc.aio.BaseError):
            async with asyncio.timeout(_DISCARD_SECONDS), place:
                await discard(rpc.wire)


class Admit:
    """Receives a single request; streamed ones are received when the handler asks for them."""

    name = "admit"

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call when its request has been received."""
        rpc.admitted = True
        if rpc.receive is not None:
            await rpc.receive()
        return await call()


async def discard(wire: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Read everything that a client still sends."""
    while await wire.read() is not grpc.aio.EOF:
        pass
