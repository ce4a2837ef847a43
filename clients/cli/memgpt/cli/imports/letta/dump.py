"""Folders of JSON lines, a file per table, as `letta.sql` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import read_lines
from memgpt.cli.imports.spool import spooled
from memgpt.cli.imports.sqlite_database import Database, Row

COUNTS = "counts.jsonl"
"""File with the number of rows of each table; it is written last."""

_MAX_COUNT = 1 << 63


@contextmanager
def open_dump(folder: Path, tables: Mapping[str, Sequence[str]]) -> Iterator[Database]:
    """Read a dump into a temporary database.

    Args:
        folder: The folder.
        tables: The tables to read, with their columns; others are ignored.

    Raises:
        CliError: No file of a table exists, a line is not a JSON object or is too long, rows are missing, or a file is
            a link.
    """
    if folder.is_file():
        raise CliError(f"{folder} is a file, but a dump is a folder; a SQLite database is read with --sqlite")
    for path in folder.glob("*.jsonl"):
        if path.is_symlink():
            raise CliError(f"{path} is a link, which a dump does not have; copy the file that it should be")
    files = {table: path for table in tables if (path := folder / f"{table}.jsonl").is_file()}
    if not files:
        raise CliError(f"{folder} has no dump: no {next(iter(tables))}.jsonl; `memgpt import letta --sql` prints how")
    with spooled() as spool:
        counts = {table: spool.add(table, tables[table], _rows(path)) for table, path in files.items()}
        _check(dict.fromkeys(tables, 0) | counts, folder)
        yield spool.database(str(folder))


def _rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, value in enumerate(read_lines(file, str(path)), 1):
            if not isinstance(value, dict):
                raise CliError(f"{path}: value {number} is not a JSON object; write the dump with `psql -At`")
            yield value


def _check(counts: Mapping[str, int], folder: Path) -> None:
    """Compare the numbers of rows with those that were counted at the end of the dump."""
    if not (folder / COUNTS).is_file():
        raise CliError(f"{folder} has no {COUNTS}, which is written last: the dump is incomplete; dump it again")
    for row in _rows(folder / COUNTS):
        table, expected = row.get("table"), row.get("count")
        if not isinstance(table, str) or table not in counts or counts[table] == expected:
            continue
        wanted = f"{expected:,}" if isinstance(expected, int) and 0 <= expected < _MAX_COUNT else "an invalid number"
        raise CliError(f"{folder}: {table}.jsonl has {counts[table]:,} rows of {wanted}; dump it again")
