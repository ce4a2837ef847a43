"""Input and output of commands: colors, spinners and questions on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from memgpt.cli.terminal.busy import Busy, BusyLine
from memgpt.cli.terminal.markdown import MarkdownStream
from memgpt.cli.terminal.table import Column, render_table
from memgpt.cli.terminal.wrapping import wrap
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from prompt_toolkit.history import History

# Text from a model or a document must not control the terminal.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


_LEAST_TEXT = 30
"""Minimum cells for a text next to its term."""


def printable(text: str) -> str:
    """Return `text` without characters that control a terminal, except line feeds and tabs."""
    return _CONTROLS.sub("", text)


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun: ``1 file``, ``1,024 files``."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def _console(*, stderr: bool = False, no_color: bool | None = None) -> Console:
    # rich takes 80 by 25 for the size of a dumb terminal unless both are given.
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    width, height = get_terminal_size() if dumb else (None, None)
    return Console(
        stderr=stderr,
        no_color=no_color,
        width=width,
        height=height,
        highlight=False,
        soft_wrap=True,
        emoji=False,
        markup=False,
    )


class Ui:
    """Input and output of a command.

    Attributes:
        interactive: Whether questions can be asked: standard input and output are terminals.
        terminal: Whether standard output is a terminal.
    """

    def __init__(self, *, plain: bool = False) -> None:
        """Inspect the standard streams.

        Args:
            plain: Whether to omit colors, spinners and Markdown even on a terminal.
        """
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:  # characters outside of the encoding become question marks
                reconfigure(errors="replace")
        self.terminal = sys.stdout.isatty()
        self.interactive = self.terminal and sys.stdin.isatty()
        self._plain = plain or not self.terminal
        self.console = _console(no_color=plain or None)

    @property
    def width(self) -> int:
        """Cells per line on a terminal; 0 elsewhere, where lines have no limit."""
        return self.console.width if self.terminal else 0

    def line(self, text: str = "", style: str = "", *, indent: int | None = None) -> None:
        """Write a line, wrapped on a terminal; markup in it is not interpreted.

        Args:
            text: The line; may contain line feeds.
            style: Style of the line.
            indent: Cells of indentation of wrapped lines; by default that of the text.
        """
        text = printable(text)
        if indent is None:
            indent = len(text) - len(text.lstrip(" ")) if text.strip() else 0
        self.console.print(Text(wrap(text, self.width, indent=indent), style=style), soft_wrap=True)

    def entry(self, term: str, text: str, column: int) -> None:
        """Write a term and its meaning: side by side, or one below the other on a narrow terminal.

        Args:
            term: The term.
            text: Its meaning.
            column: Cells from the left margin to the text.
        """
        if self.width and self.width < column + _LEAST_TEXT:
            self.line(f"  {term}")
            self.line(f"      {text}")
        else:
            self.line(f"  {term:<{column - 2}}{text}", indent=column)

    def styled(self, text: Text, *, indent: int = 0) -> None:
        """Write styled text, wrapped on a terminal."""
        if not self.width:
            self.console.print(text, soft_wrap=True)
            return
        broken = wrap(text.plain, self.width, indent=indent)
        self.console.print(_restyled(text, broken), soft_wrap=True)

    def answer(self, prefix: str, text: str, style: str = "") -> None:
        """Write an agent's message or thought: rendered Markdown on a terminal, unchanged elsewhere."""
        if self._plain:
            self.line(prefix + text, style)
            return
        written = self.answering(prefix, style).end(printable(text))
        self.console.print(Text(prefix, style=style) + written, soft_wrap=True)

    def answering(self, prefix: str, style: str = "") -> MarkdownStream:
        """Start a streamed answer after a prefix."""
        column = cell_len(prefix)
        return MarkdownStream(self.width, style, column=column, indent=column)

    def note(self, text: str) -> None:
        """Write a less important line."""
        self.line(text, "dim")

    def error(self, message: str) -> None:
        """Write an error to standard error."""
        self._aside("Error: ", "bold red", message)

    def warning(self, message: str) -> None:
        """Write a warning to standard error."""
        self._aside("Warning: ", "bold yellow", message)

    def progress(self, message: str) -> None:
        """Write a progress message to standard error."""
        self._aside("", "", message)

    def _aside(self, kind: str, style: str, message: str) -> None:
        console = _console(stderr=True)
        width = console.width if sys.stderr.isatty() else 0
        text = wrap(printable(message), width, column=len(kind), indent=2)
        console.print(Text(kind, style=style) + Text(text), soft_wrap=True)

    def piece(self, text: str | Text, style: str = "") -> None:
        """Write a piece of a line immediately."""
        shown = Text(printable(text), style=style) if isinstance(text, str) else text
        self.console.print(shown, end="", soft_wrap=True)
        self.console.file.flush()

    @contextmanager
    def busy(self, text: str) -> Iterator[Busy]:
        """Show a spinner while the context is open, on a terminal."""
        if self._plain:
            yield Busy(None, None)
            return
        line = BusyLine(text)
        with self.console.status(line, spinner="dots") as status:
            yield Busy(status, line)

    def table(self, columns: Sequence[str | Column], rows: Sequence[Sequence[str]], *, wide: bool = False) -> None:
        """Write a table: aligned on a terminal, tab-separated with a header line elsewhere.

        Args:
            columns: The columns; see `Column` for those that a narrow terminal does not show.
            rows: Rows with one text per column.
            wide: Whether to show every column, however narrow the terminal is.
        """
        heads = [column if isinstance(column, Column) else Column(column) for column in columns]
        cells = [[printable(" ".join(cell.split())) for cell in row] for row in rows]
        if self.terminal:
            self.console.print(render_table(heads, cells, self.console.width, wide=wide), soft_wrap=wide)
            return
        for row in ([column.title for column in heads], *cells):  # rich would convert tabs to spaces
            self.console.file.write("\t".join(row) + "\n")

    def json(self, value: Message | dict[str, Any]) -> None:
        """Write an object as a line of JSON."""
        if not isinstance(value, dict):
            from google.protobuf.json_format import MessageToDict

            value = MessageToDict(value, preserving_proto_field_name=True)
        self.console.file.write(json.dumps(value, ensure_ascii=False) + "\n")

    def confirm(self, question: str, *, default: bool = True) -> bool:
        """Ask yes or no."""
        import questionary

        return bool(questionary.confirm(question, default=default).unsafe_ask())

    def select(self, question: str, choices: Sequence[str | Choice], default: str | None = None) -> str:
        """Ask the person to choose one of several options."""
        import questionary

        options = [
            questionary.Choice(choice.title, value=choice.value) if isinstance(choice, Choice) else choice
            for choice in choices
        ]
        return str(questionary.select(question, choices=options, default=default).unsafe_ask())

    def ask(self, question: str, default: str = "") -> str:
        """Ask for a line of text."""
        import questionary

        return str(questionary.text(question, default=default).unsafe_ask()).strip()

    def prompt(self, question: str, history: Path | None, *, multiline: bool = False) -> str:
        """Ask for a line, with `history` at the arrow keys, or for several lines, ended by Esc and Enter."""
        import questionary

        past = _typed_before(history)
        return str(questionary.text(question, qmark=">", multiline=multiline, history=past).unsafe_ask())

    def secret(self, question: str) -> str:
        """Ask for a line without echo."""
        import questionary

        return str(questionary.password(question).unsafe_ask()).strip()


def _typed_before(file: Path | None) -> History:
    """Return the history in a file; in memory without one, or if it cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    if file is None:
        return InMemoryHistory()
    try:
        file.open("ab+").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))


def _restyled(text: Text, broken: str) -> Text:
    """Apply the styles of the original text to the wrapped one, in which line feeds and margins may replace blanks."""
    result = Text(style=text.style)
    place = 0
    for character in broken:
        if character.isspace():
            if place < len(text.plain) and text.plain[place] == character:
                place += 1
            result.append(character)
            continue
        while text.plain[place] != character:
            place += 1
        result.append_text(text[place])
        place += 1
    return result


@dataclass(frozen=True, slots=True)
class Choice:
    """An option to choose: its label and its value."""

    title: str
    value: str
