"""The suite with credentials, and calls of any RPC with any credential."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from memgpt.common.v1 import permission_pb2
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceStub
from memgpt_runtime.status import from_rpc_error

from tests.support.certificates import Authority
from tests.support.suite import Suite

Metadata = tuple[tuple[str, str | bytes], ...]

SERVERS = {"memgpt.agent.v1": "agent", "memgpt.loader.v1": "loader", "memgpt.memory.v1": "memory"}
"""Which server has the services of a package."""

_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


def bearer(token: str) -> Metadata:
    """Return the metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


class GuardedSuite(Suite):
    """The three services with credentials.

    Attributes:
        service_key: The key of the services.
        operator: Token of the first key, an operator's.
    """

    operator = ""

    def __init__(self, home: Path, **settings: str) -> None:
        self.service_key = secrets.token_hex(32)
        self._first_key = home / "first_key"
        super().__init__(
            home,
            **{
                "MEMGPT_SERVER_SERVICE_KEY": self.service_key,
                "MEMGPT_MEMORY_FIRST_KEY_FILE": str(self._first_key),
                **settings,
            },
        )
        self._channels: dict[str, grpc.Channel] = {}

    def __enter__(self) -> GuardedSuite:
        super().__enter__()
        self.operator = self._first_key.read_text().strip()
        return self

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()
        super().close()

    def channel(self, server: str) -> grpc.Channel:
        """Return a channel to ``agent``, ``loader`` or ``memory``."""
        address = {"agent": self.agent_address, "loader": self.loader_address, "memory": self.memory_address}[server]
        if address not in self._channels:
            self._channels[address] = self._connect(address)
        return self._channels[address]

    def _connect(self, address: str) -> grpc.Channel:
        return grpc.insecure_channel(address, _OPTIONS)

    @property
    def keys(self) -> Any:
        """The stub of Memory's keys."""
        return ApiKeyServiceStub(self.channel("memory"))

    @property
    def tenants(self) -> Any:
        """The stub of Memory's tenants."""
        return TenantServiceStub(self.channel("memory"))

    def create_tenant(self, name: str) -> None:
        """Create a tenant."""
        self.tenants.CreateTenant(tenants_pb.CreateTenantRequest(name=name), metadata=bearer(self.operator))

    def create_key(self, name: str, role: str, tenant: str = "", **fields: Any) -> tuple[str, str]:
        """Create a key. Returns its id and its token."""
        request = keys_pb.CreateApiKeyRequest(
            name=name, role=permission_pb2.Role.Value(f"ROLE_{role.upper()}"), tenant=tenant, **fields
        )
        created = self.keys.CreateApiKey(request, metadata=bearer(self.operator))
        return created.api_key.api_key_id, created.token

    def call(self, server: str, method: MethodDescriptor, request: Message, metadata: Metadata) -> Any:
        """Call any method with one request; return its response, or the list of its responses."""
        return call(self.channel(server), method, request, metadata)


class TlsSuite(GuardedSuite):
    """The three services with credentials and TLS."""

    def __init__(self, home: Path, authority: Authority, **settings: str) -> None:
        server = authority.issue("server")
        tls = {"MEMGPT_SERVER_TLS_CERT": str(server.cert), "MEMGPT_SERVER_TLS_KEY": str(server.key)}
        for name in ("AGENT", "LOADER"):
            tls |= {f"MEMGPT_{name}_MEMORY_TLS": "true", f"MEMGPT_{name}_MEMORY_TLS_CA": str(authority.ca)}
        super().__init__(home, **{**tls, **settings})
        self._ca = authority.ca.read_bytes()

    def _connect(self, address: str) -> grpc.Channel:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(self._ca), _OPTIONS)


def call(channel: grpc.Channel, method: MethodDescriptor, request: Message, metadata: Metadata) -> Any:
    """Call any method with one request; return its response, or the list of its responses."""
    assert method.containing_service is not None
    path = f"/{method.containing_service.full_name}/{method.name}"
    serialize = type(request).SerializeToString
    parse: Callable[[bytes], Message] = message_factory.GetMessageClass(method.output_type).FromString
    requests: Iterator[Message] = iter([request])
    if method.client_streaming and method.server_streaming:
        return list(channel.stream_stream(path, serialize, parse)(requests, metadata=metadata, timeout=60))
    if method.client_streaming:
        return channel.stream_unary(path, serialize, parse)(requests, metadata=metadata, timeout=60)
    if method.server_streaming:
        return list(channel.unary_stream(path, serialize, parse)(request, metadata=metadata, timeout=60))
    return channel.unary_unary(path, serialize, parse)(request, metadata=metadata, timeout=60)


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason of an error."""
    return str(from_rpc_error(error).reason)
