from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def paper() -> Path:
    """The sample document: 13 pages."""
    return Path(__file__).parents[3] / "clients/python/memgpt/samples/memgpt_research_paper.pdf"


@pytest.fixture
def skip_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that puts the clock ahead by some seconds, for timers of asyncio as well."""
    monotonic, skipped = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + skipped)

    def skip(seconds: float) -> None:
        nonlocal skipped
        skipped += seconds

    return skip
