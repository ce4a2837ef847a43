"""`memgpt.loader.v1.LoaderService`: translates between the protos and `LoadRegistry`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from memgpt.loader.v1 import loader_service_pb2
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceServicer
from memgpt_runtime import reasons
from memgpt_runtime.pagination import PAGE_BYTES, normalize_page_size

from memgpt_loader.formats import FORMATS
from memgpt_loader.loads.events import FileChanged
from memgpt_loader.loads.registry import LoadRegistry
from memgpt_loader.model import SourceRef
from memgpt_loader.rpc.conversion import file_to_proto, format_to_proto, load_to_proto, manifests

Context = grpc.aio.ServicerContext[Any, Any]

_MAX_LOADS = PAGE_BYTES // (9 << 10)
"""Maximum number of loads in a page: with its tags and the name of its source, one has up to 9 kB without its files."""


class LoaderServicer(LoaderServiceServicer):
    """Implements the RPCs, which the protos document."""

    def __init__(self, loads: LoadRegistry, *, ocr: bool = False) -> None:
        self._loads = loads
        self._ocr = ocr

    async def CreateLoad(
        self, request: loader_service_pb2.CreateLoadRequest, context: Context
    ) -> loader_service_pb2.CreateLoadResponse:
        ref = SourceRef(request.source_id, request.source_name, request.description)
        tags = tuple(dict.fromkeys(request.tags.tags)) if request.HasField("tags") else None
        load = await self._loads.create(request.request_id, ref, manifests(request), sync=request.sync, tags=tags)
        return loader_service_pb2.CreateLoadResponse(load=load_to_proto(load))

    async def UploadFile(
        self, request_iterator: AsyncIterator[loader_service_pb2.UploadFileRequest], context: Context
    ) -> loader_service_pb2.UploadFileResponse:
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("header"):
            raise reasons.invalid_field(
                "the first message of an upload must be a header with load_id and name", field="header"
            )
        header = first.header
        if header.withdrawal_reason:
            file = await self._loads.withdraw(header.load_id, header.name, header.withdrawal_reason)
        else:
            file = await self._loads.upload(header.load_id, header.name, _chunks(request_iterator))
        return loader_service_pb2.UploadFileResponse(file=file_to_proto(file))

    async def WatchLoad(
        self, request: loader_service_pb2.WatchLoadRequest, context: Context
    ) -> AsyncIterator[loader_service_pb2.WatchLoadResponse]:
        async with aclosing(self._loads.watch(request.load_id, request.after_sequence)) as events:
            async for event in events:
                if isinstance(event, FileChanged):
                    yield loader_service_pb2.WatchLoadResponse(sequence=event.sequence, file=file_to_proto(event.file))
                else:
                    yield loader_service_pb2.WatchLoadResponse(sequence=event.sequence, ended=load_to_proto(event.load))

    async def GetLoad(
        self, request: loader_service_pb2.GetLoadRequest, context: Context
    ) -> loader_service_pb2.GetLoadResponse:
        return loader_service_pb2.GetLoadResponse(load=load_to_proto(await self._loads.get(request.load_id)))

    async def ListLoads(
        self, request: loader_service_pb2.ListLoadsRequest, context: Context
    ) -> loader_service_pb2.ListLoadsResponse:
        page_size = min(normalize_page_size(request.page_size), _MAX_LOADS)
        loads, token = await self._loads.list(request.source_id, page_size, request.page_token)
        page = [load_to_proto(load, with_files=False) for load in loads]
        return loader_service_pb2.ListLoadsResponse(loads=page, next_page_token=token)

    async def CancelLoad(
        self, request: loader_service_pb2.CancelLoadRequest, context: Context
    ) -> loader_service_pb2.CancelLoadResponse:
        return loader_service_pb2.CancelLoadResponse(load=load_to_proto(await self._loads.cancel(request.load_id)))

    async def ListFormats(
        self, request: loader_service_pb2.ListFormatsRequest, context: Context
    ) -> loader_service_pb2.ListFormatsResponse:
        readable = (each for each in FORMATS if self._ocr or not each.needs_recognition)
        formats = sorted(readable, key=lambda each: each.name.casefold())
        return loader_service_pb2.ListFormatsResponse(formats=map(format_to_proto, formats))


async def _chunks(requests: AsyncIterator[loader_service_pb2.UploadFileRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.HasField("header"):
            raise reasons.invalid_field(
                "only the first message of an upload may be a header; send one file per call", field="header"
            )
        yield request.chunk
