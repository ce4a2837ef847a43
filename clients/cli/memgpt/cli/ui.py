"""The terminal: colours, spinners and questions on one, plain quiet lines elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

# What a model or a document says must not steer the terminal.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` without the characters that control a terminal, line feeds and tabs excepted."""
    return _CONTROLS.sub("", text)


class Ui:
    """Where a command writes to and asks.

    Attributes:
        interactive: Whether a person can be asked: standard input and output are a terminal.
        terminal: Whether standard output is a terminal.
    """

    def __init__(self, *, plain: bool = False) -> None:
        """Looks at the standard streams.

        Args:
            plain: No colours and spinners even on a terminal.
        """
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:  # What is of another encoding gets question marks, not an error.
                reconfigure(errors="replace")
        self.terminal = sys.stdout.isatty()
        self.interactive = self.terminal and sys.stdin.isatty()
        self._plain = plain or not self.terminal
        self.console = Console(no_color=plain or None, highlight=False, soft_wrap=True, emoji=False, markup=False)

    def line(self, text: str = "", style: str = "") -> None:
        """Writes a line; nothing in it is markup."""
        self.console.print(Text(printable(text), style=style), soft_wrap=True)

    def paragraph(self, text: str, style: str = "") -> None:
        """Writes text for reading: broken between words on a terminal, left as it is elsewhere."""
        self.console.print(Text(printable(text), style=style), soft_wrap=self._plain)

    def note(self, text: str) -> None:
        """Writes a line of minor weight."""
        self.line(text, "dim")

    def error(self, message: str) -> None:
        """Writes an error to standard error."""
        self._aside("Error: ", "bold red", message)

    def warning(self, message: str) -> None:
        """Writes a warning to standard error."""
        self._aside("Warning: ", "bold yellow", message)

    def progress(self, message: str) -> None:
        """Writes to standard error what goes on, for those who wait for it."""
        self._aside("", "", message)

    def _aside(self, kind: str, style: str, message: str) -> None:
        console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
        console.print(Text(kind, style=style) + Text(printable(message)), soft_wrap=True)

    def piece(self, text: str, style: str = "") -> None:
        """Writes a piece of a line, at once."""
        self.console.print(Text(printable(text), style=style), end="", soft_wrap=True)
        self.console.file.flush()

    @contextmanager
    def busy(self, text: str) -> Iterator[Busy]:
        """Shows that something is under way, on a terminal."""
        if self._plain:
            yield Busy(None)
            return
        with self.console.status(Text(text, style="dim"), spinner="dots") as status:
            yield Busy(status)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Writes a table: boxed on a terminal, tab-separated with a head line elsewhere."""
        if not self.terminal:
            # Not by rich, which would make the tabs spaces.
            for row in (columns, *rows):
                self.console.file.write("\t".join(printable(" ".join(cell.split())) for cell in row) + "\n")
            return
        table = Table(*columns, header_style="bold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console.print(table, soft_wrap=False)

    def confirm(self, question: str, *, default: bool = True) -> bool:
        """Asks yes or no."""
        import questionary

        return bool(questionary.confirm(question, default=default).unsafe_ask())

    def select(self, question: str, choices: Sequence[str | Choice], default: str | None = None) -> str:
        """Asks for one of several."""
        import questionary

        options = [
            questionary.Choice(choice.title, value=choice.value) if isinstance(choice, Choice) else choice
            for choice in choices
        ]
        return str(questionary.select(question, choices=options, default=default).unsafe_ask())

    def ask(self, question: str, default: str = "") -> str:
        """Asks for a line of text."""
        import questionary

        return str(questionary.text(question, default=default).unsafe_ask()).strip()

    def prompt(self, question: str, history: Path | None, *, multiline: bool = False) -> str:
        """Asks for a line, with those of `history` at the arrow keys, or for several, ended by Esc and Enter."""
        import questionary
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        past = InMemoryHistory() if history is None else FileHistory(str(history))
        return str(questionary.text(question, qmark=">", multiline=multiline, history=past).unsafe_ask())

    def secret(self, question: str) -> str:
        """Asks for a line that is not shown."""
        import questionary

        return str(questionary.password(question).unsafe_ask()).strip()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several: what is shown, and what it stands for."""

    title: str
    value: str


class Busy:
    """Something under way, as `Ui.busy` shows it."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def say(self, text: str) -> None:
        """Changes the text."""
        if self._status is not None:
            self._status.update(Text(text, style="dim"))

    def pause(self) -> None:
        """Takes it off the screen until `resume`."""
        if self._status is not None:
            self._status.stop()

    def resume(self) -> None:
        """Puts it back on the screen."""
        if self._status is not None:
            self._status.start()
