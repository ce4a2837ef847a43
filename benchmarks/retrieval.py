"""Retrieval quality of passages: ``python -m benchmarks.retrieval --data FILE``.

A data set is JSON lines: documents ``{"id", "text"}`` and questions ``{"query", "relevant": [ids]}``. The documents are
stored through the real service, each as one passage, and every question is searched in every mode of the store.

Recall at k is the fraction of a question's relevant documents among the first k hits; MRR is the mean of the reciprocal
rank of the first relevant hit, 0 if none is among the first ten. The interval of a difference is a paired bootstrap
over questions: the middle 95 % of the mean difference in `RESAMPLES` draws with replacement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import PAPER_SET, Bench, Options, Table, bench, milvus_server, quiet, say

CUTS = (5, 10, 20)
RESAMPLES = 10_000

Scores = dict[str, list[float]]
"""Scores of every question, by name of the metric."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Documents, and questions with their relevant documents.

    Attributes:
        documents: Texts by id.
        questions: Queries with the ids of their relevant documents.
    """

    documents: dict[str, str]
    questions: list[tuple[str, frozenset[str]]]


def read(path: Path) -> DataSet:
    """Read a data set.

    Raises:
        ValueError: A line is neither a document nor a question, or a relevant document is missing.
    """
    documents: dict[str, str] = {}
    questions: list[tuple[str, frozenset[str]]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        match json.loads(line):
            case {"id": str(id_), "text": str(text)}:
                documents[id_] = text
            case {"query": str(query), "relevant": [*relevant]} if relevant:
                questions.append((query, frozenset(map(str, relevant))))
            case _:
                raise ValueError(f"{path}, line {number}: neither a document nor a question")
    if missing := {id_ for _, relevant in questions for id_ in relevant} - set(documents):
        raise ValueError(f"{path}: questions name documents that are not there: {', '.join(sorted(missing)[:5])}")
    if not questions:
        raise ValueError(f"{path}: there are no questions")
    return DataSet(documents, questions)


def recall(found: Sequence[str], relevant: frozenset[str], cut: int) -> float:
    """Return the fraction of the relevant documents among the first `cut`."""
    return len(relevant.intersection(found[:cut])) / len(relevant)


def reciprocal_rank(found: Sequence[str], relevant: frozenset[str], cut: int = 10) -> float:
    """Return the reciprocal rank of the first relevant document, or 0 if it is not among the first `cut`."""
    return next((1 / rank for rank, id_ in enumerate(found[:cut], 1) if id_ in relevant), 0.0)


def interval(one: Sequence[float], other: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of the mean of ``one - other`` by paired bootstrap."""
    differences = np.asarray(one) - np.asarray(other)
    draws = np.random.default_rng(seed).integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


async def measure(options: Options, path: Path) -> Table:
    """Run every question of a data set in every mode."""
    data = read(path)
    table = Table(f"retrieval: {path.name}, {len(data.documents):,} documents, {len(data.questions):,} questions")
    async with bench(options) as on:
        tell(table, await ask(on, [data]))
    return table


async def ask(on: Bench, sets: Sequence[DataSet]) -> dict[str, Scores]:
    """Return the scores of every question by mode; each data set is a separate source."""
    say(f"retrieval: storing {sum(len(data.documents) for data in sets):,} documents")
    sources = [await on.source(list(data.documents.values())) for data in sets]
    scores: dict[str, Scores] = {}
    for mode in on.modes:
        say(f"retrieval: {mode}")
        of_sets = [await _ask(on, source, data, mode) for source, data in zip(sources, sets, strict=True)]
        scores[mode] = {name: [value for one in of_sets for value in one[name]] for name in of_sets[0]}
    return scores


def tell(table: Table, scores: Mapping[str, Scores]) -> None:
    """Add the means to a table, and whether fusion helps."""
    for mode, values_by_name in scores.items():
        for name, values in values_by_name.items():
            if name == "ms":
                table.add(f"{mode}: latency, median", "ms", statistics.median(values))
            else:
                table.add(f"{mode}: {name}", "", statistics.fmean(values))
    for other in ("dense", "text") if "hybrid" in scores else ():
        for name in ("recall@10", "MRR@10"):
            ours, theirs = scores["hybrid"][name], scores[other][name]
            low, high = interval(ours, theirs)
            mean = statistics.fmean(ours) - statistics.fmean(theirs)
            table.notes.append(f"{name}, hybrid minus {other}: {mean:+.3f}, 95 % of [{low:+.3f}, {high:+.3f}]")


async def _ask(on: Bench, source: str, data: DataSet, mode: str) -> Scores:
    ids = list(data.documents)
    names = [*(f"recall@{cut}" for cut in CUTS), "MRR@10", "ms"]
    scores: Scores = {name: [] for name in names}
    await on.search("nobody's first search counts", mode, source_id=source)
    for query, relevant in data.questions:
        start = time.perf_counter()
        page = await on.search(query, mode, source_id=source, size=max(CUTS))
        scores["ms"].append(1_000 * (time.perf_counter() - start))
        # The end of a passage's id is its position in the file.
        found = [ids[int(hit.passage.passage_id.rsplit("-", 1)[1])] for hit in page.hits]
        for cut in CUTS:
            scores[f"recall@{cut}"].append(recall(found, relevant, cut))
        scores["MRR@10"].append(reciprocal_rank(found, relevant))
    return scores


async def run(options: Options) -> Table:
    """Measure the bundled data set: questions about the sample paper."""
    return await measure(options, PAPER_SET)


def main() -> None:
    """Measure a data set given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description="How well passages are found.")
    parser.add_argument("--data", type=Path, default=PAPER_SET, metavar="FILE", help="JSON lines; default: the paper")
    parser.add_argument("--backend", choices=["lite", "server"], default="lite")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    quiet()
    if arguments.backend == "server":
        with milvus_server() as uri:
            table = asyncio.run(measure(Options("server", server_uri=uri), arguments.data))
    else:
        table = asyncio.run(measure(Options(), arguments.data))
    print(json.dumps(table.json(), indent=2) if arguments.json else table.text())


if __name__ == "__main__":
    main()
