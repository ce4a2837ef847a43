"""Agents of MemGPT 0.3: settings and recall memory in ``sqlite.db``, archival memory in one of several stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import parse_json
from memgpt.cli.imports.fields import Fields
from memgpt.cli.imports.homes.archival import COLUMNS
from memgpt.cli.imports.homes.clock import RowClock
from memgpt.cli.imports.letta.core_memory import blocks_in
from memgpt.cli.imports.letta.messages import Summary, read_content
from memgpt.cli.imports.pieces import Agent, Block, Document, Message, Passage, Source
from memgpt.cli.imports.repeated import Repeated
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.spool import Spool
from memgpt.cli.imports.sqlite_database import Database, Row
from memgpt.cli.imports.stock_prompts import is_stock_prompt
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.values import number, string

_NOTES = "memgpt_archival_memory_agent"
_PASSAGES = "memgpt_passages"
_RECALL = "memgpt_recall_memory_agent"
_RECALL_COLUMNS = ("id", "role", "text", "tool_calls", "tool_call_id", "name", "created_at")
_ORDER = ("created_at", "rowid")
_SUMMARY_WITHIN = 8


def spool_archival(spool: Spool, store: Callable[[str], Iterator[Row]]) -> int:
    """Copy notes and passages of documents from a store, and return their number."""
    return sum(
        spool.add(table, COLUMNS, (dict.fromkeys(COLUMNS) | row for row in store(table)))
        for table in (_NOTES, _PASSAGES)
    )


def read_agents(metadata: Database, archival: Database, report: Report) -> tuple[list[Agent], list[Source]]:
    """Return the agents and data sources of a home.

    Args:
        metadata: ``sqlite.db``.
        archival: What `spool_archival` copied.
        report: Where changes are recorded.
    """
    sources = {
        row["id"]: Source(
            string(row["name"]),
            string(row["description"]),
            Repeated(partial(_documents, archival, string(row["name"])), report),
        )
        for row in metadata.rows("sources", ("id", "name", "description"), order=_ORDER)
    }
    columns = ("id", "name", "system", "persona", "human", "state", "llm_config", "created_at")
    agents = [
        _agent(metadata, archival, row, sources, report) for row in metadata.rows("agents", columns, order=_ORDER)
    ]
    return agents, list(sources.values())


def _agent(metadata: Database, archival: Database, row: Row, sources: dict[str, Source], report: Report) -> Agent:
    name, agent_id = string(row["name"]), string(row["id"])
    where = f'agent "{names.visible(name)[:64]}"'
    state = _object(row["state"], f"{where}, state")
    window = (
        [each for each in listed if isinstance(each, str)] if isinstance(listed := state.get("messages"), list) else []
    )
    summary = _summary(metadata, window)
    model = _object(row["llm_config"], f"{where}, llm_config")
    links = metadata.rows("agent_source_mapping", ("source_id",), order=("rowid",), where={"agent_id": agent_id})
    attached = tuple(dict.fromkeys(sources[link["source_id"]].name for link in links if link["source_id"] in sources))
    read = partial(_messages, metadata, agent_id, frozenset(window), summary, where)
    system = string(state.get("system")) or string(row["system"])
    return Agent(
        name=name,
        system=system,
        stock_system=is_stock_prompt(system),
        model=string(model.get("model")),
        context_window=number(model.get("context_window")),
        blocks=tuple(_blocks(state, row)),
        messages=Repeated(read, report),
        summary=summary,
        passages=Repeated(partial(_notes, archival, agent_id, attached, where), report),
        source_names=attached,
        where=where,
    )


def _object(value: Any, place: str) -> dict[str, Any]:
    parsed = parse_json(value, place) if isinstance(value, str) and value.strip() else None
    return parsed if isinstance(parsed, dict) else {}


def _blocks(state: dict[str, Any], row: Row) -> list[Block]:
    """Return core memory: by label since 0.3.19, as two texts before."""
    if blocks := blocks_in(state.get("memory")):
        return blocks
    return [Block(label, string(state.get(label))) for label in ("persona", "human") if string(state.get(label))]


def _summary(metadata: Database, window: Sequence[str]) -> str:
    with Report() as unused:
        for message_id in window[:_SUMMARY_WITHIN]:
            for row in metadata.rows(_RECALL, _RECALL_COLUMNS, where={"id": message_id}):
                content = read_content(_decoded(row, message_id), plain=False, report=unused)
                if isinstance(content, Summary):
                    return content.text
    return ""


def _decoded(row: Row, place: str) -> Fields:
    calls = row["tool_calls"]
    return Fields({**row, "tool_calls": parse_json(calls, place) if isinstance(calls, str) and calls else None}, place)


def _messages(
    metadata: Database,
    agent_id: str,
    window: frozenset[str],
    summary: str,
    where: str,
    report: Report,
) -> Iterator[Message]:
    written = metadata.rows(_RECALL, ("text", "created_at"), order=("rowid",), where={"agent_id": agent_id})
    clock = RowClock((string(row["text"]), row["created_at"]) for row in written)
    # Local times repeat when clocks are set back.
    order = ("rowid",) if clock.is_local else _ORDER
    for row in metadata.rows(_RECALL, _RECALL_COLUMNS, order=order, where={"agent_id": agent_id}):
        time = clock.time(string(row["text"]), row["created_at"])
        place = f"{where}, message {row['id']}"
        content = read_content(_decoded(row, place), plain=False, report=report)
        if isinstance(content, Summary):
            if row["id"] not in window or content.text != summary:
                report.left_out(place, "summary of an earlier window", content.text)
        elif content is not None:
            yield Message(content, time, row["id"] in window, place)


def _notes(archival: Database, agent_id: str, attached: Sequence[str], where: str, report: Report) -> Iterator[Passage]:
    # Attaching a data source copied its passages into the agent's own.
    whole = {
        name for name in attached if next(archival.distinct(_PASSAGES, "data_source", {"data_source": name}), None)
    }
    for row in archival.rows(_NOTES, COLUMNS, order=_ORDER, where={"agent_id": agent_id}):
        source = string(row["data_source"])
        if source in whole:
            report.left_out(where, "copy of a passage of an attached data source")
            continue
        tags = (f"source:{source}",) if source in attached else ()
        yield Passage(string(row["text"]), tags, parse_time(row["created_at"]), f"{where}, passage {row['id']}")


def _documents(archival: Database, source: str, report: Report) -> Iterator[Document]:
    """Yield the documents of a data source; only their passages were kept, without names."""
    for index, doc_id in enumerate(list(archival.distinct(_PASSAGES, "doc_id", {"data_source": source})), 1):
        rows = archival.rows(_PASSAGES, ("text",), order=_ORDER, where={"data_source": source, "doc_id": doc_id})
        text = "\n".join(string(row["text"]) for row in rows)
        label = f"document {index}"
        report.changed(f'data source "{source}"', "text of a document was joined from its passages", label)
        if text.strip():
            yield Document(label, text)
