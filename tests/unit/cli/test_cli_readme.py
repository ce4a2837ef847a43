"""README.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from memgpt.cli.main import app
from typer.main import get_command

from scripts.config_table import BEGIN, END, table

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def test_the_settings_are_those_of_the_models():
    """`python scripts/config_table.py` brings them up to date."""
    assert README.partition(BEGIN)[2].partition(END)[0].strip() == table().strip()


def test_the_commands_exist():
    commands = get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"\bmemgpt ([a-z]+)\b", README))
    assert len(named) >= 5
    assert named <= set(commands)
