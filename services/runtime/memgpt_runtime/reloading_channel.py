"""A channel that reconnects with renewed certificates: gRPC reads those of a channel only once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import grpc

from memgpt_runtime.tls import TlsReloader

_CHECK_SECONDS = 5.0
_DRAIN_SECONDS = 3600.0
"""Seconds for which calls in progress may stay on a channel with former certificates."""


class ReloadingChannel(grpc.aio.Channel):
    """Passes calls to a channel that is replaced when the certificate files change.

    New calls go to the new channel; calls in progress finish on the former one.
    """

    def __init__(self, reloader: TlsReloader, open_with: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]) -> None:
        """Open the first channel.

        Args:
            reloader: Reads the files.
            open_with: Opens a channel.
        """
        self._reloader = reloader
        self._open_with = open_with
        self._channel = open_with(reloader.material.channel_credentials())
        self._checked_at = time.monotonic()
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel for a new call."""
        if time.monotonic() - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = time.monotonic()
            if self._reloader.reload():
                former, self._channel = self._channel, self._open_with(self._reloader.material.channel_credentials())
                task = asyncio.create_task(former.close(_DRAIN_SECONDS))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        return self._channel

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return _Method(self, "unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return _Method(self, "unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return _Method(self, "stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return _Method(self, "stream_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Close the channel, and former ones that still have calls."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.current().channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


def is_cancelled(error: BaseException) -> bool:
    """Whether an error cancels the current task.

    grpc.aio also raises ``CancelledError`` from a call whose channel was closed; that call broke, the task goes on.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class _Method:
    """A method of the current channel."""

    def __init__(self, owner: ReloadingChannel, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._owner = owner
        self._kind = kind
        self._arguments = arguments
        self._options = options
        self._bound: tuple[grpc.aio.Channel, Any] | None = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        channel = self._owner.current()
        if self._bound is None or self._bound[0] is not channel:
            self._bound = (channel, getattr(channel, self._kind)(*self._arguments, **self._options))
        return self._bound[1](*arguments, **options)
