"""The check that every package has a wheel sees a missing one, and says so if it cannot look."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

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


MISSING = "error: No solution found\n  Because faiss-cpu==1.15.1 has no wheels with a matching platform tag"


@pytest.mark.parametrize(
    ("missing", "found", "says"),
    [
        ((), MISSING, "a wheel is missing"),
        (("faiss-cpu",), MISSING, ""),
        (("grpcio",), MISSING, "another wheel is missing than grpcio"),
        (("grpcio",), "", "no wheel is missing any more"),
        ((), "error: Failed to fetch", "is the package index reachable"),
        ((), "", ""),
    ],
)
def test_what_is_not_as_listed_is_a_problem(
    wheels: ModuleType, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], found: str, says: str
) -> None:
    monkeypatch.setattr(wheels, "resolve", lambda *_: found)
    platform = wheels.Platform("A", "a", missing=missing)
    problems = list(wheels.problems(platform, Path("unused")))
    assert len(problems) == (2 if says else 0)
    assert all(says in problem for problem in problems)


def test_an_index_that_cannot_be_reached_is_named(
    wheels: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "overrides.txt").touch()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    platform = wheels.Platform("Windows", "x86_64-pc-windows-msvc", wheels.CLI)
    (problem, _) = wheels.problems(platform, tmp_path / "overrides.txt")
    assert "is the package index reachable?" in problem
    assert "http://127.0.0.1:9/" in problem
