"""`memgpt reembed`, at a suite's own home: the store moves, and the configuration with it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import service_environment
from tests.support.scripted_llm import ScriptedLLM

MEMGPT = str(Path(sys.executable).with_name("memgpt"))


def memgpt(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MEMGPT, *arguments],
        env=service_environment(home, {"MEMGPT_ENDPOINT_API_KEY": "the key"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_store_and_the_configuration_move(tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]) -> None:
    llm = scripted_llm(dimension=24, api_key="the key")
    home, file = tmp_path / "home", tmp_path / "tides.txt"
    file.write_text("The tide comes in twice a day.\n" * 40)
    assert memgpt(home, "quickstart").returncode == 0
    loaded = memgpt(home, "load", "directory", "--name", "tides", "--input-files", str(file))
    assert loaded.returncode == 0, loaded.stderr
    asked = len(llm.embedding_requests)
    moved = memgpt(home, "reembed", "--embedding-model", "deep", "--embedding-endpoint", llm.base_url)
    assert moved.returncode == 0, moved.stderr
    assert "Embedding passages: 100%" in moved.stdout
    assert "The store now uses the embedding model deep" in moved.stdout
    assert any("tide" in text for request in llm.embedding_requests[asked:] for text in request.json["input"])
    memory = tomllib.loads((home / "config.toml").read_text())["memory"]
    assert {key: value for key, value in memory.items() if key != "uri"} == {
        "embedding": "openai",
        "embedding_model": "deep",
        "embedding_dimension": 24,
        "embedding_base_url": llm.base_url,
        "embedding_api_key": "the key",
    }
    assert (home / "config.toml.old").exists()


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    for arguments, said in (
        (["--abandon", "--embedding-model", "x"], "either --abandon or --embedding-model"),
        (["--embedding-endpoint", "http://localhost"], "need --embedding-model as well"),
    ):
        refused = memgpt(tmp_path, "reembed", *arguments)
        assert refused.returncode == 2
        assert said in refused.stderr
    (tmp_path / "config.toml").write_text('[agent]\nmodel = "offline"\n')
    former = tmp_path / "config.toml.old"
    former.write_text("# of before")
    away = memgpt(tmp_path, "reembed", "--embedding-model", "x", "--embedding-endpoint", "http://127.0.0.1:9/v1")
    assert (away.returncode, "cannot be used" in away.stderr) == (1, True)
    assert former.read_text() == "# of before", "nothing has changed that it would have to keep"
