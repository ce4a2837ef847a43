from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def paper() -> Path:
    """The sample document: 13 pages."""
    return Path(__file__).parents[3] / "clients/python/memgpt/samples/memgpt_research_paper.pdf"
