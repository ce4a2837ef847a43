"""Operations on the store of Memory, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
from memgpt.client._async.calls import call, stream
from memgpt.client._retry import RetryPolicy
from memgpt.client._turns import is_resumable
from memgpt.client.channel import CALL_TIMEOUT, STORE_TIMEOUT
from memgpt.client.errors import DeadlineExceeded, ServiceError, Unavailable
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1 import store_service_pb2 as store_pb
from memgpt.memory.v1.store_service_pb2_grpc import StoreServiceStub

if TYPE_CHECKING:
    from memgpt.memory.v1.store_service_pb2_grpc import StoreServiceAsyncStub

_SECONDS, _RENEWED_SECONDS = 5.0, 120.0
"""Seconds for which a broken stream is resumed, before and after Memory's first response."""


class AsyncStore:
    """Operations on the store of Memory, for operators."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: StoreServiceAsyncStub = StoreServiceStub(channel)

    async def info(self) -> store_pb.GetStoreResponse:
        """Return the kind and the capabilities of the store."""
        return await call(self._stub.GetStore, store_pb.GetStoreRequest(), CALL_TIMEOUT)

    async def reembed(self, embedding_model: str = "") -> AsyncIterator[store_pb.ReembedResponse]:
        """Move the store to the embedding model in Memory's configuration, and yield the progress up to ``done``.

        If the connection breaks, the move continues and the client follows it again.

        Args:
            embedding_model: The model that Memory must be configured with; empty for any.
        """
        request = store_pb.ReembedRequest(embedding_model=embedding_model)
        policy = RetryPolicy(_SECONDS, _RENEWED_SECONDS)
        while True:
            failure: ServiceError = Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the move did")
            try:
                async for response in stream(self._stub.Reembed(request)):
                    policy.renew()
                    yield response
                    if response.HasField("done"):
                        return
            except ServiceError as error:
                # A deadline ends only the stream; the move itself has none.
                if not is_resumable(error) and not isinstance(error, DeadlineExceeded):
                    raise
                failure = error
            await asyncio.sleep(policy.pause(failure))

    async def cancel_reembed(self) -> bool:
        """Cancel a move and return whether one was running."""
        return (await call(self._stub.CancelReembed, store_pb.CancelReembedRequest(), CALL_TIMEOUT)).cancelled

    async def compact(self) -> store_pb.CompactResponse:
        """Compact the store: remove deleted and replaced data from its files."""
        return await call(self._stub.Compact, store_pb.CompactRequest(), STORE_TIMEOUT)

    async def backup(self) -> AsyncIterator[bytes]:
        """Yield a backup of a Milvus Lite store in pieces; it is complete if the iteration ends without an error."""
        async for response in stream(self._stub.Backup(store_pb.BackupRequest(), timeout=STORE_TIMEOUT)):
            yield response.chunk
