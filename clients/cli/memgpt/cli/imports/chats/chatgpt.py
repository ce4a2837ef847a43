"""ChatGPT's export: conversations as trees of messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports import names
from memgpt.cli.imports.chats.exports import Export
from memgpt.cli.imports.chats.json_array import read_array
from memgpt.cli.imports.chats.transcript import Said, document
from memgpt.cli.imports.pieces import Contents, Document, Source
from memgpt.cli.imports.repeated import Repeated
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.values import string

_FILES = r"conversations(-\d+)?\.json"
_SPEAKERS = {"user": "User", "assistant": "ChatGPT"}
_NOTICES = ("The export does not have ChatGPT's memories; images, sounds and other files are named, not read",)


def read_chatgpt(export: Export, name: str, report: Report) -> Contents:
    """Return the conversations of an export as one data source.

    Args:
        export: The export; it must stay open while documents are read.
        name: Name of the data source.
        report: Where changes are recorded.

    Raises:
        CliError: It has no conversations.
    """
    files = export.names(_FILES) or (export.names(".*") if export.is_file else [])
    if not files:
        raise CliError(f"{export.path} has no conversations.json; give the zip archive that ChatGPT sent")
    source = Source(name, "Conversations with ChatGPT", Repeated(partial(_documents, export, files), report))
    return Contents(sources=(source,), notices=_NOTICES)


def _documents(export: Export, files: list[str], report: Report) -> Iterator[Document]:
    for file in files:
        with export.open(file) as opened:
            for number, conversation in enumerate(read_array(opened, file), 1):
                place = f"{file}, conversation {number}"
                if not isinstance(conversation, dict) or not isinstance(conversation.get("mapping"), dict):
                    report.left_out(place, "not a conversation of ChatGPT")
                    continue
                yield _document(conversation, place, report)


def _document(conversation: dict[str, Any], place: str, report: Report) -> Document:
    identity = string(conversation.get("conversation_id")) or string(conversation.get("id"))
    path = _path(conversation, place, report)
    said = [each for message in path if (each := _said(message, place, report)) is not None]
    return document(string(conversation.get("title")), identity, parse_time(conversation.get("create_time")), said)


def _path(conversation: dict[str, Any], place: str, report: Report) -> list[dict[str, Any]]:
    """Return the messages from the root to the current one. Others belong to answers that were made again."""
    nodes: dict[str, Any] = conversation["mapping"]
    current = conversation.get("current_node")
    seen: set[str] = set()
    path = []
    while isinstance(current, str) and isinstance(node := nodes.get(current), dict):
        if current in seen:
            report.left_out(place, "messages before one that follows itself", current)
            break
        seen.add(current)
        if isinstance(message := node.get("message"), dict):
            path.append(message)
        current = node.get("parent")
    others = sum(
        1 for key, node in nodes.items() if key not in seen and isinstance(node, dict) and _is_said(node.get("message"))
    )
    if others:
        report.left_out(place, "messages of other branches than the shown one", others)
    path.reverse()
    return path


def _is_said(message: Any) -> bool:
    author = message.get("author") if isinstance(message, dict) else None
    role = string(author.get("role")) if isinstance(author, dict) else ""
    hidden = isinstance(message, dict) and (message.get("weight") == 0 or message.get("recipient", "all") != "all")
    return role in _SPEAKERS and not hidden


def _said(message: dict[str, Any], place: str, report: Report) -> Said | None:
    if not _is_said(message):
        return None
    text = _text(message.get("content"), place, report)
    by = _SPEAKERS[message["author"]["role"]]
    return Said(by, text, parse_time(message.get("create_time"))) if text.strip() else None


def _text(content: Any, place: str, report: Report) -> str:
    if not isinstance(content, dict):
        return ""
    kind = string(content.get("content_type"))
    if kind == "code":
        return string(content.get("text"))
    if kind not in ("text", "multimodal_text"):
        report.left_out(place, f'content of the kind "{names.visible(kind)[:40]}"')
        return ""
    parts = content.get("parts")
    return "\n".join(_part(part, place, report) for part in (parts if isinstance(parts, list) else ()))


def _part(part: Any, place: str, report: Report) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if text := string(part.get("text")):  # of speech
        return text
    report.left_out(place, "image or other file", part.get("asset_pointer"))
    return "[image]"
