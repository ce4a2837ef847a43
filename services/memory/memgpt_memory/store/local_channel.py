"""A gRPC channel to a servicer in the same process: calls without a socket, a port, or bytes.

Milvus Lite serves pymilvus on a port of the machine that asks nobody who they are, and each call takes three threads
and two copies of its messages. Here the caller's own thread runs the handler, on the messages themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

Handler = Callable[[Any, Any], Any]


class LocalChannel(grpc.Channel):
    """Calls a servicer's unary methods. One that raises, or has no such method, is answered as a server does it."""

    def __init__(self, servicer: object) -> None:
        """Calls `servicer`."""
        self._servicer = servicer

    def unary_unary(self, method: str, *_: Any, **__: Any) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        """The method of a full name, ``/package.Service/Method``."""
        return _Method(getattr(self._servicer, method.rpartition("/")[2], _unknown))

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Not for streams."""
        return _Method(_unknown)

    stream_unary = stream_stream = unary_stream

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        """It is always connected."""
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Nothing more was to come."""

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> LocalChannel:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Method(grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __call__(self, request: Any, *_: Any, metadata: Any = None, **__: Any) -> Any:
        return self.future(request, metadata=metadata).result()

    def with_call(self, request: Any, *_: Any, metadata: Any = None, **__: Any) -> Any:
        over = self.future(request, metadata=metadata)
        return over.result(), over

    def future(self, request: Any, *_: Any, metadata: Any = None, **__: Any) -> Any:
        context = _Context(metadata or ())
        try:
            answer = self._handler(request, context)
        except Exception as error:  # noqa: BLE001 - as a server answers what its handler raises
            failure = _Failure(context.code or grpc.StatusCode.UNKNOWN, context.details or str(error))
            failure.__cause__ = error
            return failure
        if context.code not in (None, grpc.StatusCode.OK):
            return _Failure(context.code, context.details)
        return _Answer(answer)


def _unknown(_: Any, context: _Context) -> None:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)


class _Context:
    """What a handler may ask and say of its call."""

    def __init__(self, metadata: Sequence[tuple[str, Any]]) -> None:
        self._metadata = metadata
        self.code: Any = None
        self.details = ""

    def invocation_metadata(self) -> Sequence[tuple[str, Any]]:
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = code, details
        raise grpc.RpcError(details)


class _Over(grpc.Future, grpc.Call):  # type: ignore[type-arg]
    """A call that is over, as everything here is when the caller gets it."""

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def done(self) -> bool:
        return True

    def running(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def initial_metadata(self) -> Any:
        return ()

    def trailing_metadata(self) -> Any:
        return ()


class _Answer(_Over):
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def result(self, timeout: float | None = None) -> Any:
        return self._answer

    def exception(self, timeout: float | None = None) -> None:
        return None

    def traceback(self, timeout: float | None = None) -> None:
        return None

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def details(self) -> str:
        return ""


class _Failure(_Over, grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> Exception:
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        return self.__traceback__

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details
