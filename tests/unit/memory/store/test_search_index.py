"""The search index of Milvus Lite, against rows that are looked at one by one."""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from memgpt_memory.store.filters import (
    EVERY_ROW,
    Between,
    Bounded,
    Condition,
    Equals,
    Not,
    OneOf,
    Outside,
    Refined,
    all_of,
    any_of,
    for_rows,
)
from memgpt_memory.store.layout import BM25, passages
from memgpt_memory.store.lite.index import search_index
from memgpt_memory.store.lite.index.search_index import ColumnChunk, SearchIndex
from memgpt_memory.store.rows import IndexedPassageRow

DIMENSION = 16
COLLECTION = passages("index", DIMENSION, full_text=True)
PARTITIONS = ["p00", "p01"]
VOCABULARY = [f"w{number}" for number in range(12)]
CONDITIONS: list[Condition] = [
    EVERY_ROW,
    Equals("owner", "o1"),
    OneOf("owner", ["o0", "o2", "nobody"]),
    OneOf("id", ["n1", "n5", "x"]),
    all_of(Not(Equals("version", "")), Between("sequence", 10, 60)),
    Refined(
        OneOf("owner", ["o0", "o1"]),
        any_of(
            all_of(Equals("version", ""), Outside("sequence", [(3, 9), (20, 40)]), Between("stamp", end=30)),
            Bounded("sequence", "version", {"v1": 50, "v2": 7}),
        ),
    ),
]

Rows = dict[str, IndexedPassageRow]


class Model:
    """An index, and what it must hold."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.vectors = np.random.default_rng(seed)
        self.rows: dict[str, Rows] = {name: {} for name in PARTITIONS}
        self.writes = 0
        self.index = SearchIndex(folder, COLLECTION)

    def row(self, number: int) -> IndexedPassageRow:
        drawn = self.vectors.normal(size=DIMENSION).astype(np.float32)
        if number % 5 == 0:  # many rows with the same score
            drawn = np.ones(DIMENSION, np.float32)
        return IndexedPassageRow(
            id=f"n{number}",
            owner=f"o{number % 3}",
            version=["", "v1", "v2"][number % 3],
            sequence=number,
            stamp=number // 2,
            created=7,
            head="",
            text="",
            embedding=drawn / np.linalg.norm(drawn),
            words=" ".join(self.random.choices(VOCABULARY, k=self.random.randrange(30))),
        )

    def put(self, numbers: list[int]) -> None:
        partition = PARTITIONS[self.random.randrange(2)]
        rows = [self.row(number) for number in numbers]
        for name in PARTITIONS:
            for row in rows:  # a row is in one partition at a time
                if name != partition and row.id in self.rows[name]:
                    self.delete(name, [row.id])
        self.writes += 1
        self.index.put(partition, rows, self.writes)
        self.rows[partition].update({row.id: row for row in rows})

    def delete(self, partition: str, ids: list[str]) -> None:
        self.writes += 1
        self.index.delete(partition if self.random.random() < 0.8 else None, ids, self.writes)
        for name in PARTITIONS:
            for id_ in ids:
                self.rows[name].pop(id_, None)

    def change(self) -> None:
        if self.random.random() < 0.75:
            self.put(self.random.sample(range(200), self.random.randrange(1, 40)))
        else:
            partition = PARTITIONS[self.random.randrange(2)]
            known = sorted(self.rows[partition]) or ["nothing"]
            self.delete(partition, self.random.sample(known, min(len(known), self.random.randrange(1, 20))))

    def reopen(self) -> None:
        self.index.close()
        self.index = SearchIndex(self.folder, COLLECTION)
        assert self.index.covered == self.writes

    def check(self) -> None:
        query = self.vectors.normal(size=DIMENSION).astype(np.float32)
        words = self.random.choices([*VOCABULARY, "unheard"], k=3)
        for where in CONDITIONS:
            for partitions in (PARTITIONS, PARTITIONS[:1]):
                rows = [row for name in partitions for row in self.rows[name].values() if for_rows(where)(row)]
                self._check_vectors(query, where, partitions, rows)
                self._check_words(words, where, partitions, rows)

    def _check_vectors(
        self, query: np.ndarray, where: Condition, partitions: list[str], rows: list[IndexedPassageRow]
    ) -> None:
        expected = sorted((-float(np.dot(row.embedding.astype(np.float64), query)), row.id) for row in rows)
        for limit in (1, 7, len(rows), 1_000):
            hits = self.index.search(query, where, partitions, limit)
            assert hits.total == len(rows)
            assert len(hits.keys) == min(limit, len(rows))
            found = list(zip(hits.scores, hits.keys, strict=True))
            assert [-score for score, _ in found] == pytest.approx([score for score, _ in expected[:limit]], abs=1e-6)
            assert found == sorted(found, key=lambda one: (-one[0], one[1]))
        every = self.index.search(query, where, partitions, 1_000)
        assert sorted(every.keys) == sorted(id_ for _, id_ in expected)
        by_id = {row.id: row for row in rows}
        for column in ("owner", "version", "stamp", "id"):
            assert every.column(column) == [getattr(by_id[key], column) for key in every.keys]

    def _check_words(
        self, words: list[str], where: Condition, partitions: list[str], rows: list[IndexedPassageRow]
    ) -> None:
        texts = {row.id: Counter(row.words.split()) for row in rows}
        expected = _bm25(texts, words)
        hits = self.index.search_words(words, where, partitions, None)
        assert dict(zip(hits.keys, hits.scores, strict=True)) == pytest.approx(expected, rel=1e-4)
        assert hits.total == len(expected)
        assert all(one >= other for one, other in pairwise(hits.scores))
        best = self.index.search_words(words, where, partitions, 5)
        assert best.keys == hits.keys[:5]
        assert best.total == hits.total


def _bm25(texts: dict[str, Counter[str]], words: list[str]) -> dict[str, float]:
    k1, b = BM25["bm25_k1"], BM25["bm25_b"]
    mean = sum(text.total() for text in texts.values()) / max(len(texts), 1)
    scores: dict[str, float] = {}
    for word in words:
        having = sum(1 for text in texts.values() if text[word])
        weight = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for id_, text in texts.items():
            if text[word]:
                norm = k1 * (1 - b + b * text.total() / mean)
                scores[id_] = scores.get(id_, 0.0) + weight * text[word] * (k1 + 1) / (text[word] + norm)
    return scores


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "SEAL_ROWS", 40)
    monkeypatch.setattr(search_index, "LARGEST_MERGED_ROWS", 120)


@pytest.mark.parametrize("seed", range(4))
def test_every_search_is_right_whatever_was_written(tmp_path: Path, small_files: None, seed: int) -> None:
    model = Model(tmp_path / "index", seed)
    for number in range(60):
        model.change()
        match model.random.randrange(12):
            case 0:
                model.index.checkpoint()
            case 1:
                model.reopen()
            case 2:
                model.index.compact()
        if number % 6 == 0:
            model.check()
    model.reopen()
    model.check()
    assert any(model.folder.iterdir())
    model.index.close()


def test_scores_are_the_same_whatever_rows_are_together(tmp_path: Path) -> None:
    model = Model(tmp_path / "index", 1)
    model.put(list(range(200)))
    query = model.vectors.normal(size=DIMENSION).astype(np.float32)
    one = model.index.search(query, EVERY_ROW, PARTITIONS, 200)
    model.reopen()
    for limit in range(1, 200, 13):
        some = model.index.search(query, Outside("sequence", [(0, 3)]), PARTITIONS, limit)
        scores = dict(zip(one.keys, one.scores, strict=True))
        assert some.scores == [scores[key] for key in some.keys]
    model.index.close()


def test_files_are_bounded_in_number_and_hold_nothing_removed(tmp_path: Path, small_files: None) -> None:
    model = Model(tmp_path / "index", 3)
    for start in range(0, 200, 5):
        model.put(list(range(start, start + 5)))
        model.index._maintain()
    model.index._background.submit(lambda: None).result()
    assert len(list(model.folder.iterdir())) < 20
    removed = replace(model.row(7), id="canary-key", owner="canary-owner")
    model.index.put("p00", [removed], 1_000)
    model.index.checkpoint()
    assert any(b"canary-key" in path.read_bytes() for path in model.folder.iterdir())
    model.index.delete("p00", ["canary-key"], 1_001)
    model.index.compact()
    assert not any(b"canary" in path.read_bytes() for path in model.folder.iterdir())
    model.index.close()


def test_rows_reach_files_though_each_was_searched_first(tmp_path: Path, small_files: None) -> None:
    model = Model(tmp_path / "index", 4)
    for start in range(0, 200, 5):
        model.put(list(range(start, start + 5)))
        assert model.index.count() == start + 5
        model.index._background.submit(lambda: None).result()
    in_memory = [part for parts in model.index._parts.values() for part in parts if not part.file]
    assert sum(len(part.segment) for part in in_memory) < search_index.SEAL_ROWS
    assert model.writes - json.loads((model.folder / "manifest.json").read_text())["covered"] < 8
    model.index.close()


def test_filling_replaces_and_removes(tmp_path: Path) -> None:
    model = Model(tmp_path / "index", 5)
    model.put([1, 2, 3])
    partition = next(name for name in PARTITIONS if model.rows[name])
    fresh = [model.row(number) for number in (3, 4)]
    chunk = ColumnChunk(
        [row.id for row in fresh],
        {name: [getattr(row, name) for row in fresh] for name in ("owner", "version", "sequence", "stamp", "created")},
        np.array([row.embedding for row in fresh], np.float32),
        [row.words for row in fresh],
    )
    model.index.fill(partition, [chunk], ["n1"])
    model.index.finish_filling(9)
    model.rows[partition].pop("n1")
    model.rows[partition].update({row.id: row for row in fresh})
    model.writes = 9
    model.check()
    model.reopen()
    model.check()
    model.index.close()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_format(path: Path) -> None:
    manifest = path.parent / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))


@pytest.mark.parametrize("harm", [truncate, Path.unlink, lambda path: path.write_bytes(b""), other_format])
def test_files_that_cannot_be_read_leave_an_empty_index(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    model = Model(tmp_path / "index", 2)
    model.put(list(range(50)))
    model.index.close()
    harm(next(model.folder.glob("*.arrays")))
    index = SearchIndex(model.folder, COLLECTION)
    assert index.covered == 0
    assert index.search(np.ones(DIMENSION, np.float32), EVERY_ROW, PARTITIONS, 5).keys == []
    index.close()


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    model = Model(tmp_path / "index", 2)
    model.put(list(range(50)))
    model.index.close()
    flip(next(model.folder.glob("*.arrays")))
    index = SearchIndex(model.folder, COLLECTION)
    index._background.submit(lambda: None).result()
    assert index.damaged or index.covered == 0
    index.close(keep=False)


def test_a_flipped_bit_of_a_removal_is_noticed(tmp_path: Path) -> None:
    model = Model(tmp_path / "index", 2)
    model.put(list(range(50)))
    model.index.checkpoint()
    partition = next(name for name in PARTITIONS if model.rows[name])
    model.index.delete(partition, ["n7"], 2)
    model.index.close()
    (part,) = model.index._parts[partition]
    path = model.folder / part.flags_file
    data = bytearray(path.read_bytes())
    first = data.index(bytes([1] * 5))  # the flags of the rows are 1 or 0
    data[first + 3] ^= 1
    path.write_bytes(data)
    index = SearchIndex(model.folder, COLLECTION)
    index._background.submit(lambda: None).result()
    assert index.damaged or index.covered == 0
    index.close(keep=False)


def test_searches_during_writes_and_merges_are_consistent(tmp_path: Path, small_files: None) -> None:
    index = SearchIndex(tmp_path / "index", COLLECTION)
    model = Model(tmp_path / "other", 6)
    rows = [model.row(number) for number in range(400)]
    model.index.close()
    errors: list[str] = []
    done = threading.Event()
    written = 0

    def search() -> None:
        while not done.is_set():
            least = written
            hits = index.search(np.ones(DIMENSION, np.float32), EVERY_ROW, ["p00"], 1_000)
            if len(set(hits.keys)) != len(hits.keys) or len(hits.keys) < least:
                errors.append(f"{len(hits.keys)} of {least}")

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number, row in enumerate(rows):
        index.put("p00", [row], number + 1)
        written = number + 1
    done.set()
    for thread in threads:
        thread.join()
    index.close()
    assert not errors
