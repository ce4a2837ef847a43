"""The benchmark that chooses the parameters of fusion ranks as the service does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from memgpt_memory.ranking import SIMILARITY_WEIGHT, Scored, fuse
from memgpt_memory.store.layout import BM25

from benchmarks import fusion
from benchmarks.fusion import Measured, Parameters, ScoredSet, choose
from benchmarks.retrieval import DataSet
from benchmarks.retrieval_sets import SEED, data_sets
from benchmarks.retrieval_sets.faq import faq

WORDS = ["tide", "moon", "boat", "bread", "oven", "flour", "chess", "clock"]


def test_it_ranks_as_the_service_does(monkeypatch):
    monkeypatch.setattr(fusion, "HEAD", 30)
    random_ = random.Random(3)
    texts = {f"d{n:02}": " ".join(random_.choices(WORDS, k=random_.randint(1, 9))) for n in range(60)}
    dense = np.random.default_rng(3).normal(size=(5, 60))
    questions = [(" ".join(random_.sample(WORDS, 3)), frozenset([id_])) for id_ in list(texts)[:5]]
    scored = ScoredSet(DataSet(texts, questions), dense)
    by_words = scored.by_words(BM25["bm25_k1"], BM25["bm25_b"])
    recall, rank = scored.values(BM25["bm25_k1"], BM25["bm25_b"], [SIMILARITY_WEIGHT])[SIMILARITY_WEIGHT]
    for number, (_, relevant) in enumerate(questions):
        parts = [
            sorted(
                (
                    Scored(id_, "o", float(row[place]))
                    for place, id_ in enumerate(texts)
                    if row is dense[number] or row[place] > 0
                ),
                key=lambda one: (-one.score, one.id),
            )[:30]
            for row in (dense[number], by_words[number])
        ]
        found = [hit.id for hit in fuse(*parts)[:10]]
        assert recall[number] == len(relevant.intersection(found))
        assert rank[number] == (1 / (1 + found.index(min(relevant))) if relevant.intersection(found) else 0)


def test_parameters_that_are_nowhere_significantly_worse_come_first():
    good, best = Parameters(0.6, 0.2, 0.4), Parameters(0.6, 0.2, 0.9)
    sets = [{good: Measured(0.5, 0.0), best: Measured(0.9, 0.0)}, {good: Measured(0.5, 1.0), best: Measured(0.9, 2.5)}]
    assert choose(sets) == good
    assert choose(sets[:1]) == best


def test_every_set_is_the_same_each_time_and_large_enough():
    first, second = (dict(data_sets(None)) for _ in range(2))
    assert first == second, f"the seed {SEED} makes it so"
    assert set(first) == {"paper", "code", "chats", "facts", "chinese"}
    for name, data in first.items():
        assert len(data.questions) >= (86 if name == "paper" else 150), name
        for _, relevant in data.questions:
            assert relevant <= set(data.documents)


def test_an_answer_of_the_faq_is_cut_into_passages(tmp_path):
    answer = "\n\n".join(f"See :ref:`part {n}` of ``it``. " + "word " * 60 for n in range(8))
    (tmp_path / "general.rst").write_text(
        f"Title\n=====\n\nWhat is it?\n-----------\n\n{answer}\n\nMore\n----\n\nText.\n"
    )
    data = faq(tmp_path)
    [(question, relevant)] = data.questions
    assert question == "What is it?"
    assert len(relevant) == 3
    assert all(len(data.documents[id_]) <= 1_000 for id_ in relevant)
    assert "part 0 of it" in data.documents[min(relevant)]
    with pytest.raises(ValueError, match="has no files"):
        faq(tmp_path / "nowhere")
