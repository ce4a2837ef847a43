"""Health checks of services through `grpc.health.v1`."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt.client import Tls, open_channel

_TIMEOUT = 3.0


def is_serving(address: str, tls: Tls | None) -> bool:
    """Whether a server reports that it is serving."""
    with open_channel(address, tls) as channel:
        return says_serving(channel)


def says_serving(channel: grpc.Channel) -> bool:
    """Whether the server at a channel reports that it is serving."""
    request = health_pb2.HealthCheckRequest()
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_TIMEOUT)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
