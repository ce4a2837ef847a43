"""Agents of MemGPT 0.1.12 to 0.2.11: folders with settings and state as JSON, recall and archival memory as pickles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import read_json
from memgpt.cli.imports.fields import Fields
from memgpt.cli.imports.homes.archival import COLUMNS
from memgpt.cli.imports.homes.clock import in_order, time_in
from memgpt.cli.imports.homes.inert_pickle import Inert, read_pickle
from memgpt.cli.imports.letta.core_memory import blocks_in
from memgpt.cli.imports.letta.messages import Content, Summary, read_content
from memgpt.cli.imports.pieces import Agent, Document, Message, Passage, Source
from memgpt.cli.imports.repeated import Repeated
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.spool import Spool
from memgpt.cli.imports.sqlite_database import Database, Row
from memgpt.cli.imports.stock_prompts import is_stock_prompt
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.values import number, string

_MAX_STATE = 64 << 20
_SAVED = re.compile(r"(\d{4}-\d\d-\d\d)_(\d\d)_(\d\d)_(\d\d)_([AP]M)")
_NOT_IN_TABLE = re.compile(r"\W+")
_NODES = "nodes.pkl"


def agent_names(home: Path) -> list[str]:
    """Return the names of the agents that have a folder with a saved state."""
    folders = (home / "agents").glob("*/agent_state")
    return sorted(folder.parent.name for folder in folders if _is_own(home, folder) and _states(folder))


def spool_archival(spool: Spool, store: Callable[[str], Iterator[Row]], agents: Sequence[str]) -> int:
    """Copy notes from a store that has a table for each agent, and return their number."""
    count = 0
    for agent in agents:
        for table in dict.fromkeys((f"memgpt_agent_{agent}", f"memgpt_agent_{_NOT_IN_TABLE.sub('_', agent)}")):
            rows = (dict.fromkeys(COLUMNS) | row | {"agent_id": agent} for row in store(table))
            count += spool.add("memgpt_0_2", COLUMNS, rows)
    return count


def read_agents(home: Path, archival: Database, zone: tzinfo, report: Report) -> list[Agent]:
    """Return the agents of a home, each from its latest state.

    Args:
        home: The home.
        archival: What `spool_archival` copied.
        zone: Time zone of times that were written without one.
        report: Where changes are recorded.

    Raises:
        CliError: A file is too large, damaged, or made to do harm.
    """
    return [_agent(home, name, archival, zone, report) for name in agent_names(home)]


def read_sources(home: Path, report: Report) -> list[Source]:
    """Return the data sources of a home. Their files were not kept, only passages without names."""
    found = sorted((home / "archival").glob(f"*/{_NODES}"))
    return [
        Source(path.parent.name, documents=Repeated(partial(_documents, path), report))
        for path in found
        if _is_own(home, path)
    ]


def _documents(path: Path, report: Report) -> Iterator[Document]:
    source = path.parent.name
    text = "\n".join(_texts(path))
    report.changed(f'data source "{source}"', "text of a document was joined from its passages", source)
    if text.strip():
        yield Document("passages", text)


def _is_own(home: Path, path: Path) -> bool:
    """Return whether a path exists in the home without following a link."""
    parts = [path, *path.parents]
    return path.exists() and not any(each.is_symlink() for each in parts[: parts.index(home)])


def _states(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.json") if not path.is_symlink()]


def _saved(path: Path) -> tuple[str, float]:
    """Return the key that orders states by time: that in their names, else that of the file."""
    found = _SAVED.match(path.name)
    if found is None:
        return "", path.stat().st_mtime
    day, hour, minute, second, half = found.groups()
    return f"{day} {int(hour) % 12 + (12 if half == 'PM' else 0):02}{minute}{second}", path.stat().st_mtime


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message as its call of OpenAI's API had it, and when it was added."""

    time: datetime | None
    row: Mapping[str, Any]


def _agent(home: Path, name: str, archival: Database, zone: tzinfo, report: Report) -> Agent:
    folder = home / "agents" / name
    where = f'agent "{names.visible(name)[:64]}"'
    latest = max(_states(folder / "agent_state"), key=_saved)
    state = _object(read_json(latest, _MAX_STATE))
    config_file = folder / "config.json"
    config = _object(read_json(config_file, _MAX_STATE)) if _is_own(home, config_file) else {}
    window = [_entry(message, None, zone) for message in _items(state.get("messages"))]
    history = folder / "persistence_manager" / f"{latest.stem}.persistence.pickle"
    if _is_own(home, history):
        entries = _history(history, zone)
    else:
        report.left_out(where, "messages before the window; their file is missing", history.name)
        entries = window
    summary = next((found.text for each in window if isinstance(found := _content(each), Summary)), "")
    nodes = folder / "persistence_manager" / "index" / _NODES
    sources = tuple(each for each in _items(config.get("data_sources")) if isinstance(each, str))
    start = _start(entries, window)
    return Agent(
        name=string(config.get("name")) or name,
        system=string(state.get("system")),
        stock_system=is_stock_prompt(string(state.get("system"))),
        model=string(state.get("model")) or string(config.get("model")),
        context_window=number(config.get("context_window")),
        blocks=tuple(blocks_in(state.get("memory"))),
        messages=Repeated(partial(_messages, entries, start, summary, where), report),
        summary=summary,
        passages=Repeated(partial(_notes, nodes if _is_own(home, nodes) else None, archival, name, where), report),
        source_names=sources,
        where=where,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _history(path: Path, zone: tzinfo) -> list[_Entry]:
    saved = _items(_object(read_pickle(path)).get("all_messages"))
    entries = [_entry(each.get("message"), each.get("timestamp"), zone) for each in saved if isinstance(each, dict)]
    times = in_order(entry.time for entry in entries)
    return [replace(entry, time=time) for entry, time in zip(entries, times, strict=True)]


def _entry(message: Any, timestamp: Any, zone: tzinfo) -> _Entry:
    """Return a message in the shape of later versions: with ids of calls, which this version did not have."""
    message = _object(message)
    row: dict[str, Any] = {"role": string(message.get("role")), "text": _readable(string(message.get("content")))}
    if row["role"] == "user":
        row["name"] = string(message.get("name"))
    call = message.get("function_call")
    if isinstance(call, dict):
        function = {"name": string(call.get("name")), "arguments": string(call.get("arguments"))}
        row["tool_calls"] = [{"id": "", "function": function}]
    return _Entry(parse_time(timestamp, zone) or time_in(row["text"], zone), row)


def _readable(text: str) -> str:
    """Return an envelope without the escapes of this version, which keep searches from finding other scripts."""
    if "\\u" not in text or not text.startswith("{"):
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _content(entry: _Entry) -> Content | None:
    with Report() as unused:
        return read_content(Fields(entry.row, ""), plain=False, report=unused)


def _start(entries: Sequence[_Entry], window: Sequence[_Entry]) -> int:
    """Return the index of the first message in the window: the last one that equals its first ordinary message."""
    ordinary = [each for each in window if not isinstance(_content(each), (Summary, NoneType))]
    if not ordinary:
        return len(entries)
    first = ordinary[0].row
    for index in range(len(entries) - 1, -1, -1):
        if entries[index].row == first:
            return index
    return max(0, len(entries) - len(ordinary))


def _messages(entries: Sequence[_Entry], start: int, summary: str, where: str, report: Report) -> Iterator[Message]:
    call_id = ""
    for index, entry in enumerate(entries):
        place = f"{where}, message {index}"
        row = dict(entry.row)
        if calls := row.get("tool_calls"):
            call_id = f"call_{index}"
            row["tool_calls"] = [{**calls[0], "id": call_id}]
        elif row["role"] == "function":
            row["tool_call_id"], call_id = call_id, ""
        content = read_content(Fields(row, place), plain=False, report=report)
        if isinstance(content, Summary):
            if content.text != summary:
                report.left_out(place, "summary of an earlier window", content.text)
        elif content is not None:
            yield Message(content, entry.time, index >= start, place)


def _notes(nodes: Path | None, archival: Database, name: str, where: str, report: Report) -> Iterator[Passage]:
    for index, text in enumerate(_texts(nodes) if nodes else ()):
        yield Passage(text, where=f"{where}, note {index}")
    for row in archival.rows("memgpt_0_2", COLUMNS, order=("rowid",), where={"agent_id": name}):
        yield Passage(string(row["text"]), where=f"{where}, note {row['id']}")


def _texts(path: Path) -> Iterator[str]:
    """Yield the texts of a pickled list of nodes."""
    for node in _items(read_pickle(path)):
        if isinstance(node, Inert):
            yield string(node.field("text"))
