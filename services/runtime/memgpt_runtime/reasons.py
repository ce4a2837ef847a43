"""One constructor for each error reason.

The keyword parameters are the metadata that `ErrorReason` in the contract requires, so that none can be missing;
`details` are further keys. The class of an error is the status that its reason belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable

from memgpt_runtime.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)


def invalid_field(message: str, *, field: str, **details: object) -> InvalidArgument:
    """The value of a field is invalid."""
    return InvalidArgument(Reason.INVALID_FIELD, message, field=field, metadata=details)


def invalid_fields(message: str, violations: Iterable[FieldViolation]) -> InvalidArgument:
    """The values of several fields are invalid."""
    return InvalidArgument(Reason.INVALID_FIELD, message, violations=violations)


def invalid_page_token(message: str, **details: object) -> InvalidArgument:
    """The page token is damaged, forged, or belongs to another request or store."""
    return InvalidArgument(Reason.INVALID_PAGE_TOKEN, message, field="page_token", metadata=details)


def request_id_reused(message: str, **details: object) -> InvalidArgument:
    """The request id was used before with another body."""
    return InvalidArgument(Reason.REQUEST_ID_REUSED, message, field="request_id", metadata=details)


def block_limit_exceeded(
    message: str, *, field: str, label: str, limit: int, length: int, **details: object
) -> InvalidArgument:
    """The value of a block would exceed its limit."""
    return InvalidArgument(
        Reason.BLOCK_LIMIT_EXCEEDED,
        message,
        field=field,
        metadata={"label": label, "limit": limit, "length": length, **details},
    )


def too_large(message: str, *, field: str, limit_bytes: int, **details: object) -> InvalidArgument:
    """Something is larger than the service accepts."""
    return InvalidArgument(Reason.TOO_LARGE, message, field=field, metadata={"limit_bytes": limit_bytes, **details})


def upload_mismatch(message: str, *, field: str, file: str, **details: object) -> InvalidArgument:
    """The uploaded bytes differ from the manifest."""
    return InvalidArgument(Reason.UPLOAD_MISMATCH, message, field=field, metadata={"file": file, **details})


def credential_missing(message: str, **details: object) -> Unauthenticated:
    """The server requires a credential, and the call has none."""
    return Unauthenticated(Reason.CREDENTIAL_MISSING, message, metadata=details)


def credential_malformed(message: str, **details: object) -> Unauthenticated:
    """The credential is not of any kind that the suite knows."""
    return Unauthenticated(Reason.CREDENTIAL_MALFORMED, message, metadata=details)


def credential_unknown(message: str, **details: object) -> Unauthenticated:
    """There is no such API key or service key, or the certificate is mapped to no tenant."""
    return Unauthenticated(Reason.CREDENTIAL_UNKNOWN, message, metadata=details)


def credential_expired(message: str, **details: object) -> Unauthenticated:
    """The credential has expired."""
    return Unauthenticated(Reason.CREDENTIAL_EXPIRED, message, metadata=details)


def credential_revoked(message: str, **details: object) -> Unauthenticated:
    """The API key was revoked or deleted."""
    return Unauthenticated(Reason.CREDENTIAL_REVOKED, message, metadata=details)


def credential_invalid(message: str, **details: object) -> Unauthenticated:
    """The credential was rejected for another reason, such as the signature of a token."""
    return Unauthenticated(Reason.CREDENTIAL_INVALID, message, metadata=details)


def not_permitted(message: str, *, permission: str, **details: object) -> PermissionDenied:
    """The credential does not permit this."""
    return PermissionDenied(Reason.NOT_PERMITTED, message, metadata={"permission": permission, **details})


def principal_refused(message: str, *, key: str, **details: object) -> PermissionDenied:
    """The call names a principal in the metadata `key`, and the caller is not a service of the suite."""
    return PermissionDenied(Reason.PRINCIPAL_REFUSED, message, metadata={"key": key, **details})


def agent_not_found(message: str, *, agent_id: str, **details: object) -> NotFound:
    """The agent does not exist, or belongs to another tenant."""
    return NotFound(Reason.AGENT_NOT_FOUND, message, metadata={"agent_id": agent_id, **details})


def block_not_found(message: str, *, label: str, **details: object) -> NotFound:
    """The agent has no block with this label."""
    return NotFound(Reason.BLOCK_NOT_FOUND, message, metadata={"label": label, **details})


def source_not_found(message: str, *, source_id: str, **details: object) -> NotFound:
    """The source does not exist, or belongs to another tenant."""
    return NotFound(Reason.SOURCE_NOT_FOUND, message, metadata={"source_id": source_id, **details})


def passage_not_found(message: str, *, passage_id: str, **details: object) -> NotFound:
    """The passage does not exist, or is not visible to the agent."""
    return NotFound(Reason.PASSAGE_NOT_FOUND, message, metadata={"passage_id": passage_id, **details})


def message_not_found(message: str, *, sequence: int, **details: object) -> NotFound:
    """The message does not exist."""
    return NotFound(Reason.MESSAGE_NOT_FOUND, message, metadata={"sequence": sequence, **details})


def turn_not_found(message: str, *, request_id: str, **details: object) -> NotFound:
    """The agent has no turn with this request id."""
    return NotFound(Reason.TURN_NOT_FOUND, message, metadata={"request_id": request_id, **details})


def load_not_found(message: str, *, load_id: str, **details: object) -> NotFound:
    """The load does not exist, or belongs to another tenant."""
    return NotFound(Reason.LOAD_NOT_FOUND, message, metadata={"load_id": load_id, **details})


def profile_not_found(message: str, *, kind: str, name: str, **details: object) -> NotFound:
    """The persona, human or preset does not exist."""
    return NotFound(Reason.PROFILE_NOT_FOUND, message, metadata={"kind": kind, "name": name, **details})


def file_not_found(message: str, *, load_id: str, file: str, **details: object) -> NotFound:
    """The load has no file with this name."""
    return NotFound(Reason.FILE_NOT_FOUND, message, metadata={"load_id": load_id, "file": file, **details})


def service_not_found(message: str, *, service: str, **details: object) -> NotFound:
    """The server has no such gRPC service."""
    return NotFound(Reason.SERVICE_NOT_FOUND, message, metadata={"service": service, **details})


def tenant_not_found(message: str, *, tenant: str, **details: object) -> NotFound:
    """There is no such tenant."""
    return NotFound(Reason.TENANT_NOT_FOUND, message, metadata={"tenant": tenant, **details})


def api_key_not_found(message: str, *, api_key: str, **details: object) -> NotFound:
    """The API key does not exist, or belongs to another tenant."""
    return NotFound(Reason.API_KEY_NOT_FOUND, message, metadata={"api_key": api_key, **details})


def name_taken(message: str, *, name: str, **details: object) -> AlreadyExists:
    """The name is taken within the tenant."""
    return AlreadyExists(Reason.NAME_TAKEN, message, metadata={"name": name, **details})


def id_taken(message: str, *, taken_id: str, **details: object) -> AlreadyExists:
    """The id that the caller chose is taken."""
    return AlreadyExists(Reason.ID_TAKEN, message, metadata={"id": taken_id, **details})


def etag_mismatch(message: str, *, resource: str, etag: str, **details: object) -> Aborted:
    """The resource has changed since its etag was read; `etag` is the current one."""
    return Aborted(Reason.ETAG_MISMATCH, message, metadata={"resource": resource, "etag": etag, **details})


def lease_lost(message: str, *, agent_id: str, epoch: int, **details: object) -> Aborted:
    """The lease has expired or was granted to another holder."""
    return Aborted(Reason.LEASE_LOST, message, metadata={"agent_id": agent_id, "epoch": epoch, **details})


def write_conflict(message: str, *, resource: str, **details: object) -> Aborted:
    """Another write came first."""
    return Aborted(Reason.WRITE_CONFLICT, message, metadata={"resource": resource, **details})


def wrong_state(message: str, *, resource: str, state: str, **details: object) -> FailedPrecondition:
    """The state of the resource does not allow this."""
    return FailedPrecondition(Reason.WRONG_STATE, message, metadata={"resource": resource, "state": state, **details})


def step_out_of_order(message: str, *, step: int, following: int, **details: object) -> FailedPrecondition:
    """The index of the step is not the next one of its turn."""
    return FailedPrecondition(Reason.STEP_OUT_OF_ORDER, message, metadata={"step": step, "next": following, **details})


def embedding_mismatch(
    message: str, *, stored_model: str, stored_dimension: int, model: str, dimension: int, **details: object
) -> FailedPrecondition:
    """The store or the source has another embedding model or dimension."""
    return FailedPrecondition(
        Reason.EMBEDDING_MISMATCH,
        message,
        metadata={
            "stored_model": stored_model,
            "stored_dimension": stored_dimension,
            "model": model,
            "dimension": dimension,
            **details,
        },
    )


def page_token_expired(message: str, **details: object) -> FailedPrecondition:
    """The page token is valid, but its snapshot is gone."""
    return FailedPrecondition(Reason.PAGE_TOKEN_EXPIRED, message, field="page_token", metadata=details)


def in_use(message: str, *, resource: str, name: str, **details: object) -> FailedPrecondition:
    """The resource ships with the suite or is in use."""
    return FailedPrecondition(Reason.IN_USE, message, metadata={"resource": resource, "name": name, **details})


def upload_not_expected(message: str, *, file: str, state: str, **details: object) -> FailedPrecondition:
    """The load does not expect this file."""
    return FailedPrecondition(Reason.UPLOAD_NOT_EXPECTED, message, metadata={"file": file, "state": state, **details})


def model_unusable(message: str, *, model: str, **details: object) -> FailedPrecondition:
    """The chat model cannot be used as configured."""
    return FailedPrecondition(Reason.MODEL_UNUSABLE, message, metadata={"model": model, **details})


def tool_unusable(message: str, *, address: str, **details: object) -> FailedPrecondition:
    """A function that a tool server lists cannot be used."""
    return FailedPrecondition(Reason.TOOL_UNUSABLE, message, metadata={"address": address, **details})


def overloaded(message: str, *, limit: int, retry_after: float | None = None, **details: object) -> ResourceExhausted:
    """The server is at its limit of concurrent calls."""
    return ResourceExhausted(Reason.OVERLOADED, message, metadata={"limit": limit, **details}, retry_after=retry_after)


def quota_exceeded(
    message: str, *, quota: str, limit: int, retry_after: float | None = None, **details: object
) -> ResourceExhausted:
    """A queue, a disk or another quota is full."""
    return ResourceExhausted(
        Reason.QUOTA_EXCEEDED, message, metadata={"quota": quota, "limit": limit, **details}, retry_after=retry_after
    )


def model_rate_limited(
    message: str, *, model: str, retry_after: float | None = None, **details: object
) -> ResourceExhausted:
    """The model's endpoint is rate limiting requests."""
    return ResourceExhausted(
        Reason.MODEL_RATE_LIMITED, message, metadata={"model": model, **details}, retry_after=retry_after
    )


def shutting_down(message: str, *, retry_after: float | None = None, **details: object) -> Unavailable:
    """The server is shutting down."""
    return Unavailable(Reason.SHUTTING_DOWN, message, metadata=details, retry_after=retry_after)


def store_unavailable(message: str, *, retry_after: float | None = None, **details: object) -> Unavailable:
    """Milvus cannot be reached, or failed."""
    return Unavailable(Reason.STORE_UNAVAILABLE, message, metadata=details, retry_after=retry_after)


def service_unavailable(
    message: str, *, service: str, retry_after: float | None = None, **details: object
) -> Unavailable:
    """Another service of the suite cannot be reached."""
    return Unavailable(
        Reason.SERVICE_UNAVAILABLE, message, metadata={"service": service, **details}, retry_after=retry_after
    )


def model_unavailable(message: str, *, model: str, retry_after: float | None = None, **details: object) -> Unavailable:
    """The chat model's endpoint cannot be reached, or failed."""
    return Unavailable(Reason.MODEL_UNAVAILABLE, message, metadata={"model": model, **details}, retry_after=retry_after)


def embedding_unavailable(
    message: str, *, model: str, retry_after: float | None = None, **details: object
) -> Unavailable:
    """The embedding model's endpoint cannot be reached, or failed."""
    return Unavailable(
        Reason.EMBEDDING_UNAVAILABLE, message, metadata={"model": model, **details}, retry_after=retry_after
    )


def tool_unavailable(message: str, *, address: str, retry_after: float | None = None, **details: object) -> Unavailable:
    """No server responds at a tool's address."""
    return Unavailable(
        Reason.TOOL_UNAVAILABLE, message, metadata={"address": address, **details}, retry_after=retry_after
    )


def load_held_elsewhere(
    message: str, *, load_id: str, retry_after: float | None = None, **details: object
) -> Unavailable:
    """Another Loader took over the load during the call."""
    return Unavailable(
        Reason.LOAD_HELD_ELSEWHERE, message, metadata={"load_id": load_id, **details}, retry_after=retry_after
    )


def deadline_exceeded(message: str, *, limit_seconds: float, **details: object) -> DeadlineExceeded:
    """The deadline has passed; `limit_seconds` is the limit that applied."""
    return DeadlineExceeded(
        Reason.DEADLINE_EXCEEDED, message, metadata={"limit_seconds": f"{limit_seconds:g}", **details}
    )


def not_implemented(message: str, *, method: str, **details: object) -> Unimplemented:
    """This version does not know the method, or does not support the request."""
    return Unimplemented(Reason.NOT_IMPLEMENTED, message, metadata={"method": method, **details})


def internal(message: str) -> Internal:
    """A bug; the message is a fixed text with the request id."""
    return Internal(Reason.INTERNAL, message)


def deleted_since(message: str, *, reason: Reason) -> NotFound:
    """What an earlier request created has been deleted; `reason` is that of an unknown resource of its kind."""
    return NotFound(reason, message)
