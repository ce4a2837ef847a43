"""Valid databases, homes and exports to damage, and how a damaged file is given to its reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

from memgpt.cli.imports.chats.chatgpt import read_chatgpt
from memgpt.cli.imports.chats.claude import read_claude
from memgpt.cli.imports.chats.exports import open_export
from memgpt.cli.imports.chats.mem0 import read_mem0
from memgpt.cli.imports.homes.home import Choice as HomeChoice
from memgpt.cli.imports.homes.home import open_home
from memgpt.cli.imports.letta.database import Choice, open_letta
from memgpt.cli.imports.letta.tables import TABLES
from memgpt.cli.imports.pieces import Contents
from memgpt.cli.imports.report import Report

from tests.support import chat_exports, letta_database, memgpt_home

_MESSAGES = 12
_COUNTS = "counts"


def rows_of_databases() -> list[bytes]:
    """Return databases as JSON: lists of rows by table."""
    seeds = []
    for version in letta_database.VERSIONS:
        tables: dict[str, list[dict[str, Any]]] = {}
        for table, row in letta_database.Database(version, _MESSAGES).rows():
            if table in TABLES:
                tables.setdefault(table, []).append(row)
        seeds.append(json.dumps(tables, default=str).encode())
    return seeds


def databases() -> list[bytes]:
    """Return SQLite databases of Letta."""
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        for version in letta_database.VERSIONS:
            letta_database.Database(version, _MESSAGES).write_sqlite(Path(folder, version))
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())]


def homes_of_0_3() -> list[bytes]:
    """Return the databases of homes of 0.3."""
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        memgpt_home.write_0_3(Path(folder), messages=_MESSAGES, store="sqlite")
        return [Path(folder, "sqlite.db").read_bytes()]


def states_of_0_2() -> list[bytes]:
    """Return saved states of agents of 0.2."""
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        memgpt_home.write_0_2(Path(folder), messages=_MESSAGES)
        return [path.read_bytes() for path in Path(folder).glob("agents/Ada/agent_state/*.json")]


def pickles_of_0_2() -> list[bytes]:
    """Return pickles with the history of agents of 0.2."""
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        memgpt_home.write_0_2(Path(folder), messages=_MESSAGES)
        return [path.read_bytes() for path in Path(folder).glob("agents/Ada/persistence_manager/*.pickle")]


def chatgpt() -> list[bytes]:
    """Return exports of ChatGPT."""
    return [json.dumps([chat_exports.chatgpt(number) for number in range(2)]).encode()]


def claude() -> list[bytes]:
    """Return conversations of Claude's exports."""
    return [json.dumps([chat_exports.claude(number) for number in range(2)]).encode()]


def mem0() -> list[bytes]:
    """Return memories of mem0."""
    return [json.dumps(chat_exports.MEM0).encode()]


@contextmanager
def read_rows(path: Path, report: Report) -> Iterator[Contents]:
    """Read rows as a dump of PostgreSQL would have them."""
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        try:
            tables = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            tables = None
        if isinstance(tables, dict):
            counts = []
            for table, rows in tables.items():
                if table in TABLES and isinstance(rows, list):
                    lines = "".join(json.dumps(row) + "\n" for row in rows)
                    Path(folder, f"{table}.jsonl").write_text(lines)
                    counts.append({"table": table, "count": len(rows)})
            Path(folder, f"{_COUNTS}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in counts))
        else:
            Path(folder, "agents.jsonl").write_bytes(path.read_bytes())
        with open_letta(Path(folder), Choice(all_agents=True), report, is_dump=True) as contents:
            yield contents


@contextmanager
def read_database(path: Path, report: Report) -> Iterator[Contents]:
    """Read a SQLite database of Letta."""
    with open_letta(path, Choice(all_agents=True), report, is_dump=False) as contents:
        yield contents


@contextmanager
def read_home_of_0_3(path: Path, report: Report) -> Iterator[Contents]:
    """Read a home of 0.3 with this database."""
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        Path(folder, "sqlite.db").write_bytes(path.read_bytes())
        with open_home(Path(folder), HomeChoice(), report) as contents:
            yield contents


@contextmanager
def read_state_of_0_2(path: Path, report: Report) -> Iterator[Contents]:
    """Read a home of 0.2 in which the latest state of its agent is this one."""
    with _home_of_0_2("agents/Ada/agent_state/2024-02-01_01_00_00_PM_PST-0800.json", path, report) as contents:
        yield contents


@contextmanager
def read_pickle_of_0_2(path: Path, report: Report) -> Iterator[Contents]:
    """Read a home of 0.2 in which the history of its agent is this one."""
    name = "agents/Ada/persistence_manager/2024-02-01_01_00_00_PM_PST-0800.persistence.pickle"
    with _home_of_0_2(name, path, report) as contents:
        yield contents


@contextmanager
def _home_of_0_2(name: str, path: Path, report: Report) -> Iterator[Contents]:
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        memgpt_home.write_0_2(Path(folder), messages=_MESSAGES)
        Path(folder, name).write_bytes(path.read_bytes())
        with open_home(Path(folder), HomeChoice(zone=ZoneInfo("Asia/Tokyo")), report) as contents:
            yield contents


@contextmanager
def read_chats_of_chatgpt(path: Path, report: Report) -> Iterator[Contents]:
    """Read an export of ChatGPT."""
    with open_export(path) as export:
        yield read_chatgpt(export, "chatgpt", report)


@contextmanager
def read_chats_of_claude(path: Path, report: Report) -> Iterator[Contents]:
    """Read an export of Claude."""
    with open_export(path) as export:
        yield read_claude(export, "claude", report)


@contextmanager
def read_memories(path: Path, report: Report) -> Iterator[Contents]:
    """Read memories of mem0."""
    yield read_mem0(path, "mem0", report)
