"""API keys of a tenant, for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call
from memgpt.client.channel import CALL_TIMEOUT
from memgpt.client.errors import NotFound
from memgpt.common.v1.permission_pb2 import Role
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1.api_key_pb2 import ApiKey
from memgpt.memory.v1.api_key_service_pb2_grpc import ApiKeyServiceStub

if TYPE_CHECKING:
    from memgpt.memory.v1.api_key_service_pb2_grpc import ApiKeyServiceAsyncStub


class AsyncKeys:
    """API keys. In every method, `tenant` is empty for the caller's own; another one is for operators."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: ApiKeyServiceAsyncStub = ApiKeyServiceStub(channel)

    async def create(
        self,
        name: str,
        role: Role.ValueType,
        *,
        expires: Timestamp | None = None,
        agent_ids: Sequence[str] = (),
        source_ids: Sequence[str] = (),
        tenant: str = "",
    ) -> keys_pb.CreateApiKeyResponse:
        """Create a key, and return it with its token, which cannot be read again.

        Args:
            name: Its name, unique within the tenant.
            role: What it permits.
            expires: When it expires; None for never.
            agent_ids: The only agents that it permits; empty for all. For the roles reader and user.
            source_ids: The only sources that it permits; empty for all. For the roles reader and user.
            tenant: The tenant.
        """
        request = keys_pb.CreateApiKeyRequest(
            name=name, role=role, expire_time=expires, agent_ids=agent_ids, source_ids=source_ids, tenant=tenant
        )
        return await call(self._stub.CreateApiKey, request, CALL_TIMEOUT)

    async def get(self, api_key_id: str, *, tenant: str = "") -> ApiKey:
        """Return a key."""
        request = keys_pb.GetApiKeyRequest(api_key_id=api_key_id, tenant=tenant)
        return (await call(self._stub.GetApiKey, request, CALL_TIMEOUT)).api_key

    async def find(self, name_or_id: str, *, tenant: str = "") -> ApiKey:
        """Return the key with a name, or else with an id."""
        try:
            request = keys_pb.GetApiKeyRequest(name=name_or_id, tenant=tenant)
            return (await call(self._stub.GetApiKey, request, CALL_TIMEOUT)).api_key
        except NotFound as error:
            not_found = error
        try:
            return await self.get(name_or_id, tenant=tenant)
        except NotFound:
            raise not_found from None

    def list(self, *, tenant: str = "") -> AsyncPages[ApiKey]:
        """List keys in order of creation."""

        async def fetch(token: str) -> AsyncPage[ApiKey]:
            request = keys_pb.ListApiKeysRequest(page_size=PAGE_SIZE, page_token=token, tenant=tenant)
            response = await call(self._stub.ListApiKeys, request, CALL_TIMEOUT)
            return AsyncPage(response.api_keys, response)

        return AsyncPages(fetch)

    async def rotate(
        self, api_key_id: str, *, overlap: Duration | None = None, tenant: str = ""
    ) -> keys_pb.RotateApiKeyResponse:
        """Give a key a new secret, and return it with its new token, which cannot be read again.

        Args:
            api_key_id: The key.
            overlap: How long the former token stays valid: 0 to 30 days; None for 24 hours.
            tenant: The tenant.
        """
        request = keys_pb.RotateApiKeyRequest(api_key_id=api_key_id, overlap=overlap, tenant=tenant)
        return await call(self._stub.RotateApiKey, request, CALL_TIMEOUT)

    async def revoke(self, api_key_id: str, *, tenant: str = "") -> ApiKey:
        """Revoke a key: within 5 seconds, no server accepts it. Idempotent."""
        request = keys_pb.RevokeApiKeyRequest(api_key_id=api_key_id, tenant=tenant)
        return (await call(self._stub.RevokeApiKey, request, CALL_TIMEOUT)).api_key

    async def delete(self, api_key_id: str, *, tenant: str = "") -> None:
        """Delete a key, revoked or not."""
        await call(
            self._stub.DeleteApiKey, keys_pb.DeleteApiKeyRequest(api_key_id=api_key_id, tenant=tenant), CALL_TIMEOUT
        )
