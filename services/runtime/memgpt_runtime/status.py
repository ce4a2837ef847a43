"""Errors on the wire: the table from `memgpt_runtime.errors` to gRPC status, and back.

Trailers are limited: clients refuse more than 8 KiB (at random, up to 16 KiB) and would see RESOURCE_EXHAUSTED instead
of the error. So every text is cut to a budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from memgpt_runtime import context, errors, reasons
from memgpt_runtime.errors import FieldViolation, Reason, ServiceError

DOMAIN = "memgpt"
"""`ErrorInfo.domain` of every error of the suite."""

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
_PUSHBACK_KEY = "grpc-retry-pushback-ms"

CODES: Mapping[type[ServiceError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
"""The table. A class that is missing has the code of its nearest base class in the table."""

_CLASSES = {code: cls for cls, code in CODES.items()}

# The meaning of a status without ErrorInfo, which comes from gRPC itself, a proxy, or a foreign server. Its own
# text may contain addresses and goes to the log only.
_BARE: Mapping[grpc.StatusCode, tuple[str, str]] = {
    grpc.StatusCode.UNAVAILABLE: (
        Reason.SERVICE_UNAVAILABLE,
        "{service} cannot be reached; retry, and check that it runs",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (Reason.DEADLINE_EXCEEDED, "{service} did not respond in time"),
    grpc.StatusCode.UNIMPLEMENTED: (Reason.NOT_IMPLEMENTED, "{service} does not know this method"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Reason.OVERLOADED, "{service} refused the call: too large, or too many calls"),
    grpc.StatusCode.UNAUTHENTICATED: (Reason.CREDENTIAL_INVALID, "{service} refused the credential"),
    grpc.StatusCode.PERMISSION_DENIED: (Reason.NOT_PERMITTED, "{service} does not permit this"),
}

# Codes of gRPC and proxies for a broken connection or stream; the suite's own errors have ErrorInfo.
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)

# Bytes of UTF-8. The message travels twice: percent-encoded, where a byte beyond ASCII takes three, and in the details,
# which are base64. In the worst case these budgets add up to 6.5 KB.
_MESSAGE_BYTES = 600
_KEY_BYTES = 48
_FIELD_BYTES = 64
_VALUE_BYTES = 160
_MAX_ENTRIES = 6
_VIOLATIONS_BYTES = 1344
_DESCRIPTION_BYTES = 24
_TAGS_BYTES = 8
"""All violations together, the shortest description if there are many, and what protobuf adds to each."""

LOST_ANSWER = "Internal error from Core"
"""gRPC's own text, with INTERNAL, if the server ended a call while the client was sending: the status is lost then."""


def code_of(error: ServiceError) -> grpc.StatusCode:
    """Return the status code of an error, by the table."""
    for cls in type(error).__mro__:
        if cls in CODES:
            return CODES[cls]
    return grpc.StatusCode.INTERNAL


def bug(request_id: str) -> errors.Internal:
    """Return the error that a caller gets for a bug: a fixed text, and the id under which the log has the details."""
    return reasons.internal(f"internal error; the server's log has the details under request id {request_id}")


def _cut(text: str, limit: int) -> str:
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode(errors="ignore") + "…"


def to_status(error: ServiceError, request_id: str = "") -> status_pb2.Status:
    """Encode an error as `google.rpc.Status` with ErrorInfo and, where they apply, further details.

    Args:
        error: The error.
        request_id: Sent as RequestInfo, unless empty.
    """
    status = status_pb2.Status(code=code_of(error).value[0], message=_cut(error.message, _MESSAGE_BYTES))
    entries = list(error.metadata.items())[:_MAX_ENTRIES]
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason=str(error.reason),
            domain=DOMAIN,
            metadata={_cut(key, _KEY_BYTES): _cut(value, _VALUE_BYTES) for key, value in entries},
        )
    )
    if error.violations:
        status.details.add().Pack(_bad_request(error.violations))
    if error.reason == Reason.QUOTA_EXCEEDED:
        tenant = error.metadata.get("tenant")
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=f"tenant:{tenant}" if tenant else "server",
            description=_cut(error.message, _VALUE_BYTES),
        )
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[violation]))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMicroseconds(max(0, round(error.retry_after * 1e6)))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if request_id:
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    return status


def _bad_request(violations: Iterable[errors.FieldViolation]) -> error_details_pb2.BadRequest:
    """Name as many fields as there is room for; the more they are, the shorter are their descriptions."""
    named: list[tuple[str, str]] = []
    room = _VIOLATIONS_BYTES
    for violation in violations:
        field = _cut(violation.field, _FIELD_BYTES)
        needed = len(field.encode()) + _DESCRIPTION_BYTES + _TAGS_BYTES
        if needed > room:
            break
        room -= needed
        named.append((field, violation.description))
    longest = min(_VALUE_BYTES, _DESCRIPTION_BYTES + room // len(named))
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=_cut(description, longest))
            for field, description in named
        ]
    )


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: ServiceError, request_id: str = "") -> NoReturn:
    """End the RPC with an error's status, and raise `grpc.aio.AbortError`.

    Servicers raise the error instead, and the server's error mapping calls this.
    """
    status = to_status(error, request_id)
    # What the handler has set, such as the id of a turn, stays.
    own = (DETAILS_KEY, REQUEST_ID_KEY)
    trailers: list[tuple[str, str | bytes]] = [
        entry for entry in context.trailing_metadata() or () if entry[0] not in own
    ]
    trailers.append((DETAILS_KEY, status.SerializeToString()))
    if request_id:
        trailers.append((REQUEST_ID_KEY, request_id))
    if error.reason == Reason.MODEL_UNAVAILABLE:
        # gRPC's clients do not repeat the call: the Agent has called the model several times.
        trailers.append((_PUSHBACK_KEY, "-1"))
    await context.abort(code_of(error), status.message, tuple(trailers))


def _details(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except ValueError:
                return None
    return None


def from_rpc_error(error: grpc.RpcError, service: str = "the service", *, name: str = "") -> ServiceError:
    """Decode the error of a call, so that callers handle the same exceptions for every transport.

    Chain it: ``raise from_rpc_error(error) from error``. An error without our ErrorInfo (the connection failed, a proxy
    responded, a foreign server) gets a fixed text; gRPC's own text stays in the cause. INTERNAL, UNKNOWN and CANCELLED
    without ErrorInfo mean a broken stream, so they become `Unavailable`.

    Args:
        error: A `grpc.aio.AioRpcError`, or the synchronous client's error, which has the same accessors.
        service: Name of the called service, for people.
        name: Name of the service for programs, as in the metadata of `SERVICE_UNAVAILABLE`.
    """
    call: Any = error
    code: grpc.StatusCode = call.code()
    rich = _details(call.trailing_metadata() or ())
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    for detail in rich.details if rich else ():
        for target in (info, bad, retry, request):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    if rich is None or info.domain != DOMAIN:
        return _foreign_error(code, service, name)
    return _CLASSES.get(code, errors.Internal)(
        Reason(info.reason) if info.reason in Reason.__members__ else info.reason,
        rich.message,
        violations=[FieldViolation(v.field, v.description) for v in bad.field_violations],
        metadata=dict(info.metadata),
        retry_after=retry.retry_delay.ToMicroseconds() / 1e6 if retry.HasField("retry_delay") else None,
        request_id=request.request_id or None,
    )


def _foreign_error(code: grpc.StatusCode, service: str, name: str) -> ServiceError:
    """Return the error for a status without our ErrorInfo."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and context.remaining() != 0:
        # The limit of this one call, not the caller's: another attempt may succeed, as after a broken connection.
        code = grpc.StatusCode.UNAVAILABLE
        reason: str = Reason.SERVICE_UNAVAILABLE
        message = "{service} did not respond in time; retry, and check that it runs"
    else:
        if code in _BROKEN:
            code = grpc.StatusCode.UNAVAILABLE
        reason, message = _BARE.get(code, (Reason.INTERNAL, "{service} failed in a way it should not"))
    metadata = {"service": name} if name and reason is Reason.SERVICE_UNAVAILABLE else {}
    return _CLASSES.get(code, errors.Internal)(reason, message.format(service=service), metadata=metadata)
