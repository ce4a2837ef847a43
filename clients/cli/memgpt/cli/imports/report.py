"""The report of an import: what was changed and what was left out, with every value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui

_SPOOLED = 4 << 20
_SHOWN = 60


class Kind(Enum):
    """What happened to a value."""

    CHANGED = "changed"
    LEFT_OUT = "left out"


@dataclass(slots=True)
class _Line:
    count: int
    example: str


class Report:
    """Collects entries. Counts stay in memory, values go to a temporary file, since a database has many.

    Use it as a context manager, which deletes the temporary file.
    """

    def __init__(self) -> None:
        """Start an empty report."""
        self._lines: dict[tuple[Kind, str], _Line] = {}
        self._values: IO[bytes] = SpooledTemporaryFile(_SPOOLED)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        self._values.close()

    def changed(self, where: str, what: str, value: Any = None) -> None:
        """Record a value that was changed to fit; `value` is the original."""
        self.add(Kind.CHANGED, where, what, value)

    def left_out(self, where: str, what: str, value: Any = None) -> None:
        """Record a value that is not imported."""
        self.add(Kind.LEFT_OUT, where, what, value)

    def add(self, kind: Kind, where: str, what: str, value: Any = None) -> None:
        """Record an entry.

        Args:
            kind: What happened to the value.
            where: Its place in the file.
            what: What it is, in the same words for all of its kind: entries are counted by it.
            value: The value, as far as JSON can represent it. Never a secret.
        """
        entry = {"kind": kind.value, "where": where, "what": what, "value": value}
        self._values.write(json.dumps(entry, ensure_ascii=True, default=str).encode() + b"\n")
        line = self._lines.get((kind, what))
        if line is None:
            self._lines[kind, what] = _Line(1, where if value is None or value == "" else f"{where}: {_short(value)}")
        else:
            line.count += 1

    def count(self, kind: Kind, what: str = "") -> int:
        """Return the number of entries of a kind, or of those with the same `what`."""
        return sum(
            line.count for (its, words), line in self._lines.items() if its is kind and (not what or words == what)
        )

    def show(self, ui: Ui) -> None:
        """Write a table with a line for each kind of entry."""
        rows = [
            [kind.value, str(line.count), what, line.example]
            for wanted in Kind
            for (kind, what), line in self._lines.items()
            if kind is wanted
        ]
        if not rows:
            ui.note("Nothing had to be changed or left out.")
            return
        columns: Sequence[str | Column] = [
            "Kind",
            Column("Count", number=True),
            "What",
            Column("First", whole=False, priority=1),
        ]
        ui.table(columns, rows)

    def save(self, target: IO[bytes], head: dict[str, Any]) -> None:
        """Write the whole report as one JSON object: the fields of `head`, then ``entries`` with every value."""
        written = json.dumps(head, ensure_ascii=True)
        target.write(written[:-1].encode() + (b', "entries": [' if head else b'"entries": ['))
        self._values.seek(0)
        for number, line in enumerate(self._values):
            target.write((b",\n" if number else b"\n") + line.rstrip(b"\n"))
        self._values.seek(0, 2)
        target.write(b"\n]}\n")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(text[: _SHOWN * 4].split())
    return line if len(line) <= _SHOWN and len(text) <= _SHOWN * 4 else line[:_SHOWN] + "…"


def named(items: Iterable[str]) -> str:
    """Return names for a sentence."""
    return ", ".join(f'"{item}"' for item in items)
