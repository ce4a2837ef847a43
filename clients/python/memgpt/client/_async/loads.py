"""Loading of files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call, stream
from memgpt.client._ids import new_request_id
from memgpt.client._retry import RetryPolicy
from memgpt.client._turns import is_resumable
from memgpt.client.channel import CALL_TIMEOUT
from memgpt.client.errors import ServiceError, Unavailable
from memgpt.common.v1.reasons import Reason
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.load_pb2 import FileManifest, Load, LoadFile, Tags

if TYPE_CHECKING:
    from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceAsyncStub

RESUME_SECONDS = 120.0
"""Seconds for which a broken stream is resumed while the service does not respond; a restart takes less."""

_LONG_SECONDS = 30.0
"""An upload that lasted this many seconds had reached the Loader; only time after it counts toward the retries."""

CHUNK_BYTES = 64 * 1024
"""Bytes of a file in a message of an upload: the maximum that the Loader accepts."""


class AsyncLoads:
    """Loading of files."""

    def __init__(self, stub: LoaderServiceAsyncStub) -> None:
        self._stub = stub

    async def create(
        self,
        source_name: str,
        files: Iterable[FileManifest],
        description: str = "",
        *,
        sync: bool = False,
        tags: Sequence[str] | None = None,
    ) -> Load:
        """Create a load. Files in state AWAITING_UPLOAD must then be uploaded.

        Args:
            source_name: Name of the source; it is created if absent.
            files: The files to load.
            description: Description of a source that is created.
            sync: Whether other files of the source are removed at the end.
            tags: Labels that replace those of the files; None keeps them.
        """
        request = loader_pb.CreateLoadRequest(
            request_id=new_request_id(),
            source_name=source_name,
            description=description,
            files=files,
            sync=sync,
            tags=None if tags is None else Tags(tags=tags),
        )
        return (await call(self._stub.CreateLoad, request, CALL_TIMEOUT)).load

    async def get(self, load_id: str) -> Load:
        """Get a load with its files."""
        return (await call(self._stub.GetLoad, loader_pb.GetLoadRequest(load_id=load_id), CALL_TIMEOUT)).load

    async def formats(self) -> Sequence[loader_pb.FileFormat]:
        """Return the file formats that the Loader supports."""
        return (await call(self._stub.ListFormats, loader_pb.ListFormatsRequest(), CALL_TIMEOUT)).formats

    async def upload(self, load_id: str, name: str, path: Path, *, resume_seconds: float = RESUME_SECONDS) -> LoadFile:
        """Upload a file, and return its state once the Loader has received all of it.

        An upload that breaks is sent again: the Loader may be restarting, or a proxy may have ended the connection.

        Args:
            load_id: The load.
            name: Name of the file in the load's manifest.
            path: The file.
            resume_seconds: Seconds for which uploads may break before the last error is raised; 0 for one attempt.

        Raises:
            OSError: The file cannot be read.
        """
        policy = RetryPolicy(resume_seconds)
        while True:
            began = time.monotonic()
            try:
                return await self._upload(load_id, name, path)
            except ServiceError as error:
                if not isinstance(error, Unavailable) and not is_resumable(error):
                    raise
                if time.monotonic() - began > _LONG_SECONDS:
                    policy.renew()
                await asyncio.sleep(policy.pause(error))

    async def _upload(self, load_id: str, name: str, path: Path) -> LoadFile:
        failures: list[OSError] = []

        def pieces() -> Iterator[loader_pb.UploadFileRequest]:
            header = loader_pb.UploadFileRequest.Header(load_id=load_id, name=name)
            yield loader_pb.UploadFileRequest(header=header)
            try:
                while chunk := file.read(CHUNK_BYTES):
                    yield loader_pb.UploadFileRequest(chunk=chunk)
            except OSError as error:  # gRPC consumes the pieces and would swallow the error
                failures.append(error)
                raise

        with path.open("rb") as file:
            try:
                return (await call(self._stub.UploadFile, pieces(), None)).file
            except ServiceError:
                if failures:
                    raise failures[0] from None
                raise

    async def withdraw(self, load_id: str, name: str, reason: str) -> LoadFile:
        """Withdraw a file that cannot be sent; the load continues without it."""
        header = loader_pb.UploadFileRequest.Header(load_id=load_id, name=name, withdrawal_reason=reason)
        requests = iter([loader_pb.UploadFileRequest(header=header)])
        return (await call(self._stub.UploadFile, requests, CALL_TIMEOUT)).file

    def list(self) -> AsyncPages[Load]:
        """List loads, the latest first, without their files."""

        async def fetch(token: str) -> AsyncPage[Load]:
            request = loader_pb.ListLoadsRequest(page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.ListLoads, request, CALL_TIMEOUT)
            return AsyncPage(response.loads, response)

        return AsyncPages(fetch)

    async def watch(
        self, load_id: str, on_interrupt: Callable[[], None] = lambda: None
    ) -> AsyncIterator[loader_pb.WatchLoadResponse]:
        """Yield the events of a load until it ends, surviving restarts of the Loader and of Memory.

        Args:
            load_id: The load.
            on_interrupt: Called each time the stream breaks, before it is resumed.
        """
        sequence = 0
        policy = RetryPolicy(RESUME_SECONDS)
        while True:
            failure: ServiceError = Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the load did")
            try:
                request = loader_pb.WatchLoadRequest(load_id=load_id, after_sequence=sequence)
                async for event in stream(self._stub.WatchLoad(request)):
                    sequence = max(sequence, event.sequence)
                    policy.renew()
                    if event.HasField("keep_alive"):
                        continue
                    yield event
                    if event.HasField("ended"):
                        return
            except ServiceError as error:
                if not isinstance(error, Unavailable) and not is_resumable(error):
                    raise
                failure = error
            fresh = not policy.interrupted
            pause = policy.pause(failure)
            if fresh:
                on_interrupt()
            await asyncio.sleep(pause)

    async def cancel(self, load_id: str) -> Load:
        """Cancel a load; files that are not yet visible are dropped."""
        request = loader_pb.CancelLoadRequest(load_id=load_id)
        return (await call(self._stub.CancelLoad, request, CALL_TIMEOUT)).load
