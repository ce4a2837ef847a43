"""Errors of the client, one class for each gRPC status code.

::

    ServiceError
     ├─ InvalidArgument      a bad field, a bad page token, a reused request id
     ├─ Unauthenticated      no credential, or a bad one
     ├─ PermissionDenied     a good credential that does not permit this
     ├─ NotFound             not found, or not visible to the caller
     ├─ AlreadyExists        a taken name or id
     ├─ Aborted              a stale etag, a lost race
     ├─ FailedPrecondition   a wrong state, another embedding model
     ├─ ResourceExhausted    overloaded, a full quota, the model's rate limit
     ├─ Unavailable          a service, the store or a model cannot be reached
     ├─ DeadlineExceeded     out of time
     ├─ Unimplemented        not in this version of the service
     ├─ Cancelled            the call was cancelled
     └─ Internal             a bug in the service

`ServiceError.reason` says which case of its class it is; `memgpt.common.v1.errors.proto` documents every reason.
"""

# ruff: noqa: N818 - named like the status codes they stand for

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from memgpt.common.v1.reasons import Reason

_DOMAIN = "memgpt"
_DETAILS_KEY = "grpc-status-details-bin"

_LOST_ANSWER = "Internal error from Core"
"""gRPC's own text for INTERNAL when the server ended a call while the client was still sending; the status is lost."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field of a request.

    Attributes:
        field: Path of the field, such as ``page_size`` or ``files[2].name``.
        description: What is wrong, and what is valid.
    """

    field: str
    description: str


class ServiceError(Exception):
    """Base of every error that a call raises.

    Attributes:
        reason: A `Reason`, or a plain string for a reason that this version does not know.
        message: One line for people.
        violations: The offending fields of the request.
        metadata: Details for programs, from `google.rpc.ErrorInfo`.
        retry_after: Seconds to wait before retrying; None if the service did not say.
        request_id: Id under which the server logged the failure; None if the error did not come from a service.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Iterable[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message


class InvalidArgument(ServiceError):
    """The request is invalid."""


class Unauthenticated(ServiceError):
    """No credential, or a bad one."""


class PermissionDenied(ServiceError):
    """The credential does not permit this call."""


class NotFound(ServiceError):
    """Not found, or not visible to the caller."""


class AlreadyExists(ServiceError):
    """The name or id is taken."""


class Aborted(ServiceError):
    """A concurrent change came first; read again, then retry."""


class FailedPrecondition(ServiceError):
    """The resource is in the wrong state; retrying alone will not help."""


class ResourceExhausted(ServiceError):
    """Overloaded, rate limited or out of quota; retry later."""


class Unavailable(ServiceError):
    """The service, or something it needs, cannot be reached; retry later."""


class DeadlineExceeded(ServiceError):
    """The call ran out of time."""


class Unimplemented(ServiceError):
    """The service does not implement this in its version."""


class Cancelled(ServiceError):
    """The call was cancelled."""


class Internal(ServiceError):
    """A bug in the service."""


class CredentialsError(ValueError):
    """A certificate or key file cannot be used."""


_CLASSES: Mapping[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.CANCELLED: Cancelled,
}
"""Error classes by status code; every other code is an `Internal` error."""

# A status without ErrorInfo comes from gRPC itself, from a proxy or from another server. Its text may name addresses.
_WITHOUT_DETAILS: Mapping[grpc.StatusCode, tuple[str, str]] = {
    grpc.StatusCode.UNAVAILABLE: (
        Reason.SERVICE_UNAVAILABLE,
        "the service cannot be reached; try again, and check that it runs",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (Reason.DEADLINE_EXCEEDED, "the service did not answer in time"),
    grpc.StatusCode.CANCELLED: ("CANCELLED", "the call was cancelled"),
    grpc.StatusCode.UNIMPLEMENTED: (Reason.NOT_IMPLEMENTED, "the service does not know this method"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Reason.OVERLOADED, "the service refused the call: too large, or too many"),
    grpc.StatusCode.UNAUTHENTICATED: (Reason.CREDENTIAL_INVALID, "the service refused the credential"),
    grpc.StatusCode.PERMISSION_DENIED: (Reason.NOT_PERMITTED, "the service does not permit this"),
}
_OTHERWISE = (Reason.INTERNAL, "the service failed in a way it should not")


def from_rpc_error(error: grpc.RpcError) -> ServiceError:
    """Decode the error of a call.

    Raise it chained: ``raise from_rpc_error(error) from error``.

    Args:
        error: An error raised by a gRPC stub, synchronous or asynchronous.

    Returns:
        An error of the class for the status code, with the details that the service sent.
    """
    call: Any = error
    code: grpc.StatusCode = call.code()
    if code is grpc.StatusCode.INTERNAL and call.details() == _LOST_ANSWER:
        code = grpc.StatusCode.UNAVAILABLE  # a retry returns the lost status
    cls = _CLASSES.get(code, Internal)
    status = _details(call.trailing_metadata() or ())
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    for detail in status.details if status else ():
        for target in (info, bad, retry, request):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    if status is None or info.domain != _DOMAIN:
        return cls(*_WITHOUT_DETAILS.get(code, _OTHERWISE))
    return cls(
        Reason(info.reason) if info.reason in Reason.__members__ else info.reason,
        status.message,
        violations=[FieldViolation(each.field, each.description) for each in bad.field_violations],
        metadata=dict(info.metadata),
        retry_after=retry.retry_delay.ToMicroseconds() / 1e6 if retry.HasField("retry_delay") else None,
        request_id=request.request_id or None,
    )


def _details(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in trailers:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except ValueError:
                return None
    return None
