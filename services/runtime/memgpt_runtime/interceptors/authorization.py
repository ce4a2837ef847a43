"""Checks who calls, and whether the caller may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memgpt.common.v1.permission_pb2 import Permission

from memgpt_runtime import context, reasons
from memgpt_runtime.auth.authenticator import Authenticator
from memgpt_runtime.auth.permissions import LEAST_ROLE, name_of
from memgpt_runtime.interceptors.rpc import Call, Rpc
from memgpt_runtime.principal import Principal, Role


class Authorization:
    """Sets the principal of every call, and refuses what its role does not permit.

    Health and reflection need no credential, and unknown methods end with UNIMPLEMENTED.
    """

    name = "authorization"

    def __init__(
        self, authenticator: Authenticator, permissions: Mapping[str, Permission.ValueType], *, trust_principal: bool
    ) -> None:
        """Set the stage up.

        Args:
            authenticator: Knows the callers.
            permissions: Permissions by full method name; filled when the services are registered.
            trust_principal: See `ServiceSpec`.
        """
        self._authenticator = authenticator
        self._permissions = permissions
        self._trust_principal = trust_principal

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call if the caller may make it; end a stream when its credential becomes invalid."""
        if rpc.infrastructure or not rpc.known:
            return await call()
        permission = self._permission(rpc)
        least = LEAST_ROLE[permission]
        if least is None:
            return await call()
        authenticator = self._authenticator
        principal = caller = await authenticator.authenticate(rpc.metadata, rpc.wire.auth_context)
        claim = rpc.metadata.get(context.PRINCIPAL_KEY)
        try:
            if claim is not None:
                principal = self._claimed(caller, claim)
        finally:
            _identify(rpc, principal)  # of a refusal too: its log says whose it is
        if principal.role < least and not (least is Role.SERVICE and caller.role is Role.SERVICE):
            raise reasons.not_permitted(
                f"{rpc.name} needs the role {least}; the credential has the role {principal.role}",
                permission=name_of(permission),
                role=principal.role,
            )
        if rpc.kind == "unary" or not authenticator.required:
            return await call()
        async with authenticator.streams.guard(caller):
            return await call()

    def _permission(self, rpc: Rpc) -> Permission.ValueType:
        found = self._permissions.get(rpc.method)
        return found if found is not None else self._permissions[f"/{rpc.service}/*"]

    def _claimed(self, caller: Principal, claim: str) -> Principal:
        """Return the principal that a service names in the metadata of a call."""
        try:
            claimed = Principal.decode(claim)
        except ValueError:
            raise reasons.credential_invalid(f"malformed {context.PRINCIPAL_KEY} metadata") from None
        if caller.role is Role.SERVICE and (self._authenticator.required or self._trust_principal):
            return claimed
        if not self._authenticator.required and claimed.tenant == caller.tenant:
            return caller
        raise reasons.principal_refused(
            f"only services of the suite may send the metadata {context.PRINCIPAL_KEY}; remove it from the call",
            key=context.PRINCIPAL_KEY,
        )


def _identify(rpc: Rpc, principal: Principal) -> None:
    if principal is not rpc.request.principal:
        rpc.request = context.with_principal(rpc.request, principal)
        context.set_current(rpc.request)
