"""`memgpt search`: archival and recall memory from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest

from tests.support.suite import Suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite with two files in a source, and an agent that has been talked to."""
    folder: Path = tmp_path_factory.mktemp("search")
    with Suite(folder / "home") as started:
        for name, word in (("tides.txt", "tide"), ("winds.txt", "wind")):
            (folder / name).write_text("".join(f"The {word} number {n} comes twice a day.\n\n" for n in range(120)))
        files = ("--input-files", str(folder / "tides.txt"), "--input-files", str(folder / "winds.txt"))
        started.cli("load", "directory", "--name", "weather", *files)
        with started.client() as memgpt:
            agent = memgpt.agents.create(CreateAgentRequest(name="Talker"))
            list(memgpt.agents.send(SendMessageRequest(agent_id=agent.agent_id, text="My boat is called Greta.")))
        yield started


def found(suite: Suite, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in suite.cli("search", *arguments, "--json").splitlines()]


def test_passages_to_the_last_with_filters(suite: Suite) -> None:
    shown = suite.cli("search", "tide", "--source", "weather", "--page-size", "2")
    assert shown.startswith("1. weather · tides.txt")
    assert "ranked by similarity and keywords; --all shows every one" in shown
    everything = found(suite, "tide", "--source", "weather", "--page-size", "2", "--all")
    assert len(everything) > 4
    assert [hit.get("rank", "0") for hit in everything] == [str(rank) for rank in range(len(everything))]
    winds = found(suite, "tide", "--source", "weather", "--file", "winds.txt", "--mode", "dense", "--all")
    assert {hit["passage"]["citation"]["file_name"] for hit in winds} == {"winds.txt"}
    assert 0 < len(winds) < len(everything)
    for nothing in (("--before", "2020-01-01"), ("--tag", "absent")):
        assert found(suite, "tide", "--source", "weather", *nothing) == []


def test_messages(suite: Suite) -> None:
    hits = found(suite, "a vessel", "--agent", "Talker", "--messages", "--all")
    assert any("Greta" in hit["text"] for hit in hits)
    shown = suite.cli("search", "greta boat", "--agent", "Talker", "--messages", "--mode", "text")
    assert "🧑 My boat is called Greta." in shown
    assert "ranked by keywords" in shown
    assert found(suite, "boat", "--agent", "Talker", "--messages", "--before", "2020-01-01") == []


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "--agent NAME or --source NAME", 2),
        (["--source", "weather", "--source", "nothing"], "one data source at a time", 2),
        (["--messages", "--source", "weather"], "--messages requires --agent NAME", 2),
        (["--messages", "--agent", "Talker", "--tag", "x"], "do not apply to messages", 2),
        (["--source", "nothing"], 'unknown data source "nothing"', 1),
        (["--source", "weather", "--after", "yesterday"], "--after takes a day", 2),
        (["--source", "weather", "--mode", "best"], "hybrid, dense or text", 2),
        (
            ["--source", "weather", "--after", "2026-01-02", "--before", "2026-01-01"],
            "--before must be later than --after",
            2,
        ),
    ],
)
def test_what_cannot_be_is_said(suite: Suite, arguments: list[str], said: str, code: int) -> None:
    refused = suite.run("search", "tide", *arguments)
    assert refused.returncode == code
    assert said in refused.stderr
