"""Reads Letta's Agent Files (``.af``) of both versions.

Version 1 is one agent; 2 has any number of agents, with blocks, tools, sources and files that they refer to by id. Some
published files are a JSON string that holds the JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memgpt.cli import agent_file
from memgpt.cli.errors import CliError
from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import parse_json, read_json
from memgpt.cli.imports.fields import Fields, without_secrets
from memgpt.cli.imports.letta.core_memory import GIT_MEMORY, UNSHARED, split_by_prompt
from memgpt.cli.imports.letta.messages import Summary, read_content, speaks_plainly
from memgpt.cli.imports.pieces import (
    Agent,
    Block,
    Contents,
    Document,
    Message,
    Profile,
    ProfileKind,
    Source,
    Tool,
)
from memgpt.cli.imports.report import Report, named
from memgpt.cli.imports.stock_prompts import is_stock_prompt
from memgpt.cli.imports.times import parse_time
from memgpt.cli.imports.wanted_sources import wanted_sources
from memgpt.cli.terminal.ui import plural

_SLEEPTIME = ("sleeptime_agent", "voice_sleeptime_agent")
_NUMBERED = re.compile(r"message-([0-9]{1,18})")
_FIRST_MESSAGES = 50
"""Messages that Letta 0.11.7 to 0.16.4 wrote from the beginning of the history, besides the window."""
_LAST_MESSAGES = 50
"""Messages in the window if a file does not say which were."""

_READ_IN_AGENT = (
    *("id", "name", "system", "description", "agent_type", "timezone", "tags", "messages", "llm_config"),
    *("in_context_message_ids", "in_context_message_indices", "message_ids", "core_memory", "block_ids"),
    *("memory_blocks", "tools", "tool_ids", "source_ids", "folder_ids", "version", "created_at", "updated_at"),
    *("group_ids", "multi_agent_group"),
)
_READ_IN_FILE = ("agents", "blocks", "tools", "sources", "files", "skills", "created_at")
_SKILLS = "skills"
"""Name of the data source of skills, and the key of the files in it."""


def read_agent_files(paths: Iterable[Path], report: Report, *, all_agents: bool = False) -> Contents:
    """Return the contents of Agent Files.

    Args:
        paths: The files; ``-`` is standard input.
        report: Where changed and left-out values are recorded.
        all_agents: Whether to include agents that only maintain another agent's memory in the background.

    Raises:
        CliError: A file is not an Agent File, or is too large.
        OSError: A file cannot be read.
    """
    contents = Contents()
    for number, path in enumerate(paths):
        value = read_json(path)
        read = read_agent_file(
            value, path.name, report, all_agents=all_agents, taken=contents.sources, scope=str(number)
        )
        contents = Contents(
            contents.agents + read.agents,
            contents.sources + tuple(source for source in read.sources if source not in contents.sources),
            contents.profiles + read.profiles,
            contents.tools + tuple(tool for tool in read.tools if tool not in contents.tools),
            contents.notices + read.notices,
        )
    return contents


def read_agent_file(
    value: Any, name: str, report: Report, *, all_agents: bool = False, taken: Sequence[Source] = (), scope: str = ""
) -> Contents:
    """Return the contents of an Agent File.

    Args:
        value: Its JSON value.
        name: Its name, for reports.
        report: Where changed and left-out values are recorded.
        all_agents: See `read_agent_files`.
        taken: Sources of other files; one with the same name and other content gets another name.
        scope: Tells the ids of this file from those of others.

    Raises:
        CliError: It is not an Agent File.
    """
    if isinstance(value, str):
        report.changed(name, "the file was a JSON string that held the JSON")
        value = parse_json(value, name)
    if not isinstance(value, dict):
        raise CliError(f"{name}: not an Agent File; it must be a JSON object")
    file = Fields(value, name)
    if "agents" in value:
        return _Version2(file, report, all_agents=all_agents, taken=taken, scope=scope).read()
    if "messages" in value and ("agent_type" in value or "system" in value):
        return _read_version_1(file, report)
    raise CliError(f"{name}: not an Agent File; it has neither agents nor the messages of one")


def _read_version_1(file: Fields, report: Report) -> Contents:
    rows = list(file.objects("messages"))
    if "in_context_message_indices" in file:
        indices = file.items("in_context_message_indices")
        window = {index for index in indices if isinstance(index, int) and 0 <= index < len(rows)}
        if len(window) < len(set(map(repr, indices))):
            report.left_out(file.where, "place in the window of a message that is not in the file", indices)
    else:
        # Letta 0.6 wrote the messages as its database returned them, in any order.
        rows = _in_order(rows)
        if "message_ids" in file:
            wanted = set(file.texts("message_ids"))
            window = {number for number, row in enumerate(rows) if row.text("id") in wanted}
        else:
            window = set(range(len(rows))[-_LAST_MESSAGES:])
            report.changed(file.where, f"window is not in the file; it became the last {_LAST_MESSAGES} messages")
    blocks = [_block(block) for block in file.objects("core_memory")]
    if "core_memory" not in file:
        report.left_out(file.where, "core memory; this early Agent File has none")
    agent = _agent(file, report, blocks, rows, window)
    tools = tuple(_tool(tool) for tool in file.objects("tools"))
    group = file.value.get("multi_agent_group")
    if group:
        report.left_out(file.where, "group; each agent stands on its own", group)
    counted = plural(len(agent.messages), "message") if isinstance(agent.messages, tuple) else "messages"
    notice = f"{file.where}: {counted} of recall memory. Archival memory is not in any Agent File; {_ELSEWHERE}"
    profiles = tuple(_profiles(file.objects("core_memory")))
    return Contents((agent,), profiles=profiles, tools=tools, notices=(notice,))


_ELSEWHERE = "to take it along, import the database with `memgpt import letta --dump`"


@dataclass(slots=True)
class _Version2:
    """Reads a file of version 2."""

    file: Fields
    report: Report
    all_agents: bool
    taken: Sequence[Source]
    scope: str
    _sources: dict[str, Source] = field(default_factory=dict)
    _skills: Source | None = None
    _blocks: dict[str, Fields] = field(default_factory=dict)

    def read(self) -> Contents:
        """Return the contents."""
        file, report = self.file, self.report
        self._blocks = _by_id(file.objects("blocks"))
        self._sources = self._read_sources()
        self._skills = self._read_skills()
        rows = list(_by_id(file.objects("agents")).values())
        chosen = self._chosen(rows)
        self._report_shared(rows, chosen)
        agents = tuple(self._read_agent(row) for row in chosen)
        sources = wanted_sources(self._sources.values(), agents, report, only=False)
        known = (*_READ_IN_FILE, "metadata") if self._is_ours else _READ_IN_FILE
        for name, value in file.rest(known):
            report.left_out(file.where, _WORDS.get(name, f"{name} of the file"), value)
        return Contents(
            agents,
            (*sources, *((self._skills,) if self._skills else ())),
            tuple(_profiles(self._blocks.values())),
            tuple(_tool(tool) for tool in file.objects("tools")),
            tuple(self._notice(row, agent) for row, agent in zip(chosen, agents, strict=True)),
        )

    def _chosen(self, rows: list[Fields]) -> list[Fields]:
        main = [row for row in rows if row.text("agent_type") not in _SLEEPTIME]
        if self.all_agents or not main:
            return rows
        for row in rows:
            if row not in main:
                what = "agent that maintains another's memory in the background; --all-agents imports it"
                self.report.left_out(row.where, what, row.text("name"))
        return main

    def _report_shared(self, rows: list[Fields], chosen: list[Fields]) -> None:
        """Report blocks of one imported agent and of others that are not imported."""
        users: dict[str, list[Fields]] = {}
        for row in rows:
            for block_id in dict.fromkeys(row.texts("block_ids")):
                users.setdefault(block_id, []).append(row)
        taken = {row.text("id") for row in chosen}
        for block_id, having in users.items():
            ours = [row for row in having if row.text("id") in taken]
            if len(ours) == 1 < len(having) and block_id in self._blocks:
                label = names.visible(self._blocks[block_id].text("label"))[:64]
                place = f'{ours[0].where}, block "{label}"'
                self.report.changed(place, UNSHARED, named(row.text("name") for row in having if row is not ours[0]))

    def _read_agent(self, row: Fields) -> Agent:
        blocks = []
        for block_id in dict.fromkeys(row.texts("block_ids")):
            if block_id in self._blocks:
                blocks.append(replace(_block(self._blocks[block_id]), identity=f"{self.scope}:{block_id}"))
            else:
                self.report.left_out(row.where, "block that is not in the file", block_id)
        blocks += [_block(block) for block in row.objects("memory_blocks")]
        messages = list(_by_id(row.objects("messages")).values())
        wanted = set(row.texts("in_context_message_ids"))
        missing = wanted - {message.text("id") for message in messages}
        for message_id in sorted(missing):
            self.report.left_out(row.where, "place in the window of a message that is not in the file", message_id)
        messages = _in_order(messages)
        window = {number for number, message in enumerate(messages) if message.text("id") in wanted}
        return replace(_agent(row, self.report, blocks, messages, window), source_names=self._attached(row))

    def _attached(self, row: Fields) -> tuple[str, ...]:
        found: list[str] = []
        for source_id in dict.fromkeys([*row.texts("source_ids"), *row.texts("folder_ids")]):
            if source_id in self._sources:
                found.append(self._sources[source_id].name)
            else:
                self.report.left_out(row.where, "data source that is not in the file", source_id)
        if self._skills is not None:
            found.append(self._skills.name)
        return tuple(dict.fromkeys(found))

    def _read_sources(self) -> dict[str, Source]:
        documents: dict[str, list[Document]] = {}
        known = _by_id(self.file.objects("sources"))
        for file in _by_id(self.file.objects("files")).values():
            source_id = file.text("source_id")
            if source_id not in known:
                self.report.left_out(file.where, "file of a data source that is not in the file", file.text("content"))
                continue
            name = file.text("file_name") or file.text("original_file_name")
            documents.setdefault(source_id, []).append(
                Document(name.removeprefix(known[source_id].text("name") + "/"), file.text("content"))
            )
        sources: dict[str, Source] = {}
        for source_id, row in known.items():
            about = "\n".join(each for each in (row.text("description"), row.text("instructions")) if each)
            source = Source(row.text("name"), about, tuple(documents.get(source_id, ())))
            sources[source_id] = self._named(source, sources.values())
        return sources

    def _read_skills(self) -> Source | None:
        """Return the texts of the skills as a data source, which every agent of the file gets; None without any."""
        documents: list[Document] = []
        for skill in self.file.objects(_SKILLS):
            texts = skill.object("files").value
            if not texts:
                self.report.left_out(skill.where, "skill that is only an address", without_secrets(skill.value))
                continue
            for path, text in texts.items():
                if isinstance(text, str):
                    documents.append(Document(f"{skill.text('name')}/{path}", text))
                else:
                    self.report.left_out(skill.where, "file of a skill that is not text", {path: text})
            for name, value in skill.rest(("name", "files")):
                what = "address of a skill" if name == "source_url" else f"{name} of the skill"
                self.report.left_out(skill.where, what, value)
        about = "Instructions that the agents were given as skills"
        source = Source(_SKILLS, about, tuple(documents))
        return self._named(source, self._sources.values()) if documents else None

    def _named(self, source: Source, others: Iterable[Source]) -> Source:
        """Return a source under a name that no other one has; an equal one of another file is the same."""
        if source in self.taken:
            return source
        taken = [other.name for other in (*self.taken, *others)]
        return replace(source, name=names.numbered(source.name, taken, names.MAX_NAME, "-"))

    def _notice(self, row: Fields, agent: Agent) -> str:
        messages = list(agent.messages)
        place = f"{row.where} ({names.visible(agent.name)[:64]})"
        if self._is_ours:
            return f"{place}: {self._told_of_ours(row, len(messages))}"
        outside = sum(not message.in_window for message in messages)
        told = plural(len(messages), "message")
        if outside:
            told += f"; between the first {_FIRST_MESSAGES} and the window, others may be missing"
            told += ", and archival memory is not in the file"
        else:
            told += " of the context window; older messages are not in the file, and neither is archival memory"
        return f"{place}: {told}; {_ELSEWHERE}"

    @property
    def _is_ours(self) -> bool:
        metadata = self.file.value.get("metadata")
        return isinstance(metadata, dict) and metadata.get(agent_file.EXPORTED_BY) == agent_file.THIS_PROJECT

    def _told_of_ours(self, row: Fields, count: int) -> str:
        """Say what `memgpt export agent --format af` wrote into this file, and what it left out."""
        metadata = self.file.object("metadata")
        told, wrote = plural(count, "message"), metadata.text(agent_file.ROWS)
        if wrote in ("", str(len(row.items("messages")))):
            told += ", all that the exported agent had"
        else:
            told += "; the file has been changed since it was exported, and others may be missing"
        left_out = parse_json(metadata.text(agent_file.LEFT_OUT) or "[]", metadata.where)
        if not isinstance(left_out, list):
            raise CliError(f"{metadata.where}: {agent_file.LEFT_OUT} is not a list")
        if left_out:
            named_things = ", ".join(map(str, left_out))
            told += f"; not in the file: {named_things}; `memgpt export agent` without --format keeps them"
        return told


_WORDS = {
    "groups": "group; each agent stands on its own",
    "mcp_servers": "MCP server; register tools of your own with `memgpt tools add`",
    "metadata": "metadata of the file",
    "tool_rules": "rules about the order of tools",
    "tool_exec_environment_variables": "names of environment variables",
    "secrets": "names of secrets",
    "embedding_config": "embedding model; everything is embedded again",
    "metadata_": "metadata",
    "files_agents": "files that were open in the window",
    "identity_ids": "identities",
}


def _agent(row: Fields, report: Report, blocks: Sequence[Block], rows: Sequence[Fields], window: set[int]) -> Agent:
    plain = speaks_plainly(row.text("agent_type"))
    tags = [tag.get("tag") if isinstance(tag, dict) else tag for tag in row.items("tags")]
    blocks, passages = split_by_prompt(blocks, tags, row.where, report)
    if GIT_MEMORY in tags:
        tags = [tag for tag in tags if tag != GIT_MEMORY]
        report.left_out(row.where, "tag of memory in Git; it is in blocks and notes now", GIT_MEMORY)
    messages, summary = _messages(rows, window, report, plain=plain)
    for name, value in row.rest(_READ_IN_AGENT):
        report.left_out(row.where, _WORDS.get(name, f"{name} of the agent"), value)
    config = row.object("llm_config")
    _report_models(row, rows, report)
    system = row.text("system")
    return Agent(
        name=row.text("name"),
        system=system,
        stock_system=is_stock_prompt(system),
        description=row.text("description"),
        tags=tuple(tag for tag in tags if isinstance(tag, str)),
        model=config.text("handle") or config.text("model"),
        context_window=config.number("context_window"),
        time_zone=row.text("timezone"),
        blocks=tuple(blocks),
        messages=messages,
        summary=summary,
        passages=tuple(passages),
        where=row.where,
    )


def _messages(
    rows: Sequence[Fields], window: set[int], report: Report, *, plain: bool
) -> tuple[tuple[Message, ...], str]:
    """Return the messages, and the latest summary in the window."""
    messages: list[Message] = []
    summary = ""
    for number, row in enumerate(rows):
        content = read_content(row, plain=plain, report=report)
        inside = number in window
        if isinstance(content, Summary):
            if inside:
                summary, former = content.text, summary
            else:
                former = content.text
            if former:
                report.left_out(row.where, "summary of an earlier window", former)
        elif content is not None:
            messages.append(Message(content, _time(row, report), inside, row.where))
    return tuple(messages), summary


def _time(row: Fields, report: Report) -> Any:
    written = row.value.get("created_at")
    time = parse_time(written) if written else None
    if written and time is None:
        report.changed(row.where, "time that cannot be read", written)
    return time


def _report_models(row: Fields, rows: Sequence[Fields], report: Report) -> None:
    config = dict(row.object("llm_config").rest(("model", "handle", "context_window")))
    if config:
        report.left_out(row.where, "settings of the model", config)
    models = sorted({message.text("model") for message in rows} - {""})
    if models:
        report.left_out(row.where, "models of the messages", models)


def _block(row: Fields) -> Block:
    return Block(
        row.text("label"), row.text("value"), row.number("limit"), row.text("description"), row.flag("read_only")
    )


def _profiles(rows: Iterable[Fields]) -> Iterable[Profile]:
    for row in rows:
        label = row.text("label").lower()
        if row.flag("is_template") and label in ("persona", "human"):
            yield Profile(ProfileKind(label), row.text("template_name") or label, row.text("value"))


def _tool(row: Fields) -> Tool:
    schema = row.value.get("json_schema")
    text = json.dumps(schema, ensure_ascii=False, indent=2) if schema else ""
    return Tool(row.text("name"), text, row.text("source_code"))


def _by_id(rows: Iterable[Fields]) -> dict[str, Fields]:
    found: dict[str, Fields] = {}
    for row in rows:
        identity = row.text("id")
        if not identity:
            raise CliError(f"{row.where}: it has no id")
        if identity in found:
            raise CliError(f'{row.where}: another one has the id "{identity[:80]}"')
        found[identity] = row
    return found


def _in_order(rows: list[Fields]) -> list[Fields]:
    """Return messages in the order of their numbers, which Letta gives them by sequence; else in order of time."""
    found = [_NUMBERED.fullmatch(row.text("id")) for row in rows]
    numbers = [int(each[1]) for each in found if each is not None]
    if len(numbers) == len(rows):
        return [row for _, row in sorted(zip(numbers, rows, strict=True), key=lambda pair: pair[0])]
    times = [parse_time(row.text("created_at")) for row in rows]
    known = [time for time in times if time is not None]
    if len(known) < len(rows):
        return rows
    return [row for _, row in sorted(zip(known, rows, strict=True), key=lambda pair: pair[0])]
