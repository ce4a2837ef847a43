"""Retrieval quality in conversations: ``python -m benchmarks.conversations --data locomo10.json``.

LoCoMo (Maharana et al., 2024) has ten long conversations of two people, and questions with the turns that answer
them. Its file is not part of this project; https://github.com/snap-research/locomo has it. Each conversation is a
source, each turn a passage, and each question searches its own conversation. Questions without an answer are left
out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import Options, Table, bench, quiet
from benchmarks.retrieval import DataSet, ask, tell

_UNANSWERABLE = 5
"""LoCoMo's category of questions without an answer in the conversation."""


def read(path: Path) -> list[DataSet]:
    """Read the conversations from a file in LoCoMo's format."""
    return [_read(sample) for sample in json.loads(path.read_text())]


def _read(sample: Mapping[str, Any]) -> DataSet:
    documents = dict(_turns(sample["conversation"]))
    questions = [
        (str(one["question"]), relevant)
        for one in sample["qa"]
        if one["category"] != _UNANSWERABLE and (relevant := frozenset(one.get("evidence", ())) & documents.keys())
    ]
    return DataSet(documents, questions)


def _turns(conversation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    number = 1
    while turns := conversation.get(f"session_{number}"):
        for turn in turns:
            picture = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            yield turn["dia_id"], f"{turn['speaker']}: {turn['text']}{picture}"
        number += 1


async def measure(path: Path) -> Table:
    """Run every question in every mode."""
    sets = read(path)
    count, asked = sum(len(one.documents) for one in sets), sum(len(one.questions) for one in sets)
    table = Table(f"conversations: {len(sets)} of {count:,} turns together, {asked:,} questions")
    async with bench(Options()) as on:
        tell(table, await ask(on, sets))
    return table


def main() -> None:
    """Run the benchmark on a file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conversations", description="How well what was said is found."
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="locomo10.json, or one of its form")
    arguments = parser.parse_args()
    quiet()
    print(asyncio.run(measure(arguments.data)).text())


if __name__ == "__main__":
    main()
