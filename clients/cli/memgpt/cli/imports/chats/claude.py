"""Claude's export: conversations, projects and memories."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports.chats.exports import Export
from memgpt.cli.imports.chats.json_array import read_array
from memgpt.cli.imports.chats.memories import agent_with
from memgpt.cli.imports.chats.transcript import Said, document
from memgpt.cli.imports.pieces import Contents, Document, Passage, Source
from memgpt.cli.imports.repeated import Repeated
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.values import objects, string

_SPEAKERS = {"human": "User", "assistant": "Claude"}


def read_claude(export: Export, name: str, report: Report) -> Contents:
    """Return the conversations and projects of an export as one data source, and its memories as an agent's notes.

    Args:
        export: The export; it must stay open while documents are read.
        name: Name of the data source and of the agent.
        report: Where changes are recorded.

    Raises:
        CliError: It has neither conversations, projects nor memories.
    """
    chats, projects = export.names(r"conversations(-\d+)?\.jsonl?"), export.names(r"projects\.json")
    memories = export.names(r"memories\.json")
    if not (chats or projects or memories):
        chats = export.names(".*") if export.is_file else []
    if not (chats or projects or memories):
        raise CliError(f"{export.path} has no conversations.json; give the zip archive that Claude sent")
    documents = Repeated(partial(_documents, export, chats, projects), report)
    sources = (Source(name, "Conversations with Claude", documents),) if chats or projects else ()
    notes = tuple(_notes(export, memories, report))
    agents = (agent_with(name, notes, tuple(each.name for each in sources)),) if notes else ()
    return Contents(agents=agents, sources=sources)


def _documents(export: Export, chats: list[str], projects: list[str], report: Report) -> Iterator[Document]:
    for file in chats:
        with export.open(file) as opened:
            for number, conversation in enumerate(read_array(opened, file), 1):
                place = f"{file}, conversation {number}"
                if not isinstance(conversation, dict) or not isinstance(conversation.get("chat_messages"), list):
                    report.left_out(place, "not a conversation of Claude")
                    continue
                said = [
                    each for message in objects(conversation["chat_messages"]) for each in _said(message, place, report)
                ]
                time = parse_time(conversation.get("created_at"))
                yield document(string(conversation.get("name")), string(conversation.get("uuid")), time, said)
    for file in projects:
        with export.open(file) as opened:
            for project in read_array(opened, file):
                yield from _project(project)


def _said(message: dict[str, Any], place: str, report: Report) -> Iterator[Said]:
    by = _SPEAKERS.get(string(message.get("sender")))
    if by is None:
        report.left_out(place, "message of neither person nor assistant", message.get("sender"))
        return
    texts = [string(part.get("text")) for part in objects(message.get("content")) if part.get("type") == "text"]
    text = "\n".join(each for each in texts if each) or string(message.get("text"))
    for attachment in objects(message.get("attachments")):
        name, content = string(attachment.get("file_name")), string(attachment.get("extracted_content"))
        text += f"\n\nAttachment {name}:\n\n{content}"
    for mentioned in objects(message.get("files")):
        report.left_out(place, "file; the export has only its name", mentioned.get("file_name"))
    if text.strip():
        yield Said(by, text, parse_time(message.get("created_at")))


def _project(project: Any) -> Iterator[Document]:
    if not isinstance(project, dict):
        return
    name = string(project.get("name"))
    about = "\n\n".join(text for key in ("description", "prompt_template") if (text := string(project.get(key))))
    if about:
        yield Document(f"project {name}.md", f"# {name}\n\n{about}")
    for each in objects(project.get("docs")):
        yield Document(f"project {name}: {string(each.get('filename'))}", string(each.get("content")))


def _notes(export: Export, files: list[str], report: Report) -> Iterator[Passage]:
    for file in files:
        with export.open(file) as opened:
            for number, entry in enumerate(read_array(opened, file), 1):
                place = f"{file}, entry {number}"
                if not isinstance(entry, dict):
                    report.left_out(place, "not a memory", entry)
                    continue
                if text := string(entry.get("conversations_memory")):
                    yield Passage(text, ("memory",), where=place)
                projects = entry.get("project_memories")
                for key, value in projects.items() if isinstance(projects, dict) else ():
                    yield Passage(string(value), ("memory", f"project:{key}"), where=place)
