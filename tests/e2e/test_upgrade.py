"""Stores that earlier versions have written, opened by this one. `scripts/store_fixture` writes another."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.support.suite import Suite

STORES = sorted((Path(__file__).parents[1] / "data/stores").glob("*.tar.gz"))
QUESTION = "Who built the lighthouse of Thornwick?"


@pytest.mark.parametrize("stored", STORES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_a_store_of_an_earlier_version_is_served_whole(stored: Path, tmp_path: Path) -> None:
    with tarfile.open(stored) as archive:
        archive.extractall(tmp_path, filter="data")
    with Suite(tmp_path, MEMGPT_MEMORY_URI=str(tmp_path / "milvus.db")) as suite, suite.client() as memgpt:
        assert {agent.name for agent in memgpt.agents.list()} == {"keeper", "other"}
        assert "Name: Ada" in suite.cli("show", "agent", "keeper")
        before = memgpt.agents.find("keeper").message_count
        assert "My name is Ada." in suite.cli("search", "--agent=keeper", "--messages", "--mode=text", "my name")
        (source,) = memgpt.sources.list()
        assert (source.name, source.info.file_count, source.info.passage_count) == ("lighthouses", 1, 1)
        assert "built in 1871 by Ada Bellweather" in suite.cli("ask", QUESTION, "--agent", "keeper")
        assert memgpt.agents.find("keeper").message_count > before
        suite.cli("compact")
    with Suite(tmp_path, MEMGPT_MEMORY_URI=str(tmp_path / "milvus.db")) as suite, suite.client() as memgpt:
        assert "Name: Ada" in suite.cli("show", "agent", "keeper")
        memgpt.agents.delete(memgpt.agents.find("other").agent_id)
        assert [agent.name for agent in memgpt.agents.list()] == ["keeper"]
