# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""What tenants use, and what they may use."""

from __future__ import annotations

import grpc
from memgpt.client._sync.calls import PAGE_SIZE, Page, Pages, call
from memgpt.client.channel import CALL_TIMEOUT
from memgpt.memory.v1 import quota_service_pb2 as quotas_pb
from memgpt.memory.v1.quota_service_pb2_grpc import QuotaServiceStub


class Quotas:
    """Usage and limits of tenants."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub: QuotaServiceStub = QuotaServiceStub(channel)

    def usage(self) -> Pages[quotas_pb.AgentUsage]:
        """List what each agent of the caller's tenant uses; the response of a page has the sums and the limits."""

        def fetch(token: str) -> Page[quotas_pb.AgentUsage]:
            request = quotas_pb.GetUsageRequest(page_size=PAGE_SIZE, page_token=token)
            response = call(self._stub.GetUsage, request, CALL_TIMEOUT)
            return Page(response.agents, response)

        return Pages(fetch)

    def get(self, tenant: str) -> quotas_pb.GetQuotaResponse:
        """Return the limits of a tenant: those that were set for it, and those that hold. For operators."""
        return call(self._stub.GetQuota, quotas_pb.GetQuotaRequest(tenant=tenant), CALL_TIMEOUT)

    def set(self, tenant: str, quota: quotas_pb.Quota) -> quotas_pb.Quota:
        """Replace the limits of a tenant, and return those that hold now. For operators.

        Args:
            tenant: Name of the tenant.
            quota: The limits; 0 is no limit, and an unset field is the service's default.
        """
        request = quotas_pb.SetQuotaRequest(tenant=tenant, quota=quota)
        return (call(self._stub.SetQuota, request, CALL_TIMEOUT)).effective
