"""What tenants use, and what they may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call
from memgpt.client.channel import CALL_TIMEOUT
from memgpt.memory.v1 import quota_service_pb2 as quotas_pb
from memgpt.memory.v1.quota_service_pb2_grpc import QuotaServiceStub

if TYPE_CHECKING:
    from memgpt.memory.v1.quota_service_pb2_grpc import QuotaServiceAsyncStub


class AsyncQuotas:
    """Usage and limits of tenants."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: QuotaServiceAsyncStub = QuotaServiceStub(channel)

    def usage(self) -> AsyncPages[quotas_pb.AgentUsage]:
        """List what each agent of the caller's tenant uses; the response of a page has the sums and the limits."""

        async def fetch(token: str) -> AsyncPage[quotas_pb.AgentUsage]:
            request = quotas_pb.GetUsageRequest(page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.GetUsage, request, CALL_TIMEOUT)
            return AsyncPage(response.agents, response)

        return AsyncPages(fetch)

    async def get(self, tenant: str) -> quotas_pb.GetQuotaResponse:
        """Return the limits of a tenant: those that were set for it, and those that hold. For operators."""
        return await call(self._stub.GetQuota, quotas_pb.GetQuotaRequest(tenant=tenant), CALL_TIMEOUT)

    async def set(self, tenant: str, quota: quotas_pb.Quota) -> quotas_pb.Quota:
        """Replace the limits of a tenant, and return those that hold now. For operators.

        Args:
            tenant: Name of the tenant.
            quota: The limits; 0 is no limit, and an unset field is the service's default.
        """
        request = quotas_pb.SetQuotaRequest(tenant=tenant, quota=quota)
        return (await call(self._stub.SetQuota, request, CALL_TIMEOUT)).effective
