"""The client of the Memory service; the only module of the Loader that knows its protos."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc
from memgpt.memory.v1 import source_pb2, source_service_pb2
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub
from memgpt_runtime import reasons
from memgpt_runtime.errors import AlreadyExists, InvalidArgument, NotFound
from memgpt_runtime.ids import new_id
from memgpt_runtime.reloading_channel import is_cancelled
from memgpt_runtime.status import from_rpc_error

from memgpt_loader.formats import Note
from memgpt_loader.memory.file_notes import from_proto, to_proto
from memgpt_loader.memory.port import FileWriter
from memgpt_loader.model import FileVersion, LoadRecord, SourceRef, StoredFile
from memgpt_loader.parsing.results import ParsedPassage

if TYPE_CHECKING:  # only known to the type checker
    from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceAsyncStub

_SERVICE = "/memgpt.memory.v1.SourceService"

REPEATABLE = tuple(
    f"{_SERVICE}/{method}"
    for method in (
        "CreateSource",
        "GetSource",
        "ListFiles",
        "DeleteFile",
        "PutLoadRecord",
        "GetLoadRecord",
        "ListLoadRecords",
    )
)
"""Methods that the channel retries; the pipeline retries UpsertPassages, from the file."""

_PAGE_SIZE = 1000
_RELABEL_SECONDS = 60.0
_STALL_SECONDS = 300.0  # Memory computes embeddings while it receives passages; a remote model may be slow

T = TypeVar("T")
Request = source_service_pb2.UpsertPassagesRequest


class MemoryClient:
    """Implements `memgpt_loader.memory.port.Memory`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Use a channel of `memgpt_runtime.channel.open_memory_channel` that retries `REPEATABLE`."""
        self._stub: SourceServiceAsyncStub = SourceServiceStub(channel)

    async def get_or_create_source(self, ref: SourceRef) -> tuple[str, str]:
        if ref.source_id:
            by_id = source_service_pb2.GetSourceRequest(source_id=ref.source_id)
            found = (await _call(self._stub.GetSource(by_id))).source
            return found.source_id, found.name
        by_name = source_service_pb2.GetSourceRequest(name=ref.name)
        try:
            found = (await _call(self._stub.GetSource(by_name))).source
        except NotFound:
            new = source_service_pb2.CreateSourceRequest(
                request_id=new_id("req"), name=ref.name, description=ref.description
            )
            try:
                found = (await _call(self._stub.CreateSource(new))).source
            except AlreadyExists:  # another client has just created it
                found = (await _call(self._stub.GetSource(by_name))).source
        return found.source_id, found.name

    async def visible_files(self, source_id: str) -> Mapping[str, StoredFile]:
        files: dict[str, StoredFile] = {}
        token = ""
        while True:
            request = source_service_pb2.ListFilesRequest(source_id=source_id, page_size=_PAGE_SIZE, page_token=token)
            page = await _call(self._stub.ListFiles(request))
            files.update((file.version.name, _stored(file)) for file in page.files)
            token = page.next_page_token
            if not token:
                return files

    @asynccontextmanager
    async def store(self, source_id: str, version: FileVersion) -> AsyncIterator[FileWriter]:
        upsert = _Upsert(self._stub)
        try:
            await upsert.send(Request(header=_header(source_id, version)))
            yield upsert
        finally:
            await upsert.close()

    async def relabel(self, source_id: str, version: FileVersion) -> StoredFile:
        # A visible version needs no passages in the stream.
        call = self._stub.UpsertPassages(iter([Request(header=_header(source_id, version))]), timeout=_RELABEL_SECONDS)
        try:
            return _stored((await _call(call)).file)
        except InvalidArgument as error:
            raise reasons.wrong_state(
                "the file was changed or removed by another load in the meantime", resource="file", state="CHANGED"
            ) from error

    async def delete_file(self, source_id: str, name: str) -> None:
        await _call(self._stub.DeleteFile(source_service_pb2.DeleteFileRequest(source_id=source_id, name=name)))

    async def put_record(self, record: LoadRecord) -> LoadRecord:
        message = source_service_pb2.LoadRecord(
            load_id=record.load_id,
            source_id=record.source_id,
            request_id=record.request_id,
            state=record.state,
            etag=record.etag,
        )
        request = source_service_pb2.PutLoadRecordRequest(record=message)
        return _to_record((await _call(self._stub.PutLoadRecord(request))).record)

    async def find_record(self, load_id: str) -> LoadRecord | None:
        return await self._find_record(source_service_pb2.GetLoadRecordRequest(load_id=load_id))

    async def find_record_of_request(self, request_id: str) -> LoadRecord | None:
        return await self._find_record(source_service_pb2.GetLoadRecordRequest(request_id=request_id))

    async def list_records(self, source_id: str, page_size: int, page_token: str) -> tuple[list[LoadRecord], str]:
        request = source_service_pb2.ListLoadRecordsRequest(
            source_id=source_id, page_size=page_size, page_token=page_token
        )
        page = await _call(self._stub.ListLoadRecords(request))
        return [_to_record(each) for each in page.records], page.next_page_token

    async def _find_record(self, request: source_service_pb2.GetLoadRecordRequest) -> LoadRecord | None:
        try:
            return _to_record((await _call(self._stub.GetLoadRecord(request))).record)
        except NotFound:
            return None


class _Upsert:
    """One stream of passages. Memory may respond before its end: with an error, or because the version is visible."""

    def __init__(self, stub: SourceServiceAsyncStub) -> None:
        # One message at a time: if Memory is slow, the parser waits and nothing accumulates here.
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(maxsize=1)
        self._call = stub.UpsertPassages(self._requests())
        self._response = asyncio.create_task(self._wait())
        self._sent = 0

    async def write(self, passages: Sequence[ParsedPassage]) -> None:
        batch = Request.Batch(
            passages=[
                source_pb2.NewPassage(
                    index=index, text=passage.text, page=passage.page, start=passage.start, end=passage.end
                )
                for index, passage in enumerate(passages, start=self._sent)
            ]
        )
        self._sent += len(passages)
        await self.send(Request(batch=batch))

    async def finish(self, documents: int, notes: Sequence[Note] = ()) -> StoredFile:
        finish = Request.Finish(document_count=documents, passage_count=self._sent, notes=map(to_proto, notes))
        await self.send(Request(finish=finish))
        await self._put(None)
        await self._limited(asyncio.wait({self._response}))
        response = await self._response
        return _stored(response.file, unchanged=response.unchanged)

    async def send(self, request: Request) -> None:
        await self._put(request)

    async def close(self) -> None:
        if not self._response.done():
            self._call.cancel()
        # Ends the generator too, which gRPC leaves waiting after an early response.
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        await asyncio.gather(self._response, return_exceptions=True)

    async def _requests(self) -> AsyncIterator[Request]:
        while (request := await self._queue.get()) is not None:
            yield request

    async def _wait(self) -> source_service_pb2.UpsertPassagesResponse:
        return await _call(self._call)

    async def _put(self, request: Request | None) -> None:
        put = asyncio.create_task(self._queue.put(request))
        try:
            await self._limited(asyncio.wait({put, self._response}, return_when=asyncio.FIRST_COMPLETED))
        finally:
            put.cancel()
        if self._response.done():
            self._response.result()

    async def _limited(self, work: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                await work
        except TimeoutError:
            raise reasons.deadline_exceeded(
                f"Memory made no progress for {_STALL_SECONDS:g} s while storing a file", limit_seconds=_STALL_SECONDS
            ) from None


async def _call(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, "the Memory service (loader.memory_address)", name="memory") from error
    except asyncio.CancelledError as error:
        if is_cancelled(error):
            raise
        raise reasons.service_unavailable(
            "the connection to the Memory service was closed during a call; retry", service="memory"
        ) from error


def _stored(file: source_pb2.SourceFile, *, unchanged: bool = False) -> StoredFile:
    return StoredFile(
        sha256=file.version.sha256,
        chunker_version=file.version.chunker_version,
        documents=file.document_count,
        passages=file.passage_count,
        unchanged=unchanged,
        notes=tuple(filter(None, map(from_proto, file.notes))),
        media_type=file.version.media_type,
        tags=tuple(file.tags),
    )


def _header(source_id: str, version: FileVersion) -> Request.Header:
    return Request.Header(
        source_id=source_id,
        version=source_pb2.FileVersion(
            name=version.manifest.name,
            sha256=version.manifest.sha256,
            size=version.manifest.size,
            media_type=version.media_type,
            chunker_version=version.chunker_version,
        ),
        tags=version.tags,
    )


def _to_record(record: source_service_pb2.LoadRecord) -> LoadRecord:
    return LoadRecord(
        record.load_id,
        record.source_id,
        record.request_id,
        record.state,
        record.etag,
        record.update_time.ToDatetime(dt.UTC),
        record.source_name,
    )
