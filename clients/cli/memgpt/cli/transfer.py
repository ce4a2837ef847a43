"""`memgpt export agent` and `memgpt import agent`: files with one piece of an agent per line, as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from google.protobuf import json_format
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat
from memgpt.cli.agent_file import Model, write_agent_file
from memgpt.cli.errors import CliError, explain
from memgpt.cli.maintenance import STANDARD
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT, ServiceError
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece

_OFFLINE = "offline"
_ANY_MODEL = "gpt-4o-mini"
"""Model of an agent in an Agent File if it uses the offline model, which is only here."""

_MAX_LINE = 16 << 20
"""Maximum bytes of a line; a message of 1 MiB takes up to six times that if JSON escapes every character."""


def export_agent_file(ui: Ui, memgpt: MemGPT, name: str, target: IO[bytes], *, quiet: bool) -> None:
    """Write an agent to `target` as a Letta Agent File, and report it and what is not in the file.

    Args:
        ui: Where to report.
        memgpt: The suite.
        name: Name of the agent.
        target: Where to write.
        quiet: Whether `target` is standard output, so that reports go to standard error.
    """
    agent = memgpt.agents.find(name)
    used = memgpt.agents.model()
    model = Model(_ANY_MODEL if used.model == _OFFLINE else used.model, used.context_window)
    with ui.busy("Exporting..."):
        written = write_agent_file(memgpt.agents.export(agent.agent_id), target, model)
    if not quiet:
        ui.line(f"Exported agent {agent.name} as an Agent File: {plural(written.messages, 'message')}.", "green")
    tell = ui.warning if quiet else ui.note
    if written.left_out:
        tell(f"Not in the file, because the format has no place for it: {', '.join(written.left_out)}")
    _tell_of_shared_blocks(tell, memgpt, agent.agent_id)


def export_agent(ui: Ui, memgpt: MemGPT, name: str, target: IO[bytes], *, quiet: bool) -> None:
    """Write an agent to `target`, and report it and what is not in the file.

    Args:
        ui: Where to report.
        memgpt: The suite.
        name: Name of the agent.
        target: Where to write.
        quiet: Whether `target` is standard output, so that reports go to standard error.
    """
    agent = memgpt.agents.find(name)
    with ui.busy("Exporting..."):
        for piece in memgpt.agents.export(agent.agent_id):
            target.write(
                json_format.MessageToJson(
                    piece, indent=None, preserving_proto_field_name=True, ensure_ascii=False
                ).encode()
                + b"\n"
            )
    if not quiet:
        end = piece.end
        counted = f"{plural(end.message_count, 'message')}, {plural(end.passage_count, 'note')}"
        ui.line(f"Exported agent {agent.name}: {counted}.", "green")
    tell = ui.warning if quiet else ui.note
    if piece.end.heartbeats_count:
        tell("Its heartbeats are in the file: an imported agent wakes by them, beside this one")
    if piece.end.tool_server_count:
        tell(
            "Its tool services are in the file, but no certificates and keys for them: those are settings of the Agent"
        )
    _tell_of_shared_blocks(tell, memgpt, agent.agent_id)


def _tell_of_shared_blocks(tell: Callable[[str], None], memgpt: MemGPT, agent_id: str) -> None:
    """Name what a file has only as a copy: an import must not write into blocks of other agents."""
    try:
        blocks = memgpt.agents.context(agent_id).blocks
    except ServiceError as error:  # the file itself is complete
        tell(f"Whether it has shared blocks is unknown: {explain(error)}")
        return
    shared = [block.label for block in blocks if block.shared_block_id]
    if shared:
        tell(f"Shared blocks, which become the new agent's own in an import: {', '.join(shared)}")


def _described(heartbeat: Heartbeat) -> str:
    match heartbeat.WhichOneof("when"):
        case "interval":
            when = f"every {heartbeat.interval.ToTimedelta()}"
        case "cron":
            when = f"at {heartbeat.cron}"
        case _:
            when = f"at {heartbeat.at.ToJsonString()}"
    return f"{when} ({heartbeat.reason})" if heartbeat.reason else when


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; ``-`` is standard input."""
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


@dataclass(slots=True)
class _Passing:
    """The pieces of a file as they are read.

    Attributes:
        tools: Whether the registrations of tools pass.
        heartbeats: Whether the timed heartbeats pass.
        addresses: Addresses of tools that passed.
        wakes: Whether heartbeats passed.
    """

    tools: bool
    heartbeats: bool
    addresses: list[str] = field(default_factory=list)
    wakes: bool = False

    def read(self, source: IO[bytes]) -> Iterator[AgentPiece]:
        for piece in _pieces(source):
            match piece.WhichOneof("piece"):
                case "tool_server":
                    if not self.tools:
                        continue
                    self.addresses.append(piece.tool_server.address)
                case "heartbeats":
                    if not self.heartbeats:
                        continue
                    self.wakes = True
                case "end":
                    if not self.tools:
                        piece.end.tool_server_count = 0
                    if not self.heartbeats:
                        piece.end.heartbeats_count = 0
            yield piece


def import_agent(
    ui: Ui, memgpt: MemGPT, source: IO[bytes], name: str, *, tools: bool = True, heartbeats: bool = True
) -> None:
    """Create an agent from a file, and report what it does by itself and what is missing here.

    Args:
        ui: Where to report.
        memgpt: The suite.
        source: The file.
        name: Name of the new agent; the exported name if empty.
        tools: Whether it keeps its tool services.
        heartbeats: Whether it keeps its heartbeats.
    """
    passing = _Passing(tools, heartbeats)
    with ui.busy("Importing..."):
        imported = memgpt.agents.import_(passing.read(source), name)
    agent = imported.agent
    counted = f"{plural(agent.message_count, 'message')}, {plural(agent.passage_count, 'note')}"
    ui.line(f"Imported agent {agent.name}: {counted}.", "green")
    if passing.wakes:
        planned = memgpt.agents.heartbeats(agent.agent_id).heartbeats
        if planned:
            ui.note(f"It wakes by itself: {', '.join(map(_described, planned))}")
    if passing.addresses:
        ui.note(f"It calls tool services: {', '.join(passing.addresses)}")
    if imported.blocked_tool_addresses:
        ui.warning(
            f"Not allowed here, so calls fail: {', '.join(imported.blocked_tool_addresses)}; the operator can add them"
            " to agent.tool_addresses (MEMGPT_AGENT_TOOL_ADDRESSES)"
        )
    if imported.missing_source_names:
        names = ", ".join(f'"{each}"' for each in imported.missing_source_names)
        ui.note(f"Missing data sources: {names}; load them, then attach them with `memgpt attach`")


def _pieces(source: IO[bytes]) -> Iterator[AgentPiece]:
    number = 0
    while line := source.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise CliError(f"line {number} is longer than {_MAX_LINE >> 20} MiB; the file is not an exported agent")
        try:
            yield json_format.Parse(line.decode(), AgentPiece())
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise CliError(f"line {number} is not a piece of an exported agent: {error}") from error
    if not number:
        raise CliError("the file is empty")
