"""Imports that are killed: the same command again brings the rest, and nothing twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_PERSONA

from tests.support import letta_database as letta
from tests.support.suite import Suite

MESSAGES = 900


def killed(suite: Suite, arguments: tuple[str, ...], at: str, victim: str) -> None:
    """Start a command and kill it, or Memory, when it has written a line with some words."""
    process = subprocess.Popen(
        [suite.program, *arguments],
        env={**suite.environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if at in line:
                break
        else:
            pytest.fail(f"the import ended without {at!r}")
        (process if victim == "command line" else suite.memory.popen).kill()
        process.stdout.read()
    assert process.returncode != 0


def everything(suite: Suite) -> dict[str, object]:
    """What is there, by name."""
    with suite.client() as client:
        return {
            "agents": sorted(
                (agent.name, agent.message_count, agent.passage_count, len(agent.info.attachments))
                for agent in client.agents.list()
            ),
            "blocks": [
                (block.name, block.value, [each.agent_name for each in client.blocks.agents(block.block_id)])
                for block in client.blocks.list()
            ],
            "sources": [
                (source.name, [file.version.name for file in source.files()]) for source in client.sources.list()
            ],
            "pirates": [each.name for each in client.profiles.list(PROFILE_KIND_PERSONA) if "pirate" in each.name],
        }


WHOLE = {
    "agents": [("Ada", MESSAGES, letta.NOTES, 1), ("Bob", 0, letta.NOTES, 0)],
    "blocks": [("human of Ada", "Chad likes tea.", ["Ada", "Bob"])],
    "sources": [("paper", ["paper/intro.pdf.txt"])],
    "pirates": ["pirate"],
}


def delete_agents(suite: Suite) -> None:
    """Delete the agents and the block, for the next kill; the data source and the persona stay."""
    with suite.client() as client:
        for agent in client.agents.list():
            client.agents.delete(agent.agent_id)
        for block in client.blocks.list():
            client.blocks.delete(block.block_id)


def test_an_import_that_was_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    database = tmp_path / "sqlite.db"
    letta.Database("0.11", MESSAGES).write_sqlite(database)
    arguments = ("import", "letta", "--sqlite", str(database), "--profiles")
    with Suite(tmp_path / "home") as suite:
        for at, victim in (
            ("Imported persona", "command line"),
            ("Shared block human of Ada is there", "Memory"),
            ("Imported agent Ada", "command line"),
        ):
            killed(suite, arguments, at, victim)
            if victim == "Memory":
                suite.restart_memory()
            suite.cli(*arguments)
            assert everything(suite) == WHOLE, (at, victim)
            delete_agents(suite)
