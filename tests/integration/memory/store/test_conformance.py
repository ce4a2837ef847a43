"""What every adapter of the store's port must do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from memgpt_memory.store import Matches, Store
from memgpt_memory.store.filters import (
    EVERY_ROW,
    Between,
    Bounded,
    Condition,
    Contains,
    Equals,
    Not,
    OneOf,
    Outside,
    Refined,
    all_of,
    any_of,
)
from memgpt_memory.store.layout import MESSAGES, RECORDS, message_index, partition_name, passages
from memgpt_memory.store.rows import (
    IndexedMessageRow,
    IndexedPassageRow,
    Key,
    MessageRow,
    OwnedRevision,
    PassageRevision,
    PassageRow,
    RecordKind,
    RecordRow,
    RowNumber,
    RowOwner,
)

from tests.integration.memory.store.conftest import Stores

DIMENSION = 8
PASSAGES = passages("conformance", DIMENSION, full_text=False)
HERE, THERE = partition_name(1), partition_name(2)

NASTY = [
    "",
    "plain",
    'a "quoted" \\ text',
    "line\nline\r\ttab",
    "汉字 ½ \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "x' or 1 == 1",
    '%_$\u200e"] or id != ["',
]


def record(id_: str, body: str = "{}", **fields: str) -> RecordRow:
    return RecordRow(id_, fields.get("kind", "agent"), fields.get("tenant", "t"), fields.get("parent", ""), 5, body)


def vectors(count: int, seed: int = 7) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    drawn = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def passage(number: int, vector: np.ndarray, words: str = "", **fields: str) -> IndexedPassageRow:
    return IndexedPassageRow(
        id=f"{fields.get('owner', 'o')}-n{number}",
        owner=fields.get("owner", "o"),
        version=fields.get("version", ""),
        sequence=number,
        stamp=number // 2,
        created=number * 10,
        head=fields.get("head", ""),
        text=f"text {number}",
        embedding=vector,
        words=words,
    )


def ids(matches: Matches[RowOwner] | Matches[Key]) -> list[str]:
    return [match.id for match in matches.found]


def keys(rows: Sequence[Key]) -> list[str]:
    return [row.id for row in rows]


class TestRows:
    async def test_rows_are_read_as_they_were_written(self, store: Store) -> None:
        await store.open([RECORDS, MESSAGES])
        records = {f"r{number}": record(f"r{number}", text, tenant=f"t{number}") for number, text in enumerate(NASTY)}
        messages = [MessageRow("m0", "a", 2**53 + 1, 0, 1, '{"a": 1}', "long " * 10_000)]
        await store.upsert(RECORDS, list(records.values()))
        await store.upsert(MESSAGES, messages)
        assert await store.get(RECORDS, list(records), RecordRow) == records
        assert await store.get(MESSAGES, ["m0"], MessageRow) == {"m0": messages[0]}
        assert store.rows_written[RECORDS.name] == len(records)

    async def test_vectors_are_read_as_they_were_written(self, store: Store) -> None:
        await store.open([PASSAGES])
        written = [passage(number, vector) for number, vector in enumerate(vectors(30))]
        await store.upsert(PASSAGES, written, partition=HERE)
        await store.upsert(PASSAGES, [passage(0, vectors(1, seed=8)[0])], partition=HERE)
        found = await store.vectors(PASSAGES, ["o-n0", "o-n7", "missing"], partition=HERE)
        assert found.keys() == {"o-n0", "o-n7"}
        assert np.array_equal(found["o-n0"], vectors(1, seed=8)[0])
        assert np.array_equal(found["o-n7"], vectors(30)[7])
        assert await store.vectors(PASSAGES, ["o-n7"], partition=THERE) == {}

    async def test_a_row_class_reads_only_its_columns(self, store: Store) -> None:
        await store.open([RECORDS])
        await store.upsert(RECORDS, [record("r", kind="file")])
        assert await store.get(RECORDS, ["r", "missing"], RecordKind) == {"r": RecordKind("r", "file")}
        assert await store.query(RECORDS, EVERY_ROW, Key) == [Key("r")]

    async def test_the_last_row_of_a_key_replaces_the_others(self, store: Store) -> None:
        await store.open([RECORDS])
        await asyncio.gather(*(store.upsert(RECORDS, [record("r", str(number))]) for number in range(20)))
        assert (await store.get(RECORDS, ["r"], RecordRow))["r"].body == "19"
        assert await store.count(RECORDS) == 1

    async def test_two_rows_of_one_key_in_one_call_are_refused(self, store: Store) -> None:
        await store.open([RECORDS])
        with pytest.raises(ValueError, match="same key"):
            await store.upsert(RECORDS, [record("r", "1"), record("r", "2")])
        assert await store.count(RECORDS) == 0

    async def test_concurrent_writes_are_all_stored(self, store: Store) -> None:
        await store.open([RECORDS])
        await asyncio.gather(
            *(store.upsert(RECORDS, [record(f"r{call}-{row}") for row in range(7)]) for call in range(60))
        )
        assert len(await store.query(RECORDS, EVERY_ROW, Key)) == 420
        assert store.rows_waiting == 0

    async def test_deleted_rows_are_gone(self, store: Store) -> None:
        await store.open([RECORDS, PASSAGES])
        await store.upsert(RECORDS, [record(f"r{number}") for number in range(1_500)])
        await store.delete(RECORDS, [f"r{number}" for number in range(1, 1_500)] + ["missing"])
        assert keys(await store.query(RECORDS, EVERY_ROW, Key)) == ["r0"]
        await store.upsert(PASSAGES, [passage(n, vectors(1)[0]) for n in range(2)], partition=HERE)
        await store.delete(PASSAGES, ["o-n0"], partition=HERE)
        assert await store.get(PASSAGES, ["o-n0", "o-n1"], Key, partitions=[HERE]) == {"o-n1": Key("o-n1")}
        await store.upsert(PASSAGES, [passage(0, vectors(1)[0])], partition=HERE)
        assert keys(await store.query(PASSAGES, EVERY_ROW, Key, partitions=[HERE])) == ["o-n0", "o-n1"]

    async def test_a_write_that_was_cancelled_breaks_nothing(self, store: Store) -> None:
        await store.open([RECORDS])
        for number in range(10):
            call = asyncio.ensure_future(store.upsert(RECORDS, [record("r", str(number))]))
            for _ in range(number):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await store.upsert(RECORDS, [record("r", "last")])
        assert (await store.get(RECORDS, ["r"], RecordRow))["r"].body == "last"


class TestConditions:
    async def test_every_condition_finds_its_rows_in_order_of_the_key(self, store: Store) -> None:
        await store.open([PASSAGES])
        rows = [
            passage(n, vectors(1)[0], version="v" if n > 5 else "", head='{"tags": ["x"]}' if n % 2 else "")
            for n in range(10)
        ]
        await store.upsert(PASSAGES, rows, partition=HERE)
        owner = Equals("owner", "o")
        expected: list[tuple[Condition, list[int]]] = [
            (EVERY_ROW, list(range(10))),
            (Equals("sequence", 3), [3]),
            (OneOf("sequence", [1, 99, 2]), [1, 2]),
            (OneOf("sequence", []), []),
            (Between("sequence", 2, 4), [2, 3]),
            (Between("created", end=20), [0, 1]),
            (Not(Equals("version", "")), [6, 7, 8, 9]),
            (all_of(owner, Between("stamp", 3)), [6, 7, 8, 9]),
            (any_of(Equals("sequence", 0), all_of(Equals("version", "v"), Between("sequence", 8))), [0, 8, 9]),
            (Refined(owner, Outside("sequence", [(0, 3), (5, 9)])), [3, 4, 9]),
            (Refined(owner, Bounded("sequence", "version", {"v": 8, "": 1})), [0, 6, 7]),
            (Refined(Equals("version", ""), Contains("head", "tags", frozenset({"x"}))), [1, 3, 5]),
            (all_of(Refined(owner, Outside("sequence", [(2, 10)])), Between("sequence", 1)), [1]),
        ]
        for where, numbers in expected:
            found = await store.query(PASSAGES, where, RowNumber, partitions=[HERE])
            assert [row.sequence for row in found] == numbers, where

    async def test_values_are_never_part_of_the_filter_language(self, store: Store) -> None:
        await store.open([RECORDS])
        await store.upsert(RECORDS, [record(f"r{number}", tenant=text) for number, text in enumerate(NASTY)])
        for number, text in enumerate(NASTY):
            assert keys(await store.query(RECORDS, Equals("tenant", text), Key)) == [f"r{number}"]
            assert keys(await store.query(RECORDS, OneOf("tenant", [text, "none"]), Key)) == [f"r{number}"]

    async def test_partitions_are_apart(self, store: Store) -> None:
        await store.open([PASSAGES])
        for owner, partition in (("a", HERE), ("b", THERE)):
            await store.upsert(PASSAGES, [passage(0, vectors(1)[0], owner=owner)], partition=partition)
        assert keys(await store.query(PASSAGES, EVERY_ROW, Key, partitions=[THERE])) == ["b-n0"]
        assert keys(await store.query(PASSAGES, EVERY_ROW, Key)) == ["a-n0", "b-n0"]
        assert await store.get(PASSAGES, ["a-n0"], Key, partitions=[THERE]) == {}

    async def test_a_read_of_many_rows_is_complete(self, store: Store) -> None:
        await store.open([RECORDS])
        for start in range(0, 9_000, 3_000):
            await store.upsert(RECORDS, [record(f"r{number:05}") for number in range(start, start + 3_000)])
        found = await store.query(RECORDS, Equals("kind", "agent"), RecordRow)
        assert [row.id for row in found] == [f"r{number:05}" for number in range(9_000)]
        assert len(await store.get(RECORDS, [row.id for row in found[:2_500]], Key)) == 2_500


class TestSearch:
    async def test_scores_are_the_inner_products_best_first(self, store: Store) -> None:
        await store.open([PASSAGES])
        matrix = vectors(300)
        await store.upsert(PASSAGES, [passage(n, vector) for n, vector in enumerate(matrix)], partition=HERE)
        query = vectors(1, seed=1)[0]
        scores = matrix.astype(np.float64) @ query
        expected = [f"o-n{number}" for number in np.argsort(-scores)]
        for limit in (1, 10, 299):
            found = await store.search(PASSAGES, query, EVERY_ROW, RowOwner, partitions=[HERE], limit=limit)
            assert ids(found)[:limit] == expected[:limit]
            assert not found.complete
            assert found.total in (None, 300)
        everything = await store.search(PASSAGES, query, EVERY_ROW, RowOwner, partitions=[HERE], limit=301)
        assert everything.complete
        assert ids(everything) == expected
        assert [match.score for match in everything.found] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)

    async def test_only_rows_that_meet_the_condition_are_found(self, store: Store) -> None:
        await store.open([PASSAGES])
        rows = [passage(n, vector, version="v" if n % 3 else "") for n, vector in enumerate(vectors(60))]
        await store.upsert(PASSAGES, rows, partition=HERE)
        await store.upsert(PASSAGES, [passage(n, vectors(1)[0], owner="p") for n in range(5)], partition=THERE)
        exact = any_of(Outside("sequence", [(0, 50)]), Bounded("sequence", "version", {"v": 9}))
        where = Refined(Equals("owner", "o"), exact)
        found = await store.search(PASSAGES, vectors(1)[0], where, RowNumber, partitions=[HERE, THERE], limit=100)
        expected = {row.sequence for row in rows if row.sequence >= 50 or (row.version and row.sequence < 9)}
        assert found.complete
        assert {match.row.sequence for match in found.found} == expected

    async def test_what_was_written_last_is_found_at_once(self, store: Store) -> None:
        await store.open([PASSAGES])
        matrix = vectors(50)
        for number in range(50):
            await store.upsert(PASSAGES, [passage(0, matrix[number])], partition=HERE)
            found = await store.search(PASSAGES, matrix[number], EVERY_ROW, RowOwner, partitions=[HERE], limit=5)
            assert ids(found) == ["o-n0"]
            assert found.found[0].score == pytest.approx(1.0, abs=1e-5)
            if number % 7 == 0:
                await store.delete(PASSAGES, ["o-n0"], partition=HERE)
                assert not ids(
                    await store.search(PASSAGES, matrix[number], EVERY_ROW, RowOwner, partitions=[HERE], limit=5)
                )

    async def test_a_search_can_begin_at_a_score(self, store: Store) -> None:
        await store.open([PASSAGES])
        if not store.capabilities.range_search:
            pytest.skip("this backend has no range search")
        await store.upsert(PASSAGES, [passage(n, v) for n, v in enumerate(vectors(200))], partition=HERE)
        query = vectors(1, seed=1)[0]
        everything = (await store.search(PASSAGES, query, EVERY_ROW, RowOwner, partitions=[HERE], limit=500)).found
        for rank in (1, 50, 199):
            rest = await store.search(
                PASSAGES, query, EVERY_ROW, RowOwner, partitions=[HERE], limit=500, score_at_most=everything[rank].score
            )
            assert [match.id for match in rest.found] == [match.id for match in everything[rank:]]

    async def test_nothing_is_found_in_an_empty_collection(self, store: Store) -> None:
        await store.open([PASSAGES])
        found = await store.search(PASSAGES, vectors(1)[0], EVERY_ROW, RowOwner, partitions=[HERE], limit=10)
        assert (found.found, found.complete) == ([], True)

    async def test_searches_during_writes_find_every_acknowledged_row(self, store: Store) -> None:
        await store.open([PASSAGES])
        query = vectors(1)[0]
        acknowledged = 0

        async def write() -> None:
            nonlocal acknowledged
            for number in range(40):
                await store.upsert(PASSAGES, [passage(number * 10 + n, query) for n in range(10)], partition=HERE)
                acknowledged += 10

        writing = asyncio.ensure_future(write())
        while not writing.done():
            before = acknowledged
            found = await store.search(PASSAGES, query, EVERY_ROW, RowOwner, partitions=[HERE], limit=1_000)
            assert len(set(ids(found))) == len(found.found) >= before
            await asyncio.sleep(0)
        await writing


class TestWords:
    @pytest.fixture
    async def words(self, store: Store) -> Store:
        await store.open([RECORDS])
        if not store.capabilities.full_text:
            pytest.skip("this backend does not rank by words")
        await store.open([WORDED])
        return store

    async def test_rows_that_share_words_are_found_best_first(self, words: Store) -> None:
        texts = ["cat dog", "cat cat cat", "dog", "bird", "", "cat bird bird bird bird bird bird bird bird"]
        rows = [passage(n, vectors(1)[0], text) for n, text in enumerate(texts)]
        await words.upsert(WORDED, rows, partition=HERE)
        found = await words.search_words(WORDED, ["cat"], EVERY_ROW, OwnedRevision, partitions=[HERE], limit=10)
        assert [match.id for match in found.found] == ["o-n1", "o-n0", "o-n5"]
        assert all(one.score > other.score > 0 for one, other in pairwise(found.found))
        assert found.complete
        for nothing in ([], ["unheard"]):
            none = await words.search_words(WORDED, nothing, EVERY_ROW, RowOwner, partitions=[HERE], limit=10)
            assert (none.found, none.complete) == ([], True)

    async def test_every_match_is_found_without_a_limit(self, words: Store) -> None:
        rows = [passage(n, vectors(1)[0], "common" if n % 4 else "rare") for n in range(500)]
        await words.upsert(WORDED, rows, partition=HERE)
        where = Refined(Equals("owner", "o"), Outside("sequence", [(0, 100)]))
        found = await words.search_words(WORDED, ["common"], where, RowOwner, partitions=[HERE], limit=None)
        assert sorted(ids(found)) == sorted(row.id for row in rows if row.words == "common" and row.sequence >= 100)
        assert found.complete
        few = await words.search_words(WORDED, ["common"], where, RowOwner, partitions=[HERE], limit=20)
        assert not few.complete
        assert few.total in (None, len(found.found))

    async def test_words_of_replaced_and_deleted_rows_find_nothing(self, words: Store) -> None:
        await words.upsert(WORDED, [passage(n, vectors(1)[0], "former") for n in range(2)], partition=HERE)
        await words.upsert(WORDED, [passage(0, vectors(1)[0], "latter")], partition=HERE)
        await words.delete(WORDED, ["o-n1"], partition=HERE)
        for query, expected in (("former", []), ("latter", ["o-n0"])):
            found = await words.search_words(WORDED, [query], EVERY_ROW, RowOwner, partitions=[HERE], limit=5)
            assert ids(found) == expected

    async def test_messages_are_searched_too(self, words: Store) -> None:
        collection = message_index("conformance", DIMENSION, full_text=True)
        await words.open([collection])
        row = IndexedMessageRow("a-r1", "a", 1, 5, "user", embedding=vectors(1)[0], words="hello")
        mark = replace(row, id="a-r", role="", embedding=np.zeros(DIMENSION, dtype=np.float32), words="")
        await words.upsert(collection, [row, mark], partition=HERE)
        where = all_of(Equals("owner", "a"), OneOf("role", ["user"]), Between("created", 5, 6))
        found = await words.search(collection, vectors(1)[0], where, RowOwner, partitions=[HERE], limit=5)
        assert ids(found) == ["a-r1"]
        by_words = await words.search_words(collection, ["hello"], where, RowOwner, partitions=[HERE], limit=5)
        assert ids(by_words) == ["a-r1"]


WORDED = passages("conformance", DIMENSION, full_text=True)


class TestCollections:
    async def test_a_collection_is_there_once_it_was_opened_and_until_it_is_dropped(self, store: Store) -> None:
        await store.open([RECORDS])
        assert not await store.has(PASSAGES)
        assert not store.is_open(PASSAGES)
        await store.open([RECORDS, PASSAGES])
        await store.upsert(PASSAGES, [passage(0, vectors(1)[0])], partition=HERE)
        assert await store.has(PASSAGES)
        assert store.is_open(PASSAGES)
        await store.ping()
        await store.drop(PASSAGES)
        await store.drop(PASSAGES)
        assert not await store.has(PASSAGES)
        assert not store.is_open(PASSAGES)
        await store.open([PASSAGES])
        assert await store.count(PASSAGES) == 0
        found = await store.search(PASSAGES, vectors(1)[0], EVERY_ROW, RowOwner, partitions=[HERE], limit=5)
        assert ids(found) == []

    async def test_a_later_store_finds_everything(self, stores: Stores) -> None:
        former = stores()
        await former.open([RECORDS, PASSAGES])
        matrix = vectors(100)
        await former.upsert(RECORDS, [record("r")])
        await former.upsert(PASSAGES, [passage(n, vector) for n, vector in enumerate(matrix)], partition=HERE)
        await former.delete(PASSAGES, ["o-n7"], partition=HERE)
        await former.upsert(PASSAGES, [replace(passage(8, matrix[8]), stamp=99)], partition=HERE)
        await former.close()
        latter = stores()
        await latter.open([RECORDS, PASSAGES])
        assert await latter.has(PASSAGES)
        assert keys(await latter.query(RECORDS, EVERY_ROW, Key)) == ["r"]
        found = await latter.search(PASSAGES, matrix[8], EVERY_ROW, PassageRevision, partitions=[HERE], limit=1_000)
        assert found.found[0].row == PassageRevision("o-n8", 99)
        assert {match.id for match in found.found} == {f"o-n{number}" for number in range(100) if number != 7}
        rows = await latter.get(PASSAGES, ["o-n8"], PassageRow, partitions=[HERE])
        assert rows["o-n8"].text == "text 8"
        await latter.close()

    async def test_compacting_loses_nothing(self, store: Store) -> None:
        await store.open([RECORDS, PASSAGES])
        matrix = vectors(200)
        await store.upsert(PASSAGES, [passage(n, vector) for n, vector in enumerate(matrix)], partition=HERE)
        await store.delete(PASSAGES, [f"o-n{number}" for number in range(0, 200, 2)], partition=HERE)
        await store.compact()
        found = await store.search(PASSAGES, matrix[1], EVERY_ROW, RowOwner, partitions=[HERE], limit=1_000)
        assert {match.id for match in found.found} == {f"o-n{number}" for number in range(1, 200, 2)}
        assert await store.size() >= 0
