"""The RPCs of Memory: one module per service, which translates between protobuf and the domain and delegates."""

from __future__ import annotations

from collections.abc import Callable

from memgpt.memory.v1 import (
    agent_state_service_pb2_grpc,
    api_key_service_pb2_grpc,
    archival_memory_service_pb2_grpc,
    block_service_pb2_grpc,
    profile_service_pb2_grpc,
    quota_service_pb2_grpc,
    recall_memory_service_pb2_grpc,
    shared_block_service_pb2_grpc,
    source_service_pb2_grpc,
    store_service_pb2_grpc,
    tenant_service_pb2_grpc,
    user_data_service_pb2_grpc,
)

from memgpt_memory.core import Core
from memgpt_memory.rpc._agent_state import AgentStateServicer
from memgpt_memory.rpc._api_keys import ApiKeyServicer, StoredApiKeys
from memgpt_memory.rpc._archival import ArchivalMemoryServicer
from memgpt_memory.rpc._blocks import BlockServicer
from memgpt_memory.rpc._checks import CHECKS
from memgpt_memory.rpc._profiles import ProfileServicer
from memgpt_memory.rpc._quotas import QuotaServicer
from memgpt_memory.rpc._recall import RecallMemoryServicer
from memgpt_memory.rpc._shared_blocks import SharedBlockServicer
from memgpt_memory.rpc._sources import SourceServicer
from memgpt_memory.rpc._store import StoreServicer
from memgpt_memory.rpc._tenants import TenantServicer
from memgpt_memory.rpc._user_data import UserDataServicer

__all__ = ["CHECKS", "StoredApiKeys", "servicers"]


def servicers(core: Callable[[], Core]) -> list[tuple[Callable[..., None], object]]:
    """Return every servicer with the generated function that adds it.

    Args:
        core: Returns Memory's parts; raises Unavailable while the store is not open.
    """
    return [
        (agent_state_service_pb2_grpc.add_AgentStateServiceServicer_to_server, AgentStateServicer(core)),
        (api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server, ApiKeyServicer(core)),
        (archival_memory_service_pb2_grpc.add_ArchivalMemoryServiceServicer_to_server, ArchivalMemoryServicer(core)),
        (block_service_pb2_grpc.add_BlockServiceServicer_to_server, BlockServicer(core)),
        (profile_service_pb2_grpc.add_ProfileServiceServicer_to_server, ProfileServicer(core)),
        (quota_service_pb2_grpc.add_QuotaServiceServicer_to_server, QuotaServicer(core)),
        (recall_memory_service_pb2_grpc.add_RecallMemoryServiceServicer_to_server, RecallMemoryServicer(core)),
        (shared_block_service_pb2_grpc.add_SharedBlockServiceServicer_to_server, SharedBlockServicer(core)),
        (source_service_pb2_grpc.add_SourceServiceServicer_to_server, SourceServicer(core)),
        (store_service_pb2_grpc.add_StoreServiceServicer_to_server, StoreServicer(core)),
        (tenant_service_pb2_grpc.add_TenantServiceServicer_to_server, TenantServicer(core)),
        (user_data_service_pb2_grpc.add_UserDataServiceServicer_to_server, UserDataServicer(core)),
    ]
