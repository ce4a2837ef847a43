"""A temporary database, in which rows of any size are sorted and found in bounded memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from memgpt.cli.errors import CliError
from memgpt.cli.imports.sqlite_database import Database, Row

_KEYS = frozenset(
    {"id", "agent_id", "archive_id", "block_id", "conversation_id", "data_source", "doc_id", "file_id", "source_id"}
)
"""Columns that rows are found by."""


class Spool:
    """Takes rows; `database` then reads them, and ends the writing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> int:
        """Append rows to a table, which is created with its first row; return their number.

        Args:
            table: Its name, from the program and not from a file.
            columns: The columns to keep, if the first row has them; likewise from the program.
            rows: The rows. Lists and objects are kept as JSON text.

        Raises:
            CliError: The disk is full, or a value is too large.
        """
        each = iter(rows)
        first = next(each, None)
        if first is None:
            return 0
        present = [column for column in columns if column in first]
        if not present:
            return 0
        listed = ", ".join(f'"{column}"' for column in present)

        def values() -> Iterator[tuple[Any, ...]]:
            yield tuple(_stored(first[column]) for column in present)
            for row in each:
                yield tuple(_stored(row.get(column)) for column in present)

        try:
            self._connection.execute(f'CREATE TABLE IF NOT EXISTS "{table}" ({listed})')
            insert = f'INSERT INTO "{table}" ({listed}) VALUES ({", ".join("?" * len(present))})'  # noqa: S608 - see Args
            count = self._connection.executemany(insert, values()).rowcount
            for column in _KEYS.intersection(present):
                self._connection.execute(f'CREATE INDEX IF NOT EXISTS "{table}.{column}" ON "{table}" ("{column}")')
        except sqlite3.Error as error:
            raise CliError(f"table {table} cannot be copied to a temporary database: {error}") from error
        return count

    def database(self, name: str) -> Database:
        """Return the rows for reading.

        Args:
            name: How errors call them.
        """
        self._connection.commit()
        return Database(self._connection, name)


@contextmanager
def spooled() -> Iterator[Spool]:
    """Yield an empty spool, which is deleted at the end."""
    with TemporaryDirectory(prefix="memgpt-") as folder:
        # As of an opened file, rows are read in a thread of gRPC too.
        connection = sqlite3.connect(Path(folder, "spool.db"), check_same_thread=False)
        with closing(connection):
            connection.execute("PRAGMA synchronous = OFF")
            yield Spool(connection)


def _stored(value: Any) -> str | int | float | bytes | None:
    match value:
        case None | bool() | float() | str() | bytes():
            return value
        case int():
            return value if abs(value) < 1 << 63 else str(value)
        case _:
            return json.dumps(value)
