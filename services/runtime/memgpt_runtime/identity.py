"""`IdentityService`: tells callers who they are."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.common.v1 import identity_service_pb2 as pb
from memgpt.common.v1 import identity_service_pb2_grpc
from memgpt.common.v1.permission_pb2 import Role

from memgpt_runtime.context import principal
from memgpt_runtime.principal import CredentialKind

_KINDS = {
    CredentialKind.NONE: pb.CREDENTIAL_KIND_NONE,
    CredentialKind.API_KEY: pb.CREDENTIAL_KIND_API_KEY,
    CredentialKind.JWT: pb.CREDENTIAL_KIND_JWT,
    CredentialKind.CERTIFICATE: pb.CREDENTIAL_KIND_CERTIFICATE,
    CredentialKind.SERVICE_KEY: pb.CREDENTIAL_KIND_SERVICE_KEY,
}


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """Returns the principal of the call."""

    async def WhoAmI(self, _request: pb.WhoAmIRequest, _context: object) -> pb.WhoAmIResponse:
        caller = principal()
        response = pb.WhoAmIResponse(
            tenant=caller.tenant,
            role=Role.ValueType(caller.role),
            credential_kind=_KINDS[caller.kind],
            credential_id=caller.credential_id,
            credential_name=caller.credential_name,
            agent_ids=sorted(caller.agents),
            source_ids=sorted(caller.sources),
        )
        if caller.expires is not None:
            expires = Timestamp()
            expires.FromMicroseconds(int(caller.expires * 1_000_000))
            response.expire_time.CopyFrom(expires)
        return response
