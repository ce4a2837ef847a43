"""The check that every package has a wheel sees a missing one, and says so if it cannot look."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "scripts" / "wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wheels"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


ABI3 = "faiss_cpu-1.15.1-cp310-abi3-{}.whl"


def package(*platforms: str, marker: str = "python_version >= '3'") -> dict[str, Any]:
    return {"name": "faiss-cpu", "marker": marker, "wheels": [{"name": ABI3.format(each)} for each in platforms]}


@pytest.mark.parametrize(
    ("missing", "locked", "says"),
    [
        ([], package("macosx_14_0_arm64", "win_amd64"), ""),
        ([], package("macosx_11_0_universal2"), ""),
        ([], package("macosx_15_0_arm64", "macosx_14_0_x86_64"), "no wheel of faiss-cpu"),
        ([], package(), "no wheel of faiss-cpu"),
        ([], package(marker="sys_platform == 'win32'"), ""),
        ([], package(marker="platform_system == 'Darwin'"), "no wheel of faiss-cpu"),
        (["faiss-cpu"], package("macosx_15_0_arm64"), ""),
        (["faiss-cpu"], package("macosx_14_0_arm64"), "faiss-cpu has a wheel"),
        (["grpcio"], package("macosx_15_0_arm64"), "grpcio has a wheel"),
    ],
)
def test_what_is_not_as_listed_is_a_problem(
    wheels: ModuleType, missing: list[str], locked: dict[str, Any], says: str
) -> None:
    mac = wheels.Platform("Mac", wheels._macos(14, "arm64"), "Darwin", "arm64", missing=missing)
    problems = list(wheels.problems(mac, [locked]))
    assert len(problems) == (2 if says else 0)
    assert all(says in problem for problem in problems)


@pytest.fixture
def silent_index() -> Iterator[str]:
    """The address of an index that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/simple"


def test_an_index_that_cannot_be_reached_fails_nothing(
    wheels: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(sys, "argv", ["wheels.py", "Windows x86-64"])
    assert wheels.main() == 75
    said = capsys.readouterr().out
    assert said.startswith("the package index does not answer: Failed to fetch: http://127.0.0.1:9/simple/")
    assert said.count("\n") == 1


def test_a_slow_index_does_not_take_minutes(
    wheels: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    silent_index: str,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", silent_index)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(wheels, "_SECONDS", 2.0)
    monkeypatch.setattr(sys, "argv", ["wheels.py"])
    assert wheels.main() == 75
    assert capsys.readouterr().out == "the package index does not answer: no result within 1 s\n"


def test_a_lock_that_cannot_be_resolved_fails(
    wheels: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wheels, "PLATFORMS", [wheels.Platform("A", ["any"], "Linux", "x86_64", "no-such-file.toml")])
    monkeypatch.setattr(sys, "argv", ["wheels.py"])
    assert wheels.main() == 1
    assert "no-such-file.toml" in capsys.readouterr().err
