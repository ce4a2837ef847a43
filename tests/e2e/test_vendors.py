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
from tests.support.vendors.server import MESSAGE, SUMMARY, VendorModel, serve

MEMGPT = str(Path(sys.executable).with_name("memgpt"))
PATIENCE = 300
WINDOW = "16384"
SEARCH = ("archival_memory_search", {"query": "tea", "page": 0, "request_heartbeat": True})
NOTE = ("core_memory_append", {"name": "human", "content": "Name: Ada", "request_heartbeat": True})


class Memgpt:
    """Commands of `memgpt` in a new home. Those that run at the same time share their services."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._folder = folder
        self._environment = service_environment(self.home, {})

    def __call__(self, *arguments: str) -> str:
        """Run a command; return its output."""
        return _output(self.begin(*arguments))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, which reads what is typed."""
        return subprocess.Popen(
            [MEMGPT, *arguments], env=self._environment, cwd=self._folder, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def talk(self, lines: list[str], *, first: tuple[str, ...] = ()) -> str:
        """Type lines into a conversation with Ada; return what is shown.

        Args:
            lines: What is typed.
            first: A command to run before the lines are typed. The open conversation keeps the services running for it.
        """
        chat = self.begin("run", "--agent", "Ada", "--yes")
        try:
            if first:
                self(*first)
            return _output(chat, "\n".join([*lines, ""]))
        finally:
            chat.kill()


def _output(command: subprocess.Popen[str], typed: str = "") -> str:
    with command:
        try:
            shown, errors = command.communicate(typed, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
    assert command.returncode == 0, errors + shown
    return shown


@pytest.fixture
def memgpt(tmp_path: Path) -> Memgpt:
    return Memgpt(tmp_path)


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
    """A search, a memory edit, and an eviction with a summary.

    A vendor without chat or embedding models is combined with one that has no rules.
    """
    llm, model, address = serve(scripted_llm, PLAIN if vendor.chat is None else vendor)
    embedder, _, embedding = serve(scripted_llm, PLAIN if vendor.embeddings is None else vendor)
    (tmp_path / "tea.txt").write_text("".join(f"Tea number {n} is steeped for {n} minutes.\n\n" for n in range(400)))
    memgpt("configure", "--model", "m", "--model-endpoint", address, "--api-key", "k", "--context-window", WINDOW,
           "--embedding-model", "e", "--embedding-endpoint", embedding)  # fmt: skip
    written = tomllib.loads((memgpt.home / "config.toml").read_text())
    assert written["agent"].get("mode", "auto") == "auto"
    assert written["memory"]["embedding_dimension"] == 256
    model.script += [SEARCH, NOTE]
    lines = ["My name is Ada. How long is tea steeped?", *STORIES, "/memory"]
    said = memgpt.talk(lines, first=("load", "directory", "--name", "tea", "--input-files", "tea.txt"))
    assert len({text for request in embedder.embedding_requests for text in request.json["input"]}) > 1
    _has_evicted(said, llm, model)


STORIES = [f"Story {number}: {'the fox ran on ' * 700}" for number in range(6)]


def _has_evicted(said: str, llm: ScriptedLLM, model: VendorModel) -> None:
    assert said.count(f"🤖 {MESSAGE}") > len(STORIES), "an answer to each line, and to the login"
    assert "Name: Ada" in said
    assert not model.script
    last = json.dumps(llm.requests[-1].messages)
    assert SUMMARY in last
    assert "Story 5" in last
    assert "Story 0" not in last


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
           "--context-window", WINDOW)  # fmt: skip
    model.script += [NOTE]
    _has_evicted(memgpt.talk([*STORIES, "/memory"]), llm, model)
