"""Sources: a file's version becomes visible whole, in one instant; loads; deleting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.common.v1.file_note_pb2 import FILE_NOTE_KIND_SCANNED_PAGE, FileNote
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import archival_memory_service_pb2 as archive
from memgpt.memory.v1 import source_pb2
from memgpt.memory.v1 import source_service_pb2 as pb
from memgpt_memory.records import Body, Record
from memgpt_memory.sources import _loads, _sources
from memgpt_runtime.status import LOST_ANSWER

from tests.integration.memory.client import (
    ABORTED,
    INVALID,
    NOT_FOUND,
    TAKEN,
    Memory,
    batch,
    finish,
    header,
    refused,
    version,
)
from tests.integration.memory.conftest import Serve


async def get(memory: Memory, source_id: str) -> source_pb2.Source:
    return (await memory.sources.GetSource(pb.GetSourceRequest(source_id=source_id))).source  # type: ignore[no-any-return]


async def files(memory: Memory, source_id: str, size: int = 0) -> list[source_pb2.SourceFile]:
    found: list[source_pb2.SourceFile] = []
    token = ""
    while True:
        page = await memory.sources.ListFiles(
            pb.ListFilesRequest(source_id=source_id, page_size=size, page_token=token)
        )
        found += page.files
        assert page.total_size >= len(found)
        token = page.next_page_token
        if not token:
            return found


async def delete_file(memory: Memory, source_id: str, name: str) -> None:
    await memory.sources.DeleteFile(pb.DeleteFileRequest(source_id=source_id, name=name))


async def test_a_file_with_its_citations(memory: Memory) -> None:
    source = await memory.source("the papers", description="what they say")
    texts = [f"passage {n}" for n in range(25)]
    loaded = await memory.load(source.source_id, "dir/paper.pdf", texts)
    assert not loaded.unchanged
    assert (loaded.file.document_count, loaded.file.passage_count) == (3, 25)
    found = await get(memory, source.source_id)
    assert (found.document_count, found.passage_count, found.file_count) == (3, 25, 1)
    assert (found.name, found.description) == ("the papers", "what they say")
    assert found.update_time == loaded.file.create_time
    hits = (await memory.page("passage", size=1000, source_id=source.source_id)).hits
    cited = {hit.passage.text: hit.passage.citation for hit in hits}
    assert set(cited) == set(texts)
    assert cited["passage 13"] == source_pb2_citation(source.source_id, "the papers", "dir/paper.pdf", 2, 0, 10)
    assert not hits[0].passage.agent_id
    page = await memory.archive.ListPassages(
        archive.ListPassagesRequest(scope=archive.PassageScope(source_id=source.source_id), page_size=1000)
    )
    assert [passage.text for passage in page.passages] == texts


def source_pb2_citation(*fields: Any) -> Any:
    from memgpt.memory.v1 import passage_pb2

    names = ("source_id", "source_name", "file_name", "page", "start", "end")
    return passage_pb2.Citation(**dict(zip(names, fields, strict=True)))


async def test_loading_again_writes_nothing_twice(memory: Memory) -> None:
    source = await memory.source()
    texts = [f"passage {n}" for n in range(12)]
    first = await memory.load(source.source_id, "a.txt", texts)
    ids = {hit.passage.passage_id for hit in (await memory.page("x", source_id=source.source_id)).hits}
    again = await memory.load(source.source_id, "a.txt", texts)
    assert again.unchanged
    assert again.file == first.file
    assert {hit.passage.passage_id for hit in (await memory.page("x", source_id=source.source_id)).hits} == ids
    # Away and back again: the same rows.
    await memory.load(source.source_id, "a.txt", ["something else"])
    assert await memory.texts("x", source_id=source.source_id) == ["something else"]
    assert not (await memory.load(source.source_id, "a.txt", texts)).unchanged
    assert {hit.passage.passage_id for hit in (await memory.page("x", source_id=source.source_id)).hits} == ids


async def test_the_same_text_under_two_names_is_two_files(memory: Memory) -> None:
    source = await memory.source()
    for name in ("b.txt", "a.txt", "c/d.txt"):
        await memory.load(source.source_id, name, ["same"])
    assert await memory.texts("x", source_id=source.source_id) == ["same"] * 3
    for size in (1, 2, 50):
        assert [file.version.name for file in await files(memory, source.source_id, size)] == [
            "a.txt",
            "b.txt",
            "c/d.txt",
        ]
    await delete_file(memory, source.source_id, "b.txt")
    await delete_file(memory, source.source_id, "b.txt")
    assert await memory.texts("x", source_id=source.source_id) == ["same"] * 2
    assert (await get(memory, source.source_id)).file_count == 2


async def test_a_search_restarts_after_a_file_was_deleted(memory: Memory) -> None:
    source = await memory.source()
    await memory.load(source.source_id, "a.txt", [f"passage {n}" for n in range(20)])
    await memory.load(source.source_id, "b.txt", [f"sentence {n}" for n in range(20)])
    first = await memory.page("passage", size=10, source_id=source.source_id)
    await delete_file(memory, source.source_id, "a.txt")
    page = await memory.page("passage", size=10, source_id=source.source_id)
    assert [hit.rank for hit in page.hits] == list(range(10))
    assert page.total_size == 20
    rest = await memory.pages("passage", size=10, token=first.next_page_token, source_id=source.source_id)
    assert {hit.passage.citation.file_name for hit in rest} <= {"b.txt"}


async def test_a_stream_that_breaks_leaves_nothing_visible_and_is_simply_sent_again(memory: Memory) -> None:
    source = await memory.source()
    await memory.load(source.source_id, "a.txt", ["old"])
    texts = [f"new {n}" for n in range(30)]
    call = memory.sources.UpsertPassages()
    await call.write(header(source.source_id, version("a.txt", texts)))
    await call.write(batch(texts[:20]))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await memory.texts("x", source_id=source.source_id) == ["old"]
    assert (await get(memory, source.source_id)).passage_count == 1
    assert not (await memory.load(source.source_id, "a.txt", texts)).unchanged
    assert sorted(await memory.texts("x", source_id=source.source_id)) == sorted(texts)


async def test_what_is_being_written_is_not_seen_and_what_is_seen_stays_until_the_switch(memory: Memory) -> None:
    source, agent = await memory.source(), await memory.agent()
    await memory.attach(agent.agent_id, source.source_id)
    await memory.load(source.source_id, "a.txt", ["old one", "old two"])
    texts = ["new one", "new two", "new three"]
    call = memory.sources.UpsertPassages()
    await call.write(header(source.source_id, version("a.txt", texts)))
    for index, text in enumerate(texts):
        await call.write(batch([text], index))
        assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == ["old one", "old two"]
        assert (await memory.context(agent.agent_id)).archival_count == 2
    await call.write(finish(3))
    await call.done_writing()
    assert (await call).file.passage_count == 3
    assert sorted(await memory.texts("x", agent_id=agent.agent_id)) == sorted(texts)
    assert (await memory.context(agent.agent_id)).archival_count == 3


async def test_a_version_sent_again_shorter_shows_no_more_than_was_sent(memory: Memory) -> None:
    source = await memory.source()
    file = version("a.txt", ["whatever"])
    call = memory.sources.UpsertPassages()
    await call.write(header(source.source_id, file))
    await call.write(batch([f"first try {n}" for n in range(10)]))
    await call.done_writing()
    with refused(INVALID):
        await call
    answer = await memory.sources.UpsertPassages(iter_of(header(source.source_id, file), batch(["only"]), finish(1)))
    assert answer.file.passage_count == 1
    assert await memory.texts("x", source_id=source.source_id) == ["only"]


async def test_what_was_left_out_of_a_file_is_kept_with_it(memory: Memory) -> None:
    source = await memory.source()
    file = version("a.pdf", ["whatever"])
    note = FileNote(kind=FILE_NOTE_KIND_SCANNED_PAGE, count=2, where="pages 3-4", message="2 pages without text")
    last = pb.UpsertPassagesRequest(
        finish=pb.UpsertPassagesRequest.Finish(document_count=4, passage_count=1, notes=[note])
    )
    answer = await memory.sources.UpsertPassages(iter_of(header(source.source_id, file), batch(["only"]), last))
    assert list(answer.file.notes) == [note]
    listed = await memory.sources.ListFiles(pb.ListFilesRequest(source_id=source.source_id))
    assert [list(each.notes) for each in listed.files] == [[note]]
    again = await memory.sources.UpsertPassages(iter_of(header(source.source_id, file)))
    assert again.unchanged
    assert list(again.file.notes) == [note]


async def iter_of(*messages: pb.UpsertPassagesRequest) -> Any:
    for message in messages:
        yield message


async def test_streams_that_are_not_as_agreed(memory: Memory) -> None:
    source = await memory.source()
    head = header(source.source_id, version("a.txt", ["x"]))
    bad = [
        [],
        [batch(["x"])],
        [head],
        [head, batch(["x"])],
        [head, head],
        [head, batch(["x"], 1), finish(1)],
        [head, batch(["x"]), batch(["y"]), finish(2)],
        [head, batch(["x"]), finish(2)],
        [head, batch([""]), finish(1)],
        [head, batch(["x" * 16_385]), finish(1)],
        [header(source.source_id, source_pb2.FileVersion(name="a", sha256="nonsense", chunker_version="1"))],
        [header(source.source_id, version("", ["x"]))],
    ]
    for messages in bad:
        with refused(INVALID):
            await memory.sources.UpsertPassages(iter_of(*messages))
    with refused(NOT_FOUND):
        await memory.sources.UpsertPassages(iter_of(header("source_nothing", version("a.txt", ["x"]))))
    assert await files(memory, source.source_id) == []
    assert await memory.texts("x", source_id=source.source_id) == []
    whole = await memory.sources.UpsertPassages(iter_of(head, batch(["汉" * 5461]), finish(1)))
    assert whole.file.passage_count == 1
    empty = await memory.sources.UpsertPassages(iter_of(header(source.source_id, version("e", ["y"])), finish(0, 0)))
    assert empty.file.passage_count == 0


async def test_files_are_loaded_side_by_side(memory: Memory) -> None:
    source = await memory.source()
    await asyncio.gather(
        *(memory.load(source.source_id, f"{n}.txt", [f"{n} {m}" for m in range(20)]) for n in range(8)),
        *(memory.load(source.source_id, "same.txt", ["the same"]) for _ in range(4)),
    )
    found = await get(memory, source.source_id)
    assert (found.file_count, found.passage_count) == (9, 161)
    expected = sorted([f"{n} {m}" for n in range(8) for m in range(20)] + ["the same"])
    assert sorted(await memory.texts("x", source_id=source.source_id)) == expected


async def test_deleting_a_source_takes_it_from_every_agent(memory: Memory) -> None:
    source, stays = await memory.source("goes"), await memory.source("stays")
    agents = [await memory.agent() for _ in range(2)]
    for one in (source, stays):
        await memory.load(one.source_id, "a.txt", [f"of {one.name}"])
        for agent in agents:
            await memory.attach(agent.agent_id, one.source_id)
    upload = memory.sources.UpsertPassages()
    await upload.write(header(source.source_id, version("b.txt", ["late"])))
    await upload.write(batch(["late"]))
    await memory.sources.DeleteSource(pb.DeleteSourceRequest(source_id=source.source_id))
    with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # it may have been told already
        await upload.write(finish(1))
        await upload.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upload
    assert caught.value.code() is NOT_FOUND or caught.value.details() == LOST_ANSWER
    for agent in agents:
        assert await memory.texts("x", agent_id=agent.agent_id) == ["of stays"]
        context = await memory.context(agent.agent_id)
        assert [one.source_name for one in context.agent.attachments] == ["stays"]
        assert context.archival_count == 1
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await get(memory, source.source_id)
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await memory.sources.GetSource(pb.GetSourceRequest(name="goes"))
    with refused(NOT_FOUND, "SOURCE_NOT_FOUND"):
        await memory.sources.DeleteSource(pb.DeleteSourceRequest(source_id=source.source_id))
    assert (await memory.source("goes")).source_id != source.source_id


async def rename(memory: Memory, source_id: str, name: str, etag: str = "") -> source_pb2.Source:
    asked = pb.UpdateSourceRequest(
        source=source_pb2.Source(source_id=source_id, name=name, etag=etag), update_mask=FieldMask(paths=["name"])
    )
    return (await memory.sources.UpdateSource(asked)).source  # type: ignore[no-any-return]


async def test_a_renamed_source_is_the_same_source(memory: Memory) -> None:
    source = await memory.source("tides", description="of Brest")
    await memory.load(source.source_id, "a.txt", ["High water comes twice a day."])
    agent = await memory.agent("sailor")
    await memory.sources.AttachSource(pb.AttachSourceRequest(agent_id=agent.agent_id, source_id=source.source_id))
    renamed = await rename(memory, source.source_id, "currents", source.etag)
    assert (renamed.source_id, renamed.name, renamed.description) == (source.source_id, "currents", "of Brest")
    assert renamed.etag != source.etag
    read = (await memory.sources.GetSource(pb.GetSourceRequest(name="currents"))).source
    assert read == renamed
    with refused(NOT_FOUND):
        await memory.sources.GetSource(pb.GetSourceRequest(name="tides"))
    found = (await memory.agents.GetAgent(state.GetAgentRequest(agent_id=agent.agent_id))).agent
    assert [each.source_name for each in found.attachments] == ["currents"]
    for agent_id, source_id in ((agent.agent_id, ""), ("", source.source_id)):
        hits = (await memory.page("high water", agent_id=agent_id, source_id=source_id)).hits
        assert [hit.passage.citation.source_name for hit in hits] == ["currents"]
    again = await memory.source("tides")
    assert again.source_id != source.source_id, "the former name is free"


async def test_a_source_is_renamed_while_it_is_loaded(memory: Memory) -> None:
    source = await memory.source("tides")
    record = pb.LoadRecord(load_id="load_1", source_id=source.source_id, state=b"state")
    stored = (await memory.sources.PutLoadRecord(pb.PutLoadRecordRequest(record=record))).record
    assert stored.source_name == "tides"
    paper = version("a.txt", ["before", "after"])
    renamed = asyncio.Event()

    async def pieces() -> AsyncIterator[pb.UpsertPassagesRequest]:
        yield header(source.source_id, paper)
        yield batch(["before"])
        await rename(memory, source.source_id, "currents")
        renamed.set()
        yield batch(["after"], 1)
        yield finish(2)

    await memory.sources.UpsertPassages(pieces())
    assert renamed.is_set()
    hits = (await memory.page("before", source_id=source.source_id)).hits
    assert {hit.passage.citation.source_name for hit in hits} == {"currents"}
    for read in (
        (await memory.sources.GetLoadRecord(pb.GetLoadRecordRequest(load_id="load_1"))).record,
        (await memory.sources.ListLoadRecords(pb.ListLoadRecordsRequest())).records[0],
    ):
        assert (read.source_name, read.state) == ("currents", b"state")


async def test_names_that_a_source_cannot_get(memory: Memory) -> None:
    source, other = await memory.source("tides"), await memory.source("winds")
    with refused(TAKEN):
        await rename(memory, source.source_id, "winds")
    for bad in ("", " tides", "a" * 129, "a\u200bb"):
        with refused(INVALID):
            await rename(memory, source.source_id, bad)
    with refused(ABORTED):
        await rename(memory, source.source_id, "currents", "s99")
    with refused(NOT_FOUND):
        await rename(memory, "source_none", "currents")
    for paths in ([], ["passage_count"], ["name", "source_id"]):
        asked = pb.UpdateSourceRequest(source=source, update_mask=FieldMask(paths=paths))
        with refused(INVALID):
            await memory.sources.UpdateSource(asked)
    assert await rename(memory, source.source_id, "tides") == await get(memory, source.source_id), "its own name"
    described = source_pb2.Source(source_id=other.source_id, description="of Brest")
    asked = pb.UpdateSourceRequest(source=described, update_mask=FieldMask(paths=["description"]))
    changed = (await memory.sources.UpdateSource(asked)).source
    assert (changed.name, changed.description) == ("winds", "of Brest")


async def test_names_that_are_exchanged_at_once_have_one_owner(memory: Memory) -> None:
    sources = [await memory.source(f"source {number}") for number in range(4)]
    for turn in range(5):
        ends = await asyncio.gather(
            *(rename(memory, each.source_id, f"name {turn}") for each in sources),
            *(rename(memory, sources[0].source_id, f"free {turn} {number}") for number in range(3)),
            return_exceptions=True,
        )
        assert sum(not isinstance(end, BaseException) for end in ends[:4]) >= 1
        for each in sources:
            current = await get(memory, each.source_id)
            by_name = (await memory.sources.GetSource(pb.GetSourceRequest(name=current.name))).source
            assert by_name.source_id == each.source_id


async def test_a_name_that_is_taken_back_during_a_rename_is_kept(
    serve: Serve, milvus_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_uri) as memory:
        source = await memory.source("tides")
        names = memory.core().sources._names
        release = names.release
        taken_back = False

        async def release_later(*arguments: Any) -> None:
            nonlocal taken_back
            if not taken_back:
                taken_back = True
                await rename(memory, source.source_id, "tides")
            await release(*arguments)

        monkeypatch.setattr(names, "release", release_later)
        await rename(memory, source.source_id, "currents")
        assert taken_back
        assert (await get(memory, source.source_id)).name == "tides"
        by_name = (await memory.sources.GetSource(pb.GetSourceRequest(name="tides"))).source
        assert by_name.source_id == source.source_id
        await memory.source("currents")


async def test_a_deletion_and_a_renaming_at_once_end_in_a_deletion(memory: Memory) -> None:
    for number in range(5):
        source = await memory.source(f"source {number}")
        await asyncio.gather(
            memory.sources.DeleteSource(pb.DeleteSourceRequest(source_id=source.source_id)),
            *(rename(memory, source.source_id, f"name {number} {turn}") for turn in range(3)),
            return_exceptions=True,
        )
        with refused(NOT_FOUND):
            await memory.sources.GetSource(pb.GetSourceRequest(source_id=source.source_id))
    assert not (await memory.sources.ListSources(pb.ListSourcesRequest())).sources


async def test_sources_are_listed_in_order_of_creation(memory: Memory) -> None:
    made = [(await memory.source(f"source {n}")).name for n in range(5)]
    found, token = [], ""
    while True:
        page = await memory.sources.ListSources(pb.ListSourcesRequest(page_size=2, page_token=token))
        assert page.total_size == 5
        found += [source.name for source in page.sources]
        token = page.next_page_token
        if not token:
            break
    assert found == made
    with refused(INVALID):
        await memory.sources.ListSources(pb.ListSourcesRequest(page_size=-1))


async def put(memory: Memory, **fields: Any) -> pb.LoadRecord:
    return (await memory.sources.PutLoadRecord(pb.PutLoadRecordRequest(record=pb.LoadRecord(**fields)))).record  # type: ignore[no-any-return]


async def test_a_page_of_loads_looks_at_few_of_them(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, listed = [], _loads._listed

    def counted(body: Body, source_id: str) -> bool:
        looked.append(body["load"])
        return listed(body, source_id)

    monkeypatch.setattr(_loads, "_listed", counted)
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        for number in range(10):
            await put(memory, load_id=f"load_{number}", source_id=source_id, state=b"s")
        token = ""
        for expected in (["load_9", "load_8", "load_7"], ["load_6", "load_5", "load_4"]):
            request = pb.ListLoadRecordsRequest(page_size=3, page_token=token)
            page = await memory.sources.ListLoadRecords(request)
            assert [record.load_id for record in page.records] == expected
            token = page.next_page_token
    assert looked == [f"load_{number}" for number in (9, 8, 7, 6, 6, 5, 4, 3)]


async def test_records_of_loads(memory: Memory) -> None:
    state = bytes(range(256)) * 4096  # 1 MiB
    source_id, other = (await memory.source()).source_id, (await memory.source()).source_id
    first = await put(memory, load_id="load_1", source_id=source_id, request_id=f"r {uuid4().hex}", state=state)
    assert first.state == state
    for key in ({"load_id": "load_1"}, {"request_id": first.request_id}):
        assert (await memory.sources.GetLoadRecord(pb.GetLoadRecordRequest(**key))).record == first
    with refused(INVALID):
        await put(memory, load_id="load_1", source_id=source_id, state=state + b"x")
    second = await put(
        memory, load_id="load_1", source_id=source_id, request_id=first.request_id, state=b"\xff\x00", etag=first.etag
    )
    assert second.state == b"\xff\x00"
    with refused(ABORTED, "ETAG_MISMATCH"):
        await put(memory, load_id="load_1", source_id=source_id, state=b"late", etag=first.etag)
    outcomes = await asyncio.gather(
        *(put(memory, load_id="load_1", source_id=source_id, state=b"%d" % n, etag=second.etag) for n in range(6)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes].count(False) == 1
    for number in (3, 2, 4):
        await put(memory, load_id=f"load_{number}", source_id=other, state=b"")
    for source, expected in ((other, ["load_4", "load_3", "load_2"]), ("", [f"load_{n}" for n in (4, 3, 2, 1)])):
        found, token = [], ""
        while True:
            page = await memory.sources.ListLoadRecords(
                pb.ListLoadRecordsRequest(source_id=source, page_size=2, page_token=token)
            )
            found += [record.load_id for record in page.records]
            token = page.next_page_token
            if not token:
                break
        assert found == expected
    for key in ({"load_id": "load_9"}, {"request_id": "unknown"}):
        with refused(NOT_FOUND, "LOAD_NOT_FOUND"):
            await memory.sources.GetLoadRecord(pb.GetLoadRecordRequest(**key))


async def test_sources_that_are_not_used_leave_the_cache(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sources, "_MAX_SOURCES", 4)
    async with serve(milvus_lite_uri) as memory:
        ids = [(await memory.source()).source_id for _ in range(12)]
        sent: asyncio.Queue[Any] = asyncio.Queue()

        async def requests() -> AsyncIterator[Any]:
            while (one := await sent.get()) is not None:
                yield one

        uploading = asyncio.ensure_future(memory.sources.UpsertPassages(requests()))
        sent.put_nowait(header(ids[0], version("slow.txt", ["x"])))
        for source_id in ids:
            await memory.load(source_id, "a.txt", ["a passage"])
        assert len(memory.core().sources._cache) <= 5
        for one in (batch(["x"]), finish(1), None):
            sent.put_nowait(one)
        await uploading
        for source_id in ids:
            await delete_file(memory, source_id, "a.txt")
        assert [file.version.name for file in await files(memory, ids[0])] == ["slow.txt"]
        assert await memory.texts("passage", source_id=ids[1]) == []
        agent = await memory.agent()
        for source_id in ids:
            await memory.attach(agent.agent_id, source_id)
        assert [
            source.file_count for source in (await memory.sources.ListSources(pb.ListSourcesRequest())).sources
        ] == [
            1,
            *([0] * 11),
        ]


async def test_a_source_keeps_nothing_of_files_that_were_deleted(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
    async with serve(milvus_lite_uri) as memory:  # which has not read all its files
        for number in range(5):
            await memory.load(source_id, f"{number}.txt", ["a passage"])
            await delete_file(memory, source_id, f"{number}.txt")
            await delete_file(memory, source_id, f"{number} was never there.txt")
        live = await memory.core().sources.get(memory.tenant, source_id)
        assert (dict(live.files), dict(live.locks), live.complete) == ({}, {}, False)


async def test_a_file_that_is_deleted_while_all_are_read_stays_deleted(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        for name in ("a.txt", "b.txt"):
            await memory.load(source_id, name, ["a passage"])
    async with serve(milvus_lite_uri) as memory:
        records = memory.core().sources._records
        find, read, resumed = records.find_children, asyncio.Event(), asyncio.Event()

        async def slow(kind: str, parents: Sequence[str]) -> list[Record]:
            found = await find(kind, parents)
            read.set()
            await resumed.wait()
            return found

        monkeypatch.setattr(records, "find_children", slow)
        listing = asyncio.create_task(files(memory, source_id))
        await read.wait()
        await delete_file(memory, source_id, "a.txt")
        resumed.set()
        assert [file.version.name for file in await listing] == ["b.txt"]
        assert [file.version.name for file in await files(memory, source_id)] == ["b.txt"]


async def test_a_repeated_creation_returns_what_the_source_is_now(memory: Memory) -> None:
    """What its description was before has been replaced, and may be erased: no response keeps it."""
    source = await memory.source("source", description="before", request_id="r")
    changed = source_pb2.Source(source_id=source.source_id, description="after")
    request = pb.UpdateSourceRequest(source=changed, update_mask=FieldMask(paths=["description"]))
    await memory.sources.UpdateSource(request)
    again = await memory.source("source", description="before", request_id="r")
    assert (again.source_id, again.description) == (source.source_id, "after")
