# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Tenants of the store, for operators."""

from __future__ import annotations

import grpc
from memgpt.client._sync.calls import PAGE_SIZE, Page, Pages, call
from memgpt.client.channel import CALL_TIMEOUT, STORE_TIMEOUT
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.tenant_pb2 import Tenant
from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceStub


class Tenants:
    """The tenants of the store."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub: TenantServiceStub = TenantServiceStub(channel)

    def create(self, name: str) -> Tenant:
        """Create a tenant."""
        return (call(self._stub.CreateTenant, tenants_pb.CreateTenantRequest(name=name), CALL_TIMEOUT)).tenant

    def get(self, name: str) -> Tenant:
        """Return a tenant, or the record of a deleted one."""
        return (call(self._stub.GetTenant, tenants_pb.GetTenantRequest(name=name), CALL_TIMEOUT)).tenant

    def list(self) -> Pages[Tenant]:
        """List the tenants by name."""

        def fetch(token: str) -> Page[Tenant]:
            request = tenants_pb.ListTenantsRequest(page_size=PAGE_SIZE, page_token=token)
            response = call(self._stub.ListTenants, request, CALL_TIMEOUT)
            return Page(response.tenants, response)

        return Pages(fetch)

    def delete(self, name: str) -> Tenant:
        """Delete a tenant with everything in it, and return its record with the receipt. Idempotent."""
        request = tenants_pb.DeleteTenantRequest(name=name)
        return (call(self._stub.DeleteTenant, request, STORE_TIMEOUT)).tenant
