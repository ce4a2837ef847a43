"""`TenantService`: tenants of the store."""

from __future__ import annotations

from memgpt.memory.v1 import tenant_pb2, tenant_service_pb2_grpc
from memgpt.memory.v1 import tenant_service_pb2 as pb

from memgpt_memory.access import TenantRow
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer


class TenantServicer(Servicer, tenant_service_pb2_grpc.TenantServiceServicer):
    """The tenants of the store."""

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Context) -> pb.CreateTenantResponse:
        return pb.CreateTenantResponse(tenant=_proto(await self._core.tenants.create(request.name)))

    async def GetTenant(self, request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:
        return pb.GetTenantResponse(tenant=_proto(await self._core.tenants.get(request.name)))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        size, after = self._after(request)
        page = await self._core.tenants.list(size, after)
        return pb.ListTenantsResponse(
            tenants=[_proto(row) for row in page.items], next_page_token=self._next(request, page.next_token)
        )

    async def DeleteTenant(self, request: pb.DeleteTenantRequest, context: Context) -> pb.DeleteTenantResponse:
        return pb.DeleteTenantResponse(tenant=_proto(await self._core.tenants.delete(request.name)))


def _proto(row: TenantRow) -> tenant_pb2.Tenant:
    state = tenant_pb2.TENANT_STATE_ACTIVE
    if row.receipt is not None:
        state = tenant_pb2.TENANT_STATE_DELETED if row.deleted else tenant_pb2.TENANT_STATE_DELETING
    created = convert.timestamp(row.created) if row.created else None
    tenant = tenant_pb2.Tenant(name=row.name, state=state, create_time=created)
    if row.receipt is not None:
        receipt = row.receipt
        tenant.receipt.CopyFrom(
            tenant_pb2.TenantReceipt(
                agent_count=receipt.agents,
                message_count=receipt.messages,
                passage_count=receipt.passages,
                source_count=receipt.sources,
                profile_count=receipt.profiles,
                api_key_count=receipt.api_keys,
                other_row_count=receipt.other_rows,
                begin_time=convert.timestamp(receipt.begun),
                end_time=convert.timestamp(receipt.ended) if receipt.ended else None,
            )
        )
    return tenant
