"""Core memory of Letta and MemGPT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from memgpt.cli.imports.pieces import Block, Passage
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.values import number, string

_GIT_MEMORY = "git-memory-enabled"
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
    blocks: Sequence[Block], tags: Iterable[str], where: str, report: Report
) -> tuple[list[Block], list[Passage]]:
    """Return the blocks that are in the prompt, and the others as notes.

    An agent that keeps its memory in git has only those under ``system/`` in its prompt. Other agents have all.
    """
    if _GIT_MEMORY not in tags:
        return list(blocks), []
    shown = [each for each in blocks if each.label.startswith(_IN_PROMPT)]
    hidden = [each for each in blocks if not each.label.startswith(_IN_PROMPT) and each.value.strip()]
    for block in hidden:
        report.changed(where, "block outside the prompt became a note", block.label)
    notes = [Passage(each.value, (f"block:{each.label}",), where=where) for each in hidden]
    return [replace(each, label=each.label.removeprefix(_IN_PROMPT)) for each in shown], notes
