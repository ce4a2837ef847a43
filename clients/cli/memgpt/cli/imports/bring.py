"""Imports what is planned: shows it, and sends it to the services.

Each agent comes whole or not at all. The same import again changes nothing: an agent is found by the digest of its
content, a document by its hash. So an interrupted import is resumed by running it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from memgpt.cli.errors import MISUSE, CliError, explain
from memgpt.cli.imports import names
from memgpt.cli.imports.documents import SourcePlan, load_source, plan_sources
from memgpt.cli.imports.notes import NotesPlan, bring_notes, plan_notes
from memgpt.cli.imports.pieces import Contents, Profile, ProfileKind, Tool
from memgpt.cli.imports.plan import PRESET, AgentPlan, Options, plan_agents
from memgpt.cli.imports.report import Kind, Report, named
from memgpt.cli.imports.shared_blocks import SharedBlockPlan, bring_shared_block, plan_shared_blocks
from memgpt.cli.maintenance import written
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import AlreadyExists, MemGPT, ServiceError
from memgpt.memory.v1 import profile_pb2

_KINDS = {
    ProfileKind.PERSONA: profile_pb2.PROFILE_KIND_PERSONA,
    ProfileKind.HUMAN: profile_pb2.PROFILE_KIND_HUMAN,
    ProfileKind.PRESET: profile_pb2.PROFILE_KIND_PRESET,
}
_MAX_PROFILE = 65_536


@dataclass(frozen=True, slots=True)
class Outputs:
    """What an import writes besides agents.

    Attributes:
        dry_run: Whether to only show the plan; no service is started then.
        report: File for the report with every value; None for no file.
        tools: Folder for schemas and code of tools, which are never run; None for none.
        profiles: Whether personas, humans and presets are imported.
        force: Whether an existing file of the report is replaced.
        agent: Existing agent that gets the notes of the only agent; empty to make that agent.
    """

    dry_run: bool = False
    report: Path | None = None
    tools: Path | None = None
    profiles: bool = False
    force: bool = False
    agent: str = ""


@dataclass(slots=True)
class _Plan:
    """Everything that is to come."""

    agents: list[AgentPlan]
    sources: list[SourcePlan]
    profiles: list[Profile]
    shared_blocks: list[SharedBlockPlan]
    notes: list[NotesPlan]
    failures: list[str] = field(default_factory=list)


def import_contents(
    ui: Ui,
    contents: Contents,
    origin: str,
    options: Options,
    outputs: Outputs,
    report: Report,
    connect: Callable[[], AbstractContextManager[MemGPT]],
) -> None:
    """Import what a reader found, and say what came, what was changed and what was left out.

    Args:
        ui: The terminal.
        contents: What the reader found.
        origin: Name of the format, such as ``letta``.
        options: How agents are fitted.
        outputs: What else is written.
        report: The report, which has the reader's entries.
        connect: Returns a client of running services; not called for a dry run.

    Raises:
        CliError: Something could not be imported. Everything else was.
    """
    with ui.busy("Reading..."):
        profiles = _fit_profiles(contents.profiles, report) if outputs.profiles else []
        if contents.profiles and not outputs.profiles:
            for profile in contents.profiles:
                report.left_out(f"{profile.kind.value} {profile.name}", "profile; --profiles imports it", profile.text)
        for tool in contents.tools:
            report.left_out(f"tool {tool.name}", "tool; it is never run", {"schema": tool.schema, "code": tool.code})
        notes = [plan_notes(agent, report) for agent in contents.agents] if outputs.agent else []
        agents = [] if outputs.agent else plan_agents(contents, origin, options, report)
        plan = _Plan(agents, plan_sources(contents.sources, report), profiles, plan_shared_blocks(agents), notes)
    _show(ui, contents, plan, report, outputs.agent)
    if outputs.report is not None:
        _save(outputs.report, origin, plan, report, replace=outputs.force)
    if outputs.dry_run:
        ui.note("Nothing was imported: --dry-run.")
        return
    if outputs.tools is not None and contents.tools:
        write_tools(ui, outputs.tools, contents.tools)
    with connect() as memgpt:
        _bring(ui, memgpt, plan, outputs.agent)
    if plan.failures:
        raise CliError("; ".join(plan.failures) + ". What was imported stays; the same command imports the rest")


def _show(ui: Ui, contents: Contents, plan: _Plan, report: Report, agent_name: str) -> None:
    for notice in contents.notices:
        ui.note(notice)
    for agent in plan.agents:
        in_window = agent.message_count - agent.window_start
        ui.line(
            f"Agent {agent.name}: {plural(len(agent.blocks), 'block')}, "
            f"{plural(agent.message_count, 'message')} ({in_window:,} in the window), "
            f"{plural(agent.passage_count, 'note')}",
            "bold",
        )
    for notes in plan.notes:
        ui.line(f"{plural(notes.count, 'note')} for agent {agent_name}", "bold")
    for block in plan.shared_blocks:
        ui.line(f"Shared block {block.name}: {named(agent.name for agent, _ in block.agents)}", "bold")
    for source in plan.sources:
        ui.line(f"Data source {source.name}: {plural(source.count, 'document')}", "bold")
    for profile in plan.profiles:
        ui.line(f"{profile.kind.value.capitalize()} {profile.name}", "bold")
    if not (plan.agents or plan.sources or plan.profiles or plan.notes):
        ui.note("There is nothing to import.")
    report.show(ui)


def _save(file: Path, origin: str, plan: _Plan, report: Report, *, replace: bool) -> None:
    head = {
        "format": origin,
        "agents": [
            {
                "name": agent.name,
                "origin": agent.origin,
                "blocks": len(agent.blocks),
                "messages": agent.message_count,
                "window_start": agent.window_start,
                "passages": agent.passage_count,
            }
            for agent in plan.agents
        ],
        "shared_blocks": [
            {"name": block.name, "agents": [agent.name for agent, _ in block.agents]} for block in plan.shared_blocks
        ],
        "sources": [{"name": source.name, "documents": source.count} for source in plan.sources],
        "notes": sum(notes.count for notes in plan.notes),
        "profiles": [{"kind": profile.kind.value, "name": profile.name} for profile in plan.profiles],
        "changed": report.count(Kind.CHANGED),
        "left_out": report.count(Kind.LEFT_OUT),
    }
    with written(file, replace=replace) as target:
        report.save(target, head)


def _bring(ui: Ui, memgpt: MemGPT, plan: _Plan, agent_name: str) -> None:
    if agent_name:
        memgpt.agents.find(agent_name)  # fail before anything is loaded
    for profile in plan.profiles:
        _bring_profile(ui, memgpt, profile)
    renamed: dict[str, str] = {}
    for source in plan.sources:
        renamed[source.source.name], whole = load_source(ui, memgpt, source)
        if not whole:
            plan.failures.append(f'data source "{source.name}" is not complete')
    for notes in plan.notes:
        loaded = [renamed[each] for each in notes.agent.source_names if each in renamed]
        bring_notes(ui, memgpt, notes, agent_name, loaded)
    preset = _preset(memgpt) if any(agent.uses_preset for agent in plan.agents) else ""
    existing = {agent.origin: each for agent in plan.agents for each in memgpt.agents.list(origin=agent.origin)}
    shared = _bring_shared_blocks(ui, memgpt, plan, {origin: each.agent_id for origin, each in existing.items()})
    for agent in plan.agents:
        if agent.origin in existing:
            ui.line(f"Agent {existing[agent.origin].name} was imported before; nothing is changed.", "green")
            continue
        if not shared.keys() >= set(agent.identities.values()):
            plan.failures.append(f'agent "{agent.name}" is missing a shared block')
            continue
        blocks = {label: shared[identity] for label, identity in agent.identities.items()}
        try:
            _bring_agent(ui, memgpt, agent, preset, renamed, blocks)
        except AlreadyExists:
            free = _free_name(memgpt, agent.name)
            plan.failures.append(f'agent "{agent.name}" exists already; import it as --name "{free}"')
        except ServiceError as error:
            plan.failures.append(f'agent "{agent.name}": {explain(error)}')


def _bring_shared_blocks(ui: Ui, memgpt: MemGPT, plan: _Plan, existing: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of the shared blocks that are there now, by what they are known by in the file."""
    brought: dict[str, str] = {}
    for block in plan.shared_blocks:
        if all(agent.origin in existing for agent, _ in block.agents):
            continue
        try:
            brought[block.identity] = bring_shared_block(memgpt, block, existing)
            ui.line(f"Shared block {memgpt.blocks.get(brought[block.identity]).name} is there.", "green")
        except ServiceError as error:
            plan.failures.append(f'shared block "{block.name}": {explain(error)}')
    return brought


def _bring_agent(
    ui: Ui,
    memgpt: MemGPT,
    plan: AgentPlan,
    preset: str,
    renamed: Mapping[str, str],
    shared_blocks: Mapping[str, str],
) -> None:
    with ui.busy(f"Importing {plan.name}..."):
        imported = memgpt.agents.import_(plan.pieces(preset, renamed), shared_blocks=shared_blocks)
    agent = imported.agent
    counted = f"{plural(agent.message_count, 'message')}, {plural(agent.passage_count, 'note')}"
    ui.line(f"Imported agent {agent.name}: {counted}.", "green")
    if imported.missing_source_names:
        missing = named(imported.missing_source_names)
        ui.note(f"Missing data sources: {missing}; load them, then attach them with `memgpt attach`")


def _preset(memgpt: MemGPT) -> str:
    return memgpt.profiles.get(profile_pb2.PROFILE_KIND_PRESET, PRESET).text


def _free_name(memgpt: MemGPT, name: str) -> str:
    return names.numbered(name, [agent.name for agent in memgpt.agents.list()], names.MAX_NAME, "-")


def _fit_profiles(profiles: tuple[Profile, ...], report: Report) -> list[Profile]:
    fitted: list[Profile] = []
    for profile in profiles:
        name = names.display_name(profile.name, profile.kind.value)
        where = f'{profile.kind.value} "{name}"'
        text = profile.text
        if len(text) > _MAX_PROFILE:
            report.left_out(where, "rest of a profile over 65,536 characters", text[_MAX_PROFILE:])
            text = text[:_MAX_PROFILE]
        if any((each.kind, each.text) == (profile.kind, text) for each in fitted):
            continue
        taken = [each.name for each in fitted if each.kind is profile.kind]
        unique = names.numbered(name, taken, names.MAX_NAME, "-")
        if unique != profile.name:
            report.changed(where, "name of the profile does not fit or repeats", profile.name)
        fitted.append(Profile(profile.kind, unique, text))
    return fitted


def _bring_profile(ui: Ui, memgpt: MemGPT, profile: Profile) -> None:
    """Write a profile under a name that is free; one with the same text stays as it is."""
    kind, what = _KINDS[profile.kind], profile.kind.value
    existing = {each.name for each in memgpt.profiles.list(kind)}
    passed: list[str] = []
    while (name := names.numbered(profile.name, passed, names.MAX_NAME, "-")) in existing:
        if memgpt.profiles.get(kind, name).text == profile.text:
            ui.line(f"{what.capitalize()} {name} is here already; nothing is changed.", "green")
            return
        passed.append(name)
    memgpt.profiles.put(kind, name, profile.text)
    ui.line(f"Imported {what} {name}.", "green")


def write_tools(ui: Ui, folder: Path, tools: tuple[Tool, ...]) -> None:
    """Write schemas and code of tools as files that nothing runs: not executable, and never over another file.

    Raises:
        CliError: The folder is a file, or has another file of the same name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise CliError(f"{folder} is a file; give a folder for tools", MISUSE) from error
    taken: list[str] = []
    for tool in tools:
        for text, extension in ((tool.schema, ".json"), (tool.code, ".txt")):
            if text:
                name = names.file_name(tool.name, extension, taken)
                taken.append(name)
                _write_once(folder / name, text.encode())
    ui.line(f"Wrote {plural(len(taken), 'file')} of {plural(len(tools), 'tool')} to {folder}; nothing runs them.")


def _write_once(path: Path, data: bytes) -> None:
    """Write a new file, unless an earlier import has written the same content."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
            raise CliError(f"{path} exists already; give another folder for tools", MISUSE) from None
        return
    with open(descriptor, "wb") as file:  # noqa: PTH123 - opens a descriptor
        file.write(data)
