"""Tenants of the store, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call
from memgpt.client.channel import CALL_TIMEOUT, STORE_TIMEOUT
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.tenant_pb2 import Tenant
from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceStub

if TYPE_CHECKING:
    from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceAsyncStub


class AsyncTenants:
    """The tenants of the store."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: TenantServiceAsyncStub = TenantServiceStub(channel)

    async def create(self, name: str) -> Tenant:
        """Create a tenant."""
        return (await call(self._stub.CreateTenant, tenants_pb.CreateTenantRequest(name=name), CALL_TIMEOUT)).tenant

    async def get(self, name: str) -> Tenant:
        """Return a tenant, or the record of a deleted one."""
        return (await call(self._stub.GetTenant, tenants_pb.GetTenantRequest(name=name), CALL_TIMEOUT)).tenant

    def list(self) -> AsyncPages[Tenant]:
        """List the tenants by name."""

        async def fetch(token: str) -> AsyncPage[Tenant]:
            request = tenants_pb.ListTenantsRequest(page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.ListTenants, request, CALL_TIMEOUT)
            return AsyncPage(response.tenants, response)

        return AsyncPages(fetch)

    async def delete(self, name: str) -> Tenant:
        """Delete a tenant with everything in it, and return its record with the receipt. Idempotent."""
        request = tenants_pb.DeleteTenantRequest(name=name)
        return (await call(self._stub.DeleteTenant, request, STORE_TIMEOUT)).tenant
