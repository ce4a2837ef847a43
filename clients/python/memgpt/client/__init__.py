"""A typed client: synchronous calls to the Agent and the Loader, in the terms of the protos.

    with MemGPT("127.0.0.1:50051", "127.0.0.1:50053") as memgpt:
        agent = memgpt.agents.create(CreateAgentRequest(persona="memgpt_doc"))
        for event in memgpt.agents.send(SendMessageRequest(agent_id=agent.agent_id, text="Hello!")):
            ...

Every failed call raises a `ServiceError`. Calls may be made from several threads.
"""

from memgpt.client._sync import (
    CALL_TIMEOUT,
    CHUNK_BYTES,
    MODEL_TIMEOUT,
    RESUME_SECONDS,
    STORE_TIMEOUT,
    TURN_SECONDS,
    Agents,
    Loads,
    MemGPT,
    Memory,
    Patience,
    Profiles,
    Sources,
    Store,
    new_request_id,
    open_channel,
)
from memgpt.client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    CredentialsError,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    from_rpc_error,
)
from memgpt.client.tls import Tls
from memgpt.common.v1.reasons import Reason

__all__ = [
    "CALL_TIMEOUT",
    "CHUNK_BYTES",
    "MODEL_TIMEOUT",
    "RESUME_SECONDS",
    "STORE_TIMEOUT",
    "TURN_SECONDS",
    "Aborted",
    "Agents",
    "AlreadyExists",
    "Cancelled",
    "CredentialsError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "Loads",
    "MemGPT",
    "Memory",
    "NotFound",
    "Patience",
    "PermissionDenied",
    "Profiles",
    "Reason",
    "ResourceExhausted",
    "ServiceError",
    "Sources",
    "Store",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "from_rpc_error",
    "new_request_id",
    "open_channel",
]
