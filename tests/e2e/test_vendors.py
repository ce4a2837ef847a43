"""Endpoints with the rules of their vendors, from `memgpt configure` over `memgpt load` to `memgpt run`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import service_environment
from tests.support.scripted_llm import ScriptedLLM
from tests.support.vendors import VENDORS, Vendor
from tests.support.vendors.server import MESSAGE, SUMMARY, serve

MEMGPT = str(Path(sys.executable).with_name("memgpt"))
SEARCH = ("archival_memory_search", {"query": "tea", "page": 0, "request_heartbeat": True})
NOTE = ("core_memory_append", {"name": "human", "content": "Name: Ada", "request_heartbeat": True})


Memgpt = Callable[..., str]


@pytest.fixture
def memgpt(tmp_path: Path) -> Memgpt:
    """Run a command of `memgpt` in a new home; return its output."""
    environment = service_environment(tmp_path / "home", {})

    def run(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [MEMGPT, *arguments], input=text, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8",
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


FEW = ("Mistral", "Gemini, /v1beta/openai", "Qwen / DashScope", "OpenAI gpt-4o, gpt-4.1")
PLAIN = Vendor("no rules")


@pytest.fixture(params=[vendor.name for vendor in VENDORS])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    """A few vendors, or all of them with ``--vendors``."""
    if request.param not in FEW and not request.config.getoption("--vendors"):
        pytest.skip("without --vendors only a few")
    return next(one for one in VENDORS if one.name == request.param)


def test_a_vendor_from_configure_to_run(
    scripted_llm: Callable[..., ScriptedLLM], memgpt: Memgpt, tmp_path: Path, vendor: Vendor
) -> None:
    """A vendor without chat or embedding models is combined with one that has no rules."""
    _, model, address = serve(scripted_llm, PLAIN if vendor.chat is None else vendor)
    _, _, embedding = serve(scripted_llm, PLAIN if vendor.embeddings is None else vendor)
    (tmp_path / "tea.txt").write_text("".join(f"Tea number {n} is steeped for {n} minutes.\n\n" for n in range(400)))
    memgpt("configure", "--model", "m", "--model-endpoint", address, "--api-key", "k",
           "--embedding-model", "e", "--embedding-endpoint", embedding)  # fmt: skip
    written = tomllib.loads((tmp_path / "home/config.toml").read_text())
    assert written["agent"].get("mode", "auto") == "auto"
    assert written["memory"]["embedding_dimension"] == 256
    memgpt("load", "directory", "--name", "tea", "--input-files", "tea.txt")
    model.script += [SEARCH, NOTE]
    said = memgpt("run", "--agent", "Ada", "--yes", text="My name is Ada. How long is tea steeped?\n/memory\n")
    assert f"🤖 {MESSAGE}" in said
    assert "Name: Ada" in said
    assert not model.script


# Order and ids of messages, signatures and schemas, reasoning that needs room, failed generations.
FAMILIES = ("Mistral", "Gemini, /v1beta/openai", "DeepSeek V4", "Groq")


@pytest.mark.parametrize("mode", ["tools", "json_schema"])
@pytest.mark.parametrize("name", FAMILIES)
def test_an_eviction_at_a_vendor(
    scripted_llm: Callable[..., ScriptedLLM], memgpt: Memgpt, name: str, mode: str
) -> None:
    vendor = next(one for one in VENDORS if one.name == name)
    llm, model, address = serve(scripted_llm, vendor)
    memgpt("configure", "--model", "m", "--model-endpoint", address, "--api-key", "k", "--mode", mode,
           "--context-window", "16384")  # fmt: skip
    model.script += [NOTE]
    lines = [f"Story {number}: {'the fox ran on ' * 700}" for number in range(6)]
    said = memgpt("run", "--agent", "Ada", "--yes", text="\n".join([*lines, "/memory", ""]))
    assert said.count(f"🤖 {MESSAGE}") > len(lines), "an answer to each line, and to the login"
    assert "Name: Ada" in said
    last = json.dumps(llm.requests[-1].messages)
    assert SUMMARY in last
    assert "Story 5" in last
    assert "Story 0" not in last
