"""Tests say what they need of the platform."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import pytest_runtest_setup

ROOT = Path(__file__).parents[1]
_LINUX = re.compile(r"pidfd_open|/proc/|resource\.prlimit")


@pytest.mark.parametrize("file", sorted(ROOT.rglob("test_*.py")), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_what_uses_linux_is_marked(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if file != Path(__file__) and _LINUX.search(text):
        assert "pytest.mark.linux(" in text


@pytest.mark.linux("it is about this marker")
def test_the_marker_skips_elsewhere_with_its_reason(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest_runtest_setup(request.node)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(pytest.skip.Exception, match="needs Linux: it is about this marker"):
        pytest_runtest_setup(request.node)
