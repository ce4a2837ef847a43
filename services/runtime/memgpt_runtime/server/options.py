"""gRPC's channel arguments for a server."""

from __future__ import annotations

from typing import Any

from memgpt.config import ServerSettings

_UNLIMITED = 2**31 - 1

_METADATA_BYTES = 32 * 1024
"""Maximum size of the headers of a call."""


def server_options(settings: ServerSettings) -> list[tuple[str, Any]]:
    """Return the channel arguments for a server."""
    options: list[tuple[str, Any]] = [
        # Otherwise two servers silently share a port, and each gets some of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # gRPC's own limit is 8 KiB, beyond which it refuses calls at random: tokens with many groups, and what meshes
        # and traces add, may be larger.
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        # Our interceptor refuses calls beyond the limits, with a reason. In a burst, gRPC would silently cancel calls
        # beyond the first 1,000 that wait for the event loop, and those that wait for 30 s.
        ("grpc.server.max_pending_requests", _UNLIMITED),
        ("grpc.server.max_pending_requests_hard_limit", _UNLIMITED),
        ("grpc.server_max_unrequested_time_in_server", _UNLIMITED),
        # gRPC keeps a header that it cannot parse in the connection's table, and then refuses each later call that
        # refers to its name there: one caller with a malformed deadline would fail all callers behind the same proxy.
        ("grpc.http2.hpack_table_size.decoder", 0),
        # Clients and proxies may ping every 5 s, also while idle; the limit leaves a margin for their clocks. gRPC's
        # own limit is 300 s, and it closes the connections of clients that ping more often.
        ("grpc.http2.min_ping_interval_without_data_ms", 4_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A dead or hanging client is detected within 30 s. keepalive_timeout alone has no effect while the peer's
        # kernel acknowledges; ping_timeout then applies, 60 s by default.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
    ]
    if settings.max_connection_age:
        options += [
            ("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)),
            ("grpc.max_connection_age_grace_ms", int(settings.stream_deadline * 1000)),
        ]
    return options
