"""`QuotaService`: limits of tenants, and what they use."""

from __future__ import annotations

from memgpt.memory.v1 import quota_service_pb2 as pb
from memgpt.memory.v1 import quota_service_pb2_grpc
from memgpt_runtime.context import principal

from memgpt_memory.agents import LiveAgent
from memgpt_memory.clock import now
from memgpt_memory.quotas import Limits, utc_day
from memgpt_memory.rpc._base import Context, Servicer


class QuotaServicer(Servicer, quota_service_pb2_grpc.QuotaServiceServicer):
    """Limits of tenants, and what they use."""

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Context) -> pb.GetQuotaResponse:
        own, effective = await self._core.quotas.get(request.tenant)
        return pb.GetQuotaResponse(quota=_proto(own), effective=_proto(effective))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Context) -> pb.SetQuotaResponse:
        core = self._core
        core.tenants.check(request.tenant)
        limits = Limits(**{field.name: value for field, value in request.quota.ListFields()})
        return pb.SetQuotaResponse(effective=_proto(await core.quotas.set(request.tenant, limits)))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        core, caller = self._core, principal()
        size, after = self._after(request)
        report = await core.quotas.report(caller)
        page = await core.agents.list(caller.tenant, size, after)
        usage = report.usage.stored()
        return pb.GetUsageResponse(
            usage=pb.TenantUsage(
                agents=usage.agents,
                sources=usage.sources,
                passages=usage.passages,
                bytes=usage.bytes,
                concurrent_turns=report.turns,
                turns_left=report.left.get("turns_per_minute"),
                searches_left=report.left.get("searches_per_minute"),
                loaded_bytes_left=report.left.get("loaded_bytes_per_minute"),
                model_tokens_today=report.tokens,
            ),
            quota=_proto(report.limits),
            agents=map(_agent, page.items),
            next_page_token=self._next(request, page.next_token),
            total_size=page.total,
        )


def _proto(limits: Limits) -> pb.Quota:
    return pb.Quota(**limits.model_dump(exclude_none=True))


def _agent(live: LiveAgent) -> pb.AgentUsage:
    row, amounts = live.row, live.row.amounts
    return pb.AgentUsage(
        agent_id=live.id,
        message_count=live.state.message_count,
        passage_count=amounts.passages,
        bytes=amounts.bytes,
        model_tokens=row.tokens,
        model_tokens_today=row.tokens_today if row.token_day == utc_day(now()) else 0,
    )
