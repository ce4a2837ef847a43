"""Exports of other assistants in the shapes that people download."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any


def chatgpt(number: int = 0) -> dict[str, Any]:
    """Return a conversation with a hidden root, an answer that was made again, a call of a tool, and an image."""
    at = 1_714_560_000 + number * 86_400

    def node(key: str, parent: str | None, children: list[str], message: dict[str, Any] | None) -> dict[str, Any]:
        return {"id": key, "parent": parent, "children": children, "message": message}

    def message(role: str, content: dict[str, Any], second: int, **more: Any) -> dict[str, Any]:
        return {"id": f"m{second}", "author": {"role": role}, "content": content, "create_time": at + second, **more}

    def text(*parts: Any) -> dict[str, Any]:
        return {"content_type": "text", "parts": list(parts)}

    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    mapping = {
        "root": node("root", None, ["sys"], None),
        "sys": node("sys", "root", ["u1"], message("system", text(""), 0, weight=0)),
        "u1": node("u1", "sys", ["a1", "a1b"], message("user", text("How hot should green tea be? 緑茶"), 1)),
        "a1": node("a1", "u1", [], message("assistant", text("Boiling."), 2, weight=1)),
        "a1b": node("a1b", "u1", ["t1"], message("assistant", text("Eighty degrees."), 3, weight=1)),
        "t1": node("t1", "a1b", ["t2"], message("assistant", text("remember tea"), 4, recipient="bio")),
        "t2": node("t2", "t1", ["u2"], message("tool", text("ok"), 5)),
        "u2": node(
            "u2", "t2", ["a2"], message("user", {"content_type": "multimodal_text", "parts": [image, "This?"]}, 6)
        ),
        "a2": node("a2", "u2", [], message("assistant", text("That is a teapot."), 7)),
    }
    title = f"Tea / water {number}"
    return {
        "title": title,
        "create_time": at,
        "mapping": mapping,
        "current_node": "a2",
        "conversation_id": f"c{number:07}",
    }


def claude(number: int = 0) -> dict[str, Any]:
    """Return a conversation with an attachment and a file."""
    day = f"2025-05-{number % 28 + 1:02}"
    return {
        "uuid": f"{number:08}-0000-4000-8000-000000000000",
        "name": f"Oolong {number}",
        "created_at": f"{day}T10:00:00.123456Z",
        "chat_messages": [
            {
                "sender": "human",
                "text": "What is oolong?",
                "content": [{"type": "text", "text": "What is oolong?"}],
                "created_at": f"{day}T10:00:01Z",
                "attachments": [{"file_name": "tea.txt", "extracted_content": "Half oxidized."}],
                "files": [{"file_name": "leaf.png"}],
            },
            {
                "sender": "assistant",
                "text": "",
                "content": [{"type": "tool_use", "name": "search"}, {"type": "text", "text": "A tea between."}],
                "created_at": f"{day}T10:00:09Z",
            },
        ],
    }


MEMORIES = [{"conversations_memory": "Chad likes tea.", "project_memories": {"p-1": "The shop opens at nine."}}]
PROJECTS = [
    {"uuid": "p-1", "name": "Shop", "prompt_template": "Be brief.", "docs": [{"filename": "a.md", "content": "Rent."}]}
]
MEM0 = {
    "results": [
        {
            "id": "0a",
            "memory": "Likes green tea",
            "hash": "x",
            "user_id": "chad",
            "metadata": {"mood": "calm", "long": "x" * 90},
            "created_at": "2025-05-01T10:00:00-07:00",
            "updated_at": None,
        },
        {"id": "0b", "memory": "Owns a teapot", "agent_id": "ada", "categories": ["things"]},
    ],
    "relations": [{"source": "chad", "relationship": "likes", "destination": "tea"}],
}


def write_zip(path: Path, files: dict[str, Any]) -> Path:
    """Write an archive with JSON files; return its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, value if isinstance(value, (bytes, str)) else json.dumps(value))
    return path
