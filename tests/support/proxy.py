"""A proxy in front of a gRPC server that holds the n-th call of a method, before or after the server handles it.

with GrpcProxy(memory_address) as proxy:
    stop = proxy.stop("CommitStep", 3, "after")
    ...  # an Agent whose memory_address is proxy.address runs a turn
    stop.reached.wait()
    ...  # kill something
    stop.release.set()
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import grpc

_LONGEST = 1e6

When = Literal["before", "after"]


@dataclass(eq=False)
class Stop:
    """A point at which a call is held.

    Attributes:
        method: Name of the method without its package.
        number: Number of the call since the stop was set, from 1.
        when: ``before`` the server gets the request, or ``after`` its first response.
        reached: Set when the call is held.
        release: Set it to let the call continue.
    """

    method: str
    number: int
    when: When
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Abort:
    """The status of a call that is not forwarded."""

    code: grpc.StatusCode
    details: str


class GrpcProxy(grpc.GenericRpcHandler):
    """Forwards any calls with one request. A context manager; it listens from construction on.

    Attributes:
        address: Address that it listens on.
        counts: Calls by method since the last stop was set.
    """

    def __init__(self, target: str) -> None:
        """Start the proxy for the server at `target`, which need not be up yet and may restart."""
        options = (
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.so_reuseport", 0),
        )
        self.counts: Counter[str] = Counter()
        self._stop: Stop | None = None
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(target, options)
        self._server = grpc.server(ThreadPoolExecutor(128), handlers=[self], options=options)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self, method: str, number: int, when: When) -> Stop:
        """Hold a call; the count of calls restarts."""
        with self._lock:
            self.counts.clear()
            self._stop = Stop(method, number, when)
            return self._stop

    def answer(self, method: str, request: bytes) -> bytes | Abort | None:
        """Answer a call in the server's place; None to forward it. For subclasses."""
        return None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method: str = handler_call_details.method
        forward: Any = self._channel.unary_stream(method, None, None)

        def handle(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            name = method.rpartition("/")[2]
            stop = self._counted(name)
            if stop is not None and stop.when == "before":
                _wait(stop, context)
                if not context.is_active():
                    return  # the caller was killed before sending it
            own = self.answer(name, request)
            if isinstance(own, Abort):
                context.abort(own.code, own.details)
            elif own is not None:
                yield own
                return
            left = context.time_remaining()
            timeout = left if left < _LONGEST else None  # without a deadline, the remaining time is centuries
            call = forward(request, metadata=context.invocation_metadata(), timeout=timeout)
            context.add_callback(call.cancel)
            try:
                for response in call:
                    if stop is not None and stop.when == "after":
                        _wait(stop, context)
                    yield response
            except grpc.RpcError as error:
                context.set_trailing_metadata(call.trailing_metadata() or ())
                context.abort(call.code(), call.details() or str(error))
            context.set_trailing_metadata(call.trailing_metadata() or ())

        return grpc.unary_stream_rpc_method_handler(handle)

    def _counted(self, method: str) -> Stop | None:
        with self._lock:
            self.counts[method] += 1
            stop = self._stop
            if stop is None or stop.method != method or self.counts[method] != stop.number:
                return None
            return stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._stop.release.set()
        self._server.stop(None).wait()
        self._channel.close()


def _wait(stop: Stop, context: grpc.ServicerContext) -> None:
    stop.reached.set()
    # A dead caller is not waiting.
    while context.is_active() and not stop.release.wait(0.05):
        pass
