"""Servers of other versions than 2.3.5, by a proxy that answers as they do.

Full text is answered by Milvus Lite, whose protocol is that of 2.6, since 2.3.5 has none.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from memgpt_memory.store.batching import RefusedError
from memgpt_memory.store.filters import EVERY_ROW, Equals
from memgpt_memory.store.layout import MESSAGES, RECORDS, partition_name, passages
from memgpt_memory.store.rows import IndexedPassageRow, RecordOwner, RecordRow, RowOwner
from memgpt_memory.store.server import store as server
from memgpt_memory.store.server.store import ServerStore
from memgpt_runtime.errors import Unavailable
from milvus_lite.server_manager import server_manager_instance
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from structlog.testing import capture_logs

from tests.support.milvus_proxy import MilvusProxy

HERE = partition_name(3)
WORDS, NO_WORDS = passages("versions", 4, full_text=True), passages("versions", 4, full_text=False)


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[MilvusProxy]:
    """In front of Milvus Lite's server."""
    path = str(tmp_path / "milvus.db")
    target = urlsplit(server_manager_instance.start_and_get_uri(path)).netloc
    try:
        with MilvusProxy(target) as proxy:
            yield proxy
    finally:
        server_manager_instance.release_server(path)


@pytest.fixture
def real(milvus_server_uri: str) -> Iterator[MilvusProxy]:
    """In front of Milvus 2.3.5."""
    with MilvusProxy(urlsplit(milvus_server_uri).netloc) as proxy:
        yield proxy


@asynccontextmanager
async def opened(proxy: MilvusProxy, database: str = "", seconds: float = 20.0) -> AsyncIterator[ServerStore]:
    made = ServerStore(f"{proxy.uri}{database}", token="", timeout=seconds, observe=lambda *_: None)
    try:
        yield made
    finally:
        await made.close()


def record(number: int, size: int = 10) -> RecordRow:
    return RecordRow(f"r{number:04}", "agent", "t", "", number, "b" * size)


def note(number: int, words: str) -> IndexedPassageRow:
    vector = np.eye(4, dtype=np.float32)[number % 4]
    return IndexedPassageRow(f"n{number:04}", "o", "", number, number, 1, "", "text", embedding=vector, words=words)


@pytest.mark.parametrize(
    ("version", "full_text"),
    [
        ("2.6.16", True),
        ("v2.5.11", True),
        ("pkg/v2.5.5", True),
        ("pkg/v2.6.13", True),
        ("master-20260224-2d14975d18", True),
        ("HEAD-20260224-2d14975d18", True),
        ("v2.4.23", False),
        ("v2.3.5", False),
    ],
)
async def test_full_text_is_decided_for_every_version_and_logged(
    lite: MilvusProxy, version: str, full_text: bool
) -> None:
    lite.version = version
    with capture_logs() as logs:
        async with opened(lite) as store:
            await store.open([RECORDS])
            assert (store.capabilities.version, store.capabilities.full_text) == (version, full_text)
            collection = WORDS if full_text else NO_WORDS
            await store.open([collection])
            await store.upsert(collection, [note(1, "apple"), note(2, "pear")], partition=HERE)
            if full_text:
                found = await store.search_words(collection, ["pear"], EVERY_ROW, RowOwner, partitions=[HERE], limit=10)
                assert [match.id for match in found.found] == ["n0002"]
    decided = [line for line in logs if line["event"] == "store_capabilities_detected"]
    assert [(line["version"], line["full_text"]) for line in decided] == [(version, full_text)]


async def test_an_open_that_fails_after_connecting_asks_for_the_version_again(lite: MilvusProxy) -> None:
    lite.version = "2.6.16"
    lite.fail("GetVersion", grpc.StatusCode.INTERNAL, "not yet")
    async with opened(lite) as store:
        with pytest.raises(Unavailable):
            await store.open([RECORDS])
        lite.allow_all()
        await store.open([RECORDS])
        assert store.capabilities.version == "2.6.16"
        assert store.capabilities.full_text


@pytest.mark.parametrize(("version", "level"), [("2.6.16", "Strong"), ("v2.5.11", "Session"), ("v2.3.5", "Session")])
async def test_reads_after_writes_use_the_fast_consistency_level(lite: MilvusProxy, version: str, level: str) -> None:
    lite.version = version
    async with opened(lite) as store:
        await store.open([RECORDS])
        await store.upsert(RECORDS, [record(1)])
        assert set(await store.get(RECORDS, ["r0001"], RecordOwner)) == {"r0001"}
    sent = lite.requests["Query"][-1].consistency_level
    assert common_pb2.ConsistencyLevel.Name(sent) == level


async def test_an_index_of_words_is_exact_for_long_texts(lite: MilvusProxy) -> None:
    lite.version = "2.6.16"
    made: list[Any] = []
    forward = lite.answer

    def noting(method: str, request: bytes) -> Any:
        if method == "CreateIndex":
            made.append(milvus_pb2.CreateIndexRequest.FromString(request))
        return forward(method, request)

    lite.answer = noting  # type: ignore[method-assign]
    async with opened(lite) as store:
        await store.open([WORDS])
    parameters = [pair.value for request in made for pair in request.extra_params]
    assert any("TAAT_NAIVE" in value for value in parameters)


@pytest.mark.milvus_server
async def test_a_refused_row_fails_its_own_caller_only(real: MilvusProxy, milvus_server_uri: str) -> None:
    """2.6 refuses a batch as a whole; its code says that another attempt does not help."""
    real.refuse("Upsert", 1100, "invalid parameter", when=lambda request: b"r0001" in request.SerializeToString())
    async with opened(real, urlsplit(milvus_server_uri).path) as store:
        await store.open([RECORDS])
        outcomes = await asyncio.gather(
            *(store.upsert(RECORDS, [record(number)]) for number in range(5)), return_exceptions=True
        )
        assert [type(one) for one in outcomes] == [type(None), RefusedError, *[type(None)] * 3]
        found = await store.get(RECORDS, [f"r{number:04}" for number in range(5)], RecordOwner)
        assert set(found) == {"r0000", "r0002", "r0003", "r0004"}


@pytest.mark.milvus_server
@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1100, "invalid parameter", RefusedError),
        (1101, "missing required parameters", RefusedError),
        (2200, "query result exceed the maxOutputSize Limit", RefusedError),
        (1, "service not ready", Unavailable),
        (65535, "Timestamp lag too large", Unavailable),
    ],
)
async def test_codes_of_refusals_are_told_apart_from_outages(
    real: MilvusProxy, milvus_server_uri: str, code: int, reason: str, kind: type[Exception]
) -> None:
    async with opened(real, urlsplit(milvus_server_uri).path, seconds=3.0) as store:
        await store.open([RECORDS])
        real.refuse("Query", code, reason)
        with pytest.raises(kind):
            await store.query(RECORDS, Equals("kind", "agent"), RecordOwner)
        real.allow_all()
        assert await store.query(RECORDS, Equals("kind", "agent"), RecordOwner) == []


@pytest.mark.milvus_server
async def test_a_batch_beyond_the_size_of_a_request_is_split(real: MilvusProxy, milvus_server_uri: str) -> None:
    real.max_request_bytes = 100_000
    async with opened(real, urlsplit(milvus_server_uri).path) as store:
        await store.open([RECORDS])
        rows = [record(number, 40_000) for number in range(6)]
        await asyncio.gather(*(store.upsert(RECORDS, [row]) for row in rows))
        assert len(await store.query(RECORDS, Equals("kind", "agent"), RecordOwner)) == 6
        with pytest.raises(RefusedError):
            await store.upsert(RECORDS, rows)


@pytest.mark.milvus_server
async def test_long_columns_are_read_in_small_pieces(real: MilvusProxy, milvus_server_uri: str) -> None:
    """A response has at most 100 MB: 1,000 rows of 64 KB."""
    async with opened(real, urlsplit(milvus_server_uri).path) as store:
        await store.open([RECORDS, MESSAGES])
        await store.query(RECORDS, Equals("kind", "agent"), RecordRow)
        await store.query(RECORDS, Equals("kind", "agent"), RecordOwner)
    limits = [
        int(pair.value) for request in real.requests["Query"] for pair in request.query_params if pair.key == "limit"
    ]
    assert limits[-2:] == [1_000, 8_192]


@pytest.mark.milvus_server
async def test_an_index_list_that_hangs_ends_with_the_timeout(real: MilvusProxy, milvus_server_uri: str) -> None:
    stop = real.stop("DescribeIndex", 1, "before")
    async with opened(real, urlsplit(milvus_server_uri).path, seconds=1.0) as store:
        try:
            with pytest.raises(Unavailable):
                await asyncio.wait_for(store.open([RECORDS]), 60)
            assert stop.reached.is_set()
        finally:
            stop.release.set()
        await store.open([RECORDS])
        await store.upsert(RECORDS, [record(1)])


@pytest.mark.milvus_server
async def test_the_next_window_also_takes_scores_one_bit_above_the_last(
    real: MilvusProxy, milvus_server_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range search may compute the same score one bit higher than the search before."""
    monkeypatch.setattr(server, "WINDOW", 64)
    query = np.eye(4, dtype=np.float32)[0]
    scores = [np.float32(1 - number / 1_000) for number in range(100)]
    async with opened(real, urlsplit(milvus_server_uri).path) as store:
        await store.open([NO_WORDS])
        made = [replace(note(number, ""), embedding=query * score) for number, score in enumerate(scores)]
        await store.upsert(NO_WORDS, made, partition=HERE)
        found = await store.search(NO_WORDS, query, Equals("owner", "o"), RowOwner, partitions=[HERE], limit=100)
    assert [match.id for match in found.found] == [row.id for row in made]
    (params,) = (pair.value for pair in real.requests["Search"][1].search_params if pair.key == "params")
    assert json.loads(params)["range_filter"] == float(np.nextafter(scores[63], np.float32(2)))
