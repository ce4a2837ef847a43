"""Fits what a reader found to the contracts: a plan of what comes, in two passes.

The first pass counts, finds the start of the window, and reports every change. The second yields the pieces for
ImportAgent. Both go over the same iterables, so an agent of any size needs little memory.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from google.protobuf.message import Message as ProtoMessage
from memgpt.cli.errors import CliError
from memgpt.cli.imports import names
from memgpt.cli.imports.blocks import MAX_DESCRIPTION, fit_blocks
from memgpt.cli.imports.bounded import clean
from memgpt.cli.imports.conversation import MAX_TEXT, Conversation, split_bytes, timestamp, valid_time
from memgpt.cli.imports.pieces import Agent, Contents, Passage
from memgpt.cli.imports.report import Report
from memgpt.memory.v1.agent_pb2 import Agent as AgentMessage
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportWindow
from memgpt.memory.v1.block_pb2 import Block as BlockMessage
from memgpt.memory.v1.passage_pb2 import Passage as PassageMessage

PRESET = "memgpt_chat"
"""Preset of an agent whose instructions are not kept."""

_MAX_SYSTEM = 65_536
_MAX_SUMMARY = 20_000
_MAX_MODEL = 256
_MIN_WINDOW, _MAX_WINDOW = 1_024, 10_000_000
_MAX_SOURCES = 1_000
_MAX_ZONE = 64


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of the user.

    Attributes:
        name: Name of the only agent; empty for its own.
        time_zone: Time zone of agents whose file has none; empty for UTC.
        system: ``auto`` to replace stock instructions by the preset, ``keep`` or ``preset`` for all.
        keep_model: Whether agents keep the name of their model and the size of its window.
    """

    name: str = ""
    time_zone: str = ""
    system: str = "auto"
    keep_model: bool = False


@dataclass(slots=True)
class AgentPlan:
    """An agent that is to come.

    Attributes:
        agent: What the reader found.
        name: Its name here.
        origin: Identity of its content: the same import again finds the agent by it.
        settings: Its settings; without instructions if they are the preset's.
        uses_preset: Whether it gets the instructions of the preset.
        blocks: Its core memory.
        summary: Its summary.
        message_count: Number of messages.
        window_start: Sequence of the first message in the window.
        passage_count: Number of notes.
        identities: What blocks are known by there, by label, as far as other agents of the import have them too.
    """

    agent: Agent
    name: str
    origin: str
    settings: AgentMessage
    uses_preset: bool
    blocks: Sequence[BlockMessage]
    summary: str
    message_count: int = 0
    window_start: int = 0
    passage_count: int = 0
    identities: dict[str, str] = field(default_factory=dict)
    _notes: Sequence[Passage] = ()

    def pieces(self, preset: str, source_names: Mapping[str, str] | None = None) -> Iterator[AgentPiece]:
        """Yield what ImportAgent takes.

        Args:
            preset: Text of the preset, for an agent that uses it.
            source_names: Names that data sources got here, by their names there.
        """
        with Report() as report:
            conversation = Conversation(self.settings.time_zone or "UTC", report)
            settings = AgentMessage()
            settings.CopyFrom(self.settings)
            if self.uses_preset:
                settings.preset, settings.system = PRESET, preset
            loaded = source_names or {}
            for name in self.agent.source_names[:_MAX_SOURCES]:
                settings.attachments.add(source_name=loaded.get(name) or names.display_name(name, "source"))
            yield AgentPiece(header=ExportHeader(format_version=1))
            yield AgentPiece(agent=settings)
            for block in self.blocks:
                yield AgentPiece(block=block)
            yield AgentPiece(window=ExportWindow(start_sequence=self.window_start, summary=self.summary))
            for message in conversation.convert(self.agent.messages):
                yield AgentPiece(message=message)
            for passage in passages_of(self.agent, self._notes, report):
                yield AgentPiece(passage=passage)
            yield AgentPiece(
                end=ExportEnd(
                    block_count=len(self.blocks), message_count=self.message_count, passage_count=self.passage_count
                )
            )


def plan_agents(contents: Contents, origin: str, options: Options, report: Report) -> list[AgentPlan]:
    """Return the agents to import, after a first pass over everything that they have.

    Args:
        contents: What a reader found.
        origin: Prefix of identities: the name of the format, such as ``letta``.
        options: The choices of the user.
        report: Where changes are recorded.

    Raises:
        CliError: `options.name` was given for several agents, or the time zone is unknown.
    """
    if options.name and len(contents.agents) > 1:
        found = ", ".join(names.visible(agent.name)[:40] for agent in contents.agents[:8])
        raise CliError(f"--name names one agent, but there are {len(contents.agents)}: {found}")
    if options.time_zone and not names.is_time_zone(options.time_zone):
        raise CliError(f'unknown time zone "{options.time_zone}"; use an IANA name such as Europe/Berlin')
    plans: list[AgentPlan] = []
    for agent in contents.agents:
        plan = _plan(agent, origin, options, report, [plan.name for plan in plans])
        # Agents made from one template can be equal. Each is imported, and found by its own identity again.
        if copies := sum(each.origin.startswith(plan.origin) for each in plans):
            plan.settings.origin = plan.origin = f"{plan.origin}-{copies + 1}"
        plans.append(plan)
    users = Counter(identity for plan in plans for identity in plan.identities.values())
    for plan in plans:
        plan.identities = {label: identity for label, identity in plan.identities.items() if users[identity] > 1}
    return plans


def _plan(agent: Agent, origin: str, options: Options, report: Report, taken: Sequence[str]) -> AgentPlan:
    where = agent.where or "agent"
    wanted = names.display_name(agent.name, "agent")
    name = options.name or names.numbered(wanted, taken, names.MAX_NAME, "-")
    if not options.name and name != agent.name:
        report.changed(where, "name of the agent does not fit or repeats", agent.name)
    uses_preset = options.system == "preset" or not agent.system or (options.system == "auto" and agent.stock_system)
    settings = _settings(agent, name, options, report, uses_preset=uses_preset)
    fitted = fit_blocks(agent.blocks, where, report)
    blocks, overflow = fitted.blocks, fitted.notes
    summary = clean(agent.summary)
    if len(summary) > _MAX_SUMMARY:
        report.left_out(where, "rest of a summary over 20,000 characters", summary[_MAX_SUMMARY:])
        summary = summary[:_MAX_SUMMARY]
    plan = AgentPlan(
        agent, name, "", settings, uses_preset, blocks, summary, identities=fitted.identities, _notes=overflow
    )
    digest = hashlib.sha256()
    settings.name = options.name or wanted  # without the number that tells equal names of one import apart
    for part in (settings, *blocks, ExportWindow(summary=summary)):
        _update(digest, part)
    conversation = Conversation(settings.time_zone or "UTC", report)
    for message in conversation.convert(agent.messages):
        _update(digest, message)
    for passage in passages_of(agent, overflow, report):
        plan.passage_count += 1
        _update(digest, passage)
    plan.message_count, plan.window_start = conversation.count, conversation.start
    if conversation.widened:
        report.changed(where, "messages between those of the window came into it", conversation.widened)
    digest.update(repr((plan.window_start, agent.source_names)).encode())
    plan.origin = f"{origin}:{digest.hexdigest()[:40]}"
    settings.name, settings.origin = name, plan.origin
    return plan


def _update(digest: hashlib._Hash, part: ProtoMessage) -> None:
    data = part.SerializeToString(deterministic=True)
    digest.update(len(data).to_bytes(8, "big") + data)


def _settings(agent: Agent, name: str, options: Options, report: Report, *, uses_preset: bool) -> AgentMessage:
    where = agent.where or "agent"
    system = clean(agent.system)
    if uses_preset and system:
        what = "stock instructions; the preset's replace them" if agent.stock_system else "instructions"
        report.left_out(where, what, system)
    elif len(system) > _MAX_SYSTEM:
        report.left_out(where, "rest of instructions over 65,536 characters", system[_MAX_SYSTEM:])
    settings = AgentMessage(
        name=name,
        system="" if uses_preset else system[:_MAX_SYSTEM],
        description=_description(agent, where, report),
        tags=_tags(agent.tags, where, report),
        time_zone=_time_zone(agent, options, report),
    )
    for each in agent.source_names[_MAX_SOURCES:]:
        report.left_out(where, "data source beyond the 1,000th", each)
    if options.keep_model:
        settings.model = names.visible(agent.model)[:_MAX_MODEL]
        if _MIN_WINDOW <= agent.context_window <= _MAX_WINDOW:
            settings.context_window = agent.context_window
    elif agent.model:
        report.left_out(where, "model; --keep-model keeps it", agent.model)
    return settings


def _description(agent: Agent, where: str, report: Report) -> str:
    description = clean(agent.description).strip()
    if len(description) > MAX_DESCRIPTION:
        report.left_out(where, "rest of a description over 1,000 characters", description[MAX_DESCRIPTION:])
    return description[:MAX_DESCRIPTION]


def _tags(tags: Iterable[str], where: str, report: Report, room: int = 0) -> list[str]:
    fitted: dict[str, None] = {}
    for each in tags:
        tag = names.tag(each)
        if tag != each:
            report.changed(where, "tag is longer than 64 characters or has control characters", each)
        if tag and len(fitted) < names.MAX_TAGS - room:
            fitted[tag] = None
        elif tag not in fitted:
            report.left_out(where, "tag beyond the 32nd, or empty", each)
    return list(fitted)


def _time_zone(agent: Agent, options: Options, report: Report) -> str:
    if not agent.time_zone:
        return options.time_zone or "UTC"
    if len(agent.time_zone) <= _MAX_ZONE and names.is_time_zone(agent.time_zone):
        return agent.time_zone
    report.changed(agent.where or "agent", "unknown time zone", agent.time_zone)
    return options.time_zone or "UTC"


def passages_of(
    agent: Agent, overflow: Sequence[Passage], report: Report, *, room: int = 0
) -> Iterator[PassageMessage]:
    """Yield the notes of an agent as they fit.

    Args:
        agent: What the reader found.
        overflow: Notes before those, of what did not fit elsewhere.
        report: Where changes are recorded.
        room: Number of tags to leave free.
    """
    for passage in chain(overflow, agent.passages):
        where = passage.where or agent.where
        text, rest = split_bytes(clean(passage.text), MAX_TEXT)
        if rest:
            report.left_out(where, "rest of a note over 1 MiB", rest)
        if not text.strip():
            report.left_out(where, "note without text")
            continue
        time = passage.time
        if not valid_time(time):
            report.changed(where, "time is not in the years 1970 to 9998", str(time))
            time = None
        yield PassageMessage(text=text, tags=_tags(passage.tags, where, report, room), create_time=timestamp(time))
