"""The move of a store to another embedding model, while it is in use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from memgpt.memory.v1 import agent_state_service_pb2, source_service_pb2
from memgpt.memory.v1 import archival_memory_service_pb2 as archive
from memgpt.memory.v1 import recall_memory_service_pb2 as recall
from memgpt.memory.v1 import store_service_pb2 as pb
from memgpt_memory.maintenance import reembedding
from memgpt_runtime.errors import FailedPrecondition, Reason

from tests.integration.memory.client import (
    EXHAUSTED,
    PRECONDITION,
    UNAVAILABLE,
    Memory,
    connected,
    reason_of,
    refused,
    user,
)
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts
from tests.integration.memory.oracle import TOLERANCE, check_ranking
from tests.integration.memory.stores import collection_names
from tests.integration.memory.test_paging import QUERY, sentences
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, Status, embed

DIMENSION = 48
MODEL = "scripted-embedding"
DYING = "tests.integration.memory.dying"


@cache
def vector(text: str) -> np.ndarray:
    return np.array(embed(text, DIMENSION))


def target(llm: ScriptedLLM, **more: Any) -> dict[str, Any]:
    """Settings of Memory that name a scripted model to move to."""
    return {
        "reembed": "openai",
        "reembed_model": MODEL,
        "reembed_dimension": DIMENSION,
        "reembed_base_url": llm.base_url,
        **more,
    }


def use(llm: ScriptedLLM) -> dict[str, Any]:
    """Settings of Memory that name the scripted model as the one to use."""
    return {key.replace("reembed", "embedding"): value for key, value in target(llm).items()}


@pytest.fixture
def llm(scripted_llm: Callable[..., ScriptedLLM]) -> ScriptedLLM:
    return scripted_llm(dimension=DIMENSION)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembedding, "_RETRY_SECONDS", 1.5)
    monkeypatch.setattr(reembedding, "_FIRST_PAUSE", 0.02)


async def move(memory: Memory, **fields: Any) -> list[pb.ReembedResponse]:
    """Asks for the move and waits for its end; answers what was told."""
    told = [event async for event in memory.store.Reembed(pb.ReembedRequest(**fields))]
    assert [event.HasField("done") for event in told] == [False] * (len(told) - 1) + [True]
    assert told[-1].done.state == pb.REEMBED_STATE_DONE
    return told


@asynccontextmanager
async def held(memory: Memory, llm: ScriptedLLM, after: int) -> AsyncIterator[None]:
    """The time in which a move waits for the endpoint, after so many of its calls; then the move ends."""
    llm.hold_embeddings(after)
    moving = asyncio.create_task(move(memory))
    await asyncio.to_thread(llm.wait_for_held)
    yield
    llm.release_embeddings()
    await moving


async def store_of(memory: Memory) -> pb.GetStoreResponse:
    return await memory.store.GetStore(pb.GetStoreRequest())  # type: ignore[no-any-return]


def archives(memory: Memory) -> list[str]:
    """The collections of passages that there are."""
    return collection_names(memory.core().store, "memgpt_passages")


async def check(memory: Memory, expected: Mapping[str, str], **where: str) -> None:
    """Asserts that the whole ranking is the other model's over just these passages: none twice, none missing."""
    for size in (1000, 37):
        first = await memory.page(QUERY, size=size, **where)
        assert first.total_size == len(expected)
        hits = [*first.hits]
        if first.next_page_token:
            hits += await memory.pages(QUERY, size=size, token=first.next_page_token, **where)
        found = [hit.passage.passage_id for hit in hits]
        assert len(found) == len(set(found)), "a passage came twice"
        assert set(found) == set(expected), (len(found), len(expected))
        assert [hit.rank for hit in hits] == list(range(len(hits)))
        for hit in hits:
            assert hit.passage.text == expected[hit.passage.passage_id]
            assert abs(hit.dense_score - float(vector(QUERY) @ vector(hit.passage.text))) < 2 * TOLERANCE
        assert all(one.dense_score >= other.dense_score for one, other in pairwise(hits))


async def passages_of(memory: Memory, **where: str) -> dict[str, str]:
    """Texts by id, as a listing says."""
    found: dict[str, str] = {}
    token = ""
    while True:
        page = await memory.archive.ListPassages(
            archive.ListPassagesRequest(scope=archive.PassageScope(**where), page_size=1000, page_token=token)
        )
        found |= {passage.passage_id: passage.text for passage in page.passages}
        token = page.next_page_token
        if not token:
            return found


async def test_everything_goes_on_while_the_store_moves(
    serve: Serve, milvus_uri: str, llm: ScriptedLLM, tmp_path: Path
) -> None:
    async with serve(milvus_uri, **target(llm)) as memory:
        agent, gone = await memory.agent("mover"), await memory.agent("gone")
        source = await memory.source("papers")
        kept, replaced, deleted = sentences(150, 1), sentences(140, 2), sentences(130, 3)
        for name, texts in (("kept", kept), ("replaced", replaced), ("deleted", deleted)):
            await memory.load(source.source_id, name, texts)
        await memory.attach(agent.agent_id, source.source_id)
        ids = await memory.insert(agent.agent_id, *(notes := sentences(300, 4)), tags=["early"])
        expected = dict(zip(ids, notes, strict=True))
        await memory.insert(gone.agent_id, *sentences(40, 5))
        first = await memory.page(QUERY, size=10, agent_id=agent.agent_id)

        async with held(memory, llm, after=3):
            # The former model counts: its rankings, its tokens.
            store = await store_of(memory)
            assert (store.embedding_model, store.embedding_dimension) == ("wordllama-l2-256", 256)
            assert (store.reembed.embedding_model, store.reembed.embedding_dimension) == (MODEL, DIMENSION)
            assert store.reembed.state == pb.REEMBED_STATE_COPYING
            assert 0 < store.reembed.passage_count < store.reembed.total_passage_count == 760
            there = await passages_of(memory, agent_id=agent.agent_id)
            hits = [*first.hits]
            hits += await memory.pages(QUERY, size=100, token=first.next_page_token, agent_id=agent.agent_id)
            check_ranking(QUERY, hits, there)
            # Of what is written and deleted, some had been copied, and some had not.
            await memory.delete(agent.agent_id, *ids[::3])
            more = await memory.insert(agent.agent_id, *(late := sentences(150, 6)), tags=["late"])
            await memory.delete(agent.agent_id, *more[:10])
            expected |= dict(zip(more, late, strict=True))
            for id_ in (*ids[::3], *more[:10]):
                del expected[id_]
            await memory.load(source.source_id, "replaced", sentences(120, 7))
            await memory.load(source.source_id, "new", sentences(110, 8))
            await memory.sources.DeleteFile(
                source_service_pb2.DeleteFileRequest(source_id=source.source_id, name="deleted")
            )
            await memory.agents.DeleteAgent(agent_state_service_pb2.DeleteAgentRequest(agent_id=gone.agent_id))
            await memory.turn(agent.agent_id, "hello", "a thought")
            page = await memory.page(QUERY, size=10, agent_id=agent.agent_id)
            assert page.total_size == len(expected) + 150 + 120 + 110

        documents = await passages_of(memory, source_id=source.source_id)
        assert sorted(documents.values()) == sorted(kept + sentences(120, 7) + sentences(110, 8))
        await check(memory, expected | documents, agent_id=agent.agent_id)
        await check(memory, documents, source_id=source.source_id)
        for token in (first.next_page_token, page.next_page_token):
            with refused(PRECONDITION, "PAGE_TOKEN_EXPIRED") as error:
                await memory.page(QUERY, size=10, token=token, agent_id=agent.agent_id)
            assert "search again" in error.message
        store = await store_of(memory)
        assert (store.embedding_model, store.embedding_dimension) == (MODEL, DIMENSION)
        assert store.reembed.state == pb.REEMBED_STATE_DONE
        assert len(await move(memory)) == 1, "it is done already"
        (id_,) = await memory.insert(agent.agent_id, "a note of the new time")
        expected[id_] = "a note of the new time"
        rows = await memory.core().passages.store.count(memory.core().passages.collection)
        assert rows == len(expected) + len(documents), "rows that nobody sees were copied"
        early = archive.PassageFilter(tags=["early"])
        filtered = await memory.page(QUERY, size=1000, agent_id=agent.agent_id, filter=early)
        assert sorted(hit.passage.passage_id for hit in filtered.hits) == sorted(set(ids) - set(ids[::3]))
        assert len(archives(memory)) == 1

    if "://" in milvus_uri:
        return
    with pytest.raises(FailedPrecondition, match="memgpt reembed") as caught:
        async with serve(milvus_uri):
            pass
    assert MODEL in caught.value.message
    assert "wordllama-l2-256" in caught.value.message
    # Before the configuration has been tidied and after.
    for settings in (target(llm), use(llm)):
        async with serve(milvus_uri, **settings) as memory:
            assert (await store_of(memory)).embedding_model == MODEL
            await check(memory, expected | documents, agent_id=agent.agent_id)


async def test_nothing_is_lost_by_writing_all_the_time(serve: Serve, milvus_uri: str, llm: ScriptedLLM) -> None:
    async with serve(milvus_uri, **target(llm)) as memory:
        agents = [await memory.agent() for _ in range(3)]
        source = await memory.source()
        expected: list[dict[str, str]] = [{} for _ in agents]
        stop = asyncio.Event()
        files: dict[str, list[str]] = {}
        searches = 0

        async def write(number: int) -> None:
            agent, own, round_ = agents[number].agent_id, expected[number], 0
            while not stop.is_set():
                round_ += 1
                texts = [f"{text} {number} {round_}" for text in sentences(3, round_)]
                own.update(zip(await memory.insert(agent, *texts), texts, strict=True))
                if round_ % 3 == 0:
                    gone = list(own)[:: len(own) // 3]
                    assert await memory.delete(agent, *gone) == len(gone)
                    for id_ in gone:
                        del own[id_]

        async def load() -> None:
            round_ = 0
            while not stop.is_set():
                round_ += 1
                name = f"file {round_ % 2}"
                texts = [f"{text} {round_}" for text in sentences(11, round_)]
                await memory.load(source.source_id, name, texts)
                files[name] = texts

        async def search() -> None:
            nonlocal searches
            while not stop.is_set():
                page = await memory.page(QUERY, size=5, agent_id=agents[0].agent_id)
                token = page.next_page_token
                try:
                    await memory.page(QUERY, size=5, token=token, agent_id=agents[0].agent_id)
                except grpc.aio.AioRpcError as error:
                    if reason_of(error) != "PAGE_TOKEN_EXPIRED":
                        raise
                searches += 1

        for number, agent in enumerate(agents):
            texts = sentences(60, 100 + number)
            expected[number].update(zip(await memory.insert(agent.agent_id, *texts), texts, strict=True))
        tasks = [asyncio.create_task(write(number)) for number in range(3)]
        tasks += [asyncio.create_task(load()), asyncio.create_task(search())]
        before = searches
        await move(memory)
        during, counts = searches - before, [len(own) for own in expected]
        while any(len(own) == count for own, count in zip(expected, counts, strict=True)):
            await asyncio.sleep(0)  # until each has written with the new model as well
            for task in tasks:
                assert not task.done(), task
        stop.set()
        await asyncio.gather(*tasks)
        assert during
        for agent, own in zip(agents, expected, strict=True):
            await check(memory, own, agent_id=agent.agent_id)
        documents = await passages_of(memory, source_id=source.source_id)
        assert sorted(documents.values()) == sorted(text for texts in files.values() for text in texts)
        await check(memory, documents, source_id=source.source_id)


@pytest.mark.usefixtures("impatient")
async def test_a_failing_endpoint_stops_the_move_and_it_goes_on_where_it_was(
    serve: Serve, milvus_lite_uri: str, llm: ScriptedLLM
) -> None:
    async with serve(milvus_lite_uri, **target(llm, embedding_timeout=5.0)) as memory:
        agent = await memory.agent()
        notes = sentences(400)
        ids = await memory.insert(agent.agent_id, *notes)
        for reply, code, reason in (
            (Status(401), PRECONDITION, "MODEL_UNUSABLE"),
            (Status(500), UNAVAILABLE, "EMBEDDING_UNAVAILABLE"),
        ):
            llm.fail_embeddings(reply)
            with refused(code, reason):
                await move(memory)
        assert not (await store_of(memory)).HasField("reembed"), "nothing was begun"
        llm.hold_embeddings(after=2)
        moving = asyncio.create_task(move(memory))
        await asyncio.to_thread(llm.wait_for_held)
        llm.fail_embeddings(Status(429, retry_after=0.01), *[Status(503)] * 100)
        llm.release_embeddings()
        with refused(UNAVAILABLE, "EMBEDDING_UNAVAILABLE") as error:
            await moving
        assert "request it again to resume" in error.message
        assert llm.embedding_requests[-1].json["model"] == MODEL
        assert (await store_of(memory)).reembed.state == pb.REEMBED_STATE_STOPPED
        admin = memory.of(f"{memory.tenant};role=admin")
        assert not (await store_of(admin)).HasField("reembed"), "it counts the passages of all tenants"
        check_ranking(
            QUERY,
            await memory.pages(QUERY, size=1000, agent_id=agent.agent_id),
            dict(zip(ids, notes, strict=True)),
        )
        # In the meantime there are changes that nobody notes: they are found by comparing.
        await memory.delete(agent.agent_id, *ids[::2])
        more = await memory.insert(agent.agent_id, *sentences(50, 9))
        llm.fail_no_embeddings()
        sent = len(llm.embedding_requests)
        llm.fail_embeddings(Status(500))
        with refused(UNAVAILABLE):
            await move(memory)
        llm.hold_embeddings(after=1)
        moving = asyncio.create_task(move(memory))
        await asyncio.to_thread(llm.wait_for_held)
        llm.fail_embeddings(Status(429, retry_after=0.01))
        llm.release_embeddings()
        await moving
        texts = [text for request in llm.embedding_requests[sent + 2 :] for text in request.json["input"]]
        assert len(set(texts)) < 250, "what had been copied was embedded once more"
        expected = {id_: text for id_, text in zip(ids, notes, strict=True) if id_ not in ids[::2]}
        await check(memory, expected | dict(zip(more, sentences(50, 9), strict=True)), agent_id=agent.agent_id)


async def test_a_file_is_embedded_once_although_the_endpoint_limits_requests(
    serve: Serve, milvus_lite_uri: str, llm: ScriptedLLM
) -> None:
    """The Loader sends a file again from its beginning; a search at the same time gets its result."""
    texts = sentences(2500)
    async with serve(milvus_lite_uri, **use(llm)) as memory:
        source = await memory.source()
        begun: list[str] = []
        accepted = 12

        def limited(request: Request) -> Reply | None:
            nonlocal accepted
            if request.json["input"] == [QUERY]:
                return None
            accepted -= 1
            if accepted < 0:
                return Status(429, "Rate limit reached", retry_after=60)
            begun.extend(request.json["input"])
            return None

        llm.rule_embeddings(limited)
        for _ in range(2):
            before = len(begun)
            with refused(EXHAUSTED, "MODEL_RATE_LIMITED"):
                await memory.load(source.source_id, "a.txt", texts)
            assert len(begun) > before
            assert not (await memory.page(QUERY, source_id=source.source_id)).hits
            accepted = 3
        accepted = 99
        await memory.load(source.source_id, "a.txt", texts)
        assert sorted(begun) == sorted(texts)
        documents = await passages_of(memory, source_id=source.source_id)
        assert sorted(documents.values()) == sorted(texts)
        await check(memory, documents, source_id=source.source_id)


async def test_a_number_that_is_used_again_is_copied_again(
    serve: Serve, milvus_lite_uri: str, llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(*_: Any) -> bool:
        raise FailedPrecondition(Reason.WRONG_STATE, "injected")

    async with serve(milvus_lite_uri, **target(llm)) as memory:
        agent = await memory.agent()
        expected = dict(zip(await memory.insert(agent.agent_id, "one", "two"), ("one", "two"), strict=True))
        with failing_upserts(memory.core().store, "memgpt_passages", "after"), refused(UNAVAILABLE):
            await memory.insert(agent.agent_id, "a text that was not acknowledged")
        with monkeypatch.context() as patch:
            patch.setattr(reembedding.Reembedding, "_switch", stop)
            with refused(PRECONDITION):
                await move(memory)
        expected |= dict.fromkeys(await memory.insert(agent.agent_id, "three"), "three")
        await move(memory)
        await check(memory, expected, agent_id=agent.agent_id)


async def test_a_move_is_given_up(serve: Serve, milvus_lite_uri: str, llm: ScriptedLLM) -> None:
    async with serve(milvus_lite_uri, **target(llm)) as memory:
        agent = await memory.agent()
        notes = sentences(200)
        ids = await memory.insert(agent.agent_id, *notes)
        assert not (await memory.store.CancelReembed(pb.CancelReembedRequest())).cancelled
        llm.hold_embeddings(after=2)
        moving = asyncio.create_task(move(memory))
        await asyncio.to_thread(llm.wait_for_held)
        assert (await memory.store.CancelReembed(pb.CancelReembedRequest())).cancelled
        llm.release_embeddings()
        with refused(PRECONDITION) as error:
            await moving
        assert "cancelled" in error.message
        assert not (await store_of(memory)).HasField("reembed")
        assert (await store_of(memory)).embedding_model == "wordllama-l2-256"
        check_ranking(
            QUERY, await memory.pages(QUERY, size=1000, agent_id=agent.agent_id), dict(zip(ids, notes, strict=True))
        )
        await move(memory)
        await check(memory, dict(zip(ids, notes, strict=True)), agent_id=agent.agent_id)
        assert not (await memory.store.CancelReembed(pb.CancelReembedRequest())).cancelled
        assert len(archives(memory)) == 1


async def test_the_configuration_names_the_model(
    serve: Serve, milvus_lite_uri: str, llm: ScriptedLLM, tmp_path: Path
) -> None:
    """There and back again; what to move to is read when it is asked for."""
    file = tmp_path / "config.toml"
    async with serve(milvus_lite_uri) as memory:
        agent = await memory.agent()
        notes = sentences(60)
        expected = dict(zip(await memory.insert(agent.agent_id, *notes), notes, strict=True))
        with refused(PRECONDITION, "WRONG_STATE") as error:
            await move(memory)
        assert "memory.reembed" in error.message
        file.write_text("[memory]\nreembed = 'nonsense'\n")
        with refused(PRECONDITION, "WRONG_STATE"):
            await move(memory)
        file.write_text("[memory]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in target(llm).items()))
        with refused(PRECONDITION, "WRONG_STATE") as error:
            await move(memory, embedding_model="another")
        assert "another" in error.message
        llm.dimension = 7
        with refused(PRECONDITION, "EMBEDDING_MISMATCH") as error:
            await move(memory)
        assert "memory.reembed_dimension" in error.message
        llm.dimension = DIMENSION
        llm.hold_embeddings(after=1)
        moving = asyncio.create_task(move(memory, embedding_model=MODEL))
        await asyncio.to_thread(llm.wait_for_held)
        joined = asyncio.create_task(move(memory))
        with refused(PRECONDITION):
            await move(memory, embedding_model="another")
        moving.cancel()  # the move outlives who asked for it
        llm.release_embeddings()
        await joined
        await check(memory, expected, agent_id=agent.agent_id)
        file.write_text("[memory]\nreembed = 'wordllama'\n")
        await move(memory)
        check_ranking(QUERY, await memory.pages(QUERY, size=1000, agent_id=agent.agent_id), expected)
    async with serve(milvus_lite_uri, **target(llm)) as memory:
        check_ranking(QUERY, await memory.pages(QUERY, size=1000, agent_id=agent.agent_id), expected)


async def test_messages_are_found_by_similarity_after_a_move_there_and_back(
    serve: Serve, milvus_lite_uri: str, llm: ScriptedLLM, tmp_path: Path
) -> None:
    """The index of messages goes with the former model, and is made again when the store comes back to it."""
    file = tmp_path / "config.toml"
    async with serve(milvus_lite_uri, **target(llm)) as memory:

        async def found(agent_id: str) -> int:
            request = recall.SearchMessagesRequest(agent_id=agent_id, query="boat", mode=recall.RECALL_MODE_SEMANTIC)
            return (await memory.recall.SearchMessages(request)).total_size  # type: ignore[no-any-return]

        agents = [(await memory.agent(messages=[user("My boat"), user("It leaks")])).agent_id for _ in range(2)]
        assert [await found(one) for one in agents] == [2, 2]
        await move(memory)
        assert [await found(one) for one in agents] == [2, 2]
        file.write_text("[memory]\nreembed = 'wordllama'\n")
        await move(memory)
        assert [await found(one) for one in agents] == [2, 2]


class Lives:
    """A store in a process that is killed again and again, and what must be in it.

    Attributes:
        expected: Texts of the agent's notes by their ids.
        documents: Texts of the source's file.
    """

    def __init__(self, home: Path, llm: ScriptedLLM, **settings: str) -> None:
        self._home = home
        self._llm = llm
        named = {f"MEMGPT_MEMORY_{key.upper()}": str(value) for key, value in target(llm).items()}
        self._settings = {**named, "MEMGPT_MEMORY_TIMEOUT": "30", **settings}
        self._agent_id = self._source_id = ""
        self.expected: dict[str, str] = {}
        self.documents = sentences(40, 77)

    async def one(self, die_at: str) -> None:
        """A life: while the move waits for the endpoint all is there and writes go on; then it goes on, and dies."""
        self._llm.hold_embeddings()
        with ServiceProcess(DYING, self._home, name="memory", DIE_AT=die_at, **self._settings) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                if not self._agent_id:
                    await self._fill(memory)
                    self._llm.hold_embeddings(after=1)
                await self.check(memory)
                await self._write(memory)
                self._llm.release_embeddings()
                with suppress(grpc.aio.AioRpcError):
                    await move(memory)
                assert await asyncio.to_thread(process.wait, 60) == -9

    async def stopped(self) -> None:
        """A life that is ended by SIGTERM while the move waits for the endpoint: in good order, and soon."""
        self._llm.hold_embeddings(after=2)
        with ServiceProcess("memgpt_memory", self._home, **self._settings) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                if not self._agent_id:
                    await self._fill(memory)
                moving = asyncio.create_task(move(memory))
                await asyncio.to_thread(self._llm.wait_for_held)
                await self._write(memory)
                await asyncio.to_thread(process.terminate)
                with pytest.raises(grpc.aio.AioRpcError):
                    await moving

    async def short(self, die_at: str) -> None:
        """A life that ends as soon as it goes on with what was left to do."""
        self._llm.release_embeddings()
        with ServiceProcess(DYING, self._home, name="memory", DIE_AT=die_at, **self._settings) as process:
            assert await asyncio.to_thread(process.wait, 60) == -9

    async def last(self) -> None:
        """A life that ends well: the move is done, and nothing is lost."""
        self._llm.release_embeddings()
        with ServiceProcess("memgpt_memory", self._home, **self._settings) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                await move(memory)
                assert (await store_of(memory)).embedding_model == MODEL
                await self._write(memory)
                await self.check(memory)
                documents = await passages_of(memory, source_id=self._source_id)
                assert sorted(documents.values()) == sorted(self.documents)
                await check(memory, self.expected | documents, agent_id=self._agent_id)

    async def check(self, memory: Memory) -> None:
        """Asserts that all is there, whichever model counts."""
        page = await memory.page(QUERY, size=1000, agent_id=self._agent_id)
        assert page.total_size == len(self.expected) + len(self.documents)
        found = sorted(hit.passage.text for hit in page.hits)
        assert found == sorted([*self.expected.values(), *self.documents])

    async def _fill(self, memory: Memory) -> None:
        self._agent_id, self._source_id = (await memory.agent()).agent_id, (await memory.source()).source_id
        await memory.load(self._source_id, "a.txt", self.documents)
        await memory.attach(self._agent_id, self._source_id)
        notes = sentences(300)
        self.expected = dict(zip(await memory.insert(self._agent_id, *notes), notes, strict=True))

    async def _write(self, memory: Memory) -> None:
        number = len(self.expected)
        for id_ in list(self.expected)[:: number // 5]:
            await memory.delete(self._agent_id, id_)
            del self.expected[id_]
        texts = [f"{text} {number}" for text in sentences(9, number)]
        self.expected |= dict(zip(await memory.insert(self._agent_id, *texts), texts, strict=True))


async def test_killed_at_every_turn_of_a_move(tmp_path: Path, llm: ScriptedLLM) -> None:
    lives = Lives(tmp_path, llm)
    await lives.one("after:copy:1")
    await lives.one("before:row:1")  # the switch
    await lives.short("after:row:1")  # all had been copied, so it comes to that at once
    await lives.short("after:drop:1")
    await lives.last()


async def test_stopped_during_a_move(tmp_path: Path, llm: ScriptedLLM) -> None:
    lives = Lives(tmp_path, llm)
    await lives.stopped()
    await lives.stopped()
    await lives.last()


@pytest.mark.milvus_server
async def test_killed_right_after_the_switch_on_a_server(
    tmp_path: Path, llm: ScriptedLLM, milvus_server_uri: str
) -> None:
    lives = Lives(tmp_path, llm, MEMGPT_MEMORY_URI=milvus_server_uri)
    await lives.one("after:row:3")
    await lives.last()
