"""Memories of other assistants as notes of an agent."""

from __future__ import annotations

from collections.abc import Iterable

from memgpt.cli.imports.pieces import Agent, Block, Passage

_PERSONA = "What the user told another assistant is in my archival memory. I search it before I ask the user again."


def agent_with(name: str, notes: Iterable[Passage], source_names: tuple[str, ...] = ()) -> Agent:
    """Return a new agent with the preset's instructions, the given notes and data sources, and no messages."""
    blocks = (Block("persona", _PERSONA), Block("human", ""))
    return Agent(name, blocks=blocks, passages=notes, source_names=source_names, where=f'agent "{name}"')
