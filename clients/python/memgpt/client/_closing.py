"""A synchronous channel that can be closed safely."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

import grpc


class ClosableChannel(grpc.Channel):
    """A channel whose calls raise ValueError after it was closed.

    gRPC registers the method of an intercepted call with each call. On a closed channel, that ends the process with a
    segmentation fault.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        """Wrap a channel, before interceptors are added."""
        self._channel = channel
        self._lock = threading.Lock()
        self._closed = False

    def subscribe(self, callback: Any, try_to_connect: bool | None = None) -> None:
        """Subscribe to the channel's connectivity."""
        self._channel.subscribe(callback, bool(try_to_connect))

    def unsubscribe(self, callback: Any) -> None:
        """End a subscription."""
        self._channel.unsubscribe(callback)

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a callable for a unary method."""
        return self._callable(self._channel.unary_unary, arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a callable for a method that streams its responses."""
        return self._callable(self._channel.unary_stream, arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a callable for a method that streams its requests."""
        return self._callable(self._channel.stream_unary, arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a callable for a method that streams both."""
        return self._callable(self._channel.stream_stream, arguments, options)

    def close(self) -> None:
        """Close the channel; closing again does nothing."""
        with self._lock:
            self._closed = True
            self._channel.close()

    def __enter__(self) -> ClosableChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _callable(self, create: Any, arguments: Any, options: Any) -> Any:
        with self._lock:
            if self._closed:
                raise ValueError("cannot make a call with a closed client")
            return create(*arguments, **options)
