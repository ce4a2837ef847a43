"""The documents hold what they say: links, commands, options, and code blocks."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt.cli.main import app
from typer.main import get_command

from tests.support import markdown

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
WRITTEN = [page for page in PAGES if "reference" not in page.parts and page.name != "CHANGELOG.md"]
"""The pages that people write; the others are generated."""

LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Each code block of a page: its language and its text."""
    return markdown.blocks(page.read_text(encoding="utf-8"))


def shell_lines(page: Path) -> Iterator[str]:
    """Each command line of a page, continued lines joined."""
    for language, text in blocks(page):
        lines = text.replace("\\\n", " ").splitlines()
        if language == "console":
            yield from (line.removeprefix("$ ") for line in lines if line.startswith("$ "))
        elif language in ("sh", "bash", "shell"):
            yield from lines


def memgpt_calls(page: Path) -> Iterator[list[str]]:
    """The arguments of each call of ``memgpt`` in a page's command lines."""
    for line in shell_lines(page):
        for part in re.split(r"\|(?!\|)|&&", line.split(" #")[0]):
            if re.match(r"\s*(\w+=\S+\s+)*memgpt\s", part):
                yield shlex.split(part)[shlex.split(part).index("memgpt") + 1 :]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_both_readmes_have_the_same_code_and_links() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh.md"
    assert [language for language, _ in blocks(english)] == [language for language, _ in blocks(chinese)]
    links = {
        name: set(LINK.findall((ROOT / name).read_text(encoding="utf-8"))) for name in ("README.md", "README.zh.md")
    }
    differing = {link for link in links["README.md"] ^ links["README.zh.md"] if not link.startswith(("http", "README"))}
    assert not differing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target = link.split("#")[0]
        if target and not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{name_of(page)} links to {link}"


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for arguments in memgpt_calls(page):
        command: Any = get_command(app)
        rest = arguments
        while commands := getattr(command, "commands", None):
            if not rest or rest[0].startswith("-"):
                break
            if "files" in commands and rest[0] not in commands:  # `memgpt load FILE…`
                command = commands["files"]
                break
            assert rest[0] in commands, f"unknown command: memgpt {' '.join(arguments)}"
            command, rest = commands[rest[0]], rest[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        known |= {"--help", "-h", "--version", "--profile"}
        options = {argument.split("=")[0] for argument in rest if argument.startswith("--")}
        assert options <= known, f"unknown option: memgpt {' '.join(arguments)}"


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_code_blocks_parse(page: Path) -> None:
    for language, text in blocks(page):
        if language == "python":
            ast.parse(text)
        elif language == "toml":
            tomllib.loads(text)
        elif language == "json":
            json.loads(text)
        elif language in ("sh", "bash", "shell"):
            checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
            assert checked.returncode == 0, checked.stderr


def test_the_page_of_the_benchmarks_shows_their_plot_once_it_is_drawn() -> None:
    page = (ROOT / "docs/explanation/benchmarks.md").read_text(encoding="utf-8")
    assert ("](../images/benchmarks.svg)" in page) == (ROOT / "docs/images/benchmarks.svg").exists()
