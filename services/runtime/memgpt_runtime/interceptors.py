"""What happens around every RPC, in one place and one order.

gRPC's own interceptors cost about 3 % of a small unary call each, and have to be written four times, once per kind of
RPC. So there is one, `Pipeline`: it knows the four kinds, and runs named *stages* around the handler, outermost first:

======== ==============================================================================================
context  ids, principal and deadline into a context variable, for handlers, logs and downstream calls
log      a line per RPC (health and reflection: at debug level)
metrics  ``grpc_server_*``
errors   the table: whatever is raised becomes a status with details; a bug becomes INTERNAL
shed     refuses what is too much; health and reflection are exempt
deadline limits calls that came without a deadline
validate checks every request message against its ``buf.validate`` constraints
======== ==============================================================================================

Handlers are ``async def`` (unary answers) or async generators (streams). They read requests from the iterator they are
given, and raise `ServiceError`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError, Message

from memgpt_runtime import context, status
from memgpt_runtime.context import Principal, RequestContext
from memgpt_runtime.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    Reason,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from memgpt_runtime.logs import get_logger
from memgpt_runtime.metrics import ServerMetrics

_log = get_logger(__name__)

_HEAR_OUT_SECONDS = 1.0

_KINDS = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


@dataclass(slots=True)
class Rpc:
    """One RPC on its way through the stages.

    Attributes:
        method: Full name, ``/package.Service/Method``.
        kind: ``unary``, ``client_stream``, ``server_stream`` or ``bidi_stream``.
        known: Whether the server has this method. The name of one that it has not is the caller's invention, and goes
            into no metric.
        wire: gRPC's own context.
        request: Ids, principal, deadline; set by the first stage.
        code: How it ended.
    """

    method: str
    kind: str
    known: bool
    wire: grpc.aio.ServicerContext[Any, Any]
    request: RequestContext = field(init=False)
    code: grpc.StatusCode = grpc.StatusCode.OK

    @property
    def service(self) -> str:
        """Full name of the service."""
        return self.method[1:].rpartition("/")[0]

    @property
    def name(self) -> str:
        """Name of the method alone."""
        return self.method.rpartition("/")[2]

    @property
    def infrastructure(self) -> bool:
        """Whether it is health or reflection."""
        return self.method.startswith("/grpc.")


Call = Callable[[], Awaitable[Any]]
"""The rest of an RPC: the stages further in, and the handler."""


class Stage(Protocol):
    """Something around every RPC."""

    name: str

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Awaits `call` and answers what it answers; sees what it raises."""
        ...


class InFlight:
    """The RPCs under way, so that a drain can end those that do not end by themselves."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._expired = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """Their tasks."""
        return frozenset(self._tasks)

    @property
    def expired(self) -> bool:
        """Whether `expire` was called: a cancellation is then the server's doing, not the caller's."""
        return self._expired

    def add(self, task: asyncio.Task[Any]) -> None:
        """Notes an RPC's task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def expire(self) -> None:
        """Ends all RPCs under way with UNAVAILABLE."""
        self._expired = True
        for task in self._tasks:
            task.cancel()


class ContextStage:
    """Makes the call known to everything below it."""

    name = "context"

    def __init__(self, *, trust_principal: bool) -> None:
        """Sets the stage up.

        Args:
            trust_principal: Whether callers may say on whose behalf they call: true for Memory, which only the other
                services call. Elsewhere the key is ignored.
        """
        self._trust = trust_principal

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Sets the context variable for the RPC's task, and sends the request id back."""
        entries = {key: value for key, value in rpc.wire.invocation_metadata() or () if isinstance(value, str)}
        rpc.request = context.make_request(rpc.method, entries, peer=rpc.wire.peer(), timeout=rpc.wire.time_remaining())
        context.set_current(rpc.request)
        rpc.wire.set_trailing_metadata(((status.REQUEST_ID_KEY, rpc.request.request_id),))
        claim = entries.get(context.PRINCIPAL_KEY) if self._trust else None
        if claim is not None:
            try:
                principal = Principal.decode(claim)
            except ValueError:
                await status.abort(
                    rpc.wire,
                    Unauthenticated(Reason.CREDENTIAL_INVALID, f"{context.PRINCIPAL_KEY} is malformed"),
                    rpc.request.request_id,
                )
            rpc.request = context.with_principal(rpc.request, principal)
            context.set_current(rpc.request)
        return await call()


class LogStage:
    """Writes a line for every RPC when it has ended."""

    name = "log"

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Logs status and duration."""
        begin = time.perf_counter()
        try:
            return await call()
        finally:
            write = _log.debug if rpc.infrastructure else _log.info
            write(
                "rpc",
                code=rpc.code.name,
                duration_ms=round((time.perf_counter() - begin) * 1000, 2),
                kind=rpc.kind,
                peer=rpc.request.peer,
            )


class MetricsStage:
    """Counts and times RPCs."""

    name = "metrics"

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Counts the start, then the end by status."""
        service, method = (rpc.service, rpc.name) if rpc.known else ("unknown", "unknown")
        self._metrics.started(rpc.kind, service, method)
        begin = time.perf_counter()
        try:
            return await call()
        finally:
            self._metrics.handled(rpc.kind, service, method, _METRIC_CODES[rpc.code], time.perf_counter() - begin)


# The ecosystem's dashboards expect the names of the Go implementation.
_METRIC_CODES = {code: "".join(part.capitalize() for part in code.name.split("_")) for code in grpc.StatusCode}
_METRIC_CODES[grpc.StatusCode.OK] = "OK"


class ErrorStage:
    """The error table: nothing leaves the server as UNKNOWN, and no foreign exception's text leaves it at all."""

    name = "errors"

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Turns what was raised into a status."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one; for the type checker
        self._in_flight.add(task)
        try:
            return await call()
        except grpc.aio.AbortError:
            # Raised by `context.abort`, which has sent the status already.
            rpc.code = _sent_code(rpc)
            raise
        except asyncio.CancelledError as error:
            if not task.cancelling():
                # Nobody has given this call up, but something that it waited for: passed on, it would send no status.
                await self._abort(rpc, self._translate(rpc, error))
            if self._in_flight.expired and not rpc.wire.cancelled():
                task.uncancel()
                await self._abort(
                    rpc, Unavailable(Reason.SHUTTING_DOWN, "the server is stopping; send the same request again")
                )
            late = rpc.request.remaining() == 0
            rpc.code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:  # noqa: BLE001 - the last resort of every handler
            await self._abort(rpc, self._translate(rpc, error))

    def _translate(self, rpc: Rpc, error: BaseException) -> ServiceError:
        if isinstance(error, grpc.RpcError):
            # A downstream service's answer, not handled on the way: handed on, unless it is that service's bug.
            cause, error = error, status.from_rpc_error(error)
            error.__cause__ = cause
        if isinstance(error, Cancelled):
            error = Unavailable(Reason.SERVICE_UNAVAILABLE, "a service that this one needs gave the call up")
        if isinstance(error, ServiceError) and status.code_of(error) is not grpc.StatusCode.INTERNAL:
            if isinstance(error, Unavailable | ResourceExhausted) and error.__cause__ is not None:
                _log.warning("call failed", reason=error.reason, exc_info=error)
            return error
        if isinstance(error, NotImplementedError) and _sent_code(rpc) is grpc.StatusCode.UNIMPLEMENTED:
            # The generated base class's answer to a method that the servicer does not override.
            return Unimplemented(
                Reason.NOT_IMPLEMENTED,
                f"{rpc.name} is not implemented in this version",
                metadata={"method": rpc.method},
            )
        _log.error("unhandled exception", exc_info=error)
        return status.bug(rpc.request.request_id)

    async def _abort(self, rpc: Rpc, error: ServiceError) -> None:
        rpc.code = status.code_of(error)
        await status.abort(rpc.wire, error, rpc.request.request_id)


def _sent_code(rpc: Rpc) -> grpc.StatusCode:
    code: Any = rpc.wire.code()
    return _CODE_BY_NUMBER.get(code, code) if code is not None else grpc.StatusCode.UNKNOWN


_CODE_BY_NUMBER: Mapping[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class ShedStage:
    """Refuses calls beyond a limit, so that those under way can finish.

    gRPC's own `maximum_concurrent_rpcs` would refuse health checks too, and the orchestrator would restart a server
    that is merely busy. Streams have a limit of their own: they are long, and mostly wait.
    """

    name = "shed"

    def __init__(self, max_calls: int, max_streams: int) -> None:
        self._limits = {False: max_calls, True: max_streams}
        self._counts = {False: 0, True: 0}

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Counts the call, or refuses it."""
        if rpc.infrastructure:
            return await call()
        streaming = rpc.kind != "unary"
        if self._counts[streaming] >= self._limits[streaming]:
            raise ResourceExhausted(
                Reason.OVERLOADED,
                "the server has as many calls under way as it takes; try again in a moment",
                metadata={"limit": self._limits[streaming]},
            )
        self._counts[streaming] += 1
        try:
            return await call()
        finally:
            self._counts[streaming] -= 1


class DeadlineStage:
    """Limits calls that came without a deadline. A caller's own deadline is enforced by gRPC."""

    name = "deadline"

    def __init__(self, unary: float, stream: float, overrides: Mapping[str, float | None]) -> None:
        """Sets the limits.

        Args:
            unary: Seconds for a unary call.
            stream: Seconds for a call with a stream on either side.
            overrides: Seconds by full method name; None for no limit.
        """
        self._unary = unary
        self._stream = stream
        self._overrides = overrides

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Sets the deadline, and enforces it."""
        limit = self._overrides.get(rpc.method, self._unary if rpc.kind == "unary" else self._stream)
        if rpc.infrastructure or rpc.request.deadline is not None or limit is None:
            return await call()
        rpc.request = context.with_timeout(rpc.request, limit)
        context.set_current(rpc.request)
        try:
            async with asyncio.timeout(limit) as scope:
                return await call()
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                Reason.OUT_OF_TIME,
                f"not done within {limit:g} s, the server's limit for calls without a deadline; set one to wait longer",
                metadata={"limit_seconds": f"{limit:g}"},
            ) from None


async def _hear_out(requests: AsyncIterator[bytes]) -> None:
    """Takes what a client still sends, for a moment: one that is busy sending loses the answer (`status.LOST_ANSWER`).

    Nothing else is kept waiting, for such a client cannot get an answer before it has sent everything.
    """
    try:
        async with asyncio.timeout(_HEAR_OUT_SECONDS):
            async for _ in requests:
                pass
    except (TimeoutError, grpc.aio.BaseError):
        pass


Validate = Callable[[Message], None]
"""Raises `InvalidArgument` when a request breaks a constraint."""


class Pipeline(grpc.aio.ServerInterceptor):
    """Runs the stages around every RPC, whatever its kind."""

    def __init__(self, stages: list[Stage], validate: Validate) -> None:
        self._stages = stages
        self._validate = validate
        # Wrapping a handler takes longer than calling it; a server has few methods.
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    @property
    def order(self) -> list[str]:
        """Names of the stages, outermost first."""
        return [*(stage.name for stage in self._stages), "validate"]

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers the wrapped handler of a method, or one that says UNIMPLEMENTED."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return self._unknown(method)
        wrapped = self._wrap(method, handler)
        self._wrapped[method] = wrapped
        return wrapped

    async def _run(self, rpc: Rpc, call: Call) -> Any:
        for stage in reversed(self._stages):
            call = partial(stage.around, rpc, call)
        return await call()

    def _unknown(self, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        # The kind cannot be known; a handler for streams both ways can refuse any.
        async def refuse(_requests: object, grpc_context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async def call() -> None:
                raise Unimplemented(
                    Reason.NOT_IMPLEMENTED, f"this server has no method {method[:200]}", metadata={"method": method}
                )

            await self._run(Rpc(method, "unary", known=False, wire=grpc_context), call)

        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(refuse)
        return handler

    def _wrap(self, method: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """Wraps a handler.

        The wrapper takes bytes and gives bytes: a message that cannot be parsed is then the caller's error, and one
        that cannot be serialised a bug, where gRPC itself would answer UNKNOWN. Streams are written by the wrapper's
        own coroutine rather than yielded, so that a deadline or a drain ends them inside the stages.
        """
        key = (bool(handler.request_streaming), bool(handler.response_streaming))
        kind = _KINDS[key]
        behaviour = {
            "unary": handler.unary_unary,
            "client_stream": handler.stream_unary,
            "server_stream": handler.unary_stream,
            "bidi_stream": handler.stream_stream,
        }[kind]
        parse, serialise = handler.request_deserializer, handler.response_serializer
        validate = self._validate

        def receive(raw: bytes) -> Any:
            try:
                message = parse(raw) if parse else raw
            except DecodeError:
                raise InvalidArgument(
                    Reason.INVALID_FIELD, "the request is not a message of this method's type"
                ) from None
            if isinstance(message, Message):
                validate(message)
            return message

        async def receive_all(requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for raw in requests:
                yield receive(raw)

        def send(message: Any) -> bytes:
            raw: bytes = serialise(message) if serialise else message
            return raw

        async def unary(request: Any, grpc_context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            async def call() -> bytes:
                if not key[0]:
                    return send(await behaviour(receive(request), grpc_context))
                try:
                    return send(await behaviour(receive_all(request), grpc_context))
                except ServiceError:
                    await _hear_out(request)
                    raise

            answer: bytes = await self._run(Rpc(method, kind, known=True, wire=grpc_context), call)
            return answer

        async def stream(request: Any, grpc_context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async def call() -> None:
                argument = receive_all(request) if key[0] else receive(request)
                answers: AsyncGenerator[Any, None] = behaviour(argument, grpc_context)
                async with aclosing(answers):
                    async for answer in answers:
                        await grpc_context.write(send(answer))

            await self._run(Rpc(method, kind, known=True, wire=grpc_context), call)

        make: Any = {
            "unary": grpc.unary_unary_rpc_method_handler,
            "client_stream": grpc.stream_unary_rpc_method_handler,
            "server_stream": grpc.unary_stream_rpc_method_handler,
            "bidi_stream": grpc.stream_stream_rpc_method_handler,
        }[kind]
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(stream if key[1] else unary)
        return wrapped
