"""`memgpt export agent --format af`: a Letta Agent File of version 2, written as it is read.

Letta imports it, and so does `memgpt import letta`. The format has no archival memory and no messages that were taken
back; `memgpt export agent` without a format keeps everything.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.cli.call_arguments import LETTA_NAMES, renamed
from memgpt.cli.errors import CliError
from memgpt.cli.terminal.ui import plural
from memgpt.memory.v1 import message_pb2 as pb
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportWindow
from memgpt.memory.v1.block_pb2 import Block

EXPORTED_BY, THIS_PROJECT = "exported_by", "memgpt-milvus"
ROWS, LEFT_OUT = "rows", "left_out"
"""Keys of a file's metadata: who wrote it, how many messages of any kind it has, and what it lacks."""

_AGENT = "agent-0"
_TOOLS = {
    "send_message": "letta_core",
    "conversation_search": "letta_core",
    "archival_memory_insert": "letta_core",
    "archival_memory_search": "letta_core",
    "core_memory_append": "letta_memory_core",
    "core_memory_replace": "letta_memory_core",
}
"""Letta's own tools that the agent needs; Letta has their code."""

_EMBEDDING = {
    "embedding_endpoint_type": "openai",
    "embedding_endpoint": "https://api.openai.com/v1",
    "embedding_model": "text-embedding-3-small",
    "embedding_dim": 1_536,
    "embedding_chunk_size": 300,
}
"""What Letta embeds with unless the user chooses otherwise at the import."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model of an agent that does not name one, and the size of its window."""

    name: str
    context_window: int


@dataclass(slots=True)
class Written:
    """What a file has, and what the format cannot hold.

    Attributes:
        messages: Number of messages.
        taken_back: Number of messages that were taken back, and left out.
        passages: Number of notes that were left out.
        sources: Names of the data sources that were left out.
        tools: Addresses of the tool services that were left out.
        heartbeats: Whether timed heartbeats were left out.
        user: Whether the agent belongs to a user, who was left out.
        lifetimes: Whether the time to live of messages or notes was left out.
    """

    messages: int = 0
    taken_back: int = 0
    passages: int = 0
    sources: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    heartbeats: bool = False
    user: bool = False
    lifetimes: bool = False

    @property
    def left_out(self) -> list[str]:
        """What the format has no place for, in words."""
        named = [plural(self.passages, "note")] if self.passages else []
        named += [f"data source {each}" for each in self.sources]
        if self.taken_back:
            named.append(f"{plural(self.taken_back, 'message')} that were taken back")
        named += [f"tool service {each}" for each in self.tools]
        others = {"heartbeats": self.heartbeats, "user": self.user, "time to live": self.lifetimes}
        return named + [what for what, has in others.items() if has]


def write_agent_file(pieces: Iterable[AgentPiece], target: IO[bytes], model: Model) -> Written:
    """Write an agent as an Agent File, in memory that does not grow with its history.

    Args:
        pieces: The pieces of an exported agent.
        target: Where to write.
        model: The model of an agent that does not name one.

    Raises:
        CliError: The pieces end too early.
    """
    stream, written = iter(pieces), Written()
    agent, blocks, window = Agent(), list[Block](), ExportWindow()
    for piece in stream:
        if piece.HasField("agent"):
            agent = piece.agent
        elif piece.HasField("block"):
            blocks.append(piece.block)
        elif piece.HasField("tool_server"):
            written.tools += (piece.tool_server.address,)
        elif piece.HasField("heartbeats"):
            written.heartbeats = True
        elif piece.HasField("window"):
            window = piece.window
            break
    else:
        raise CliError("the exported agent has no window")
    written.sources = tuple(each.source_name for each in agent.attachments)
    written.user = bool(agent.user_id)
    written.lifetimes = bool(agent.message_ttl.seconds or agent.note_ttl.seconds)
    head = _dumped(_agent(agent, blocks, model))[:-1]
    target.write(b'{"agents": [' + head + b', "messages": [')
    in_context: list[str] = []
    rows = 0
    for number, (row, inside) in enumerate(_rows(agent, window, stream, written)):
        row["id"] = f"message-{number}"
        if inside:
            in_context.append(row["id"])
        target.write((b",\n" if number else b"\n") + _dumped(row))
        rows += 1
    target.write(b'], "in_context_message_ids": ' + _dumped(in_context) + b"}],\n")
    target.write(_dumped(_rest(agent, blocks, written, rows))[1:] + b"\n")
    return written


def _agent(agent: Agent, blocks: list[Block], model: Model) -> dict[str, Any]:
    return {
        "id": _AGENT,
        "name": agent.name,
        "system": agent.system,
        "agent_type": "memgpt_agent",
        "description": agent.description or None,
        "tags": list(agent.tags),
        "timezone": agent.time_zone or "UTC",
        "memory_blocks": [],
        "tools": [],
        "block_ids": [f"block-{number}" for number in range(len(blocks))],
        "tool_ids": [f"tool-{number}" for number in range(len(_TOOLS))],
        "source_ids": [],
        "group_ids": [],
        "files_agents": [],
        "tool_rules": [{"tool_name": "send_message", "type": "exit_loop"}],
        "include_base_tools": False,
        "llm_config": {
            "model": agent.model or model.name,
            "model_endpoint_type": "openai",
            "model_endpoint": "https://api.openai.com/v1",
            "context_window": agent.context_window or model.context_window,
            "put_inner_thoughts_in_kwargs": True,
        },
        "embedding_config": _EMBEDDING,
    }


def _rest(agent: Agent, blocks: list[Block], written: Written, rows: int) -> dict[str, Any]:
    return {
        "groups": [],
        "blocks": [
            {
                "id": f"block-{number}",
                "label": block.label,
                "value": block.value,
                "limit": block.limit,
                "description": block.description or None,
                "read_only": block.read_only,
                "is_template": False,
                "metadata": {},
            }
            for number, block in enumerate(blocks)
        ],
        "files": [],
        "sources": [],
        "tools": [
            {"id": f"tool-{number}", "name": name, "tool_type": kind}
            for number, (name, kind) in enumerate(_TOOLS.items())
        ],
        "mcp_servers": [],
        "skills": [],
        # For `memgpt import letta`, which otherwise could not know what is missing. Letta wants texts here.
        "metadata": {
            EXPORTED_BY: THIS_PROJECT,
            ROWS: str(rows),
            LEFT_OUT: json.dumps(written.left_out, ensure_ascii=False),
        },
        "created_at": _time(agent.create_time),
    }


def _rows(
    agent: Agent, window: ExportWindow, pieces: Iterator[AgentPiece], written: Written
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the messages and whether each is in the window: the instructions and the summary first."""
    yield _row("system", agent.system, agent.create_time), True
    if window.summary:
        alert = {
            "type": "system_alert",
            "message": f"The following is a summary of the previous messages:\n{window.summary}",
        }
        yield _row("user", json.dumps(alert, ensure_ascii=False), agent.update_time), True
    rewinds = deque(window.rewinds)  # ordered, like the messages
    for piece in pieces:
        if piece.HasField("window"):  # more rewinds
            rewinds.extend(piece.window.rewinds)
        elif piece.HasField("message"):
            message = piece.message
            while rewinds and rewinds[0].end <= message.sequence:
                rewinds.popleft()
            if rewinds and rewinds[0].first <= message.sequence:
                written.taken_back += 1
                continue
            written.messages += 1
            yield _message(message), message.sequence >= window.start_sequence
        elif piece.HasField("passage"):
            written.passages += 1


def _message(message: pb.Message) -> dict[str, Any]:
    time = message.create_time
    if message.role == pb.ROLE_USER:
        return _row("user", message.text, time)
    if message.role == pb.ROLE_TOOL:
        result = {
            "tool_call_id": message.call_id,
            "status": "error" if _failed(message.text) else "success",
            "func_response": message.text,
        }
        return _row("tool", message.text, time) | {"tool_call_id": message.call_id, "tool_returns": [result]}
    row = _row("assistant", message.text, time)
    if message.HasField("function_call"):
        call = message.function_call
        function = {"name": call.name, "arguments": _arguments(call)}
        row["tool_calls"] = [{"id": call.call_id, "type": "function", "function": function}]
    return row


def _row(role: str, text: str, time: Timestamp) -> dict[str, Any]:
    return {
        "type": "message",
        "role": role,
        "content": [{"type": "text", "text": text}] if text else [],
        "agent_id": _AGENT,
        "created_at": _time(time),
    }


def _arguments(call: pb.FunctionCall) -> str:
    if call.name not in LETTA_NAMES:
        return call.arguments
    ours, theirs = LETTA_NAMES[call.name]
    return renamed(call.arguments, ours, theirs)


def _failed(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("status") == "Failed"


def _time(time: Timestamp) -> str:
    return time.ToJsonString()


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
