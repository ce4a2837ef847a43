"""Reading many rows of a collection: by key, or those for which a condition holds.

Lite's own query first decides for every row whether it is the newest one of its key, in Python, and converts rows value
by value. Here the condition comes first, evaluated by Arrow, and rows are converted by column, so that a read costs
little more than the rows that it returns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from memgpt_memory.store.mapping import Columns

Holds = Callable[[pa.Table], npt.NDArray[np.bool_]]
"""Returns for which rows of a table a condition holds."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """The rows of a file.

    Attributes:
        table: All of them, by column.
        keys: The key of each.
        numbers: The number of the write of each.
        rows: The row of each key.
    """

    table: pa.Table
    keys: Sequence[str]
    numbers: npt.NDArray[np.uint64]
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LogRows:
    """The rows that are only in the log.

    Attributes:
        table: All of them, by column, with those that were replaced or deleted since.
        last: For each key its last row, and the number of its write.
        partitions: Which partitions to read, which are in the column ``_partition``; all if empty.
    """

    table: pa.Table
    last: Mapping[str, tuple[int, int]]
    partitions: frozenset[str]


@dataclass(frozen=True, slots=True)
class CollectionView:
    """The rows of a collection, or of some partitions, as of one instant.

    Attributes:
        key: The name of the key's column.
        files: Rows in files. Several may have the same key; the one of the last write counts.
        log: Newer rows.
        deletions: The number of the last deletion, by key, of those in files.
        deletions_in_log: The same of those that are only in the log.
    """

    key: str
    files: Sequence[FileRows]
    log: LogRows | None
    deletions: Mapping[str, int]
    deletions_in_log: Mapping[str, int]

    def is_deleted(self, key: str, number: int) -> bool:
        """Return whether a row was deleted after a write."""
        return self.deletions.get(key, -1) > number or self.deletions_in_log.get(key, -1) > number


def query(view: CollectionView, holds: Holds | None, columns: Sequence[str]) -> list[Columns]:
    """Return the rows for which a condition holds; all of them without one."""
    return [row for table, rows in _live(view, holds) if rows for row in _taken(table, rows, columns)]


def get(
    files: Sequence[FileRows], deletions: Mapping[str, int], keys: Iterable[str], columns: Sequence[str]
) -> Iterator[Columns]:
    """Yield rows of files by key."""
    wanted: dict[int, list[int]] = defaultdict(list)
    for key in keys:
        found = [
            (int(file.numbers[row]), place, row)
            for place, file in enumerate(files)
            if (row := file.rows.get(key)) is not None
        ]
        if found:
            number, place, row = max(found)
            if deletions.get(key, -1) <= number:
                wanted[place].append(row)
    for place, rows in wanted.items():
        yield from _taken(files[place].table, rows, columns)


def count(view: CollectionView) -> int:
    """Return the number of rows."""
    return sum(len(rows) for _, rows in _live(view, None))


def _taken(table: pa.Table, rows: Sequence[int], columns: Sequence[str]) -> Iterator[Columns]:
    taken = table.select(columns).take(rows)
    for values in zip(*(taken.column(name).to_pylist() for name in columns), strict=True):
        yield dict(zip(columns, values, strict=True))


def _live(view: CollectionView, holds: Holds | None) -> Iterator[tuple[pa.Table, list[int]]]:
    """Yield the rows that count, by table: the last one of each key, unless it was deleted after that."""
    for place, file in enumerate(view.files):
        yield file.table, [row for row in _matching(file.table, holds) if _counts(view, place, row)]
    if view.log is not None:
        yield view.log.table, _live_in_log(view, view.log, holds)


def _matching(table: pa.Table, holds: Holds | None) -> list[int]:
    if holds is None:
        return list(range(table.num_rows))
    matching: list[int] = np.flatnonzero(holds(table)).tolist()
    return matching


def _counts(view: CollectionView, place: int, row: int) -> bool:
    file = view.files[place]
    key, number = file.keys[row], int(file.numbers[row])
    if (view.log is not None and key in view.log.last) or view.is_deleted(key, number):
        return False
    for other_place, other in enumerate(view.files):
        if other_place != place and (other_row := other.rows.get(key)) is not None:
            other_number = int(other.numbers[other_row])
            # Earlier versions could write a row to two files: it counts once.
            if other_number > number or (other_number == number and other_place < place):
                return False
    return True


def _live_in_log(view: CollectionView, log: LogRows, holds: Holds | None) -> list[int]:
    matching = _matching(log.table, holds)
    if not matching:
        return []
    keys = log.table.column(view.key).take(matching).to_pylist()
    partitions = log.table.column("_partition").take(matching).to_pylist()
    return [
        row
        for row, key, partition in zip(matching, keys, partitions, strict=True)
        if (last := log.last.get(key)) is not None
        and last[0] == row
        and not view.is_deleted(key, last[1])
        and (not log.partitions or partition in log.partitions)
    ]
