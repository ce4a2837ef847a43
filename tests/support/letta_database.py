"""Letta's databases in the schemas of its versions, with agents that have lived a while."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.postgres import Postgres

VERSIONS = ("0.4", "0.6", "0.8", "0.11", "0.16")
"""Versions whose schemas differ in what an import reads."""

NOTES = 40
"""Notes of Ada."""

SUMMARY = "We spoke of tea."
FILE_TEXT = "Recall memory holds what was said.\nArchival memory holds the rest. 記憶"

_BEGIN = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
_SECRET = "sk-never-to-be-read"
_WINDOW = 10

_BASE = "created_at timestamp, updated_at timestamp, is_deleted boolean DEFAULT FALSE"
_AGENT_0_4 = (
    "id text, user_id text, name text, created_at timestamp, description text, message_ids json, memory json,"
    " system text, tools json, agent_type text, llm_config json, embedding_config json, metadata_ json"
)
_AGENT_0_6 = (
    "id text, user_id text, name text, created_at timestamp, description text, message_ids json, system text,"
    " agent_type text, llm_config json, embedding_config json, metadata_ json, tool_names json, tool_rules json"
)
_AGENT_0_8 = (
    "id text, organization_id text, name text, agent_type text, description text, system text, message_ids json,"
    f" metadata_ json, llm_config json, embedding_config json, tool_rules json, timezone text, {_BASE}"
)
_MESSAGE_0_4 = (
    "id text, user_id text, agent_id text, role text, text text, model text, name text, tool_calls json,"
    " tool_call_id text, created_at timestamp"
)
_MESSAGE_0_6 = (
    "id text, organization_id text, agent_id text, role text, text text, model text, name text, tool_calls json,"
    f" tool_call_id text, {_BASE}"
)
_MESSAGE_0_8 = f"{_MESSAGE_0_6}, content json, tool_returns json, group_id text, sequence_id bigint"
_MESSAGE_0_16 = f"{_MESSAGE_0_8}, conversation_id text, is_err boolean, approvals json"
_BLOCK_0_4 = (
    'id text, value text, "limit" bigint, name text, template boolean, label text, metadata_ json, description text,'
    " user_id text"
)
_BLOCK_0_6 = (
    "id text, organization_id text, template_name text, description text, label text, is_template boolean, value text,"
    f' "limit" integer, metadata_ json, {_BASE}'
)
_PASSAGE = f"id text, text text, embedding text, metadata_ json, {_BASE}"
_LINKED = "agent_id text, block_id text, block_label text"
_SOURCE = f"id text, name text, description text, metadata_ json, {_BASE}"
_FILE = f"id text, source_id text, file_name text, file_path text, file_type text, {_BASE}"
_TOOL = f"id text, name text, source_type text, source_code text, json_schema json, {_BASE}"

_SCHEMAS: dict[str, dict[str, str]] = {
    "0.4": {
        "agents": _AGENT_0_4,
        "messages": _MESSAGE_0_4,
        "block": _BLOCK_0_4,
        "passages": "id text, user_id text, text text, doc_id text, agent_id text, source_id text, embedding text,"
        " metadata_ json, created_at timestamp",
        "sources": "id text, user_id text, name text, created_at timestamp, description text, metadata_ json",
        "agent_source_mapping": "id text, user_id text, agent_id text, source_id text",
        "tools": "id text, name text, source_type text, source_code text, json_schema json",
        "tokens": "id text, key text",
    },
    "0.6": {
        "agents": _AGENT_0_6,
        "messages": _MESSAGE_0_6,
        "block": _BLOCK_0_6,
        "blocks_agents": f"{_LINKED}, {_BASE}",
        "passages": f"{_PASSAGE}, agent_id text, source_id text, file_id text",
        "sources": _SOURCE,
        "agent_source_mapping": "id text, user_id text, agent_id text, source_id text",
        "files": _FILE,
        "tools": _TOOL,
        "tokens": "id text, key text",
    },
}
_SCHEMAS["0.8"] = {
    "agents": _AGENT_0_8,
    "messages": _MESSAGE_0_8,
    "block": _BLOCK_0_6,
    "blocks_agents": _LINKED,
    "agents_tags": "agent_id text, tag text",
    "agent_passages": f"{_PASSAGE}, agent_id text",
    "source_passages": f"{_PASSAGE}, source_id text, file_id text",
    "sources": f"{_SOURCE}, instructions text",
    "sources_agents": "agent_id text, source_id text",
    "files": _FILE,
    "tools": f"{_TOOL}, tool_type text",
    "identities": "id text, identifier_key text, name text, identity_type text",
    "agent_environment_variables": "id text, key text, value text",
}
_SCHEMAS["0.11"] = {
    **{table: columns for table, columns in _SCHEMAS["0.8"].items() if table != "agent_passages"},
    "block": f"{_BLOCK_0_6}, read_only boolean",
    "files": f"{_FILE}, original_file_name text",
    "file_contents": f"id text, file_id text, text text, {_BASE}",
    "archives": f"id text, name text, description text, {_BASE}",
    "archives_agents": "agent_id text, archive_id text, created_at timestamp, is_owner boolean",
    "archival_passages": f"{_PASSAGE}, archive_id text, tags json",
    "mcp_server": "id text, server_name text, token text",
}
_SCHEMAS["0.16"] = {
    **_SCHEMAS["0.11"],
    "messages": _MESSAGE_0_16,
    "conversations": f"id text, agent_id text, summary text, {_BASE}",
    "conversation_messages": "id text, conversation_id text, agent_id text, message_id text, position integer,"
    f" in_context boolean, {_BASE}",
}


@dataclass(frozen=True, slots=True)
class Filled:
    """What a filled database holds of Ada: numbers that an import must reach.

    Attributes:
        messages: Messages that are stored here: without system messages, summaries and deleted ones.
        window: How many of them are in the window.
        deleted: Whether the version marks deleted rows.
        has_tags: Whether notes have tags.
    """

    messages: int
    window: int
    deleted: bool
    has_tags: bool


class Database:
    """Rows of one version's tables."""

    def __init__(self, version: str, messages: int = 300) -> None:
        """Make up the rows.

        Args:
            version: One of `VERSIONS`.
            messages: Messages of Ada, a multiple of three.
        """
        self.version = version
        self.schema = _SCHEMAS[version]
        self.filled = Filled(messages, _WINDOW - 2, "is_deleted" in self.schema["messages"], "archives" in self.schema)
        self._messages = messages

    def write_sqlite(self, path: Path) -> None:
        """Write a SQLite database."""
        with sqlite3.connect(path) as connection:
            for table, columns in self.schema.items():
                connection.execute(f"CREATE TABLE {table} ({columns})")
            for table, row in self.rows():
                names, values = self._known(table, row)
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
        connection.close()

    def write_postgres(self, server: Postgres, name: str) -> None:
        """Create and fill a PostgreSQL database."""
        server.create(name)
        lines = ["SET TIME ZONE 'UTC';"]
        for table, columns in self.schema.items():
            lines.append(f"CREATE TABLE {table} ({columns.replace('timestamp', 'timestamptz')});")
        for table, row in self.rows():
            names, values = self._known(table, row)
            lines.append(f"INSERT INTO {table} ({names}) VALUES ({', '.join(map(_literal, values))});")
        server.psql(name, stdin="BEGIN;\n" + "\n".join(lines) + "\nCOMMIT;\n")

    def _known(self, table: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
        """Return the columns that the version has, and their values: objects as JSON, times as SQLAlchemy has them."""
        known = {each.split()[0].strip('"') for each in self.schema[table].split(", ")}
        kept = {column: value for column, value in row.items() if column in known}
        return ", ".join(f'"{column}"' for column in kept), [_value(value) for value in kept.values()]

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each row with its table; a row may have more columns than the version."""
        for table, row in self._everything():
            if table in self.schema:
                yield table, row

    def _everything(self) -> Iterator[tuple[str, dict[str, Any]]]:
        window = [f"message-{number}" for number in range(self._messages - _WINDOW + 2, self._messages)]
        yield "agents", self._agent("agent-1", "Ada", ["message-system", "message-summary", *window])
        yield "agents", self._agent("agent-2", "Bob", [])
        yield "agents", {**self._agent("agent-3", "Ada-sleeptime", []), "agent_type": "sleeptime_agent"}
        yield "agents_tags", {"agent_id": "agent-1", "tag": "tea"}
        yield from self._blocks()
        yield from self._recall()
        yield from self._archival()
        yield from self._documents()
        yield (
            "tools",
            {
                "id": "tool-1",
                "name": "roll_dice",
                "tool_type": "custom",
                "source_code": "def roll_dice(): ...",
                "json_schema": {"name": "roll_dice"},
            },
        )
        yield "identities", {"id": "identity-1", "name": "Chad", "identity_type": "user", "identifier_key": "chad"}
        yield "tokens", {"id": "token-1", "key": _SECRET}
        yield "mcp_server", {"id": "mcp-1", "server_name": "files", "token": _SECRET}
        yield "agent_environment_variables", {"id": "env-1", "key": "KEY", "value": _SECRET}

    def _agent(self, agent_id: str, name: str, window: list[str]) -> dict[str, Any]:
        memory = {
            "persona": {"value": "I am Ada. 🫖", "limit": 2000},
            "human": {"value": "Chad likes tea.", "limit": 2000},
        }
        return {
            "id": agent_id,
            "name": name,
            "system": f"You are {name}.",
            "agent_type": "memgpt_agent",
            "description": f"{name} for tests",
            "message_ids": window,
            "memory": {"memory": memory, "prompt_template": "{% for block in memory.values() %}"},
            "llm_config": {"model": "gpt-4", "context_window": 8192, "model_endpoint": "https://api.openai.com/v1"},
            "embedding_config": {"embedding_dim": 1536},
            "metadata_": {},
            "timezone": "Europe/Berlin",
            "tool_rules": [],
            "created_at": _BEGIN,
        }

    def _blocks(self) -> Iterator[tuple[str, dict[str, Any]]]:
        texts = {"persona": "I am Ada. 🫖", "human": "Chad likes tea."}
        for label, text in texts.items():
            described = {"description": f"about the {label}", "read_only": label == "persona"}
            block = {"id": f"block-{label}", "label": label, "value": text, "limit": 5000, "metadata_": {}, **described}
            yield "block", block
            yield "blocks_agents", {"agent_id": "agent-1", "block_id": f"block-{label}", "block_label": label}
        yield "blocks_agents", {"agent_id": "agent-2", "block_id": "block-human", "block_label": "human"}
        template = {
            "id": "block-template",
            "label": "persona",
            "value": "I am a pirate.",
            "limit": 5000,
            "metadata_": {},
        }
        yield "block", {**template, "name": "pirate", "template_name": "pirate", "template": True, "is_template": True}

    def _recall(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "messages", self._message("message-system", 0, "system", "You are Ada. Memory: tea.")
        for number in range(self._messages):
            yield "messages", self._message(f"message-{number}", number + 1, **_said(number))
        alert = (
            f"Note: prior messages have been hidden. The following is a summary of the previous 9 messages:\n {SUMMARY}"
        )
        text = json.dumps({"type": "system_alert", "message": alert, "time": "2025-03-01 09:00:00 AM UTC+0000"})
        yield "messages", self._message("message-summary", self._messages + 1, "user", text)
        if self.filled.deleted:
            yield "messages", {**self._message("message-x", self._messages + 2, "user", "deleted"), "is_deleted": True}
        if self.version == "0.16":
            yield "conversations", {"id": "conv-1", "agent_id": "agent-2", "summary": "", "created_at": _BEGIN}
            for number in range(6):
                message = self._message(f"message-c{number}", 1000 + number, **_said(number))
                yield "messages", {**message, "agent_id": "agent-2", "conversation_id": "conv-1"}
                link = {"conversation_id": "conv-1", "agent_id": "agent-2", "message_id": f"message-c{number}"}
                yield "conversation_messages", {**link, "position": number, "in_context": number >= 3}

    def _message(
        self, message_id: str, sequence: int, role: str, text: str, calls: Any = None, call_id: str | None = None
    ) -> dict[str, Any]:
        return {
            "id": message_id,
            "agent_id": "agent-1",
            "role": role,
            # 0.6.14 moved texts to parts.
            "text": None if "content" in self.schema["messages"] else text,
            "content": [{"type": "text", "text": text}],
            "tool_calls": calls,
            "tool_call_id": call_id,
            "tool_returns": [],
            "sequence_id": sequence,
            "created_at": _BEGIN + timedelta(seconds=sequence),
            "is_deleted": False,
        }

    def _archival(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "archives", {"id": "archive-1", "name": "Ada's archive"}
        for agent in ("agent-1", "agent-2"):
            yield "archives_agents", {"agent_id": agent, "archive_id": "archive-1", "is_owner": agent == "agent-1"}
        for number in range(NOTES):
            note = {
                "id": f"passage-{number}",
                "text": f"Note {number}: Chad's tea was “green”.",
                "embedding": "0.5 " * 16,
                "metadata_": {"mood": "calm"} if number == 0 else {},
                "tags": ["tea", f"number {number}"],
                "created_at": _BEGIN + timedelta(minutes=number),
                "is_deleted": False,
            }
            yield "archival_passages", {**note, "archive_id": "archive-1"}
            for table in ("agent_passages", "passages"):
                yield table, {**note, "agent_id": "agent-1"}
        for table in ("archival_passages", "agent_passages", "passages"):
            deleted = {"id": "passage-x", "text": "deleted", "is_deleted": True, "metadata_": {}}
            if "is_deleted" in self.schema.get(table, ""):
                yield table, {**deleted, "archive_id": "archive-1", "agent_id": "agent-1"}

    def _documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "sources", {"id": "source-1", "name": "paper", "description": "A paper.", "instructions": "Cite it."}
        for table in ("sources_agents", "agent_source_mapping"):
            yield table, {"agent_id": "agent-1", "source_id": "source-1"}
        yield (
            "files",
            {"id": "file-1", "source_id": "source-1", "file_name": "paper/intro.pdf", "file_type": "application/pdf"},
        )
        yield "file_contents", {"id": "content-1", "file_id": "file-1", "text": FILE_TEXT}
        for number, line in enumerate(FILE_TEXT.splitlines()):
            chunk: dict[str, Any] = {"text": line, "source_id": "source-1", "metadata_": {}, "embedding": "0.5"}
            chunk["created_at"] = _BEGIN + timedelta(seconds=number)
            for table in ("source_passages", "passages"):
                yield table, {**chunk, "id": f"chunk-{number}", "file_id": "file-1", "doc_id": "doc-1"}
            # Attaching a source copied its passages.
            yield (
                "passages",
                {**chunk, "id": f"copy-{number}", "file_id": "file-1", "doc_id": "doc-1", "agent_id": "agent-1"},
            )


def _said(number: int) -> dict[str, Any]:
    """Return one of three: a user's message, the answer as a call, and its result."""
    turn = number // 3
    if number % 3 == 0:
        said = {
            "type": "user_message",
            "message": f"Question {turn} — wie geht's? 茶",
            "time": "2025-03-01 09:00:00 AM UTC+0000",
        }
        return {"role": "user", "text": json.dumps(said, ensure_ascii=False)}
    call_id = f"call_{turn:024}"
    if number % 3 == 1:
        function = {"name": "send_message", "arguments": json.dumps({"message": f"Answer {turn}"})}
        calls = [{"id": call_id, "type": "function", "function": function}]
        return {"role": "assistant", "text": f"Thought {turn}", "calls": calls}
    return {"role": "tool", "text": json.dumps({"status": "OK", "message": "None"}), "call_id": call_id}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool() | int():
            return str(value)
        case _:
            return "'" + str(value).replace("'", "''") + "'"
