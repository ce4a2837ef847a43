"""The Loader and Memory as processes, over gRPC, on Milvus Lite."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from memgpt.loader.v1 import load_pb2
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import source_service_pb2 as source_pb
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub
from memgpt_runtime.errors import Reason
from memgpt_runtime.status import from_rpc_error

from tests.integration.loader.processes import Service, service

if TYPE_CHECKING:  # the asynchronous stubs are known to the type checker only
    from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceAsyncStub
    from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceAsyncStub

PAPER = Path(__file__).parents[3] / "clients/python/memgpt/samples/memgpt_research_paper.pdf"
PAPER_PASSAGES = 71


@dataclass
class Stubs:
    loader: LoaderServiceAsyncStub
    sources: SourceServiceAsyncStub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def memory(home: Path) -> Iterator[Service]:
    with service("memory", home, uri=home / "milvus.db") as running:
        yield running


@pytest.fixture(scope="module")
def loader(home: Path, memory: Service) -> Iterator[Service]:
    with service("loader", home, memory_address=memory.address) as running:
        yield running


@asynccontextmanager
async def connected(loader: Service, memory: Service) -> AsyncIterator[Stubs]:
    async with (
        grpc.aio.insecure_channel(loader.address) as to_loader,
        grpc.aio.insecure_channel(memory.address) as to_memory,
    ):
        yield Stubs(LoaderServiceStub(to_loader), SourceServiceStub(to_memory))


@pytest.fixture
async def stubs(loader: Service, memory: Service) -> AsyncIterator[Stubs]:
    async with connected(loader, memory) as stubs:
        yield stubs


def manifest(name: str, data: bytes) -> load_pb2.FileManifest:
    return load_pb2.FileManifest(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


async def pieces(load_id: str, name: str, data: bytes) -> AsyncIterator[loader_pb.UploadFileRequest]:
    yield loader_pb.UploadFileRequest(header=loader_pb.UploadFileRequest.Header(load_id=load_id, name=name))
    for first in range(0, len(data), 65536):
        yield loader_pb.UploadFileRequest(chunk=data[first : first + 65536])


async def create(stubs: Stubs, source: str, files: dict[str, bytes], request_id: str = "") -> load_pb2.Load:
    request = loader_pb.CreateLoadRequest(
        request_id=request_id, source_name=source, files=[manifest(name, data) for name, data in files.items()]
    )
    return (await stubs.loader.CreateLoad(request)).load


async def upload(stubs: Stubs, load: load_pb2.Load, files: dict[str, bytes]) -> None:
    for file in load.files:
        if file.state == load_pb2.FILE_STATE_AWAITING_UPLOAD:
            name = file.manifest.name
            await stubs.loader.UploadFile(pieces(load.load_id, name, files[name]))


async def watch(stubs: Stubs, load_id: str, after: int = 0) -> list[loader_pb.WatchLoadResponse]:
    """Return the events of a load, without the keep-alives of a slow one, which have no sequence."""
    request = loader_pb.WatchLoadRequest(load_id=load_id, after_sequence=after)
    return [event async for event in stubs.loader.WatchLoad(request) if not event.HasField("keep_alive")]


def states(load: load_pb2.Load) -> dict[str, str]:
    return {file.manifest.name: load_pb2.FileState.Name(file.state).removeprefix("FILE_STATE_") for file in load.files}


async def test_the_paper(stubs: Stubs) -> None:
    files = {"memgpt_research_paper.pdf": await asyncio.to_thread(PAPER.read_bytes)}
    load = await create(stubs, "memgpt_research_paper", files)
    assert states(load) == {"memgpt_research_paper.pdf": "AWAITING_UPLOAD"}
    await upload(stubs, load, files)
    events = await watch(stubs, load.load_id)
    assert [event.sequence for event in events] == sorted({event.sequence for event in events})
    end = events[-1].ended
    assert end.state == load_pb2.LOAD_STATE_COMPLETED
    assert (end.document_count, end.passage_count) == (13, PAPER_PASSAGES)

    source = (await stubs.sources.GetSource(source_pb.GetSourceRequest(source_id=load.source_id))).source
    assert (source.name, source.document_count, source.passage_count) == (
        "memgpt_research_paper",
        13,
        PAPER_PASSAGES,
    )
    again = await create(stubs, "memgpt_research_paper", files)
    assert again.state == load_pb2.LOAD_STATE_COMPLETED
    assert states(again) == {"memgpt_research_paper.pdf": "UNCHANGED"}
    listed = await stubs.loader.ListLoads(loader_pb.ListLoadsRequest(source_id=load.source_id, page_size=1))
    assert [each.load_id for each in listed.loads] == [again.load_id]
    assert listed.next_page_token


async def test_a_changed_file_replaces_its_former_version(stubs: Stubs) -> None:
    for text in (b"First version. " * 200, b"Second."):
        load = await create(stubs, "changing", {"a.txt": text})
        await upload(stubs, load, {"a.txt": text})
        await watch(stubs, load.load_id)
    source = (await stubs.sources.GetSource(source_pb.GetSourceRequest(name="changing"))).source
    assert (source.file_count, source.document_count, source.passage_count) == (1, 1, 1)


async def test_a_bad_file_among_good_ones(stubs: Stubs) -> None:
    files = {"good.md": b"# Good\n\nText.", "broken.pdf": b"%PDF-1.7 nonsense", "binary.txt": b"\x00\x01"}
    load = await create(stubs, "mixed", files)
    await upload(stubs, load, files)
    end = (await watch(stubs, load.load_id))[-1].ended
    assert states(end) == {"good.md": "LOADED", "broken.pdf": "FAILED", "binary.txt": "SKIPPED"}
    broken = end.files[1]
    assert broken.failure_reason == load_pb2.FILE_FAILURE_REASON_BROKEN
    assert "save or print it to a new PDF" in broken.failure_message
    assert (await stubs.loader.GetLoad(loader_pb.GetLoadRequest(load_id=load.load_id))).load == end


async def test_refusals_by_status(stubs: Stubs) -> None:
    async def refused(call: grpc.aio.Call) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call  # type: ignore[misc]
        return error.value.code().name, from_rpc_error(error.value).reason

    text = b"Some text."
    load = await create(stubs, "refusals", {"a.txt": text})

    async def headless() -> AsyncIterator[loader_pb.UploadFileRequest]:
        yield loader_pb.UploadFileRequest(chunk=b"x")

    async def oversized() -> AsyncIterator[loader_pb.UploadFileRequest]:
        yield loader_pb.UploadFileRequest(header=loader_pb.UploadFileRequest.Header(load_id=load.load_id, name="a.txt"))
        yield loader_pb.UploadFileRequest(chunk=b"x" * 65537)

    one = stubs.loader
    assert await refused(one.UploadFile(headless())) == ("INVALID_ARGUMENT", Reason.INVALID_FIELD)
    assert await refused(one.UploadFile(oversized())) == ("INVALID_ARGUMENT", Reason.TOO_LARGE)
    assert await refused(one.UploadFile(pieces(load.load_id, "a.txt", b"Other text"))) == (
        "INVALID_ARGUMENT",
        Reason.UPLOAD_MISMATCH,
    )
    assert await refused(one.UploadFile(pieces(load.load_id, "b.txt", text))) == ("NOT_FOUND", Reason.FILE_NOT_FOUND)
    assert await refused(one.UploadFile(pieces("load_none", "a.txt", text))) == ("NOT_FOUND", Reason.LOAD_NOT_FOUND)
    assert await refused(one.GetLoad(loader_pb.GetLoadRequest(load_id="load_none"))) == (
        "NOT_FOUND",
        Reason.LOAD_NOT_FOUND,
    )
    twice = loader_pb.CreateLoadRequest(source_name="refusals", files=[manifest("a", text), manifest("a", text)])
    assert await refused(one.CreateLoad(twice)) == ("INVALID_ARGUMENT", Reason.INVALID_FIELD)
    nothing = loader_pb.CreateLoadRequest(source_name="refusals")
    assert await refused(one.CreateLoad(nothing)) == ("INVALID_ARGUMENT", Reason.INVALID_FIELD)
    unseen = loader_pb.CreateLoadRequest(source_name="ref\u200busals", files=[manifest("a", text)])
    assert await refused(one.CreateLoad(unseen)) == ("INVALID_ARGUMENT", Reason.INVALID_FIELD)
    unknown = loader_pb.CreateLoadRequest(source_id="source_none", files=[manifest("a", text)])
    assert await refused(one.CreateLoad(unknown)) == ("NOT_FOUND", Reason.SOURCE_NOT_FOUND)
    negative = loader_pb.ListLoadsRequest(page_size=-1)
    assert await refused(one.ListLoads(negative)) == ("INVALID_ARGUMENT", Reason.INVALID_FIELD)
    forged = loader_pb.ListLoadsRequest(page_token="forged")
    assert await refused(one.ListLoads(forged)) == ("INVALID_ARGUMENT", Reason.INVALID_PAGE_TOKEN)

    cancelled = (await one.CancelLoad(loader_pb.CancelLoadRequest(load_id=load.load_id))).load
    assert states(cancelled) == {"a.txt": "CANCELLED"}
    assert await refused(one.UploadFile(pieces(load.load_id, "a.txt", text))) == (
        "FAILED_PRECONDITION",
        Reason.UPLOAD_NOT_EXPECTED,
    )


async def test_a_loader_killed_half_way_is_taken_up(home: Path, memory: Service) -> None:
    files = {"one.txt": b"One. " * 50, "two.pdf": await asyncio.to_thread(PAPER.read_bytes)}
    with service("loader", home, memory_address=memory.address) as first:
        async with connected(first, memory) as stubs:
            load = await create(stubs, "interrupted", files, "the-request")
            await stubs.loader.UploadFile(pieces(load.load_id, "one.txt", files["one.txt"]))
            last = 0
            async for event in stubs.loader.WatchLoad(loader_pb.WatchLoadRequest(load_id=load.load_id)):
                last = event.sequence
                if event.file.state == load_pb2.FILE_STATE_LOADED:
                    break
            await stubs.loader.UploadFile(pieces(load.load_id, "two.pdf", files["two.pdf"]))
        first.kill()
    with service("loader", home, memory_address=memory.address) as second:
        async with connected(second, memory) as stubs:
            again = await create(stubs, "interrupted", files, "the-request")
            assert again.load_id == load.load_id
            assert states(again)["one.txt"] == "LOADED"
            await upload(stubs, again, files)
            events = await watch(stubs, load.load_id, last)
            assert all(event.sequence > last for event in events)
            assert events[-1].ended.document_count == 14
            assert set(states(events[-1].ended).values()) == {"LOADED"}
        spool = home / "spool"
        assert second.terminate() == 0
        # The killed one's folder went when the second started; those that are left belong to living Loaders.
        assert len(list(spool.iterdir())) <= 1


async def test_memory_killed_half_way(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n}. " + f"Sentence {n} says nothing new. " * 40 for n in range(600)).encode()
    with service("memory", tmp_path, uri=tmp_path / "milvus.db") as first:
        port = first.port
        with service("loader", tmp_path, memory_address=first.address) as loader:
            async with connected(loader, first) as stubs:
                load = await create(stubs, "big", {"big.txt": text})
                await upload(stubs, load, {"big.txt": text})
                events = stubs.loader.WatchLoad(loader_pb.WatchLoadRequest(load_id=load.load_id))
                async for event in events:
                    if event.file.passage_count:
                        break
                first.kill()
                with service("memory", tmp_path, uri=tmp_path / "milvus.db", port=port) as second:
                    end = None
                    async for event in events:
                        end = event.ended if event.HasField("ended") else None
                    assert end is not None
                    assert states(end) == {"big.txt": "LOADED"}
                    async with connected(loader, second) as stubs_again:
                        request = source_pb.GetSourceRequest(source_id=load.source_id)
                        source = (await stubs_again.sources.GetSource(request)).source
                        assert (source.document_count, source.passage_count) == (1, end.passage_count)


async def test_a_stop_sends_watchers_away(home: Path, memory: Service) -> None:
    with service("loader", home, memory_address=memory.address) as loader:
        async with connected(loader, memory) as stubs:
            load = await create(stubs, "stopping", {"a.txt": b"Text."})
            events = stubs.loader.WatchLoad(loader_pb.WatchLoadRequest(load_id=load.load_id))
            assert (await anext(aiter(events))).file.state == load_pb2.FILE_STATE_AWAITING_UPLOAD
            code = asyncio.create_task(asyncio.to_thread(loader.terminate))
            with pytest.raises(grpc.aio.AioRpcError) as error:
                async for _ in events:
                    pass
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert from_rpc_error(error.value).reason == Reason.SHUTTING_DOWN
            assert await code == 0
