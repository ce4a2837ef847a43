"""mem0's memories, as its ``get_all()`` returns them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import read_json
from memgpt.cli.imports.chats.memories import agent_with
from memgpt.cli.imports.fields import without_secrets
from memgpt.cli.imports.metadata import tags_of
from memgpt.cli.imports.pieces import Contents, Passage
from memgpt.cli.imports.repeated import Repeated
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.values import string

_TAGS = (("user_id", "user"), ("agent_id", "agent"), ("run_id", "run"), ("actor_id", "actor"))
_READ = frozenset({"id", "memory", "hash", "created_at", "updated_at", "categories", "metadata"})


def read_mem0(path: Path, name: str, report: Report) -> Contents:
    """Return the memories in a JSON file as notes of one agent.

    Args:
        path: ``{"results": […]}`` or a list.
        name: Name of the agent.
        report: Where changes are recorded.

    Raises:
        CliError: The file has no memories.
    """
    value = read_json(path)
    found = value.get("results", value.get("memories")) if isinstance(value, dict) else value
    if not isinstance(found, list):
        raise CliError(f'{path} has no memories of mem0; save what get_all() returns: {{"results": […]}}')
    relations = value.get("relations") if isinstance(value, dict) else None
    for relation in relations if isinstance(relations, list) else ():
        report.left_out("relations", "relation of the graph", relation)
    return Contents(agents=(agent_with(name, Repeated(partial(_notes, found), report)),))


def _notes(found: list[Any], report: Report) -> Iterator[Passage]:
    for number, memory in enumerate(found, 1):
        place = f"memory {number}"
        if not isinstance(memory, dict) or not string(memory.get("memory")).strip():
            report.left_out(place, "memory without text", memory)
            continue
        tags = [f"{tag}:{string(memory[key])}" for key, tag in _TAGS if string(memory.get(key))]
        categories = memory.get("categories")
        tags += [each for each in (categories if isinstance(categories, list) else ()) if isinstance(each, str)]
        tags += tags_of(memory.get("metadata"), place, report)
        for key in memory.keys() - _READ - {each for each, _ in _TAGS}:
            if memory[key] not in (None, "", [], {}):
                report.left_out(place, "field of a memory", without_secrets({key: memory[key]}))
        yield Passage(memory["memory"], tuple(tags), parse_time(memory.get("created_at")), place)
