"""Asks Memory about API keys, for the services that call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import api_key_service_pb2 as pb
from memgpt.memory.v1.api_key_service_pb2_grpc import ApiKeyServiceStub

from memgpt_runtime import reasons
from memgpt_runtime.auth.api_keys import ApiKey, Secret
from memgpt_runtime.logs import get_logger
from memgpt_runtime.principal import CredentialKind, Principal, Role
from memgpt_runtime.status import from_rpc_error

_log = get_logger(__name__)

_TIMEOUT = 2.0


class MemoryApiKeys:
    """The keys that Memory stores."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Ask over a channel to Memory."""
        self._stub = ApiKeyServiceStub(channel)

    async def resolve(self, ids: Sequence[str], used: Sequence[str]) -> Mapping[str, ApiKey]:
        """See `ApiKeySource`."""
        request = pb.ResolveApiKeysRequest(api_key_ids=ids, used_api_key_ids=used)
        try:
            response = await self._stub.ResolveApiKeys(request, timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                _log.error("memory_refused_service", fix="give this service and Memory the same server.service_key")
                raise reasons.service_unavailable(
                    "Memory does not accept this service's own credential; its operator must set server.service_key",
                    service="memory",
                ) from error
            raise from_rpc_error(error) from error
        return {key.api_key_id: _decode(key) for key in response.api_keys}


def _decode(key: pb.ResolvedApiKey) -> ApiKey:
    principal = Principal(
        key.tenant,
        Role(key.role),
        CredentialKind.API_KEY,
        key.api_key_id,
        key.name,
        frozenset(key.agent_ids),
        frozenset(key.source_ids),
        _seconds(key, "expire_time"),
    )
    return ApiKey(
        principal, tuple(Secret(one.sha256, _seconds(one, "expire_time")) for one in key.secrets), key.revoked
    )


def _seconds(message: Message, field: str) -> float | None:
    if not message.HasField(field):
        return None
    time: Timestamp = getattr(message, field)
    return time.ToMicroseconds() / 1e6
