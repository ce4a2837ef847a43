"""The error table: no RPC ends with UNKNOWN, and no foreign exception's text leaves the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc

from memgpt_runtime import reasons, status
from memgpt_runtime.errors import Cancelled, Reason, ResourceExhausted, ServiceError, Unauthenticated, Unavailable
from memgpt_runtime.interceptors.in_flight import InFlight
from memgpt_runtime.interceptors.rpc import Call, Rpc
from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)


class ErrorMapping:
    """Converts every exception to a status."""

    name = "errors"

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call, and abort the RPC if it raises."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._in_flight.add(task)
        try:
            return await call()
        except grpc.aio.AbortError:
            # Raised by `context.abort`, which has already sent the status.
            rpc.code = _sent_code(rpc)
            raise
        except asyncio.CancelledError as error:
            await self._cancelled(rpc, task, error)
            raise
        except Exception as error:  # noqa: BLE001 - the last resort of every handler
            translated = _translate(rpc, error)
            _forget_frames(error)
            await self._abort(rpc, translated)

    async def _cancelled(self, rpc: Rpc, task: asyncio.Task[Any], error: asyncio.CancelledError) -> None:
        if not task.cancelling():
            # This call was not cancelled, but something that it awaited: passing that on would send no status.
            await self._abort(rpc, _translate(rpc, error))
        if self._in_flight.expired and not rpc.wire.cancelled():
            task.uncancel()
            await self._abort(rpc, reasons.shutting_down("the server is shutting down; retry"))
        late = rpc.request.remaining() == 0
        rpc.code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED

    async def _abort(self, rpc: Rpc, error: ServiceError) -> None:
        rpc.code = status.code_of(error)
        rpc.reason = str(error.reason)
        if rpc.before_error is not None:
            rpc.before_error()
        await status.abort(rpc.wire, error, rpc.request.request_id)


def _forget_frames(error: BaseException) -> None:
    """Drop tracebacks: their frames hold the request, and gRPC keeps them in a cycle until it is collected."""
    pending = [error]
    seen: set[int] = set()
    while pending:
        chained = pending.pop()
        if id(chained) in seen:  # an exception raised from one that it caused
            continue
        seen.add(id(chained))
        chained.__traceback__ = None
        pending += [other for other in (chained.__cause__, chained.__context__) if other is not None]


def _translate(rpc: Rpc, error: BaseException) -> ServiceError:
    if isinstance(error, grpc.RpcError):
        # A downstream service's error, not handled on the way: passed on, unless it is that service's bug.
        cause, error = error, status.from_rpc_error(error)
        error.__cause__ = cause
    if isinstance(error, ServiceError) and isinstance(error.__cause__, grpc.RpcError) and _about_this_service(error):
        _log.error("service_refused", error=str(error), fix="give all services the same server.service_key")
        error = reasons.service_unavailable(
            "this service is not accepted by Memory; its operator must set server.service_key", service="memory"
        )
    if isinstance(error, Cancelled):
        error = reasons.service_unavailable("a downstream call was cancelled; retry", service="memory")
    if isinstance(error, ServiceError) and status.code_of(error) is not grpc.StatusCode.INTERNAL:
        if isinstance(error, Unavailable | ResourceExhausted) and error.__cause__ is not None:
            _log.warning("call_failed", reason=error.reason, exc_info=error)
        return error
    if isinstance(error, NotImplementedError) and _sent_code(rpc) is grpc.StatusCode.UNIMPLEMENTED:
        # Raised by the generated base class for a method that the servicer does not override.
        return reasons.not_implemented(f"{rpc.name} is not implemented in this version", method=rpc.method)
    _log.error("unhandled_exception", exc_info=error)
    return status.bug(rpc.request.request_id)


def _about_this_service(error: ServiceError) -> bool:
    """Whether a downstream service refused this service's own credential, not what the caller may do."""
    return isinstance(error, Unauthenticated) or error.reason == Reason.PRINCIPAL_REFUSED


def _sent_code(rpc: Rpc) -> grpc.StatusCode:
    code: Any = rpc.wire.code()
    return _CODE_BY_NUMBER.get(code, code) if code is not None else grpc.StatusCode.UNKNOWN


_CODE_BY_NUMBER: Mapping[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
