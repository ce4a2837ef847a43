"""The errors of the services. This module does not depend on gRPC, so that domain code may raise them.

The tree, with the status each class becomes on the wire (`memgpt_runtime.status` holds the mapping)::

    ServiceError
     ├─ InvalidArgument      INVALID_ARGUMENT     a bad field, a bad page token, a reused request id
     ├─ Unauthenticated      UNAUTHENTICATED      no credential, or a bad one
     ├─ PermissionDenied     PERMISSION_DENIED    a good credential that does not permit this
     ├─ NotFound             NOT_FOUND            absent, or another tenant's
     ├─ AlreadyExists        ALREADY_EXISTS       a taken name or id
     ├─ Aborted              ABORTED              a stale etag, a lost lease, a lost race
     ├─ FailedPrecondition   FAILED_PRECONDITION  a wrong state, another embedding model
     ├─ ResourceExhausted    RESOURCE_EXHAUSTED   shed, a full quota, the model's 429
     ├─ Unavailable          UNAVAILABLE          Milvus or a model out of reach, draining
     ├─ DeadlineExceeded     DEADLINE_EXCEEDED    out of time
     ├─ Unimplemented        UNIMPLEMENTED        not in this version
     ├─ Cancelled            CANCELLED            only ever received: the caller went away
     └─ Internal             INTERNAL             only ever received: a bug on the other side

Messages go to the caller as they are. They say what is wrong and what to do about it; they never hold the text of
another exception, which belongs in the log: ``raise Unavailable(...) from error``.
"""

# ruff: noqa: N818 - named like the status codes they become

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from memgpt.common.v1.reasons import Reason as Reason


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request and what is wrong with it.

    Attributes:
        field: Path such as ``page_size`` or ``files[2].name``.
        description: What is wrong, and what would be right.
    """

    field: str
    description: str


class ServiceError(Exception):
    """Base of all errors that a service returns to its caller; raise a subclass.

    Attributes:
        reason: A `Reason`, or the text of one that this version does not know (only from the wire).
        message: For people, sent as it is.
        violations: The offending fields; never empty for `InvalidArgument` about a field.
        metadata: Details for programs, as ErrorInfo carries them.
        retry_after: Seconds after which a retry makes sense; None if it does not.
        request_id: Id under which the server logged the failure; set on errors that came over the wire.
    """

    default_retry_after: float | None = None

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        violations: Iterable[FieldViolation] = (),
        metadata: Mapping[str, object] | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Describe the failure.

        Args:
            reason: Usually a `Reason`.
            message: For people; without the text of other exceptions and without secrets.
            field: Shorthand for a single violation whose description is `message`; also becomes metadata `field`.
            violations: Several fields at once.
            metadata: Details for programs; values are turned into text.
            retry_after: Seconds; None for the class's default.
            request_id: Set when decoding an error from the wire.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = {key: str(value) for key, value in (metadata or {}).items()}
        if field is not None:
            self.violations = (FieldViolation(field, message), *self.violations)
        if self.violations:
            self.metadata.setdefault("field", self.violations[0].field)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message

    def with_message(self, message: str) -> ServiceError:
        """Return an error for the same reason with another message."""
        return type(self)(self.reason, message, metadata=self.metadata, retry_after=self.retry_after)


class InvalidArgument(ServiceError):
    """The request can never work as it is."""


class Unauthenticated(ServiceError):
    """No credential, or a bad one."""


class PermissionDenied(ServiceError):
    """A good credential that does not permit this."""


class NotFound(ServiceError):
    """Not found, or not visible to the caller."""


class AlreadyExists(ServiceError):
    """A taken name or id."""


class Aborted(ServiceError):
    """Another caller made a conflicting change first: read again, then retry."""


class FailedPrecondition(ServiceError):
    """The state does not allow this: a retry alone does not help."""


class ResourceExhausted(ServiceError):
    """A limit is reached: retry later."""

    default_retry_after = 1.0


class Unavailable(ServiceError):
    """A dependency cannot be reached: retry later."""

    default_retry_after = 1.0


class DeadlineExceeded(ServiceError):
    """The deadline has passed."""


class Unimplemented(ServiceError):
    """Not in this version."""


class Cancelled(ServiceError):
    """The call was cancelled by its caller. Only ever decoded from the wire."""


class Internal(ServiceError):
    """A bug on the other side. Only ever decoded from the wire: a bug on this side raises some other exception."""
