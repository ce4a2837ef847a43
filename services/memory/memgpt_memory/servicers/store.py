"""`StoreService`."""

from __future__ import annotations

from typing import Any

from memgpt.memory.v1 import store_service_pb2 as pb
from memgpt.memory.v1 import store_service_pb2_grpc

from memgpt_memory.servicers.base import Servicer
from memgpt_memory.store.layout import SCHEMA_VERSION


class StoreServicer(Servicer, store_service_pb2_grpc.StoreServiceServicer):
    """Says what the store is."""

    async def GetStore(self, request: pb.GetStoreRequest, context: Any) -> pb.GetStoreResponse:
        """See the contract."""
        core = self._core
        return pb.GetStoreResponse(
            backend=core.store.capabilities.backend,
            backend_version=core.store.capabilities.version,
            embedding_model=core.embedder.model,
            embedding_dimension=core.embedder.dimension,
            schema_version=SCHEMA_VERSION,
            full_text=core.archive.full_text,
        )
