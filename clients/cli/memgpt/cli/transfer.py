"""`memgpt export agent` and `memgpt import agent`: a file with one piece of an agent a line, as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from google.protobuf import json_format
from memgpt.cli.errors import CliError
from memgpt.cli.terminal.ui import Ui
from memgpt.cli.upkeep import STANDARD
from memgpt.client import MemGPT
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece

_MAX_LINE = 16 << 20
"""Bytes of a line: a message of 1 MiB takes up to six times that, should JSON escape all of it."""


def export_agent(ui: Ui, memgpt: MemGPT, name: str, target: IO[bytes], *, quiet: bool) -> None:
    """Writes an agent to `target`; tells of it unless `quiet`."""
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
        ui.line(f"Exported agent {agent.name!r}: {end.message_count} messages, {end.passage_count} notes.", "green")


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """A file to read from; `-` is standard input."""
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


def import_agent(ui: Ui, memgpt: MemGPT, source: IO[bytes], name: str) -> None:
    """Makes an agent from a file, and says which of its sources are not here."""
    with ui.busy("Importing..."):
        imported = memgpt.agents.import_(_pieces(source), name)
    agent = imported.agent
    ui.line(
        f"Imported agent {agent.name!r} (id={agent.agent_id}): {agent.message_count} messages, "
        f"{agent.passage_count} notes.",
        "green",
    )
    if imported.missing_source_names:
        names = ", ".join(repr(each) for each in imported.missing_source_names)
        ui.note(f"Not attached, since they are not here: {names}. Load them, then `memgpt attach`")


def _pieces(source: IO[bytes]) -> Iterator[AgentPiece]:
    number = 0
    while line := source.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise CliError(f"line {number} is longer than {_MAX_LINE >> 20} MiB: this is no exported agent")
        try:
            yield json_format.Parse(line.decode(), AgentPiece())
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise CliError(f"line {number} is no piece of an agent: {error}") from error
    if not number:
        raise CliError("the file is empty")
