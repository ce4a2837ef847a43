"""`ApiKeyService`: API keys of tenants, and their check for the other services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from memgpt.common.v1.permission_pb2 import Role as RoleProto
from memgpt.memory.v1 import api_key_pb2, api_key_service_pb2_grpc
from memgpt.memory.v1 import api_key_service_pb2 as pb
from memgpt_runtime import reasons
from memgpt_runtime.auth.api_keys import ApiKey, Secret
from memgpt_runtime.context import principal
from memgpt_runtime.principal import CredentialKind, Principal, Role

from memgpt_memory.access import ApiKeyRow, NewApiKey, valid_secrets
from memgpt_memory.core import Core
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer

_DEFAULT_OVERLAP = 24 * 3600 * 1_000_000


class ApiKeyServicer(Servicer, api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """The API keys of every tenant."""

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        core = self._core
        _check_role(request.role)
        tenant = await self._tenant(core, request.tenant)
        expires = convert.microseconds(request.expire_time) if request.HasField("expire_time") else 0
        row, token = await core.api_keys.create(
            NewApiKey(tenant, request.name, request.role, expires, request.agent_ids, request.source_ids)
        )
        return pb.CreateApiKeyResponse(api_key=_proto(row), token=token)

    async def GetApiKey(self, request: pb.GetApiKeyRequest, context: Context) -> pb.GetApiKeyResponse:
        core = self._core
        tenant = _named_tenant(request.tenant)
        if request.name:
            return pb.GetApiKeyResponse(api_key=_proto(await core.api_keys.get_by_name(tenant, request.name)))
        return pb.GetApiKeyResponse(api_key=_proto(await core.api_keys.get(tenant, request.api_key_id)))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        size, after = self._after(request)
        page = await self._core.api_keys.list(_named_tenant(request.tenant), size, after)
        shown, following = self._fit(map(_proto, page.items), page.next_token, lambda key: key.api_key_id)
        return pb.ListApiKeysResponse(api_keys=shown, next_page_token=self._next(request, following))

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: Context) -> pb.RotateApiKeyResponse:
        overlap = _DEFAULT_OVERLAP
        if request.HasField("overlap"):
            overlap = request.overlap.ToMicroseconds()
        key = await self._manageable(request.tenant, request.api_key_id)
        row, token = await self._core.api_keys.rotate(key.tenant, key.id, overlap)
        return pb.RotateApiKeyResponse(api_key=_proto(row), token=token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        key = await self._manageable(request.tenant, request.api_key_id)
        return pb.RevokeApiKeyResponse(api_key=_proto(await self._core.api_keys.revoke(key.tenant, key.id)))

    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, context: Context) -> pb.DeleteApiKeyResponse:
        key = await self._manageable(request.tenant, request.api_key_id)
        await self._core.api_keys.delete(key.tenant, key.id)
        return pb.DeleteApiKeyResponse()

    async def ResolveApiKeys(self, request: pb.ResolveApiKeysRequest, context: Context) -> pb.ResolveApiKeysResponse:
        core = self._core
        found = await core.api_keys.find_many(request.api_key_ids)
        await core.api_keys.note_use(found[id_] for id_ in request.used_api_key_ids if id_ in found)
        return pb.ResolveApiKeysResponse(
            api_keys=[_resolved(found[id_]) for id_ in request.api_key_ids if id_ in found]
        )

    async def _manageable(self, tenant: str, key_id: str) -> ApiKeyRow:
        """Return a key that the caller may change."""
        row = await self._core.api_keys.get(_named_tenant(tenant), key_id)
        _check_role(row.role)
        return row

    async def _tenant(self, core: Core, named: str) -> str:
        """Return the tenant of a new key."""
        tenant = _named_tenant(named)
        if tenant != principal().tenant:
            await core.tenants.check_exists(tenant)
        return tenant


class StoredApiKeys:
    """The keys of this Memory's own store, for the check of its callers."""

    def __init__(self, core: Callable[[], Core]) -> None:
        """Get the parts from `core` at every call."""
        self._core = core

    async def resolve(self, ids: Sequence[str], used: Sequence[str]) -> Mapping[str, ApiKey]:
        """See `ApiKeySource`."""
        keys = self._core().api_keys
        found = await keys.find_many(ids)
        await keys.note_use(found[id_] for id_ in used if id_ in found)
        return {id_: _api_key(row) for id_, row in found.items()}


def _named_tenant(named: str) -> str:
    """Return the tenant that a request names, or the caller's own."""
    caller = principal()
    if named and named != caller.tenant and caller.role < Role.OPERATOR:
        raise reasons.not_permitted(
            "the keys of other tenants need the role operator", permission="OPERATE", role=caller.role
        )
    return named or caller.tenant


def _check_role(role: int) -> None:
    """Reject a key that permits more than the caller may: it would be a way to get there."""
    caller = principal()
    if role > caller.role:
        raise reasons.not_permitted(
            f"a key with the role {Role(role)} needs that role; the credential has the role {caller.role}",
            permission="OPERATE",
            role=caller.role,
        )


def _proto(row: ApiKeyRow) -> api_key_pb2.ApiKey:
    key = api_key_pb2.ApiKey(
        api_key_id=row.id,
        tenant=row.tenant,
        name=row.name,
        role=RoleProto.ValueType(row.role),
        agent_ids=row.agents,
        source_ids=row.sources,
        create_time=convert.timestamp(row.created),
        expire_time=convert.timestamp(row.expires) if row.expires else None,
        revoke_time=convert.timestamp(row.revoked) if row.revoked else None,
        last_use_time=convert.timestamp(row.last_used) if row.last_used else None,
    )
    for secret in valid_secrets(row):
        key.secrets.add(
            hint=secret.hint,
            create_time=convert.timestamp(secret.created),
            expire_time=convert.timestamp(secret.expires) if secret.expires else None,
        )
    return key


def _resolved(row: ApiKeyRow) -> pb.ResolvedApiKey:
    key = pb.ResolvedApiKey(
        api_key_id=row.id,
        tenant=row.tenant,
        name=row.name,
        role=RoleProto.ValueType(row.role),
        agent_ids=row.agents,
        source_ids=row.sources,
        expire_time=convert.timestamp(row.expires) if row.expires else None,
        revoked=bool(row.revoked),
    )
    for secret in row.secrets:
        key.secrets.add(
            sha256=bytes.fromhex(secret.digest),
            expire_time=convert.timestamp(secret.expires) if secret.expires else None,
        )
    return key


def _api_key(row: ApiKeyRow) -> ApiKey:
    principal = Principal(
        row.tenant,
        Role(row.role),
        CredentialKind.API_KEY,
        row.id,
        row.name,
        frozenset(row.agents),
        frozenset(row.sources),
        row.expires / 1e6 if row.expires else None,
    )
    secrets = tuple(
        Secret(bytes.fromhex(secret.digest), secret.expires / 1e6 if secret.expires else None) for secret in row.secrets
    )
    return ApiKey(principal, secrets, bool(row.revoked))
