"""Help pages at any width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.core
from memgpt.cli import main
from memgpt.cli.terminal.help_page import show_help
from rich.cells import cell_len


def pages() -> Iterator[tuple[str, Any]]:
    """Yield every command and every group, with its name."""
    stack: list[tuple[str, Any]] = [("memgpt", typer.main.get_command(main.app))]
    while stack:
        name, command = stack.pop()
        yield name, command
        if isinstance(command, typer.core.TyperGroup):
            stack += [(f"{name} {each}", found) for each, found in command.commands.items()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_whole_and_lines_fit(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for name, command in pages():
        context = command.context_class(command, info_name=name)
        show_help(command, context)
        page = capsys.readouterr().out
        words = page.split()
        for param in command.get_params(context):
            for option in (*param.opts, *param.secondary_opts) if param.param_type_name == "option" else ():
                assert option in words or f"{option}," in words, page
        for each, found in getattr(command, "commands", {}).items():
            assert found.hidden or each in words, page
        assert "…" not in page.replace("MEMGPT_AGENT_…", ""), page
        assert "<" not in page.replace("<own|af>", "").replace("<auto|keep|preset>", ""), page
        assert all(cell_len(line) <= width for line in page.splitlines()), page


def test_defaults_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    command = dict(pages())["memgpt run"]
    show_help(command, command.context_class(command, info_name="memgpt run"))
    page = capsys.readouterr().out
    assert "Persona of a new agent. [default: sam_pov]" in page
    assert re.search(r"Size of the model's context window\. +│", page), "that it is not negative goes without saying"
