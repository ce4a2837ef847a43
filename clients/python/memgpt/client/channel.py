"""gRPC channels with keepalive, message limits, and a retry policy as a service config."""

from __future__ import annotations

import json
from typing import Any

import grpc
import grpc.aio
from memgpt.client._closing import ClosableChannel
from memgpt.client._trace_context import async_interceptors, interceptors
from memgpt.client._unary_retry import RETRY_SECONDS, AsyncRetryInterceptor, RetryInterceptor
from memgpt.client.tls import Tls
from memgpt.client.token import AsyncToken, Token, TokenInterceptor, async_token_interceptors, check_exposure, is_local

CALL_TIMEOUT = 60.0
"""Seconds for a unary call that does not call a model."""

MODEL_TIMEOUT = 600.0
"""Seconds for a unary call that waits for the agent's turns and a model."""

STORE_TIMEOUT = 3600.0
"""Seconds for a call that reads or writes the files of the whole store."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Maximum bytes of a message that is received or sent; the servers' limit is lower."""

# Calls that only read, that are inherently idempotent, or that carry a request_id.
_RETRYABLE = {
    "memgpt.agent.v1.AgentService": (
        "CreateAgent",
        "GetAgent",
        "ListAgents",
        "DeleteAgent",
        "CancelTurn",
        "ListTurns",
        "AttachSource",
        "DetachSource",
        "ListSources",
        "DeleteSource",
        "GetContext",
        "DeleteBlock",
        "Summarize",
        "Undo",
        "Rethink",
        "Rewrite",
        "SetHeartbeat",
        "ListHeartbeats",
        "CancelHeartbeat",
        "SetHeartbeatLimits",
        "PutProfile",
        "GetProfile",
        "ListProfiles",
        "GetModel",
        "ListTools",
        "UnregisterTools",
    ),
    "memgpt.loader.v1.LoaderService": ("CreateLoad", "GetLoad", "ListLoads", "CancelLoad", "ListFormats"),
    "memgpt.memory.v1.ArchivalMemoryService": (
        "SearchPassages",
        "InsertPassages",
        "ListPassages",
        "GetPassages",
        "DeletePassages",
        "ForgetPassages",
    ),
    "memgpt.memory.v1.RecallMemoryService": ("SearchMessages", "ListMessages", "ForgetMessages"),
    "memgpt.memory.v1.SharedBlockService": (
        "CreateSharedBlock",
        "GetSharedBlock",
        "ListSharedBlocks",
        "DeleteSharedBlock",
        "AttachBlock",
        "DetachBlock",
        "ListBlockAgents",
    ),
    "memgpt.common.v1.IdentityService": ("WhoAmI",),
    "memgpt.memory.v1.ApiKeyService": ("GetApiKey", "ListApiKeys", "RevokeApiKey"),
    "memgpt.memory.v1.TenantService": ("GetTenant", "ListTenants", "DeleteTenant"),
    "memgpt.memory.v1.UserDataService": ("EraseUser",),
    "memgpt.memory.v1.QuotaService": ("GetQuota", "SetQuota", "GetUsage"),
    "memgpt.memory.v1.SourceService": ("GetSource", "ListSources", "ListFiles", "DeleteFile"),
    "memgpt.memory.v1.StoreService": ("GetStore", "CancelReembed"),
}

_RETRYABLE_PATHS = frozenset(f"/{service}/{method}" for service, methods in _RETRYABLE.items() for method in methods)


def service_config() -> str:
    """Return the service config: which calls gRPC retries, how often, and how it chooses a replica."""
    names = [{"service": service, "method": method} for service, methods in _RETRYABLE.items() for method in methods]
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps(
        {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": names, "retryPolicy": policy}]}
    )


def channel_options(address: str) -> list[tuple[str, Any]]:
    """Return gRPC's arguments for a channel to `address`."""
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A lost or hung connection is detected within 40 s, even while a model thinks or a chat is idle.
        # keepalive_timeout alone has no effect while the peer's kernel acknowledges; ping_timeout then applies.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # By default gRPC ends up looking for a lost server only every two minutes. min_reconnect_backoff is also the
        # timeout for establishing a connection.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 20_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Replicas that moved are found as soon as DNS has them, not 30 s after the last query.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # Calls to this machine must not go through a network proxy.
        ("grpc.enable_http_proxy", 0 if is_local(address) else 1),
        ("grpc.service_config", service_config()),
    ]


def open_channel(
    address: str,
    tls: Tls | None = None,
    token: Token | None = None,
    *,
    allow_plaintext: bool = False,
    retry_seconds: float = RETRY_SECONDS,
) -> grpc.Channel:
    """Open a channel; nothing is sent before the first call.

    Args:
        address: ``host:port``, or any target that gRPC resolves; for several replicas, such as
            ``dns:///agents.example.org:50051``.
        tls: None for plaintext.
        token: API key or other bearer token to send with every call; None for none.
        allow_plaintext: Whether the token may be sent to another machine without TLS.
        retry_seconds: Seconds for which a call that may be repeated is repeated while the service is unavailable.

    Raises:
        CredentialsError: A file or the token cannot be used, or the token would be sent in plaintext.
    """
    options = channel_options(address)
    # The first one is the outermost: each attempt gets a new span and a new token.
    intercept = [RetryInterceptor(_RETRYABLE_PATHS, retry_seconds), *interceptors()]
    if token is not None:
        check_exposure(address, encrypted=tls is not None, allow_plaintext=allow_plaintext)
        intercept = [*intercept, TokenInterceptor(token)]
    if tls is None:
        channel = grpc.insecure_channel(address, options=options)
    else:
        channel = grpc.secure_channel(address, tls.credentials(), options=options)
    return grpc.intercept_channel(ClosableChannel(channel), *intercept)


def open_async_channel(
    address: str,
    tls: Tls | None = None,
    token: AsyncToken | None = None,
    *,
    allow_plaintext: bool = False,
    retry_seconds: float = RETRY_SECONDS,
) -> grpc.aio.Channel:
    """Open an asyncio channel for the running event loop; see `open_channel`."""
    options = channel_options(address)
    intercept = [AsyncRetryInterceptor(_RETRYABLE_PATHS, retry_seconds), *async_interceptors()]
    if token is not None:
        check_exposure(address, encrypted=tls is not None, allow_plaintext=allow_plaintext)
        intercept = [*intercept, *async_token_interceptors(token)]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=intercept)
    return grpc.aio.secure_channel(address, tls.credentials(), options=options, interceptors=intercept)
