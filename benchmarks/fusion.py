"""Choose the parameters of BM25 and of fusion: ``python -m benchmarks.fusion --choose``.

Every data set of `retrieval_sets` is embedded once; everything else is arithmetic on matrices of scores. For each set,
the parameters are chosen on the others (leave-one-out) and judged on it. The value of parameters on a set is the mean
of recall@10 and MRR@10; a choice maximizes its mean over sets. Whether fusion is worse than the better of its parts is
decided by the paired bootstrap of `retrieval`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from memgpt_memory.embedding import Embedder, WordLlama, load_transformer
from memgpt_memory.fulltext import query_words, words_of
from memgpt_memory.ranking import HEAD, SIMILARITY_WEIGHT
from memgpt_memory.store.layout import BM25

from benchmarks.retrieval import DataSet, interval
from benchmarks.retrieval_sets import data_sets

K1 = (0.4, 0.6, 0.9, 1.2, 1.6)
B = (0.0, 0.2, 0.4, 0.75, 0.9)
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Weights of similarity in fusion. A weight of 0 ranks by words alone, and 1 by similarity alone."""

CUT = 10
_SIGNIFICANT = 1.96
"""Standard errors beyond which a difference is significant at 5 %."""

Matrix = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is chosen: the parameters of BM25, and the weight of similarity."""

    k1: float
    b: float
    weight: float

    @property
    def text(self) -> str:
        """As a table shows them."""
        return f"k1 {self.k1:g}, b {self.b:g}, weight {self.weight:g}"


class ScoredSet:
    """A data set with its scores by similarity, and what BM25 needs."""

    def __init__(self, data: DataSet, dense: Matrix) -> None:
        """Count the words of a data set; `dense` is ``(questions, documents)``."""
        self.dense = dense
        ids = list(data.documents)
        self._relevant = np.array([[id_ in relevant for id_ in ids] for _, relevant in data.questions])
        counts = [Counter(words_of(text)) for text in data.documents.values()]
        self._lengths = np.array([count.total() for count in counts], dtype=np.float64)
        self._words = [Counter(query_words(query)) for query, _ in data.questions]
        self._frequency = {
            word: np.array([count[word] for count in counts], dtype=np.float64)
            for word in {word for words in self._words for word in words}
        }

    def by_words(self, k1: float, b: float) -> Matrix:
        """Return the scores of BM25; zero for a document that shares no word with the question."""
        norm = k1 * (1 - b + b * self._lengths / max(self._lengths.mean(), 1.0))
        scores = {}
        for word, frequency in self._frequency.items():
            having = np.count_nonzero(frequency)
            idf = np.log(1 + (len(frequency) - having + 0.5) / (having + 0.5))
            scores[word] = idf * frequency * (k1 + 1) / (frequency + norm)
        rows = [
            sum((times * scores[word] for word, times in words.items()), np.zeros(len(self._lengths)))
            for words in self._words
        ]
        return np.stack(rows)

    def values(self, k1: float, b: float, weights: Sequence[float]) -> dict[float, Matrix]:
        """Return the recall@10 and the MRR@10 of every question, ``(2, questions)``, by weight."""
        by_words = self.by_words(k1, b)
        found = _head(self.dense), _head(by_words) & (by_words > 0)
        dense, text = _spread(self.dense, found[0]), _fractions(by_words, found[1])
        # Without one of the parts, what only that part finds is not a hit.
        known = {0.0: found[1], 1.0: found[0]}
        return {
            weight: self._judge(weight * dense + (1 - weight) * text, known.get(weight, found[0] | found[1]))
            for weight in weights
        }

    def missed(self, parameters: Parameters) -> list[int]:
        """Return the questions of which fusion finds no relevant document among the first ten."""
        values = self.values(parameters.k1, parameters.b, (parameters.weight,))[parameters.weight]
        return [int(number) for number in np.flatnonzero(values[0] == 0)]

    def _judge(self, scores: Matrix, found: Flags) -> Matrix:
        order = np.argsort(np.where(found, -scores, np.inf), axis=1, kind="stable")[:, :CUT]
        hit = np.take_along_axis(self._relevant & found, order, axis=1)
        first = np.where(hit.any(axis=1), 1 / (1 + hit.argmax(axis=1)), 0.0)
        return np.stack([hit.sum(axis=1) / self._relevant.sum(axis=1), first])


def _head(scores: Matrix) -> Flags:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :HEAD]
    flags = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(flags, order, values=True, axis=1)
    return flags


def _spread(scores: Matrix, found: Flags) -> Matrix:
    least = np.where(found, scores, np.inf).min(axis=1, keepdims=True)
    most = np.where(found, scores, -np.inf).max(axis=1, keepdims=True)
    return np.where(found, (scores - least) / np.maximum(most - least, 1e-9), 0.0)


def _fractions(scores: Matrix, found: Flags) -> Matrix:
    most = np.where(found, scores, 0.0).max(axis=1, keepdims=True)
    return np.where(found, scores / np.maximum(most, 1e-9), 0.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """Parameters on one set.

    Attributes:
        value: Mean of recall@10 and MRR@10.
        deficit: By how many standard errors fusion is below the better of its parts, in the worse of both metrics.
    """

    value: float
    deficit: float


def measure(scored: ScoredSet) -> dict[Parameters, Measured]:
    """Measure all parameters on a set."""
    measured = {}
    for k1, b in itertools.product(K1, B):
        values = scored.values(k1, b, (0.0, *WEIGHTS, 1.0))
        for weight in WEIGHTS:
            better = _better(values[0.0], values[1.0])
            difference = values[weight] - better
            errors = difference.std(axis=1) / np.sqrt(difference.shape[1])
            deficit = np.max(-difference.mean(axis=1) / np.maximum(errors, 1e-9), initial=0.0)
            measured[Parameters(k1, b, weight)] = Measured(float(values[weight].mean()), float(deficit))
    return measured


def choose(sets: Sequence[Mapping[Parameters, Measured]]) -> Parameters:
    """Return the parameters that are significantly worse than a part on the fewest sets, then best on average."""

    def order(parameters: Parameters) -> tuple[int, float]:
        measured = [each[parameters] for each in sets]
        return sum(one.deficit > _SIGNIFICANT for one in measured), -sum(one.value for one in measured)

    return min(sets[0], key=order)


def _better(text: Matrix, dense: Matrix) -> Matrix:
    """Return the better of the parts, by metric."""
    return np.where((dense.mean(axis=1) > text.mean(axis=1))[:, None], dense, text)


async def embed(model: Embedder, data: DataSet) -> Matrix:
    """Return the cosines of questions and documents."""
    documents = await model.embed(list(data.documents.values()))
    questions = await model.embed([query for query, _ in data.questions], query=True)
    return (questions @ documents.T).astype(np.float64)


def describe(name: str, scored: ScoredSet, parameters: Parameters) -> str:
    """Return a row of the table: both metrics of the parts and of fusion, and the interval of the difference."""
    values = scored.values(parameters.k1, parameters.b, (0.0, parameters.weight, 1.0))
    text, hybrid, dense = values[0.0], values[parameters.weight], values[1.0]
    cells = [name, str(hybrid.shape[1])]
    for metric in range(2):
        better = _better(text, dense)[metric]
        low, high = interval(list(hybrid[metric]), list(better))
        cells += [f"{part[metric].mean():.3f}" for part in (dense, text, hybrid)]
        cells.append(f"{hybrid[metric].mean() - better.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
    return " | ".join(["", *cells, ""]).strip()


HEADER = (
    "| set | questions | recall@10: similarity | words | hybrid | hybrid − better part | MRR@10: similarity | words |"
    " hybrid | hybrid − better part |\n" + "| --- " + "| ---: " * 9 + "|"
)


async def run(model: Embedder, sets: Mapping[str, DataSet], *, choosing: bool, misses: int) -> None:
    """Measure sets, and print the tables.

    Args:
        model: The embedding model.
        sets: The sets by name.
        choosing: Whether to choose parameters too, which takes minutes.
        misses: How many of the questions without a hit to print for each set.
    """
    scored = {name: ScoredSet(data, await embed(model, data)) for name, data in sets.items()}
    await model.close()
    current = Parameters(BM25["bm25_k1"], BM25["bm25_b"], SIMILARITY_WEIGHT)
    print(f"Embeddings of {model.model}. In use: {current.text}\n\n{HEADER}")
    for name, each in scored.items():
        print(describe(name, each, current))
    for name, each in scored.items() if misses else ():
        missed = each.missed(current)
        print(f"\n{name}: {len(missed)} of {len(sets[name].questions)} questions without a hit")
        for number in missed[:misses]:
            print(f"- {sets[name].questions[number][0]}")
    if not choosing:
        return
    measured = {name: measure(each) for name, each in scored.items()}
    print(f"\nLeave-one-out: chosen on the other sets, judged on the one that is left out\n\n{HEADER}")
    for name, each in scored.items():
        chosen = choose([one for other, one in measured.items() if other != name])
        print(describe(f"{name} ({chosen.text})", each, chosen))
    best = choose(list(measured.values()))
    print(f"\nChosen on all sets: {best.text}\n\n{HEADER}")
    for name, each in scored.items():
        print(describe(name, each, best))


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fusion", description=__doc__)
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="which sets; default: all")
    parser.add_argument("--choose", action="store_true", help="choose parameters, which takes minutes")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="print questions without a hit, N of a set")
    parser.add_argument("--faq", type=Path, metavar="FOLDER", help="the folder Doc/faq of the sources of Python")
    parser.add_argument("--folder", type=Path, metavar="MODEL", help="a local transformer; default: the bundled model")
    arguments = parser.parse_args()
    sets = dict(data_sets(arguments.faq))
    if unknown := set(arguments.sets or ()) - set(sets):
        parser.error(f"no set {', '.join(sorted(unknown))}: choose from {', '.join(sets)}")
    model: Embedder = WordLlama() if arguments.folder is None else load_transformer(arguments.folder, threads=2)
    wanted = {name: data for name, data in sets.items() if not arguments.sets or name in arguments.sets}
    asyncio.run(run(model, wanted, choosing=arguments.choose, misses=arguments.misses))


if __name__ == "__main__":
    main()
