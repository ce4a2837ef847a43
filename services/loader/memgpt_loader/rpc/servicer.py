"""`memgpt.loader.v1.LoaderService`: protos to the Loader's own terms and back, and no more."""
# ruff: noqa: N802 - the methods' names are gRPC's

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.loader.v1 import load_pb2, loader_service_pb2
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceServicer
from memgpt_runtime.errors import invalid
from memgpt_runtime.pagination import normalise_page_size

from memgpt_loader.formats import FORMATS, Format
from memgpt_loader.loads.live import FileChanged
from memgpt_loader.loads.registry import Loads
from memgpt_loader.memory.file_notes import to_proto
from memgpt_loader.model import Load, LoadFile, Manifest, SourceRef

_MAX_NOTE_CHARS = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class LoaderServicer(LoaderServiceServicer):
    """The RPC surface; see the protos for what each method promises."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads

    async def CreateLoad(
        self, request: loader_service_pb2.CreateLoadRequest, context: Context
    ) -> loader_service_pb2.CreateLoadResponse:
        """Creates a load and says which files are wanted."""
        ref = SourceRef(request.source_id, request.source_name, request.description)
        manifests = [Manifest(file.name, file.size, file.sha256) for file in request.files]
        tags = tuple(dict.fromkeys(request.tags.tags)) if request.HasField("tags") else None
        load = await self._loads.create(request.request_id, ref, manifests, sync=request.sync, tags=tags)
        return loader_service_pb2.CreateLoadResponse(load=_load(load))

    async def UploadFile(
        self, request_iterator: AsyncIterator[loader_service_pb2.UploadFileRequest], context: Context
    ) -> loader_service_pb2.UploadFileResponse:
        """Takes a file's bytes, or the news that they will not come."""
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("header"):
            raise invalid("header", "the first message of an upload must be its header: the load and the file's name")
        header = first.header
        if header.withdrawn:
            file = await self._loads.withdraw(header.load_id, header.name, header.withdrawn)
        else:
            file = await self._loads.upload(header.load_id, header.name, _chunks(request_iterator))
        return loader_service_pb2.UploadFileResponse(file=_file(file))

    async def WatchLoad(
        self, request: loader_service_pb2.WatchLoadRequest, context: Context
    ) -> AsyncIterator[loader_service_pb2.WatchLoadResponse]:
        """Streams what happens in a load."""
        async with aclosing(self._loads.watch(request.load_id, request.after_sequence)) as events:
            async for event in events:
                if isinstance(event, FileChanged):
                    yield loader_service_pb2.WatchLoadResponse(sequence=event.sequence, file=_file(event.file))
                else:
                    yield loader_service_pb2.WatchLoadResponse(sequence=event.sequence, ended=_load(event.load))

    async def GetLoad(
        self, request: loader_service_pb2.GetLoadRequest, context: Context
    ) -> loader_service_pb2.GetLoadResponse:
        """Reads a load."""
        return loader_service_pb2.GetLoadResponse(load=_load(await self._loads.get(request.load_id)))

    async def ListLoads(
        self, request: loader_service_pb2.ListLoadsRequest, context: Context
    ) -> loader_service_pb2.ListLoadsResponse:
        """Lists loads, without their files."""
        page_size = normalise_page_size(request.page_size)
        loads, token = await self._loads.list_loads(request.source_id, page_size, request.page_token)
        page = [_load(load, files=False) for load in loads]
        return loader_service_pb2.ListLoadsResponse(loads=page, next_page_token=token)

    async def CancelLoad(
        self, request: loader_service_pb2.CancelLoadRequest, context: Context
    ) -> loader_service_pb2.CancelLoadResponse:
        """Cancels a load."""
        return loader_service_pb2.CancelLoadResponse(load=_load(await self._loads.cancel(request.load_id)))

    async def ListFormats(
        self, request: loader_service_pb2.ListFormatsRequest, context: Context
    ) -> loader_service_pb2.ListFormatsResponse:
        """Lists the formats that are read."""
        return loader_service_pb2.ListFormatsResponse(
            formats=[_format(each) for each in sorted(FORMATS, key=lambda each: each.name.casefold())]
        )


async def _chunks(requests: AsyncIterator[loader_service_pb2.UploadFileRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.HasField("header"):
            raise invalid("header", "an upload has one header, its first message; upload each file by its own call")
        yield request.chunk


def _format(each: Format) -> loader_service_pb2.FileFormat:
    return loader_service_pb2.FileFormat(
        name=each.name,
        media_types=list(each.media_types),
        extensions=each.extensions,
        reads=each.reads,
        omits=each.omits,
        pages=each.pages,
    )


def _file(file: LoadFile) -> load_pb2.LoadFile:
    reason = file.reason.value if file.reason else "UNSPECIFIED"
    return load_pb2.LoadFile(
        manifest=load_pb2.FileManifest(name=file.manifest.name, size=file.manifest.size, sha256=file.manifest.sha256),
        state=load_pb2.FileState.Value(f"FILE_STATE_{file.state.value}"),
        document_count=file.documents,
        passage_count=file.passages,
        failure_reason=load_pb2.FileFailureReason.Value(f"FILE_FAILURE_REASON_{reason}"),
        failure_message=file.message,
        note="\n".join(note.message for note in file.notes)[:_MAX_NOTE_CHARS],
        notes=map(to_proto, file.notes),
    )


def _load(load: Load, *, files: bool = True) -> load_pb2.Load:
    return load_pb2.Load(
        load_id=load.load_id,
        source_id=load.source_id,
        source_name=load.source_name,
        state=load_pb2.LoadState.Value(f"LOAD_STATE_{load.state.value}"),
        files=[_file(file) for file in load.files.values()] if files else [],
        document_count=load.documents,
        passage_count=load.passages,
        create_time=_timestamp(load.create_time),
        end_time=_timestamp(load.end_time) if load.end_time else None,
        removed_count=load.removed,
        tags=None if load.tags is None else load_pb2.Tags(tags=load.tags),
    )


def _timestamp(time: dt.datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
