# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""The client of all services."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType

import grpc
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.client._sync.agents import Agents
from memgpt.client._sync.blocks import Blocks
from memgpt.client._sync.calls import call
from memgpt.client._sync.keys import Keys
from memgpt.client._sync.loads import Loads
from memgpt.client._sync.memory import Memory
from memgpt.client._sync.profiles import Profiles
from memgpt.client._sync.quotas import Quotas
from memgpt.client._sync.sources import Sources
from memgpt.client._sync.store import Store
from memgpt.client._sync.tenants import Tenants
from memgpt.client._turns import TURN_SECONDS
from memgpt.client._unary_retry import RETRY_SECONDS
from memgpt.client.channel import CALL_TIMEOUT, open_channel
from memgpt.client.errors import FailedPrecondition
from memgpt.client.tls import Tls
from memgpt.client.token import Token
from memgpt.common.v1.identity_service_pb2 import WhoAmIRequest, WhoAmIResponse
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub
from memgpt.common.v1.reasons import Reason
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub

AGENT, MEMORY, LOADER = "127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053"
"""Default addresses of `memgpt server`."""


class MemGPT:
    """A client of the services; a context manager.

    Attributes:
        agents: Agents and their turns.
        sources: Data sources.
        profiles: Personas, humans and presets.
        loads: Loading of files.
    """

    def __init__(
        self,
        agent: str = AGENT,
        loader: str = LOADER,
        tls: Tls | None = None,
        token: Token | None = None,
        *,
        memory: str = MEMORY,
        turn_seconds: float = TURN_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        allow_plaintext: bool = False,
    ) -> None:
        """Open the channels; nothing is sent before the first call.

        Args:
            agent: ``host:port`` of the Agent, or any target that gRPC resolves.
            loader: Address of the Loader.
            tls: None for plaintext; its `cert` and `key` are a credential, too.
            token: API key or other bearer token, or a function that returns one and is called before each call; None
                for none.
            memory: Address of Memory, for `memory` and `store`; empty if it is not reachable.
            turn_seconds: Seconds for which a broken turn is resumed while the Agent does not respond.
            retry_seconds: Seconds for which a call that may be repeated is repeated while its service is unavailable.
            allow_plaintext: Whether the token may be sent to other machines without TLS, if a mesh encrypts the
                connections.

        Raises:
            CredentialsError: A file or the token cannot be used, or the token would be sent in plaintext.
        """

        def connect(address: str) -> grpc.Channel:
            return open_channel(address, tls, token, allow_plaintext=allow_plaintext, retry_seconds=retry_seconds)

        self._channels = [connect(agent), connect(loader)]
        self._memory_address, self._connect = memory, connect
        agent_stub = AgentServiceStub(self._channels[0])
        self.agents = Agents(self, agent_stub, turn_seconds)
        self.sources = Sources(self, agent_stub)
        self.profiles = Profiles(agent_stub)
        self._identity: IdentityServiceStub = IdentityServiceStub(self._channels[0])
        self.loads = Loads(LoaderServiceStub(self._channels[1]))

    @cached_property
    def memory(self) -> Memory:
        """Memory, for searches, notes, messages and files.

        Raises:
            FailedPrecondition: The client was created without an address of Memory.
        """
        return Memory(self._memory_channel)

    @cached_property
    def blocks(self) -> Blocks:
        """Blocks that agents have in common; raises like `memory`."""
        return Blocks(self._memory_channel)

    @cached_property
    def store(self) -> Store:
        """Operations on the store of Memory; raises like `memory`."""
        return Store(self._memory_channel)

    @cached_property
    def keys(self) -> Keys:
        """API keys, for administrators; raises like `memory`."""
        return Keys(self._memory_channel)

    @cached_property
    def tenants(self) -> Tenants:
        """Tenants, for operators; raises like `memory`."""
        return Tenants(self._memory_channel)

    @cached_property
    def quotas(self) -> Quotas:
        """What tenants use and may use; raises like `memory`."""
        return Quotas(self._memory_channel)

    def whoami(self) -> WhoAmIResponse:
        """Return the caller's tenant, role and credential, as the Agent sees them."""
        return call(self._identity.WhoAmI, WhoAmIRequest(), CALL_TIMEOUT)

    @cached_property
    def _memory_channel(self) -> grpc.Channel:
        if not self._memory_address:
            raise FailedPrecondition(
                Reason.WRONG_STATE, "no address of Memory is known; set memory_address in [client] of the configuration"
            )
        self._channels.append(self._connect(self._memory_address))
        return self._channels[-1]

    def close(self) -> None:
        """Close the channels. Running turns and loads continue on the servers."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> MemGPT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
