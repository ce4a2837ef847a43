"""`ArchivalMemoryService`: searches and lists of passages, and an agent's own notes."""

from __future__ import annotations

from collections.abc import Iterable

from memgpt.memory.v1 import archival_memory_service_pb2 as pb
from memgpt.memory.v1 import archival_memory_service_pb2_grpc, passage_pb2
from memgpt_runtime.context import tenant
from memgpt_runtime.ids import new_id
from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_memory.agents import InsertNotes
from memgpt_memory.archival import PassageFilter
from memgpt_memory.list_pages import fitting
from memgpt_memory.passages import Passage
from memgpt_memory.ranking import Position, SearchMode
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer

_MODES = {
    passage_pb2.SEARCH_MODE_DENSE: SearchMode.DENSE,
    passage_pb2.SEARCH_MODE_TEXT: SearchMode.TEXT,
    passage_pb2.SEARCH_MODE_HYBRID: SearchMode.HYBRID,
}
_MODES_BACK = {mode: value for value, mode in _MODES.items()}

_ID_BYTES = 80
"""Maximum size in bytes of a passage that has only its id."""


class ArchivalMemoryServicer(Servicer, archival_memory_service_pb2_grpc.ArchivalMemoryServiceServicer):
    """An agent's own notes and the passages of its sources."""

    async def SearchPassages(self, request: pb.SearchPassagesRequest, context: Context) -> pb.SearchPassagesResponse:
        async with self._core.searching(tenant()):
            return await self._search(request)

    async def _search(self, request: pb.SearchPassagesRequest) -> pb.SearchPassagesResponse:
        core = self._core
        size, payload = self._page(request)
        scope = await convert.scope(core, request.scope.agent_id, request.scope.source_id)
        position = Position.parse(payload) if payload else None
        mode = core.archive.mode(_MODES.get(request.mode))
        wanted = _filter(request.filter)
        with core.timed_search("archival", mode.value):
            hits, following, total = await core.archive.search(
                scope, request.query, mode, wanted, size, 0 if position else request.skip, position
            )
        return pb.SearchPassagesResponse(
            hits=[
                passage_pb2.PassageHit(
                    passage=convert.passage(hit.passage),
                    rank=hit.rank,
                    dense_score=convert.cosine(hit.dense),
                    text_score=hit.text,
                    fused_score=hit.fused,
                )
                for hit in hits
            ],
            next_page_token=self._token(request, following.dump() if following else None),
            total_size=total,
            mode=_MODES_BACK[mode],
        )

    async def InsertPassages(self, request: pb.InsertPassagesRequest, context: Context) -> pb.InsertPassagesResponse:
        core, owner = self._core, tenant()
        await core.agents.get(owner, request.agent_id)  # the request is kept, and deleted, with the agent
        stored: list[Passage] = []

        async def insert(_: str, key: str) -> bytes:
            live = await core.agents.get(owner, request.agent_id)
            stored.extend(await core.notes.insert(live, InsertNotes(request.texts, request.tags, key)))
            # The stored response holds no text: the notes may be deleted and erased.
            ids = [passage_pb2.Passage(passage_id=passage.id) for passage in stored]
            return pb.InsertPassagesResponse(passages=ids).SerializeToString()

        answer = await core.idempotency.run(
            owner,
            "InsertPassages",
            request.request_id,
            convert.fingerprint(request),
            lambda: new_id("insert"),
            insert,
            about=request.agent_id,
        )
        if not stored:  # a repeated request
            ids = [passage.passage_id for passage in pb.InsertPassagesResponse.FromString(answer).passages]
            stored = await core.archive.get(await convert.scope(core, request.agent_id, ""), ids)
        passages = [convert.passage(passage) for passage in stored]
        if sum(passage.ByteSize() for passage in passages) > PAGE_BYTES:
            passages = _ids_only(passages)  # the caller has the texts, and may refuse so large a message
        return pb.InsertPassagesResponse(passages=passages)

    async def ListPassages(self, request: pb.ListPassagesRequest, context: Context) -> pb.ListPassagesResponse:
        core = self._core
        size, payload = self._page(request)
        scope = await convert.scope(core, request.scope.agent_id, request.scope.source_id)
        passages, following, total = await core.archive.page(
            scope, _filter(request.filter), size, tuple(payload["at"]) if payload else None
        )
        return pb.ListPassagesResponse(
            passages=[convert.passage(passage) for passage in passages],
            next_page_token=self._token(request, {"at": list(following)} if following else None),
            total_size=total,
        )

    async def GetPassages(self, request: pb.GetPassagesRequest, context: Context) -> pb.GetPassagesResponse:
        core = self._core
        scope = await convert.scope(core, request.scope.agent_id, request.scope.source_id)
        passages = [convert.passage(passage) for passage in await core.archive.get(scope, list(request.passage_ids))]
        whole = fitting((passage.ByteSize() for passage in passages), PAGE_BYTES - _ID_BYTES * len(passages))
        return pb.GetPassagesResponse(passages=[*passages[:whole], *_ids_only(passages[whole:])])

    async def ForgetPassages(self, request: pb.ForgetPassagesRequest, context: Context) -> pb.ForgetPassagesResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        forgotten = await self._core.forgetting.notes(live, request.passage_ids)
        return pb.ForgetPassagesResponse(deleted_count=forgotten.notes, forgotten_message_count=forgotten.messages)

    async def DeletePassages(self, request: pb.DeletePassagesRequest, context: Context) -> pb.DeletePassagesResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        return pb.DeletePassagesResponse(deleted_count=await core.notes.delete(live, request.passage_ids))


def _ids_only(passages: Iterable[passage_pb2.Passage]) -> list[passage_pb2.Passage]:
    return [passage_pb2.Passage(passage_id=passage.passage_id) for passage in passages]


def _filter(proto: pb.PassageFilter) -> PassageFilter:
    created_from = convert.microseconds(proto.created_from) if proto.HasField("created_from") else None
    created_before = convert.microseconds(proto.created_before) if proto.HasField("created_before") else None
    return PassageFilter(
        frozenset(proto.source_ids), frozenset(proto.file_names), frozenset(proto.tags), created_from, created_before
    )
