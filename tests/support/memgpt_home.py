"""Homes of MemGPT 0.2 and 0.3, as those versions left them."""

from __future__ import annotations

import json
import pickle
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import schema_pb2

NOTES = 30
SUMMARY = "We spoke of tea."
PASSAGES = ("Recall memory holds what was said.", "Archival memory holds the rest. 記憶")

_BEGIN = datetime(2024, 2, 1, 9, 0)
_WINDOW = 9
_KEY = "sk-never-to-be-read"


def said(number: int) -> dict[str, Any]:
    """Return one of three, in OpenAI's shape of 2023: a user's message, a call, its result."""
    turn = number // 3
    if number % 3 == 0:
        event = {"type": "user_message", "message": f"Question {turn}? 茶", "time": _local(number)}
        return {"role": "user", "content": json.dumps(event)}
    if number % 3 == 1:
        call = {"name": "send_message", "arguments": json.dumps({"message": f"Answer {turn}"})}
        return {"role": "assistant", "content": f"Thought {turn}", "function_call": call}
    result = {"status": "OK", "message": "None", "time": _local(number)}
    return {"role": "function", "name": "send_message", "content": json.dumps(result)}


def _local(number: int) -> str:
    return (_BEGIN + timedelta(seconds=number)).strftime("%Y-%m-%d %I:%M:%S %p PST-0800")


def _alert() -> str:
    text = (
        "Note: prior messages (9 of 12 total messages) have been hidden from view due to conversation memory"
        f" constraints.\nThe following is a summary of the previous 9 messages:\n {SUMMARY}"
    )
    return json.dumps({"type": "system_alert", "message": text, "time": _local(0)})


# 0.3


def write_0_3(home: Path, *, messages: int = 300, store: str = "chroma") -> None:
    """Write a home of 0.3 with the agent Ada.

    Args:
        home: The folder to fill.
        messages: Number of messages, a multiple of three.
        store: Where archival memory is: ``chroma``, ``sqlite``, ``milvus`` (Milvus Lite 2.4), or the URI of a Milvus
            server or of a file of a later Milvus Lite.
    """
    _profiles(home)
    served = store not in ("chroma", "sqlite", "milvus")
    _config(home, "0.3.25", "milvus" if served else store, uri="http://localhost:19530" if served else "")
    (home / "credentials").write_text(f"[openai]\nkey = {_KEY}\n")
    window = ["m-system", "m-summary", *(f"m-{number}" for number in range(messages - _WINDOW, messages))]
    blocks = {"persona": "I am Ada. 🫖", "human": "Chad likes tea."}
    memory = {label: {"name": label, "value": value, "limit": 2000} for label, value in blocks.items()}
    state = {"system": "You are Ada.", "memory": memory, "messages": window}
    with sqlite3.connect(home / "sqlite.db") as db:
        db.executescript(
            """
            CREATE TABLE agents (id CHAR PRIMARY KEY, user_id CHAR, name VARCHAR, system VARCHAR, created_at DATETIME,
                llm_config JSON, embedding_config JSON, state JSON, _metadata JSON, tools JSON);
            CREATE TABLE memgpt_recall_memory_agent (id CHAR PRIMARY KEY, user_id CHAR, agent_id CHAR, role VARCHAR,
                text VARCHAR, model VARCHAR, name VARCHAR, tool_calls JSON, tool_call_id VARCHAR, embedding BLOB,
                embedding_dim BIGINT, embedding_model VARCHAR, created_at DATETIME);
            CREATE TABLE sources (id CHAR PRIMARY KEY, user_id CHAR, name VARCHAR, created_at DATETIME,
                embedding_dim BIGINT, embedding_model VARCHAR, description VARCHAR);
            CREATE TABLE agent_source_mapping (id CHAR PRIMARY KEY, user_id CHAR, agent_id CHAR, source_id CHAR);
            CREATE TABLE personamodel (text VARCHAR, name VARCHAR, id CHAR PRIMARY KEY, user_id CHAR);
            INSERT INTO personamodel VALUES ('I am a pirate.', 'pirate', 'p-1', NULL);
            INSERT INTO sources VALUES ('s-1', 'u', 'paper', '2024-02-01 09:00:00', 1536, 'ada', 'A paper.');
            INSERT INTO agent_source_mapping VALUES ('a-s-1', 'u', 'a-1', 's-1');
            """
        )
        model = {"model": "gpt-4", "context_window": 8192}
        agent = ("a-1", "u", "Ada", "You are Ada.", _stamp(0), json.dumps(model), "{}", json.dumps(state), "{}", "[]")
        db.execute(f"INSERT INTO agents VALUES ({', '.join('?' * 10)})", agent)
        rows = [
            ("m-system", "system", "You are Ada.", None, None, _stamp(-2)),
            *(_recall(number) for number in range(messages)),
            ("m-summary", "user", _alert(), None, None, _stamp(messages)),
        ]
        db.executemany(
            "INSERT INTO memgpt_recall_memory_agent (id, role, text, tool_calls, tool_call_id, created_at, user_id,"
            " agent_id, embedding) VALUES (?, ?, ?, ?, ?, ?, 'u', 'a-1', x'80049500')",
            rows,
        )
    db.close()
    archival = [_note(number) for number in range(NOTES)]
    # Attaching a source copied its passages.
    archival += [{**_passage(number), "id": f"copy-{number}", "agent_id": "a-1"} for number in range(len(PASSAGES))]
    tables = {
        "memgpt_archival_memory_agent": archival,
        "memgpt_passages": [_passage(number) for number in range(len(PASSAGES))],
    }
    write = {"chroma": _write_chroma, "sqlite": _write_archival, "milvus": _write_milvus}.get(store)
    if write is not None:
        write(home, tables)
    else:
        write_collections(store, tables)


def _stamp(number: int) -> str:
    return (_BEGIN + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S.%f")


def _recall(number: int) -> tuple[str, str, str, str | None, str | None, str]:
    # 0.3 wrote envelopes without escapes.
    message = {**said(number), "content": said(number)["content"].replace("\\u8336", "茶")}
    call_id = f"call-{number // 3}"
    if call := message.get("function_call"):
        calls = json.dumps([{"id": call_id, "tool_call_type": "function", "function": call}])
        return f"m-{number}", "assistant", message["content"], calls, None, _stamp(number)
    tool = message["role"] == "function"
    role = "tool" if tool else message["role"]
    return f"m-{number}", role, message["content"], None, call_id if tool else None, _stamp(number)


def _note(number: int) -> dict[str, Any]:
    text = f"Note {number}: tea was “green”."
    return {"id": f"n-{number}", "text": text, "agent_id": "a-1", "user_id": "u", "created_at": 1706778000 + number}


def _passage(number: int) -> dict[str, Any]:
    passage = {"id": f"p-{number}", "text": PASSAGES[number], "data_source": "paper", "doc_id": "d-1"}
    return {**passage, "created_at": 1706778000 + number}


def _write_chroma(home: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    (home / "chroma").mkdir()
    with sqlite3.connect(home / "chroma/chroma.sqlite3") as db:
        db.executescript(
            """
            CREATE TABLE collections (id TEXT PRIMARY KEY, name TEXT NOT NULL, dimension INTEGER);
            CREATE TABLE segments (id TEXT PRIMARY KEY, type TEXT NOT NULL, scope TEXT NOT NULL, collection TEXT);
            CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id TEXT, embedding_id TEXT, seq_id BLOB,
                created_at TIMESTAMP);
            CREATE TABLE embedding_metadata (id INTEGER, key TEXT, string_value TEXT, int_value INTEGER,
                float_value REAL, bool_value INTEGER, PRIMARY KEY (id, key));
            """
        )
        number = 0
        for table, rows in tables.items():
            db.execute("INSERT INTO collections VALUES (?, ?, 1536)", (f"c-{table}", table))
            for scope in ("VECTOR", "METADATA"):
                db.execute("INSERT INTO segments VALUES (?, 'x', ?, ?)", (f"{scope}-{table}", scope, f"c-{table}"))
            for row in rows:
                number += 1
                embedding = (number, f"METADATA-{table}", row["id"], _stamp(0))
                db.execute("INSERT INTO embeddings VALUES (?, ?, ?, NULL, ?)", embedding)
                for key, value in row.items():
                    column = "int_value" if isinstance(value, int) else "string_value"
                    name = "chroma:document" if key == "text" else key
                    db.execute(
                        f"INSERT INTO embedding_metadata (id, key, {column}) VALUES (?, ?, ?)", (number, name, value)
                    )
    db.close()


def _write_archival(home: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    with sqlite3.connect(home / "sqlite.db") as db:
        for table, rows in tables.items():
            db.execute(
                f"CREATE TABLE {table} (id CHAR PRIMARY KEY, user_id CHAR, text VARCHAR, doc_id CHAR, agent_id CHAR,"
                " data_source VARCHAR, embedding BLOB, metadata_ JSON, created_at DATETIME)"
            )
            for row in rows:
                values = {**row, "created_at": _stamp(row["created_at"] - 1706778000)}
                names = ", ".join(values)
                marks = ", ".join("?" * len(values))
                db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))
    db.close()


def _write_milvus(home: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    with sqlite3.connect(home / "milvus.db") as db:
        for table, rows in tables.items():
            db.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, milvus_id VARCHAR(1024), data BLOB)")
            for row in rows:
                # Milvus Lite 2.4 bound its messages as text.
                data = "CAST(? AS TEXT)"
                db.execute(f"INSERT INTO {table} (milvus_id, data) VALUES (?, {data})", (row["id"], stored_row(row)))
    db.close()


def write_collections(uri: str, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write collections as 0.3.16 to 0.3.25 did, with vectors as wide as the widest model's."""
    with closing(MilvusClient(uri, timeout=60)) as client:
        for table, rows in tables.items():
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=65_535)
            schema.add_field("text", DataType.VARCHAR, max_length=65_535)
            schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=4_096)
            index = client.prepare_index_params()
            index.add_index("embedding", index_type="AUTOINDEX", metric_type="IP")
            client.create_collection(table, schema=schema, index_params=index)
            if rows:
                client.insert(table, [{**row, "embedding": [0.5] * 4_096, "embedding_dim": 1_536} for row in rows])


def stored_row(row: dict[str, Any]) -> bytes:
    """Return a row as Milvus Lite 2.4 stored it: a message whose first field repeats `FieldData`."""
    extra = {key: value for key, value in row.items() if key not in ("id", "text")}
    text = [
        schema_pb2.FieldData(
            type=21,
            field_name=name,
            scalars=schema_pb2.ScalarField(string_data=schema_pb2.StringArray(data=[row[name]])),
        )
        for name in ("id", "text")
    ]
    vector = schema_pb2.VectorField(dim=4, float_vector=schema_pb2.FloatArray(data=[0.5] * 4))
    meta = schema_pb2.ScalarField(json_data=schema_pb2.JSONArray(data=[json.dumps(extra).encode()]))
    fields = [
        *text,
        schema_pb2.FieldData(type=101, field_name="embedding", vectors=vector),
        schema_pb2.FieldData(type=23, field_name="$meta", scalars=meta),
    ]
    return b"".join(b"\n" + _varint(len(data)) + data for data in (each.SerializeToString() for each in fields))


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


# 0.2


def write_0_2(home: Path, *, messages: int = 300) -> None:
    """Write a home of 0.2 with the agent Ada.

    Args:
        home: The folder to fill.
        messages: Number of messages, a multiple of three.
    """
    _profiles(home)
    _config(home, "0.2.11", "local")
    agent = home / "agents/Ada"
    for folder in ("agent_state", "persistence_manager/index"):
        (agent / folder).mkdir(parents=True)
    config: dict[str, Any] = {
        "name": "Ada",
        "persona": "pirate",
        "human": "basic",
        "preset": "memgpt_chat",
        "model": "gpt-4",
    }
    config |= {"context_window": 8192, "data_sources": ["paper"], "create_time": _local(0), "memgpt_version": "0.2.11"}
    (agent / "config.json").write_text(json.dumps(config))
    system = {"role": "system", "content": "You are Ada. Memory: tea."}
    history = [said(number) for number in range(messages)]
    summary = {"role": "user", "content": _alert()}
    window = [system, summary, *history[-_WINDOW:]]
    state: dict[str, Any] = {"model": "gpt-4", "system": "You are Ada.", "functions": [], "messages": window}
    state |= {"messages_total": messages, "memory": {"persona": "I am Ada. 🫖", "human": "Chad likes tea."}}
    latest = "2024-02-01_01_00_00_PM_PST-0800"
    (agent / f"agent_state/{latest}.json").write_text(json.dumps(state))
    # An hour before, though its name sorts after.
    old = {**state, "memory": {"persona": "old", "human": "old"}}
    (agent / "agent_state/2024-02-01_12_00_00_PM_PST-0800.json").write_text(json.dumps(old))
    with _modules() as (openai_object, text_node):
        kept = [openai_object.of(message) for message in [system, *history, summary]]
        entries = [{"timestamp": _local(number), "message": message} for number, message in enumerate(kept)]
        pickled = {
            "recall_memory": {"message_database": entries},
            "messages": entries[-_WINDOW:],
            "all_messages": entries,
        }
        (agent / f"persistence_manager/{latest}.persistence.pickle").write_bytes(pickle.dumps(pickled))
        notes = [text_node(f"Note {number}: tea was “green”.") for number in range(NOTES)]
        (agent / "persistence_manager/index/nodes.pkl").write_bytes(pickle.dumps(notes))
        (home / "archival/paper").mkdir(parents=True)
        (home / "archival/paper/nodes.pkl").write_bytes(pickle.dumps([text_node(text) for text in PASSAGES]))


def _config(home: Path, version: str, store: str, uri: str = "") -> None:
    lines = ["[defaults]", "persona = pirate", "", "[openai]", f"key = {_KEY}", "", "[archival_storage]"]
    lines += [
        f"type = {store}",
        f"path = {home / 'chroma'}",
        f"uri = {uri}",
        "",
        "[recall_storage]",
        "type = sqlite",
        "",
    ]
    (home / "config").write_text("\n".join([*lines, "[version]", f"memgpt_version = {version}", ""]))


def _profiles(home: Path) -> None:
    for folder, name, text in (
        ("personas", "pirate.txt", "I am a pirate."),
        ("humans", "chad.txt", "Chad likes tea."),
        ("system_prompts", "mine.txt", "You are mine."),
        ("presets", "mine.yaml", "system_prompt: mine\n"),
    ):
        (home / folder).mkdir()
        (home / folder / name).write_text(text)


@contextmanager
def _modules() -> Iterator[Sequence[Any]]:
    """Yield classes with the names that the pickles of 0.2 have; their modules exist only in the meantime."""
    openai, llama_index = ModuleType("openai.openai_object"), ModuleType("llama_index.schema")

    class OpenAIObject(dict[str, Any]):
        __module__ = openai.__name__
        __qualname__ = "OpenAIObject"

        @classmethod
        def of(cls, message: dict[str, Any]) -> Any:
            made = cls()
            for key, value in message.items():
                made[key] = cls.of(value) if isinstance(value, dict) else value
            return made

        def __reduce__(self) -> Any:
            return type(self), (None, _KEY, None), None, None, iter(self.items())

    class TextNode:
        __module__ = llama_index.__name__
        __qualname__ = "TextNode"

        def __init__(self, text: str) -> None:
            self.text, self.embedding = text, [0.5] * 16

        def __getstate__(self) -> Any:
            return {"__dict__": self.__dict__, "__fields_set__": {"text"}, "__private_attribute_values__": {}}

    openai.OpenAIObject, llama_index.TextNode = OpenAIObject, TextNode  # type: ignore[attr-defined]
    added = {module.__name__: module for module in (openai, llama_index, ModuleType("llama_index"))}
    sys.modules.update(added)
    try:
        yield OpenAIObject, TextNode
    finally:
        for name in added:
            del sys.modules[name]
