"""Time zones are known where the system has no files of them, as on Windows and in small images."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USERS = sorted(
    project
    for project in ROOT.glob("*/*/pyproject.toml")
    if project.parts[-3] in ("clients", "libs", "services")
    and any("zoneinfo" in file.read_text() for file in project.parent.rglob("*.py"))
)


@pytest.mark.parametrize("project", USERS, ids=lambda project: project.parent.name)
def test_what_uses_time_zones_declares_their_data(project: Path) -> None:
    declared = tomllib.loads(project.read_text())["project"]["dependencies"]
    assert any(each.startswith("tzdata") for each in declared)


def test_an_agent_has_its_time_zone_without_the_files_of_the_system() -> None:
    code = "import zoneinfo; from memgpt_agent.envelopes import zone; print(zoneinfo.TZPATH, zone('Europe/Berlin'))"
    environment = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("() Europe/Berlin\n", "")
