"""Start, restart, and what may be wrong with the store or with the embedding model."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt.memory.v1 import agent_state_service_pb2 as agent_state
from memgpt.memory.v1 import archival_memory_service_pb2 as archive
from memgpt.memory.v1 import store_service_pb2
from memgpt_memory.records import _idempotency as requests
from memgpt_memory.store.filters import Equals, all_of
from memgpt_memory.store.layout import RECORDS, Collection
from memgpt_memory.store.lite.engine import Engine
from memgpt_memory.store.rows import Key, RecordRow
from memgpt_runtime.errors import FailedPrecondition, ServiceError

from tests.integration.memory.client import (
    EXHAUSTED,
    PRECONDITION,
    UNAVAILABLE,
    Memory,
    batch,
    connected,
    header,
    refused,
    version,
)
from tests.integration.memory.conftest import Serve
from tests.integration.memory.oracle import check_ranking
from tests.integration.memory.test_paging import QUERY, sentences
from tests.support.milvus_server import MilvusServer
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Drop, Hang, Raw, Reply, ScriptedLLM, Status

DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED


async def test_everything_is_there_after_a_restart_and_tokens_go_on(serve: Serve, milvus_uri: str) -> None:
    async with serve(milvus_uri) as memory:
        agent, source = await memory.agent("kept"), await memory.source("kept too")
        notes, document = ["equal"] * 40 + sentences(60), ["equal"] * 20 + sentences(30, 1)
        await memory.insert(agent.agent_id, *notes)
        await memory.load(source.source_id, "a.txt", document)
        await memory.attach(agent.agent_id, source.source_id)
        gone = (await memory.page("equal", size=3, agent_id=agent.agent_id)).hits[0].passage.passage_id
        await memory.delete(agent.agent_id, gone)
        full = await memory.pages("equal", size=1000, agent_id=agent.agent_id)
        check_ranking("equal", full, {hit.passage.passage_id: hit.passage.text for hit in full})
        assert len(full) == 149
        grant = await memory.begin(agent.agent_id, "r", "hello")
        await memory.commit(agent.agent_id, grant.lease, 1, "one")
        first = await memory.page("equal", size=10, agent_id=agent.agent_id)
        upload = memory.sources.UpsertPassages()
        await upload.write(header(source.source_id, version("b.txt", ["late", "later"])))
        await upload.write(batch(["late"]))
        passages = memory.core().agents.passages
        late = all_of(Equals("owner", source.source_id), Equals("text", "late"))
        while not await passages.store.query(passages.collection, late, Key):
            pass  # until what nobody may see is in
        upload.cancel()
    hits, token = list(first.hits), first.next_page_token
    while token:  # each page by a process that has seen nothing of the search
        async with serve(milvus_uri) as memory:
            if len(hits) == 10:
                await memory.insert(agent.agent_id, *sentences(300, 5), *["equal"] * 20)
            page = await memory.page("equal", size=70, token=token, agent_id=agent.agent_id)
            assert page.total_size == 149
            hits, token = [*hits, *page.hits], page.next_page_token
    assert [hit.passage for hit in hits] == [hit.passage for hit in full]
    async with serve(milvus_uri) as memory:
        again = await memory.begin(agent.agent_id, "r", "hello")
        assert again.resumed
        assert again.turn.committed_steps == 1
        with refused(grpc.StatusCode.ABORTED, "LEASE_LOST"):
            await memory.commit(agent.agent_id, grant.lease, 2, "late")
        await memory.commit(agent.agent_id, again.lease, 2, "two")
        assert [message.text for message in await memory.history(agent.agent_id)] == ["hello", "one", "two"]
        assert sorted(await memory.texts("x", source_id=source.source_id)) == sorted(document)
        await memory.load(source.source_id, "b.txt", ["late", "later"])
        assert sorted(await memory.texts("x", source_id=source.source_id)) == sorted([*document, "late", "later"])


async def test_an_agent_may_still_hold_its_lease_when_memory_comes_back(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri, lease_seconds=60.0) as memory:
        agent = await memory.agent()
        grant = await memory.begin(agent.agent_id, "r", "x")
    async with serve(milvus_lite_uri, lease_seconds=60.0) as memory:
        assert not (await memory.begin(agent.agent_id, "r", "x", nonblocking=True)).HasField("lease")
        await memory.commit(agent.agent_id, grant.lease, 1, "one")


async def test_a_released_lease_is_not_waited_for_when_memory_comes_back(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri, lease_seconds=60.0) as memory:
        agent = await memory.agent()
        grant = await memory.begin(agent.agent_id, "r", "x")
        await memory.agents.ReleaseLease(agent_state.ReleaseLeaseRequest(agent_id=agent.agent_id, lease=grant.lease))
    async with serve(milvus_lite_uri, lease_seconds=60.0) as memory:
        taken = await memory.begin(agent.agent_id, "r", "x", nonblocking=True)
        assert taken.resumed
        with refused(grpc.StatusCode.ABORTED, "LEASE_LOST"):
            await memory.commit(agent.agent_id, grant.lease, 1, "late")
    async with serve(milvus_lite_uri, lease_seconds=60.0) as memory:
        assert not (await memory.begin(agent.agent_id, "r", "x", nonblocking=True)).HasField("lease"), (
            "it is held again"
        )
        await memory.commit(agent.agent_id, taken.lease, 1, "one")


def test_a_second_process_on_one_file_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "shared.db")
    with ServiceProcess("memgpt_memory", tmp_path / "one", MEMGPT_MEMORY_URI=file) as one:
        one.wait_ready()
        with ServiceProcess("memgpt_memory", tmp_path / "two", MEMGPT_MEMORY_URI=file) as two:
            assert two.wait() == 1
            said = two.logged()
            assert "is in use by another process" in said
            assert file in said
            assert "Traceback" not in said


@pytest.mark.milvus_server
@pytest.mark.usefixtures("server_process")
def test_a_second_process_on_one_database_is_refused(tmp_path: Path, server_database: str) -> None:
    with ServiceProcess("memgpt_memory", tmp_path, MEMGPT_MEMORY_URI=server_database) as second:
        assert second.wait(60) == 1
        assert "nother Memory process uses this store" in second.logged()


async def test_a_store_of_another_embedding_model_is_refused(
    serve: Serve, milvus_lite_uri: str, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(dimension=8)
    async with serve(milvus_lite_uri):
        pass
    with pytest.raises(FailedPrecondition, match=r"wordllama-l2-256 \(256 dimensions\).*names other \(8\)"):
        async with serve(milvus_lite_uri, **endpoint(llm, embedding_model="other")):
            pass
    async with serve(milvus_lite_uri) as memory:
        await memory.agent()


async def test_a_store_of_another_layout_is_refused(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        store = memory.core().store
        rows = await store.get(RECORDS, ["store"], RecordRow)
        body = json.loads(rows["store"].body)
        body["schema"] += 1
        await store.upsert(RECORDS, [replace(rows["store"], body=json.dumps(body))])
    with pytest.raises(FailedPrecondition, match=f"layout {body['schema']}"):
        async with serve(milvus_lite_uri):
            pass


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"schema": 2, "token_key": "no digits"}'])
async def test_a_store_whose_own_record_is_damaged_is_refused(serve: Serve, milvus_lite_uri: str, body: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        store = memory.core().store
        rows = await store.get(RECORDS, ["store"], RecordRow)
        await store.upsert(RECORDS, [replace(rows["store"], body=body)])
    with pytest.raises(FailedPrecondition, match=r"identity record is damaged.*restore"):
        async with serve(milvus_lite_uri):
            pass


def garbled(store: Path, files: str) -> int:
    """Writes nonsense into files of a store; answers into how many."""
    found = list(store.rglob(files))
    for file in found:
        file.write_bytes(b"garbled")
    return len(found)


@pytest.mark.parametrize("files", ["schema.json", "manifest.json", "*.parquet"])
async def test_a_store_whose_files_are_damaged_is_refused(serve: Serve, milvus_lite_uri: str, files: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        await memory.agent()
    assert garbled(Path(milvus_lite_uri), files)
    with pytest.raises(FailedPrecondition, match=r"is damaged: its collection memgpt_.*restore"):
        async with serve(milvus_lite_uri):
            pass


async def test_a_disk_that_refuses_something_at_the_start_is_asked_again(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
    load = Engine.load
    refusals = iter([OSError(errno.ENOSPC, "No space left on device")] * 3)

    def full(engine: Engine, collection: Collection) -> None:
        if (refusal := next(refusals, None)) is not None:
            raise refusal
        load(engine, collection)

    monkeypatch.setattr(Engine, "load", full)
    async with serve(milvus_lite_uri) as memory:
        with refused(UNAVAILABLE):
            await memory.listed()
        await until_healthy(memory.channel)
        assert [one.agent_id for one in await memory.listed()] == [agent.agent_id]


@pytest.mark.parametrize("contents", [b"", b"not a database"])
async def test_a_file_that_is_no_store_is_refused(serve: Serve, tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "notes.db"
    file.write_bytes(contents)
    with pytest.raises(FailedPrecondition, match=r"notes\.db"):
        async with serve(str(file)):
            pass
    assert file.read_bytes() == contents


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
async def test_an_index_that_a_crash_left_half_written_is_rebuilt(
    serve: Serve, milvus_lite_uri: str, kept: float
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        await memory.insert(agent_id, *sentences(20))
        await memory.turn(agent_id, "hello", "one")
    async with serve(milvus_lite_uri) as memory:
        found = await memory.texts(QUERY, agent_id=agent_id)
    cut_indexes(milvus_lite_uri, kept)
    async with serve(milvus_lite_uri) as memory:
        assert await memory.texts(QUERY, agent_id=agent_id) == found
        assert len(await memory.history(agent_id)) == 2
        await memory.insert(agent_id, "one more")
    async with serve(milvus_lite_uri) as memory:
        assert len(await memory.texts(QUERY, agent_id=agent_id)) == 21


def cut_indexes(store: str, kept: float) -> None:
    """Leaves a part of each file of the search indexes."""
    indexes = [file for file in Path(store, "search").glob("**/*") if file.is_file()]
    assert len(indexes) >= 2
    for index in indexes:
        os.truncate(index, int(index.stat().st_size * kept))


async def healthy(channel: grpc.aio.Channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def until_healthy(channel: grpc.aio.Channel, *, wanted: bool = True, seconds: float = 90) -> None:
    """Follows the server's own health, which says when it changes."""
    wish = health_pb2.HealthCheckResponse.SERVING if wanted else health_pb2.HealthCheckResponse.NOT_SERVING
    async with asyncio.timeout(seconds):
        async for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            if answer.status == wish:
                return


@asynccontextmanager
async def own_process(home: Path, **settings: str) -> AsyncIterator[tuple[ServiceProcess, Memory]]:
    with ServiceProcess("memgpt_memory", home, **settings) as process:
        address = await asyncio.to_thread(process.wait_ready)
        async with connected(address) as memory:
            yield process, memory


@pytest.mark.milvus_server
async def test_milvus_may_come_later_and_hang_for_a_while(tmp_path: Path, stopped_milvus_server: MilvusServer) -> None:
    server = stopped_milvus_server
    settings = {"MEMGPT_MEMORY_URI": server.uri, "MEMGPT_MEMORY_TIMEOUT": "2"}
    async with own_process(tmp_path / "memory", **settings) as (_, memory):
        assert not await healthy(memory.channel)
        with refused(UNAVAILABLE, "STORE_UNAVAILABLE"):
            await memory.agent()
        server.start()
        await until_healthy(memory.channel)
        agent = await memory.agent("survivor")
        await memory.turn(agent.agent_id, "hello", "one")
        await memory.insert(agent.agent_id, *sentences(20))
        server.suspend()
        try:
            with refused(UNAVAILABLE, "STORE_UNAVAILABLE"):
                await memory.insert(agent.agent_id, "while it hung")
        finally:
            server.resume()
        async with asyncio.timeout(60):
            while True:  # what hung is at work again at once, or a little later
                try:
                    await memory.insert(agent.agent_id, "the last", request_id="the last")
                    break
                except grpc.aio.AioRpcError as error:
                    if error.code() is not UNAVAILABLE:
                        raise
        assert "the last" in await memory.texts(QUERY, agent_id=agent.agent_id)


async def test_an_unreachable_server_is_said_soon(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    async with own_process(tmp_path, MEMGPT_MEMORY_URI=uri, MEMGPT_MEMORY_TIMEOUT="2") as (process, memory):
        with refused(UNAVAILABLE, "STORE_UNAVAILABLE"):
            await memory.store.GetStore(store_service_pb2.GetStoreRequest())
        assert uri in process.logged()
        assert not await healthy(memory.channel)


def endpoint(llm: ScriptedLLM, **settings: object) -> dict[str, object]:
    return {
        "embedding": "openai",
        "embedding_model": "scripted-embedding",
        "embedding_dimension": 8,
        "embedding_base_url": llm.base_url,
        "embedding_timeout": 5.0,
        **settings,
    }


async def test_embeddings_of_an_endpoint(
    serve: Serve, milvus_lite_uri: str, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(dimension=8, api_key="the key")
    async with serve(milvus_lite_uri, **endpoint(llm, embedding_api_key="the key")) as memory:
        store = await memory.store.GetStore(store_service_pb2.GetStoreRequest())
        assert (store.embedding_model, store.embedding_dimension) == ("scripted-embedding", 8)
        agent = await memory.agent()
        texts = [f"word{n} word{n + 1}" for n in range(200)]
        await memory.insert(agent.agent_id, *texts)
        assert all(len(request.json["input"]) <= 128 for request in llm.embedding_requests)
        assert llm.embedding_requests[0].json["model"] == "scripted-embedding"
        hits = await memory.pages("word7 word8", size=9, agent_id=agent.agent_id)
        assert hits[0].passage.text == "word7 word8"
        assert sorted(hit.passage.text for hit in hits) == sorted(texts)


async def test_an_endpoint_that_fails_changes_nothing_and_says_what_is_wrong(
    serve: Serve, milvus_lite_uri: str, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(dimension=8)
    async with serve(milvus_lite_uri, **endpoint(llm)) as memory:
        agent, source = await memory.agent(), await memory.source()
        grant = await memory.begin(agent.agent_id, "r", "x")
        vector = "[" + ", ".join(["0.5"] * 8) + "]"
        broken: list[tuple[Reply, grpc.StatusCode, str]] = [
            (Status(429, retry_after=7), EXHAUSTED, "MODEL_RATE_LIMITED"),
            (Status(500), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Status(503), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Status(401), PRECONDITION, "MODEL_UNUSABLE"),
            (Status(404), PRECONDITION, "MODEL_UNUSABLE"),
            (Status(400), PRECONDITION, "MODEL_UNUSABLE"),
            (Drop(), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw("<html>", "text/html"), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw('{"data": ['), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw('{"object": "list", "data": []}'), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw('{"data": null}'), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw('{"data": [{"index": 0, "embedding": null}]}'), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw('{"data": [{"index": 0, "embedding": ["a"]}]}'), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
            (Raw('{"data": [{"index": 0, "embedding": [0.5, 0.5]}]}'), PRECONDITION, "EMBEDDING_MISMATCH"),
            (Raw(f'{{"data": [{{"index": 0, "embedding": {vector}}}, {{"index": 1, "embedding": {vector}}}]}}'),
             UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
        ]  # fmt: skip
        for reply, code, reason in broken:
            llm.fail_embeddings(reply)
            with refused(code, reason):
                await memory.insert(agent.agent_id, "never")
        llm.fail_embeddings(*[Status(500)] * 3)
        with refused(UNAVAILABLE, "EMBEDDING_UNAVAILABLE"):
            await memory.commit(agent.agent_id, grant.lease, 1, "never", notes=["never"])
        with refused(UNAVAILABLE, "EMBEDDING_UNAVAILABLE"):
            await memory.page("query", agent_id=agent.agent_id)
        with refused(UNAVAILABLE, "EMBEDDING_UNAVAILABLE"):
            await memory.load(source.source_id, "a.txt", ["never"])
        await memory.commit(agent.agent_id, grant.lease, 1, "one", notes=["now"])
        assert await memory.texts("x", agent_id=agent.agent_id) == ["now"]
        assert await memory.texts("x", source_id=source.source_id) == []
        await memory.load(source.source_id, "a.txt", ["never"])
        assert await memory.texts("x", source_id=source.source_id) == ["never"]
        llm.close()
        with refused(UNAVAILABLE, "EMBEDDING_UNAVAILABLE"):
            await memory.insert(agent.agent_id, "never")
        # What needs no embedding goes on.
        await memory.commit(agent.agent_id, grant.lease, 2, "two")
        page = await memory.archive.ListPassages(
            archive.ListPassagesRequest(scope=archive.PassageScope(agent_id=agent.agent_id))
        )
        assert [passage.text for passage in page.passages] == ["now"]


async def test_an_endpoint_that_does_not_answer_in_time_is_named_and_asked_again_the_next_time(
    serve: Serve, milvus_lite_uri: str, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(dimension=8)
    async with serve(milvus_lite_uri, **endpoint(llm, embedding_timeout=3.0)) as memory:
        agent = await memory.agent()
        llm.fail_embeddings(Hang())
        with refused(DEADLINE, "DEADLINE_EXCEEDED"):
            await memory.insert(agent.agent_id, "never")
        await memory.insert(agent.agent_id, "now")
        assert await memory.texts("x", agent_id=agent.agent_id) == ["now"]


async def test_a_dimension_that_the_endpoint_does_not_give_is_named(
    serve: Serve, milvus_lite_uri: str, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(dimension=16)
    with pytest.raises(ServiceError) as caught:
        async with serve(milvus_lite_uri, **endpoint(llm)):
            pass
    assert caught.value.reason == "EMBEDDING_MISMATCH"
    assert "16" in caught.value.message
    assert "8" in caught.value.message
    # Nothing of it was written down: the store takes the right one.
    async with serve(milvus_lite_uri, **endpoint(llm, embedding_send_dimension=True)) as memory:
        await memory.insert((await memory.agent()).agent_id, "x")
        assert llm.embedding_requests[-1].json["dimensions"] == 8


async def test_vectors_that_are_not_numbers_or_nothing_at_all_do_no_harm(
    serve: Serve, milvus_lite_uri: str, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(dimension=8)
    async with serve(milvus_lite_uri, **endpoint(llm)) as memory:
        agent = await memory.agent()
        await memory.insert(agent.agent_id, "good")
        for vector in ("[0,0,0,0,0,0,0,0]", "[1e38,1e38,1e38,1e38,1e38,1e38,1e38,1e38]"):
            llm.fail_embeddings(Raw(f'{{"data": [{{"index": 0, "embedding": {vector}}}]}}'))
            await memory.insert(agent.agent_id, f"of {vector}")
        llm.fail_embeddings(Raw('{"data": [{"index": 0, "embedding": [NaN,Infinity,0,0,0,0,0,0]}]}'))
        with pytest.raises(grpc.aio.AioRpcError, match="NaN or infinite"):
            await memory.insert(agent.agent_id, "of no number")
        hits = await memory.pages("good", size=2, agent_id=agent.agent_id)
        assert hits[0].passage.text == "good"
        assert len(hits) == 3
        assert all(-1 <= hit.dense_score <= 1 for hit in hits)


@pytest.mark.linux("reads /proc")
async def test_other_processes_cannot_reach_the_embedded_store(tmp_path: Path) -> None:
    """Lite asks nobody for a credential: a port of it would be open to every user of the machine."""
    with ServiceProcess("memgpt_memory", tmp_path) as process:
        address = await asyncio.to_thread(process.wait_ready)
        async with connected(address) as memory:
            await memory.agent()  # the store is open
        assert _listening(process.popen.pid) == {int(address.rpartition(":")[2])}


def _listening(pid: int) -> set[int]:
    """Ports on which a process listens; see proc(5)."""
    files = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            files.add(str(file.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    sockets = [(local, state, inode) for _, local, _, state, _, _, _, _, _, inode, *_ in map(str.split, lines)]
    return {
        int(local.rpartition(":")[2], 16)
        for local, state, inode in sockets
        if state == "0A" and f"socket:[{inode}]" in files
    }


async def test_old_answers_of_requests_go_while_memory_runs(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "TIDY_SECONDS", 0.05)
    async with serve(milvus_lite_uri) as memory:
        await memory.agent(request_id="r")
        records = memory.core().agents._records
        assert len(await records.find("request")) == 1
        monkeypatch.setattr(requests, "RETENTION", 0)
        async with asyncio.timeout(60):
            while await records.find("request"):
                pass
