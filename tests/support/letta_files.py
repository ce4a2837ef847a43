"""Agent Files in every shape that Letta has written, made up for tests.

Each function returns the JSON value of one file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

MODEL: Row = {
    "model": "gpt-4o-mini",
    "handle": "openai/gpt-4o-mini",
    "model_endpoint_type": "openai",
    "context_window": 32_000,
    "put_inner_thoughts_in_kwargs": True,
    "api_key": "sk-planted",
}
EMBEDDING: Row = {"embedding_model": "hash", "embedding_dim": 256, "embedding_endpoint_type": "openai"}
LONG_ID = "call_0f3b2c1d-5e6f-4a7b-8c9d-0e1f2a3b4c5d"


def time(minute: int) -> str:
    """Return a time without a zone, as the first versions wrote it."""
    return f"2025-03-01T10:{minute:02}:00.000123"


def text(words: str) -> list[Row]:
    """Return content of one part."""
    return [{"type": "text", "text": words}]


def call(call_id: str, name: str, **arguments: Any) -> Row:
    """Return a function call."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def ok(message: str = "None") -> str:
    """Return the envelope of a result."""
    return json.dumps({"status": "OK", "message": message, "time": "2025-03-01 10:00:00 AM UTC+0000"})


def user_event(words: str) -> str:
    """Return the envelope of a user's message."""
    return json.dumps({"type": "user_message", "message": words, "time": "2025-03-01 10:00:00 AM UTC+0000"})


def summary_event(words: str, count: int = 12) -> str:
    """Return the alert that stands for a summary in the window."""
    told = "Note: prior messages have been hidden from view.\n"
    told += f"The following is a summary of the previous {count} messages:\n {words}"
    return json.dumps({"type": "system_alert", "message": told, "time": "2025-03-01 10:00:00 AM UTC+0000"})


def v1_early() -> Row:
    """0.6.28 to 0.6.36: database ids, ``message_ids``, texts without parts, no version, no core memory."""
    rows: list[Row] = [
        {"role": "system", "text": "You are Letta."},
        {"role": "assistant", "text": "Greet them.", "tool_calls": [call("c1", "send_message", message="Hi")]},
        {"role": "tool", "text": ok(), "tool_call_id": "c1", "tool_calls": []},
        {"role": "user", "text": user_event("Hello"), "tool_calls": []},
    ]
    messages: list[Row] = [{"id": f"message-{n:032x}", "created_at": time(n), **row} for n, row in enumerate(rows)]
    return {
        "id": "agent-00000000000000000000000000000000",
        "name": "early",
        "system": "You are Letta.",
        "agent_type": "memgpt_agent",
        "description": None,
        "llm_config": MODEL,
        "embedding_config": EMBEDDING,
        "tool_rules": [],
        "message_ids": [messages[0]["id"], messages[3]["id"]],
        "messages": messages,
        "created_at": time(0),
    }


def v1() -> Row:
    """0.6.40 to 0.12: a window in its own order, a summary, calls with labels, a system message at every edit."""
    rows: list[Row] = [
        {"role": "system", "content": text("old prompt")},
        {"role": "user", "content": text(user_event("My name is Ada"))},
        {
            "role": "assistant",
            "content": text("Remember that."),
            "tool_calls": [call(LONG_ID, "core_memory_append", label="human", content="Ada", request_heartbeat=True)],
        },
        {"role": "system", "content": text("new prompt")},
        {"role": "tool", "content": text(ok()), "tool_call_id": LONG_ID, "name": "core_memory_append"},
        {
            "role": "assistant",
            "content": text("Now greet her."),
            "tool_calls": [call("c2", "send_message", message="Hello Ada")],
        },
        {"role": "tool", "content": text(ok()), "tool_call_id": "c2"},
        {"role": "user", "content": text("plain words"), "name": "Ada"},
        {"role": "system", "content": text("newest prompt")},
        {"role": "user", "content": text(summary_event("She is Ada."))},
    ]
    messages = [
        {"model": "gpt-4", "tool_calls": [], "tool_returns": [], "group_id": None, **row, "created_at": time(n)}
        for n, row in enumerate(rows)
    ]
    return {
        "name": "Ada's friend",
        "version": "0.6.47",
        "agent_type": "memgpt_agent",
        "system": "Be kind to Ada.",
        "description": "A friend.",
        "created_at": time(0),
        "updated_at": time(9),
        "llm_config": MODEL,
        "embedding_config": EMBEDDING,
        "core_memory": [
            v1_block("persona", "I am a friend."),
            v1_block("human", "Ada", description="Who the user is."),
        ],
        "messages": messages,
        "in_context_message_indices": [8, 9, 6, 7],
        "message_buffer_autoclear": False,
        "metadata_": None,
        "multi_agent_group": None,
        "tags": [{"tag": "friend"}, {"tag": "v1"}],
        "tool_exec_environment_variables": [{"key": "API_KEY", "value": "planted-secret", "description": None}],
        "tool_rules": [{"tool_name": "send_message", "type": "exit_loop"}],
        "tools": [
            {
                "name": "../../weather",
                "tool_type": "custom",
                "source_code": "raise SystemExit('this ran')",
                "json_schema": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
                "tags": [],
            }
        ],
    }


def v1_block(label: str, value: str, **fields: Any) -> Row:
    """Return a block of version 1."""
    return {
        "label": label,
        "value": value,
        "limit": 5_000,
        "description": None,
        "is_template": False,
        "template_name": None,
        "metadata_": {},
        "created_at": time(0),
        "updated_at": None,
        **fields,
    }


def v2_message(number: int, role: str, content: Any, **fields: Any) -> Row:
    """Return a message of version 2."""
    return {
        "type": "message",
        "id": f"message-{number}",
        "role": role,
        "content": text(content) if isinstance(content, str) else content,
        "name": None,
        "otid": None,
        "model": None,
        "agent_id": "agent-0",
        "tool_calls": None,
        "tool_call_id": None,
        "tool_returns": [],
        "approvals": [],
        "created_at": f"2025-10-01T{number // 60:02}:{number % 60:02}:00+00:00",
        **fields,
    }


def v2_agent(messages: Sequence[Row] = (), window: Sequence[int] | None = None, **fields: Any) -> Row:
    """Return an agent of version 2; its window is all of its messages unless it is given."""
    wanted = range(len(messages)) if window is None else window
    return {
        "id": "agent-0",
        "name": "Max",
        "system": "You are Max.",
        "agent_type": "memgpt_v2_agent",
        "description": None,
        "metadata": None,
        "timezone": "Europe/Berlin",
        "tags": ["one"],
        "memory_blocks": [],
        "tools": [],
        "block_ids": ["block-0", "block-1"],
        "tool_ids": [],
        "source_ids": [],
        "group_ids": [],
        "messages": list(messages),
        "in_context_message_ids": [messages[n]["id"] for n in wanted],
        "files_agents": [],
        "llm_config": MODEL,
        "embedding_config": EMBEDDING,
        "tool_rules": [],
        "secrets": {},
        "tool_exec_environment_variables": {},
        **fields,
    }


def v2_block(number: int, label: str, value: str, **fields: Any) -> Row:
    """Return a block of version 2."""
    return {
        "id": f"block-{number}",
        "label": label,
        "value": value,
        "limit": 20_000,
        "description": f"About {label}.",
        "read_only": False,
        "is_template": False,
        "template_name": None,
        "metadata": {},
        **fields,
    }


def v2(*agents: Row, **fields: Any) -> Row:
    """Return a file of version 2."""
    return {
        "agents": list(agents),
        "groups": [],
        "blocks": [v2_block(0, "persona", "I am Max."), v2_block(1, "human", "Unknown.", read_only=True)],
        "files": [],
        "sources": [],
        "tools": [],
        "mcp_servers": [],
        "metadata": {"revision_id": "0123456789ab"},
        "created_at": "2025-10-01T12:00:00+00:00",
        **fields,
    }


def v2_hole() -> Row:
    """0.11.7 to 0.16.4: the first 50 messages and the window, and none between."""
    numbers = [*range(50), *range(120, 130)]
    messages = [v2_message(n, "user", user_event(f"message {n}")) for n in numbers]
    return v2(v2_agent(messages, range(50, 60)))


def v2_skills() -> Row:
    """0.16.5 on: only the window, and skills; a folder with files, one of them without text."""
    messages = [
        v2_message(0, "system", "prompt"),
        v2_message(1, "user", user_event("Read my files.")),
    ]
    files = [
        {"id": "file-0", "source_id": "source-0", "file_name": "handbook/rules.pdf", "content": "Rule one: be kind."},
        {"id": "file-1", "source_id": "source-0", "file_name": "handbook/notes.md", "content": "# Notes\n\nNone."},
        {"id": "file-2", "source_id": "source-0", "file_name": "handbook/empty.txt", "content": ""},
    ]
    sources = [
        {
            "id": "source-0",
            "name": "handbook",
            "description": "How we work.",
            "instructions": "Quote the rule.",
            "embedding_config": EMBEDDING,
        }
    ]
    agent = v2_agent(messages, source_ids=["source-0"], secrets={"TOKEN": "planted-secret"})
    texts = {"SKILL.md": "Post it.", "scripts/api_key.py": "print('this ran')"}
    skills = [
        {"name": "slack", "files": texts, "source_url": "letta:slack", "version": 3},
        {"name": "web", "source_url": "letta:web"},
    ]
    return v2(agent, files=files, sources=sources, skills=skills)


def letta_v1_agent() -> Row:
    """The loop of 0.15 on: text is the reply, reasoning the thought, several calls in a message."""
    messages = [
        v2_message(0, "user", "Hello"),
        v2_message(
            1,
            "assistant",
            [
                {"type": "reasoning", "reasoning": "She greets.", "signature": "opaque", "is_native": True},
                {"type": "text", "text": "Hello! How are you?"},
            ],
        ),
        v2_message(2, "user", [{"type": "text", "text": "Look:"}, {"type": "image", "source": {"type": "url"}}]),
        v2_message(
            3,
            "assistant",
            [{"type": "redacted_reasoning", "data": "opaque"}, {"type": "text", "text": "Let me look."}],
            tool_calls=[call("toolu_" + "a" * 30, "web_search", query="x"), call("b", "archival_memory_search")],
        ),
        v2_message(
            4,
            "tool",
            [],
            tool_call_id="b",
            tool_returns=[
                {"tool_call_id": "b", "status": "error", "func_response": "no such memory"},
                {"tool_call_id": "toolu_" + "a" * 30, "status": "success", "func_response": ok("found it")},
            ],
        ),
        v2_message(
            5,
            "assistant",
            "I will say it.",
            tool_calls=[call("c", "send_message", message="It is there.")],
        ),
        v2_message(6, "tool", ok(), tool_call_id="c"),
    ]
    return v2(v2_agent(messages, agent_type="letta_v1_agent"))


def sleeptime_group() -> Row:
    """An agent, and a second one that maintains its memory; they share a block, and refer to each other."""
    main = v2_agent([v2_message(0, "user", "Hi")], group_ids=["group-0"], block_ids=["block-0", "block-1"])
    twin = v2_agent(
        [], id="agent-1", name="Max-sleeptime", agent_type="sleeptime_agent", group_ids=["group-0"],
        block_ids=["block-1", "block-9"],
    )  # fmt: skip
    group = {
        "id": "group-0",
        "agent_ids": ["agent-1", "agent-0"],
        "manager_config": {"manager_type": "sleeptime", "manager_agent_id": "agent-0"},
        "shared_block_ids": ["block-1"],
    }
    return v2(main, twin, groups=[group])


def approvals() -> Row:
    """A human in the loop: a message that asks, the answer, the result; a denial, and a call that still waits."""
    messages = [
        v2_message(0, "user", "Delete it."),
        v2_message(1, "approval", text("May I?"), tool_calls=[call("a", "delete_file", path="x")]),
        v2_message(2, "approval", [], approve=True, approval_request_id="message-1"),
        v2_message(3, "tool", ok("deleted"), tool_call_id="a"),
        v2_message(4, "approval", [], tool_calls=[call("b", "delete_file", path="y")]),
        v2_message(5, "approval", [], approve=False, denial_reason="not that one"),
        v2_message(
            6, "tool", [], tool_call_id="b",
            tool_returns=[{"tool_call_id": "b", "status": "error", "func_response": "Error: denied: not that one"}],
        ),
        v2_message(7, "approval", [], tool_calls=[call("c", "delete_file", path="z")]),
    ]  # fmt: skip
    return v2(v2_agent(messages, agent_type="letta_v1_agent"))


def doubly_encoded() -> str:
    """A JSON string that holds the JSON, as several published files are."""
    return json.dumps(v2(v2_agent([v2_message(0, "user", "Hi")])))


def over_long() -> Row:
    """Values that are longer than any field here, and that do not fit their own limits."""
    blocks = [
        v2_block(0, "persona", "p" * 20_050, limit=100_000),
        v2_block(1, "human", "over its own limit", limit=3, description="d" * 1_010),
    ]
    messages = [
        v2_message(0, "user", "ü" * 600_000),
        v2_message(1, "assistant", "t", tool_calls=[call("x" * 200, "f" * 80, a="b")]),
        v2_message(2, "tool", ok(), tool_call_id="x" * 200, created_at="9999-12-31T23:59:59+00:00"),
        v2_message(3, "user", summary_event("s" * 20_100)),
    ]
    agent = v2_agent(
        messages, name="n" * 200, system="y" * 70_000, description="d" * 1_010, tags=["t" * 80, *map(str, range(40))],
        timezone="Mars/Olympus",
    )  # fmt: skip
    return v2(agent, blocks=blocks)


def equal_labels() -> Row:
    """Labels that are equal, or become so, or are names of paths; and memory in Git, where only ``system/`` counts."""
    labels = ["system/human", "system/human", "system_human", "../../etc/passwd", "system/", "日本", "notes/day.md"]
    blocks = [v2_block(n, label, f"value {n}") for n, label in enumerate(labels)]
    ids = [block["id"] for block in blocks]
    git = v2_agent([], id="agent-1", name="Git", tags=["git-memory-enabled"], block_ids=ids)
    return v2(v2_agent([], block_ids=[*ids, ids[0]]), git, blocks=blocks)


def templates() -> Row:
    """Blocks that are templates: personas and humans."""
    blocks = [
        v2_block(0, "persona", "I am Sam.", is_template=True, template_name="sam"),
        v2_block(1, "human", "Their name is Bob.", is_template=True, template_name="bob"),
    ]
    return v2(v2_agent([]), blocks=blocks)


SHAPES = {
    "v1 early": v1_early,
    "v1": v1,
    "v2 with a hole": v2_hole,
    "v2 with skills": v2_skills,
    "letta_v1_agent": letta_v1_agent,
    "sleeptime group": sleeptime_group,
    "approvals": approvals,
    "doubly encoded": doubly_encoded,
    "over-long values": over_long,
    "equal labels": equal_labels,
    "templates": templates,
}
"""Every shape by its name."""
