"""Tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_GAP = 2
"""Cells between two columns."""

_LEAST = 8
"""Minimum cells of a shortened text."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its header.
        whole: Whether its texts are never shortened, as for names; otherwise they may end with an ellipsis.
        number: Whether it is right-aligned.
        wide: Whether it is shown only in wide tables, as for ids.
        priority: Columns with the lowest priority are left out first on a narrow terminal.
    """

    title: str
    whole: bool = True
    number: bool = False
    wide: bool = False
    priority: int = 0


def render_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, wide: bool) -> Table:
    """Lay out a table.

    Args:
        columns: The columns; the first one is always shown.
        rows: Rows with one text per column.
        width: Cells of the terminal.
        wide: Whether to show every column, however narrow the terminal is.
    """
    needs = [
        max([cell_len(column.title), *(cell_len(row[place]) for row in rows)]) for place, column in enumerate(columns)
    ]
    shown = [place for place, column in enumerate(columns) if wide or not column.wide]

    def least(place: int) -> int:
        return needs[place] if columns[place].whole else min(needs[place], _LEAST)

    while not wide and len(shown) > 1 and sum(map(least, shown)) + _GAP * (len(shown) - 1) > width:
        shown.remove(min(reversed(shown[1:]), key=lambda place: columns[place].priority))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for place in shown:
        column = columns[place]
        fold = "fold" if column.whole else "ellipsis"
        table.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=not (column.whole and needs[place] > width),
            overflow=fold,  # type: ignore[arg-type]  # mypy sees a str, not one of the literals
            min_width=None if wide or (column.whole and needs[place] > width) else least(place),
        )
    for row in rows:
        table.add_row(*(Text(row[place]) for place in shown))
    return table
