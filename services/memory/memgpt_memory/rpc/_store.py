"""`StoreService`: the store as a whole: description, re-embedding, compaction, backup."""

from __future__ import annotations

from collections.abc import AsyncIterator

from memgpt.memory.v1 import store_service_pb2 as pb
from memgpt.memory.v1 import store_service_pb2_grpc
from memgpt_runtime.context import principal
from memgpt_runtime.principal import Role

from memgpt_memory.maintenance.backup import backup
from memgpt_memory.maintenance.erasure import erase
from memgpt_memory.maintenance.reembedding import ReembeddingProgress, ReembeddingState
from memgpt_memory.rpc._base import Context, Servicer
from memgpt_memory.store.layout import SCHEMA_VERSION

_STATES = {
    ReembeddingState.COPYING: pb.REEMBED_STATE_COPYING,
    ReembeddingState.STOPPED: pb.REEMBED_STATE_STOPPED,
    ReembeddingState.DONE: pb.REEMBED_STATE_DONE,
}


class StoreServicer(Servicer, store_service_pb2_grpc.StoreServiceServicer):
    """Describes the store, moves it to another embedding model, compacts it and backs it up."""

    async def GetStore(self, request: pb.GetStoreRequest, context: Context) -> pb.GetStoreResponse:
        core = self._core
        # It counts the passages of all tenants.
        progress = core.reembedding.progress if principal().role >= Role.OPERATOR else None
        return pb.GetStoreResponse(
            backend=core.store.capabilities.backend,
            backend_version=core.store.capabilities.version,
            embedding_model=core.embedder.model,
            embedding_dimension=core.embedder.dimension,
            schema_version=SCHEMA_VERSION,
            full_text=core.archive.full_text,
            reembed=None if progress is None else _progress(progress),
        )

    async def Reembed(self, request: pb.ReembedRequest, context: Context) -> AsyncIterator[pb.ReembedResponse]:
        reembedding = self._core.reembedding
        await reembedding.start(request.embedding_model)
        async for progress in reembedding.follow():
            if progress.state is ReembeddingState.DONE:
                yield pb.ReembedResponse(done=_progress(progress))
            else:
                yield pb.ReembedResponse(progress=_progress(progress))

    async def CancelReembed(self, request: pb.CancelReembedRequest, context: Context) -> pb.CancelReembedResponse:
        return pb.CancelReembedResponse(cancelled=await self._core.reembedding.cancel())

    async def Compact(self, request: pb.CompactRequest, context: Context) -> pb.CompactResponse:
        core = self._core
        erased = await erase(core.store, core.agents, core.sources, core.forgetting, core.reembedding)
        return pb.CompactResponse(bytes_before=erased.before, bytes_after=erased.after)

    async def Backup(self, request: pb.BackupRequest, context: Context) -> AsyncIterator[pb.BackupResponse]:
        async for chunk in backup(self._core.store):
            yield pb.BackupResponse(chunk=chunk)


def _progress(progress: ReembeddingProgress) -> pb.ReembedProgress:
    name, dimension = progress.model
    return pb.ReembedProgress(
        embedding_model=name,
        embedding_dimension=dimension,
        state=_STATES[progress.state],
        passage_count=progress.copied,
        total_passage_count=progress.total,
    )
