"""Help pages, on which names are whole at any width: typer's own tables shorten them on terminals of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

_GAP = 2
_INDENT = 4
"""Cells before a meaning that stands below its term."""

_LEAST_TEXT = 30
"""Minimum cells for a meaning next to its term."""

_TYPE = re.compile(r"<(?:list\[)?(str|int|int range|float|path)\]?>", re.IGNORECASE)
_WORDS = {"str": "TEXT", "int": "NUMBER", "int range": "NUMBER", "float": "NUMBER", "path": "PATH"}
"""What help pages show for each of Python's types."""

_RANGE = re.compile(r"(\d+)<=x<=(\d+)")
_NOT_NEGATIVE = re.compile(r"; x>=0(?=\])|\s*\[x>=0\]")

Entry = tuple[str, str]
"""A term and its meaning."""


class HelpedCommand(TyperCommand):
    """A command with a help page of this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the page."""
        show_help(self, ctx)


class HelpedGroup(TyperGroup):
    """A group of commands with a help page of this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the page."""
        show_help(self, ctx)


def show_help(command: TyperCommand | TyperGroup, ctx: Any) -> None:
    """Show the usage of a command, its arguments, its options and its commands."""
    from memgpt.cli.terminal.wrapping import wrap
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
    usage = f"Usage: {ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}"
    paragraphs = [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]
    for text, style in ((usage, "bold"), *((paragraph, "") for paragraph in paragraphs)):
        console.print()
        console.print(Text(wrap(f" {text}", console.width - 1, indent=1), style=style))
    console.print()
    sections = dict(_sections(command, ctx))
    names = [name for title, entries in sections.items() if _has_commands(title) for name, _ in entries]
    for title, entries in sections.items():
        terms = names if _has_commands(title) else [term for term, _ in entries]
        content = _laid_out(entries, terms, console.width - 4)
        console.print(Panel(content, title=title, title_align="left", border_style="dim"))


def _has_commands(title: str) -> bool:
    return title not in ("Arguments", "Options")


def _sections(command: TyperCommand | TyperGroup, ctx: Any) -> Iterator[tuple[str, list[Entry]]]:
    """Yield the titles of the panels with what is in them, in order."""
    found: dict[str, list[Entry]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            term, meaning = record
            if param.param_type_name == "argument":
                found["Arguments"].append((_TYPE.sub("", term).strip(), _plain_range(meaning)))
            else:
                found["Options"].append((_TYPE.sub(_type_in_words, term), _plain_range(meaning)))
    if isinstance(command, TyperGroup):
        for name in command.list_commands(ctx):
            each: Any = command.get_command(ctx, name)
            if each is not None and not each.hidden:
                panel = getattr(each, "rich_help_panel", None) or "Commands"
                meaning = " ".join((each.help or "").partition("\n\n")[0].split())
                found.setdefault(str(panel), []).append((name, meaning))
    yield from ((title, entries) for title, entries in found.items() if entries)


def _type_in_words(name: re.Match[str]) -> str:
    return _WORDS[name[1].lower()]


def _plain_range(meaning: str) -> str:
    """Return the meaning of an option with its range in words; that a number is not negative needs none."""
    return _RANGE.sub(r"\1 to \2", _NOT_NEGATIVE.sub("", " ".join(meaning.split())))


def _laid_out(entries: Sequence[Entry], terms: Sequence[str], width: int) -> Any:
    """Return entries as lines: meanings beside the terms, or below a term that is too long for that.

    Args:
        entries: The entries.
        terms: The terms whose length decides where meanings begin.
        width: Cells of a line.
    """
    from memgpt.cli.terminal.wrapping import wrap
    from rich.text import Text

    column = min(max(map(len, terms)), width * 2 // 5) + _GAP
    if column > width // 3 and width - column < _LEAST_TEXT:
        column = _INDENT
    lines = []
    for term, meaning in entries:
        beside = len(term) + _GAP <= column
        lines.append(Text(f"{term:<{column}}" if beside else wrap(term, width), style="bold cyan"))
        told = wrap(meaning, width - column).split("\n") if meaning else []
        for number, line in enumerate(told):
            margin = "" if beside and number == 0 else "\n" + " " * column
            lines[-1].append(margin + line, style="not bold default")
    return Text("\n").join(lines)
