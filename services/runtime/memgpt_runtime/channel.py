"""Channels to the suite's services.

**Retries.** Only one layer retries: the channel, for the methods that its owner names as repeatable, on UNAVAILABLE, up
to 4 attempts within the call's timeout. The client libraries below (Milvus's, the models') have their own retries
switched off; callers above pass UNAVAILABLE on, with its RetryInfo. gRPC itself also repeats calls that provably never
left the client.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import grpc
from memgpt.config import Config, MemoryClientSection

from memgpt_runtime.auth.service_keys import ServiceKeys
from memgpt_runtime.call_details import client_interceptors
from memgpt_runtime.reloading_channel import ReloadingChannel
from memgpt_runtime.tls import TlsReloader, memory_tls

M = TypeVar("M", bound=MemoryClientSection)

DEFAULT_TIMEOUT = 60.0
"""Seconds for a unary call without any other limit."""


def service_config(repeatable: Iterable[str]) -> str:
    """Return gRPC's service config that retries the named methods on UNAVAILABLE.

    Args:
        repeatable: Full names: ``/package.Service/Method``, or ``/package.Service`` for all its methods. Only methods
            that may run twice: reads, and writes that are idempotent by their ids.
    """
    names = []
    for method in repeatable:
        service, _, name = method.removeprefix("/").partition("/")
        names.append({"service": service, "method": name} if name else {"service": service})
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    # While many calls fail, retries would only add load: gRPC stops them below half of the tokens.
    throttling = {"maxTokens": 20, "tokenRatio": 0.5}
    config = {"methodConfig": [{"name": names, "retryPolicy": policy}], "retryThrottling": throttling} if names else {}
    return json.dumps(config)


def channel_options(
    *, max_message_bytes: int, repeatable: Iterable[str], internal: bool, server_name: str = ""
) -> list[tuple[str, Any]]:
    """Return gRPC's channel arguments; see `open_channel`."""
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A dead or hanging peer is detected within 30 s. keepalive_timeout alone has no effect while the peer's
        # kernel, or a proxy, acknowledges; ping_timeout then applies, 60 s by default.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A service that comes back is reached within 2 s instead of gRPC's 2 min; min_reconnect_backoff is also how
        # long a connection may take to be made.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 20_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A service that moved is reached as soon as DNS has its new address, not 30 s after the last query.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.service_config", service_config(repeatable)),
        ("grpc.service_config_disable_resolution", 1),
    ]
    if internal:
        # http_proxy in the environment is meant for the Internet.
        options.append(("grpc.enable_http_proxy", 0))
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options


def open_channel(
    target: str,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    max_message_bytes: int = 4 * 1024 * 1024,
    repeatable: Iterable[str] = (),
    internal: bool = True,
    server_name: str = "",
    service_keys: ServiceKeys | None = None,
) -> grpc.aio.Channel:
    """Open a channel, inside the event loop that uses it. It connects at the first call, and again whenever needed.

    Args:
        target: ``host:port``, or any name gRPC resolves; ``dns:///name:port`` spreads calls over all its addresses.
        credentials: See `memgpt_runtime.tls.channel_credentials`; None for plaintext.
        timeout: Seconds for unary calls that have no timeout of their own; None for no limit. Streams have none.
        max_message_bytes: Largest message received or sent.
        repeatable: Methods that are retried, see `service_config`.
        internal: Whether the server is one of the suite's: it gets the principal of the call, and is not called through
            an HTTP proxy.
        server_name: Name in the server's certificate, if it is not the target's host.
        service_keys: The keys of the services, the first of which is sent with every call of an internal channel.
    """
    options = channel_options(
        max_message_bytes=max_message_bytes, repeatable=repeatable, internal=internal, server_name=server_name
    )
    interceptors = client_interceptors(timeout, internal=internal, service_keys=service_keys if internal else None)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def open_memory_channel(config: Config[M], repeatable: Iterable[str]) -> grpc.aio.Channel:
    """Open a service's channel to Memory, as its section says.

    Args:
        config: The service's settings.
        repeatable: Methods that are retried, see `service_config`.

    Raises:
        ConfigError: A file of ``memory_tls_*`` or ``service_key_file`` cannot be used.
    """
    methods = tuple(repeatable)
    service_keys = ServiceKeys(config.server)

    def open_with(credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        return open_channel(
            config.service.memory_address,
            credentials=credentials,
            max_message_bytes=config.server.max_message_bytes,
            repeatable=methods,
            server_name=config.service.memory_tls_server_name,
            service_keys=service_keys,
        )

    files = memory_tls(config.service, config.name)
    return open_with(None) if files is None else ReloadingChannel(TlsReloader(files), open_with)
