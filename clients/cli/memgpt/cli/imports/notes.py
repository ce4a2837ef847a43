"""Memories of other systems as notes of an agent that is here already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from memgpt.cli.imports.pieces import Agent
from memgpt.cli.imports.plan import passages_of
from memgpt.cli.imports.report import Report
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT
from memgpt.memory.v1.passage_pb2 import Passage

_TAG = "import:"
"""Begins the tag that tells which memory a note is, so that the same import again does not store it twice."""


@dataclass(frozen=True, slots=True)
class NotesPlan:
    """Notes that are to come.

    Attributes:
        agent: What the reader found.
        count: Number of notes.
    """

    agent: Agent
    count: int

    def notes(self, report: Report) -> Iterator[Passage]:
        """Yield the notes. The last tag of each is that of its memory."""
        for passage in self.agent.passages:
            day = [f"date:{passage.time:%Y-%m-%d}"] if passage.time else []
            dated = replace(passage, tags=(*day, *passage.tags))
            for note in passages_of(replace(self.agent, passages=(dated,)), (), report, room=1):
                digest = hashlib.sha256(repr((note.text, sorted(note.tags))).encode()).hexdigest()
                note.tags.append(_TAG + digest[:24])
                yield note


def plan_notes(agent: Agent, report: Report) -> NotesPlan:
    """Return the notes of an agent that a reader found, after a first pass over them."""
    plan = NotesPlan(agent, 0)
    return replace(plan, count=sum(1 for _ in plan.notes(report)))


def bring_notes(ui: Ui, memgpt: MemGPT, plan: NotesPlan, name: str, source_names: list[str]) -> None:
    """Store the notes that an agent does not have yet, and attach data sources to it.

    Args:
        ui: The terminal.
        memgpt: The client.
        plan: The notes.
        name: Name or id of the agent.
        source_names: Data sources that were loaded with the notes.
    """
    agent = memgpt.agents.find(name)
    known = {tag for note in agent.notes() for tag in note.tags if tag.startswith(_TAG)}
    added = 0
    with ui.busy(f"Importing notes of {agent.name}..."), Report() as unused:
        for note in plan.notes(unused):
            if note.tags[-1] not in known:
                memgpt.memory.add_notes(agent.agent_id, [note.text], note.tags)
                known.add(note.tags[-1])
                added += 1
    here = plan.count - added
    before = f"; {plural(here, 'note')} had been there already" if here else ""
    ui.line(f"Imported {plural(added, 'note')} into agent {agent.name}{before}.", "green")
    attached = {each.source_name for each in agent.info.attachments}
    for source_name in source_names:
        if source_name not in attached:
            memgpt.agents.attach(agent.agent_id, memgpt.sources.find(source_name).source_id)
            ui.line(f"Attached data source {source_name} to agent {agent.name}.", "green")
