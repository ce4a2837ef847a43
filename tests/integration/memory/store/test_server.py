"""The adapter for servers, where Milvus 2.3.5 cannot be asked: over Milvus Lite, which speaks the same protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import grpc
import numpy as np
import pytest
from memgpt_memory.store.batching import RefusedError
from memgpt_memory.store.filters import Equals, Outside, Refined
from memgpt_memory.store.layout import Collection, partition_name, passages
from memgpt_memory.store.rows import IndexedPassageRow, Row, RowOwner
from memgpt_memory.store.server import store as server
from memgpt_memory.store.server.consistency import Consistency
from memgpt_memory.store.server.store import ServerStore, version_number
from memgpt_runtime.errors import FailedPrecondition, Unavailable
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

PASSAGES = passages("server", 4, full_text=True)
HERE = partition_name(3)
WHERE = Refined(Equals("owner", "o"), Outside("sequence", [(0, 7)]))


def rows(count: int, *, stamp: int | None = None) -> Iterator[IndexedPassageRow]:
    for number in range(count):
        at = number // 20 if stamp is None else stamp
        vector = np.eye(4, dtype=np.float32)[number % 3] * np.float32(1 - number / 10_000)
        yield IndexedPassageRow(
            f"n{number:04}", "o", "", number, at, 1, "", "text", embedding=vector, words="note here"
        )


@pytest.fixture
async def store(milvus_lite_uri: str) -> AsyncIterator[ServerStore]:
    made = ServerStore(milvus_lite_uri, token="", timeout=30.0, observe=lambda *_: None)
    await made.open([PASSAGES])
    yield made
    await made.close()


async def test_every_match_is_found_beyond_the_window_of_a_search(
    store: ServerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WINDOW", 64)
    await store.upsert(PASSAGES, list(rows(600)), partition=HERE)
    found = await store.search_words(PASSAGES, ["note"], WHERE, RowOwner, partitions=[HERE], limit=None)
    assert sorted(match.id for match in found.found) == [f"n{number:04}" for number in range(7, 600)]
    assert found.total == 593


async def test_more_matches_of_one_instant_than_a_window_are_refused(
    store: ServerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WINDOW", 64)
    await store.upsert(PASSAGES, list(rows(100, stamp=9)), partition=HERE)
    with pytest.raises(FailedPrecondition, match="narrow the search"):
        await store.search_words(PASSAGES, ["note"], WHERE, RowOwner, partitions=[HERE], limit=None)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("v2.3.5", (2, 3)),
        ("2.6.16", (2, 6)),
        ("pkg/v2.6.13", (2, 6)),
        ("master-20260224-2d14975d18", None),
        ("unknown", None),
    ],
)
def test_versions_are_read_wherever_the_number_is(version: str, number: tuple[int, int] | None) -> None:
    assert version_number(version) == number


async def test_a_connection_without_a_version_is_not_kept(
    milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ServerStore(milvus_lite_uri, token="", timeout=30.0, observe=lambda *_: None)

    def fail(*_: object, **__: object) -> str:
        raise MilvusException(message="not yet")

    with monkeypatch.context() as patch:
        patch.setattr(MilvusClient, "get_server_version", fail)
        with pytest.raises(Unavailable):
            await made.open([PASSAGES])
    monkeypatch.setattr(MilvusClient, "get_server_version", lambda *_, **__: "pkg/v2.6.13")
    await made.open([PASSAGES])
    assert made.capabilities.full_text
    assert made.capabilities.version == "pkg/v2.6.13"
    await made.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MilvusException(code=1100, message="invalid parameter"), RefusedError),
        (MilvusException(code=65535, message="query result exceed the maxOutputSize Limit"), RefusedError),
        (MilvusException(code=2, message="not ready"), Unavailable),
        (grpc.RpcError("broken"), Unavailable),
        (ValueError("a bug"), ValueError),
    ],
)
async def test_refusals_are_told_apart_from_failures(
    store: ServerStore, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(store._connected, "upsert", fail)
    with pytest.raises(kind) as raised:
        await store.upsert(PASSAGES, list(rows(1)), partition=HERE)
    assert kind is ValueError or str(error) not in str(raised.value)


async def test_a_refused_row_fails_its_own_call_only(store: ServerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = store._write_now

    def refuse(collection: Collection, written: Sequence[Row], partition: str) -> None:
        if any(row.id == "n0001" for row in written):
            raise MilvusException(code=1100, message="invalid parameter")
        write(collection, written, partition)

    monkeypatch.setattr(store, "_write_now", refuse)
    done = await asyncio.gather(
        *(store.upsert(PASSAGES, [row], partition=HERE) for row in rows(4)), return_exceptions=True
    )
    assert [type(one) for one in done] == [type(None), RefusedError, type(None), type(None)]
    assert set(await store.get(PASSAGES, [f"n{n:04}" for n in range(4)], RowOwner)) == {"n0000", "n0002", "n0003"}


def test_from_2_6_on_every_read_is_strong() -> None:
    for version, level in (((2, 3), "Session"), ((2, 6), "Strong"), (None, "Strong")):
        consistency = Consistency(lambda _: 5)
        consistency.of_version(version)
        consistency.end_write("c", consistency.begin_write("c"))
        assert consistency.for_read("c", strong=False)["consistency_level"] == level
        assert consistency.for_read("c", strong=True) == {"consistency_level": "Strong"}
