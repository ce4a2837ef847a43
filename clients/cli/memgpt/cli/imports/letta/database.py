"""Letta's database, 0.4 to 0.16: all of recall and archival memory, which its Agent Files leave out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import parse_json
from memgpt.cli.imports.fields import Fields
from memgpt.cli.imports.letta.core_memory import UNSHARED, blocks_in, split_by_prompt
from memgpt.cli.imports.letta.dump import open_dump
from memgpt.cli.imports.letta.messages import Summary, read_content, speaks_plainly
from memgpt.cli.imports.letta.tables import TABLES
from memgpt.cli.imports.metadata import tags_of
from memgpt.cli.imports.pieces import (
    Agent,
    Block,
    Contents,
    Document,
    Message,
    Passage,
    Profile,
    ProfileKind,
    Source,
    Tool,
)
from memgpt.cli.imports.repeated import Repeated
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.sqlite_database import Database, Row, open_database
from memgpt.cli.imports.stock_prompts import is_stock_prompt
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.values import number, string
from memgpt.cli.imports.wanted_sources import wanted_sources

_SLEEPTIME = frozenset({"sleeptime_agent", "voice_sleeptime_agent"})
_MAX_AGENTS = 10_000
_SUMMARY_WITHIN = 8
"""The summary stands among the first messages of a window."""

_ORDER = ("sequence_id", "created_at", "rowid")
_TIME_ORDER = ("created_at", "rowid")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to import.

    Attributes:
        agent: Name or id of the only agent; empty for all.
        conversation: Id of the conversation whose window an agent continues; empty for the default one.
        all_agents: Whether agents that only work on another agent's memory come too.
    """

    agent: str = ""
    conversation: str = ""
    all_agents: bool = False


@contextmanager
def open_letta(path: Path, choice: Choice, report: Report, *, is_dump: bool) -> Iterator[Contents]:
    """Yield what a database holds; messages, passages and documents can be read while the context is open.

    Args:
        path: A SQLite file, or a folder with a dump.
        choice: What to take.
        report: Where changes are recorded.
        is_dump: Whether it is a dump.

    Raises:
        CliError: It is not Letta's, is damaged or incomplete, or has none of the chosen agents.
    """
    with open_dump(path, TABLES) if is_dump else open_database(path) as database:
        yield read_letta(database, choice, report)


def read_letta(database: Database, choice: Choice, report: Report) -> Contents:
    """Return what a database holds. It must stay open while messages, passages and documents are read.

    Raises:
        CliError: It is not Letta's, or has none of the chosen agents.
    """
    if not database.has("agents", "id", "name") or not database.has("messages", "id", "agent_id", "role"):
        hint = "; the home of MemGPT 0.3 is read with `memgpt import memgpt`" if database.has("agents", "state") else ""
        raise CliError(f"{database.name} is not Letta's database: it has no tables agents and messages{hint}")
    sources = _sources(database, report)
    chosen = _chosen(database, choice, report)
    taken = frozenset(string(row["id"]) for row in chosen)
    agents = [_agent(database, row, choice, taken, sources, report) for row in chosen]
    for group in _rows(database, "groups"):
        report.left_out("groups", "group of agents", group["id"])
    for link in _rows(database, "blocks_conversations"):
        for block in _rows(database, "block", id=string(link["block_id"])):
            value = {"label": block["label"], "value": block["value"]}
            report.left_out(f"conversation {link['conversation_id']}", "block of a single conversation", value)
    for identity in _rows(database, "identities"):
        report.left_out("identities", "identity", identity["name"])
    return Contents(
        agents=tuple(agents),
        sources=wanted_sources(sources.values(), agents, report, only=bool(choice.agent)),
        profiles=tuple(_profiles(database)),
        tools=tuple(_tools(database)),
    )


def _rows(database: Database, table: str, *, order: Sequence[str] = ("rowid",), **where: str | None) -> Iterator[Row]:
    return database.rows(table, TABLES[table], order=order, where=where)


def _chosen(database: Database, choice: Choice, report: Report) -> list[Row]:
    every = list(_rows(database, "agents", order=_TIME_ORDER))
    if len(every) > _MAX_AGENTS:
        raise CliError(f"{database.name} has more than {_MAX_AGENTS:,} agents; choose one with --agent")
    if choice.agent:
        found = [row for row in every if choice.agent in (row["name"], row["id"])]
        if not found:
            known = ", ".join(f'"{names.visible(string(row["name"]))[:40]}"' for row in every[:8])
            raise CliError(f'no agent "{choice.agent}" in {database.name}; it has {known or "none"}')
        return found
    main = [row for row in every if row["agent_type"] not in _SLEEPTIME]
    if choice.all_agents or not main:
        return every
    for row in every:
        if row["agent_type"] in _SLEEPTIME:
            what = "agent that works on another agent's memory; --all-agents takes it"
            report.left_out(_where(row), what, row["name"])
    return main


def _where(row: Row) -> str:
    name = names.visible(string(row["name"]))[:64] or row["id"]
    return f'agent "{name}"'


def _agent(
    database: Database,
    row: Row,
    choice: Choice,
    taken: Set[str],
    sources: Mapping[str, Source],
    report: Report,
) -> Agent:
    where = _where(row)
    agent_id = row["id"]
    model = _json(row, "llm_config", where)
    tags = tuple(string(each["tag"]) for each in _rows(database, "agents_tags", agent_id=agent_id))
    blocks, notes = _memory(database, row, tags, taken, where, report)
    attached = _attached(database, agent_id, sources)
    history = _History.of(database, row, choice, where)
    if _json(row, "tool_rules", where):
        report.left_out(where, "rules for the order of tools", row["tool_rules"])
    return Agent(
        name=string(row["name"]),
        system=string(row["system"]),
        stock_system=is_stock_prompt(string(row["system"])),
        description=string(row["description"]),
        tags=tags,
        model=string(_field(model, "model")),
        context_window=number(_field(model, "context_window")),
        time_zone=string(row["timezone"]),
        blocks=tuple(blocks),
        messages=Repeated(history.messages, report),
        summary=history.summary,
        passages=Repeated(partial(_passages, database, agent_id, notes, attached, where), report),
        source_names=tuple(sources[each].name for each in attached),
        where=where,
    )


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _json(row: Row, column: str, where: str) -> Any:
    """Return the value of a column with JSON text."""
    value = row[column]
    return parse_json(value, f"{where}, {column}") if isinstance(value, str) and value.strip() else value


def _memory(
    database: Database, row: Row, tags: Iterable[str], taken: Set[str], where: str, report: Report
) -> tuple[list[Block], list[Passage]]:
    blocks: list[Block] = []
    for link in _rows(database, "blocks_agents", agent_id=row["id"]):
        for block in _rows(database, "block", id=link["block_id"]):
            blocks.append(_block(block, string(link["block_label"])))
            links = _rows(database, "blocks_agents", block_id=block["id"])
            others = {string(each["agent_id"]) for each in links} - {row["id"]}
            if others and others.isdisjoint(taken):
                report.changed(where, UNSHARED, f"{block['label']}: {', '.join(sorted(others))}")
    return split_by_prompt(blocks or blocks_in(_json(row, "memory", where)), tags, where, report)


def _block(row: Row, label: str) -> Block:
    return Block(
        label=string(row["label"]) or label,
        value=string(row["value"]),
        limit=number(row["limit"]),
        description=string(row["description"]),
        read_only=bool(row["read_only"]),
        identity=string(row["id"]),
    )


@dataclass(frozen=True, slots=True)
class _History:
    """The messages of an agent: those of other conversations first, then those of the one that it continues."""

    database: Database
    agent_id: str
    plain: bool
    conversations: tuple[str | None, ...]
    window: frozenset[str]
    summary: str
    where: str

    @classmethod
    def of(cls, database: Database, row: Row, choice: Choice, where: str) -> _History:
        agent_id = string(row["id"])
        conversations = _conversations(database, agent_id)
        continued = _continued(row, conversations, choice, where)
        window = _window(database, row, continued, where)
        summary = _summary(database, window, where)
        if not summary and continued:
            rows = _rows(database, "conversations", id=continued)
            summary = "".join(string(each["summary"]) for each in rows)
        ordered = (*(each for each in conversations if each != continued), continued)
        plain = speaks_plainly(string(row["agent_type"]))
        return cls(database, agent_id, plain, ordered, frozenset(window), summary, where)

    def messages(self, report: Report) -> Iterator[Message]:
        """Yield the messages, and record those that are dropped."""
        for conversation in self.conversations:
            where = self.where if conversation is None else f"{self.where}, conversation {conversation}"
            for row in self._rows(conversation):
                place = f"{where}, message {row['id']}"
                in_window = conversation == self.conversations[-1] and row["id"] in self.window
                content = read_content(_decoded(row, place), plain=self.plain, report=report)
                if isinstance(content, Summary):
                    if not in_window or content.text != self.summary:
                        report.left_out(place, "summary of an earlier window", content.text)
                elif content is not None:
                    yield Message(content, parse_time(row["created_at"]), in_window, place)

    def _rows(self, conversation: str | None) -> Iterator[Row]:
        if not self.database.has("messages", "conversation_id"):
            return _rows(self.database, "messages", order=_ORDER, agent_id=self.agent_id)
        return _rows(self.database, "messages", order=_ORDER, agent_id=self.agent_id, conversation_id=conversation)


def _conversations(database: Database, agent_id: str) -> list[str | None]:
    """Return the ids of the conversations that have messages, the default one first as None, then by age."""
    found = set(database.distinct("messages", "conversation_id", {"agent_id": agent_id}))
    known = [each["id"] for each in _rows(database, "conversations", order=_TIME_ORDER, agent_id=agent_id)]
    rest = sorted(each for each in found.difference(known) if each is not None)
    return [None, *(each for each in known if each in found), *rest]


def _continued(row: Row, conversations: Sequence[str | None], choice: Choice, where: str) -> str | None:
    """Return the conversation whose window the agent continues."""
    if not choice.conversation:
        default = _json(row, "message_ids", where)
        # An agent that was only talked to in conversations has an empty default one.
        return (
            conversations[-1]
            if len(conversations) > 1 and not (isinstance(default, list) and len(default) > 1)
            else None
        )
    if choice.conversation not in conversations:
        known = ", ".join(str(each) for each in conversations[1:9])
        raise CliError(f'{where} has no conversation "{choice.conversation}"; it has {known or "only the default one"}')
    return choice.conversation


def _window(database: Database, row: Row, conversation: str | None, where: str) -> list[str]:
    if conversation is None:
        ids = _json(row, "message_ids", where)
        return [each for each in ids if isinstance(each, str)] if isinstance(ids, list) else []
    rows = _rows(database, "conversation_messages", order=("position", "rowid"), conversation_id=conversation)
    return [string(each["message_id"]) for each in rows if each["in_context"]]


def _summary(database: Database, window: Sequence[str], where: str) -> str:
    with Report() as unused:
        for message_id in window[:_SUMMARY_WITHIN]:
            for row in _rows(database, "messages", id=message_id):
                content = read_content(_decoded(row, where), plain=False, report=unused)
                if isinstance(content, Summary):
                    return content.text
    return ""


def _decoded(row: Row, place: str) -> Fields:
    columns = ("content", "tool_calls", "tool_returns", "approvals")
    return Fields({**row, **{column: _json(row, column, place) for column in columns}}, place)


def _passages(
    database: Database,
    agent_id: str,
    notes: Sequence[Passage],
    attached: Sequence[str],
    where: str,
    report: Report,
) -> Iterator[Passage]:
    yield from notes
    for link in _rows(database, "archives_agents", agent_id=agent_id):
        archive = string(link["archive_id"])
        others = [string(each["agent_id"]) for each in _rows(database, "archives_agents", archive_id=archive)]
        if len(others) > 1:
            report.changed(
                where, "archive was shared by several agents; each has its own now", f"{archive}: {', '.join(others)}"
            )
        for row in _rows(database, "archival_passages", order=_TIME_ORDER, archive_id=archive):
            yield _passage(row, where, report)
    for table in ("agent_passages", "passages"):
        for row in _rows(database, table, order=_TIME_ORDER, agent_id=agent_id):
            if row.get("source_id") in attached:
                report.left_out(where, "copy of a passage of an attached data source")
            else:
                yield _passage(row, where, report)


def _passage(row: Row, where: str, report: Report) -> Passage:
    place = f"{where}, passage {row['id']}"
    listed = _json(row, "tags", place) if "tags" in row else None
    tags = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    tags += tags_of(_json(row, "metadata_", place), place, report)
    return Passage(string(row["text"]), tuple(tags), parse_time(row["created_at"]), place)


def _attached(database: Database, agent_id: str, sources: Mapping[str, Source]) -> list[str]:
    links = (
        string(link["source_id"])
        for table in ("sources_agents", "agent_source_mapping")
        for link in _rows(database, table, agent_id=agent_id)
    )
    return list(dict.fromkeys(each for each in links if each in sources))


def _sources(database: Database, report: Report) -> dict[str, Source]:
    """Return the sources by id, under names that differ."""
    found: dict[str, Source] = {}
    for row in _rows(database, "sources", order=_TIME_ORDER):
        wanted = names.display_name(string(row["name"]), "source")
        name = names.numbered(wanted, (each.name for each in found.values()), names.MAX_NAME, "-")
        about = " ".join(each for each in (string(row["description"]), string(row["instructions"])) if each.strip())
        documents = partial(_documents, database, string(row["id"]), name)
        found[row["id"]] = Source(name, about, Repeated(documents, report))
    return found


def _documents(database: Database, source_id: str, name: str, report: Report) -> Iterator[Document]:
    where = f'data source "{name}"'
    files: set[str] = set()
    for row in _rows(database, "files", order=_TIME_ORDER, source_id=source_id):
        files.add(row["id"])
        label = string(row["file_name"]) or string(row["original_file_name"]) or "file"
        yield Document(label, _file_text(database, source_id, row["id"], where, report))
    for table, column in _chunks(database):
        for value in list(database.distinct(table, column, {"source_id": source_id})):
            text = _joined(database, table, source_id, column, value) if value not in files else ""
            if text.strip():
                report.changed(where, "text of a document was joined from its passages", value)
                yield Document(f"document {value}" if value else "passages", text)


def _file_text(database: Database, source_id: str, file_id: str, where: str, report: Report) -> str:
    for row in _rows(database, "file_contents", file_id=file_id):
        return string(row["text"])
    report.changed(where, "text of a document was joined from its passages", file_id)
    texts = [_joined(database, table, source_id, column, file_id) for table, column in _chunks(database)]
    return "\n".join(text for text in texts if text)


def _chunks(database: Database) -> Iterator[tuple[str, str]]:
    """Yield the tables with passages of documents, and the column that tells the document."""
    for table in ("source_passages", "passages"):
        for column in ("file_id", "doc_id"):
            if database.has(table, "source_id", column):
                yield table, column
                break


def _joined(database: Database, table: str, source_id: str, column: str, value: str | None) -> str:
    rows = database.rows(table, ("text", "agent_id"), order=_TIME_ORDER, where={"source_id": source_id, column: value})
    # A passage with an agent is the agent's copy.
    return "\n".join(string(row["text"]) for row in rows if not row["agent_id"])


def _profiles(database: Database) -> Iterator[Profile]:
    kinds = {"persona": ProfileKind.PERSONA, "human": ProfileKind.HUMAN}
    for row in _rows(database, "block"):
        kind = kinds.get(string(row["label"]))
        if kind is not None and (row["is_template"] or row["template"]):
            yield Profile(kind, string(row["template_name"]) or string(row["name"]), string(row["value"]))


def _tools(database: Database) -> Iterator[Tool]:
    for row in _rows(database, "tools"):
        if row["source_code"] and row["tool_type"] in (None, "custom"):
            schema = row["json_schema"]
            yield Tool(string(row["name"]), string(schema), string(row["source_code"]))
