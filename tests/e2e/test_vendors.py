"""Endpoints with the rules of their vendors, from `memgpt configure` over `memgpt load` to `memgpt run`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import service_environment
from tests.support.scripted_llm import ScriptedLLM
from tests.support.vendors import VENDORS
from tests.support.vendors.server import MESSAGE, serve

MEMGPT = str(Path(sys.executable).with_name("memgpt"))
SEARCH = ("archival_memory_search", {"query": "tea", "page": 0, "request_heartbeat": True})
NOTE = ("core_memory_append", {"name": "human", "content": "Name: Ada", "request_heartbeat": True})


@pytest.mark.parametrize("name", ["Mistral", "Gemini, /v1beta/openai", "Qwen / DashScope", "OpenAI gpt-4o, gpt-4.1"])
def test_a_vendor_from_configure_to_run(scripted_llm: Callable[..., ScriptedLLM], tmp_path: Path, name: str) -> None:
    vendor = next(one for one in VENDORS if one.name == name)
    _, model, address = serve(scripted_llm, vendor)
    environment = service_environment(tmp_path / "home", {})

    def memgpt(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [MEMGPT, *arguments], input=text, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8",
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    (tmp_path / "tea.txt").write_text("".join(f"Tea number {n} is steeped for {n} minutes.\n\n" for n in range(400)))
    memgpt("configure", "--model", "m", "--model-endpoint", address, "--api-key", "k",
           "--embedding-model", "e", "--embedding-endpoint", address)  # fmt: skip
    written = tomllib.loads((tmp_path / "home/config.toml").read_text())
    assert written["agent"].get("mode", "auto") == "auto"
    assert written["memory"]["embedding_dimension"] == 256
    memgpt("load", "directory", "--name", "tea", "--input-files", "tea.txt")
    model.script += [SEARCH, NOTE]
    said = memgpt("run", "--agent", "Ada", "--yes", text="My name is Ada. How long is tea steeped?\n/memory\n")
    assert f"🤖 {MESSAGE}" in said
    assert "Name: Ada" in said
    assert not model.script
