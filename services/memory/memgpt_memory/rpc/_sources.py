"""`SourceService`: sources, the passages of their files, and records of loads."""

from __future__ import annotations

from collections.abc import AsyncIterator

from memgpt.memory.v1 import source_pb2, source_service_pb2_grpc
from memgpt.memory.v1 import source_service_pb2 as pb
from memgpt_runtime import reasons
from memgpt_runtime.context import principal, tenant
from memgpt_runtime.errors import ResourceExhausted
from memgpt_runtime.ids import new_id

from memgpt_memory.passages import NewPassage
from memgpt_memory.restrictions import check_may_create
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer
from memgpt_memory.sources import FileVersion, LoadRecord


class SourceServicer(Servicer, source_service_pb2_grpc.SourceServiceServicer):
    """Documents for any number of agents to search."""

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:
        check_may_create("sources", principal().sources)
        core, owner = self._core, tenant()

        async def create(seed: str, _: str) -> bytes:
            live = await core.sources.create(owner, seed, request.name, request.description)
            # The stored response has only the source's id: everything else may be replaced and erased.
            return pb.CreateSourceResponse(source=source_pb2.Source(source_id=live.id)).SerializeToString()

        answer = await core.idempotency.run(
            owner, "CreateSource", request.request_id, convert.fingerprint(request), lambda: new_id("source"), create
        )
        live = await core.sources.get(owner, pb.CreateSourceResponse.FromString(answer).source.source_id)
        return pb.CreateSourceResponse(source=convert.source(core, live))

    async def GetSource(self, request: pb.GetSourceRequest, context: Context) -> pb.GetSourceResponse:
        core = self._core
        if request.source_id:
            live = await core.sources.get(tenant(), request.source_id)
        else:
            live = await core.sources.get_by_name(tenant(), request.name)
        return pb.GetSourceResponse(source=convert.source(core, live))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:
        core = self._core
        size, after = self._after(request)
        page = await core.sources.list(tenant(), size, after)
        sources = (convert.source(core, live) for live in page.items)
        shown, following = self._fit(sources, page.next_token, lambda source: source.source_id)
        return pb.ListSourcesResponse(
            sources=shown,
            next_page_token=self._next(request, following),
            total_size=page.total,
        )

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: Context) -> pb.UpdateSourceResponse:
        core, paths = self._core, list(request.update_mask.paths)
        changes: dict[str, str] = {path: getattr(request.source, path) for path in paths}
        live = await core.sources.update(tenant(), request.source.source_id, changes, request.source.etag)
        return pb.UpdateSourceResponse(source=convert.source(core, live))

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:
        core, owner = self._core, tenant()

        async def delete(_: str, __: str) -> bytes:
            await core.sources.delete(owner, request.source_id)
            return b""

        await core.idempotency.run(
            owner, "DeleteSource", request.request_id, convert.fingerprint(request), lambda: new_id("delete"), delete
        )
        return pb.DeleteSourceResponse()

    async def ListFiles(self, request: pb.ListFilesRequest, context: Context) -> pb.ListFilesResponse:
        core = self._core
        size, after = self._after(request)
        page = await core.sources.files.list(await core.sources.get(tenant(), request.source_id), size, after)
        shown, following = self._fit(convert.files(page.items), page.next_token, lambda file: file.version.name)
        return pb.ListFilesResponse(
            files=shown,
            next_page_token=self._next(request, following),
            total_size=page.total,
        )

    async def DeleteFile(self, request: pb.DeleteFileRequest, context: Context) -> pb.DeleteFileResponse:
        core = self._core
        await core.sources.files.delete(await core.sources.get(tenant(), request.source_id), request.name)
        return pb.DeleteFileResponse()

    async def UpsertPassages(
        self, request_iterator: AsyncIterator[pb.UpsertPassagesRequest], context: Context
    ) -> pb.UpsertPassagesResponse:
        core, owner = self._core, tenant()
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.HasField("header"):
            raise reasons.invalid_field("the stream must begin with a header", field="piece")
        live = await core.sources.get(owner, first.header.source_id)
        version = first.header.version
        name = version.name
        tags = tuple(first.header.tags)
        wanted = FileVersion(name, version.sha256, version.size, version.media_type, version.chunker_version, tags)
        async with core.sources.files.upload(live, wanted) as upload:
            if upload.unchanged is not None:
                return pb.UpsertPassagesResponse(file=convert.source_file(name, upload.unchanged), unchanged=True)
            async with core.quotas.loading(owner) as admit:
                async for piece in request_iterator:
                    if piece.HasField("batch"):
                        passages = [
                            NewPassage(one.index, one.text, one.page, one.start, one.end)
                            for one in piece.batch.passages
                        ]
                        try:
                            admit(len(passages), sum(len(passage.text.encode()) for passage in passages))
                        except ResourceExhausted:  # what is stored of the file counts only once it is visible
                            await upload.discard()
                            raise
                        await upload.add(passages)
                    elif piece.HasField("finish"):
                        notes = convert.stored_notes(piece.finish.notes)
                        visible = await upload.finish(piece.finish.document_count, piece.finish.passage_count, notes)
                        return pb.UpsertPassagesResponse(file=convert.source_file(name, visible))
                    else:
                        raise reasons.invalid_field("the header must come first, and once", field="piece")
        raise reasons.invalid_field(
            "the stream ended without a finish; nothing of the file became visible; send it again", field="piece"
        )

    async def AttachSource(self, request: pb.AttachSourceRequest, context: Context) -> pb.AttachSourceResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        await core.attachments.attach(live, request.source_id)
        return pb.AttachSourceResponse(agent=await convert.agent(core, live.state))

    async def DetachSource(self, request: pb.DetachSourceRequest, context: Context) -> pb.DetachSourceResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        await core.attachments.detach(live, request.source_id)
        return pb.DetachSourceResponse(agent=await convert.agent(core, live.state))

    async def PutLoadRecord(self, request: pb.PutLoadRecordRequest, context: Context) -> pb.PutLoadRecordResponse:
        core, record = self._core, request.record
        stored = await core.loads.put(
            tenant(), LoadRecord(record.load_id, record.source_id, record.request_id, record.state, record.etag, 0)
        )
        return pb.PutLoadRecordResponse(record=_load(stored))

    async def GetLoadRecord(self, request: pb.GetLoadRecordRequest, context: Context) -> pb.GetLoadRecordResponse:
        loads = self._core.loads
        if request.load_id:
            return pb.GetLoadRecordResponse(record=_load(await loads.get(tenant(), request.load_id)))
        return pb.GetLoadRecordResponse(record=_load(await loads.get_by_request(tenant(), request.request_id)))

    async def ListLoadRecords(self, request: pb.ListLoadRecordsRequest, context: Context) -> pb.ListLoadRecordsResponse:
        size, after = self._after(request)
        page = await self._core.loads.list(tenant(), request.source_id, size, after)
        shown, following = self._fit(map(_load, page.items), page.next_token, lambda record: record.load_id)
        return pb.ListLoadRecordsResponse(records=shown, next_page_token=self._next(request, following))


def _load(record: LoadRecord) -> pb.LoadRecord:
    return pb.LoadRecord(
        load_id=record.load_id,
        source_id=record.source_id,
        request_id=record.request_id,
        state=record.state,
        etag=record.etag,
        update_time=convert.timestamp(record.updated),
        source_name=record.source_name,
    )
