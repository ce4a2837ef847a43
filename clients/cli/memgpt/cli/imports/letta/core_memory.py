"""Core memory of Letta and MemGPT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from memgpt.cli.imports import names
from memgpt.cli.imports.pieces import Block, Passage
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.values import number, string

GIT_MEMORY = "git-memory-enabled"
"""Tag of an agent that keeps its memory in Git."""

UNSHARED = "block was shared with agents that are not imported; it is the agent's own now"
"""What is reported of a block whose other agents stay behind."""

_IN_PROMPT = "system/"


def blocks_in(memory: Any) -> list[Block]:
    """Return the blocks in the JSON of an agent's memory, which agents had up to Letta 0.5.

    Args:
        memory: Texts or objects by label, also within ``{"memory": …}``; anything else has no blocks.
    """
    if isinstance(memory, dict) and isinstance(memory.get("memory"), dict):
        memory = memory["memory"]
    return [
        Block(label, value)
        if isinstance(value, str)
        else Block(label, string(value.get("value")), number(value.get("limit")), string(value.get("description")))
        for label, value in (memory.items() if isinstance(memory, dict) else ())
        if isinstance(value, (str, dict))
    ]


def split_by_prompt(
    blocks: Sequence[Block], tags: Iterable[Any], where: str, report: Report
) -> tuple[list[Block], list[Passage]]:
    """Return the blocks that are in the prompt, and the others as notes.

    An agent that keeps its memory in Git has only those under ``system/`` in its prompt. Other agents have all.
    """
    if GIT_MEMORY not in tags:
        return list(blocks), []
    shown: list[Block] = []
    notes: list[Passage] = []
    for block in blocks:
        if block.label.startswith(_IN_PROMPT):
            shown.append(replace(block, label=block.label.removeprefix(_IN_PROMPT)))
            continue
        place = f'{where}, block "{block.label}"'
        report.changed(place, "block that was not in the prompt became a note", block.description)
        if block.value.strip():
            notes.append(Passage(block.value, (f"block:{block.label}"[: names.MAX_TAG],), where=place))
    return shown, notes
