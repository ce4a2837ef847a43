"""Read-only access to SQLite databases that others wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from memgpt.cli.errors import CliError

Row = dict[str, Any]

_MAX_VALUE_BYTES = 64 << 20
"""Maximum size of a row or value."""

_MAX_ROWS = 10_000_000
"""Maximum number of rows read from a table. A damaged b-tree can repeat its pages without end."""

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}


class Database:
    """A SQLite database of which only plain tables are read: no view, virtual table or generated column.

    Attributes:
        name: How errors call the database.
        columns: The columns of each table.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        """Read the schema, and deny the connection everything except reading.

        Raises:
            CliError: It is not a SQLite database.
        """
        self.name = name
        self._connection = connection
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        with self._explained():
            connection.execute("PRAGMA trusted_schema = OFF")
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
            names: list[str] = [table for (table,) in tables.fetchall()]
            self.columns: Mapping[str, frozenset[str]] = {
                table: frozenset(column[1] for column in connection.execute(f"PRAGMA table_info({_quoted(table)})"))
                for table in names
            }
        connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)

    def has(self, table: str, *columns: str) -> bool:
        """Return whether the table exists with these columns."""
        return table in self.columns and self.columns[table].issuperset(columns)

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        *,
        order: Sequence[str] = (),
        where: Mapping[str, str | int | None] | None = None,
        as_bytes: bool = False,
    ) -> Iterator[Row]:
        """Yield rows of a table that are not marked as deleted; without the table, none.

        Args:
            table: The table.
            columns: What to read; None in each row where the table lacks the column.
            order: Columns to sort by, as far as the table has them; ``rowid`` is the order of insertion.
            where: Columns and their values; without such a column, no row matches.
            as_bytes: Whether the values are read as bytes, whatever their type.

        Raises:
            CliError: The database is damaged, or a value or the table is too large.
        """
        known, where = self.columns.get(table), where or {}
        if known is None or not known.issuperset(where):
            return
        present = [column for column in columns if column in known]
        conditions = [f"{_quoted(column)} IS ?" for column in where]
        if "is_deleted" in known:
            conditions.append("is_deleted IS NOT TRUE")
        template = "CAST({} AS BLOB)" if as_bytes else "{}"
        selected = ", ".join(template.format(_quoted(column)) for column in present)
        query = f"SELECT {selected or 'NULL'} FROM {_quoted(table)}"  # noqa: S608 - quoted
        if conditions:
            query += f" WHERE {' AND '.join(conditions)}"
        if sorting := [_quoted(column) for column in order if column in known or column == "rowid"]:
            query += f" ORDER BY {', '.join(sorting)}"
        missing = dict.fromkeys(columns)
        with self._explained(table):
            for number, values in enumerate(self._connection.execute(query, tuple(where.values()))):
                if number == _MAX_ROWS:
                    raise CliError(f"{self.name}: table {table} has more than {_MAX_ROWS:,} rows")
                yield missing | dict(zip(present, values, strict=False))

    def distinct(self, table: str, column: str, where: Mapping[str, str | int | None]) -> Iterator[Any]:
        """Yield the different values of a column; without the column, none."""
        if not self.has(table, column, *where):
            return
        conditions = " AND ".join(f"{_quoted(each)} IS ?" for each in where) or "TRUE"
        query = f"SELECT DISTINCT {_quoted(column)} FROM {_quoted(table)} WHERE {conditions}"  # noqa: S608 - quoted
        with self._explained(table):
            yield from (value for (value,) in self._connection.execute(query, tuple(where.values())))

    @contextmanager
    def _explained(self, table: str = "") -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema is quoted in the error
            where = f"{self.name}: table {table}" if table else self.name
            raise CliError(f"{where} cannot be read: {error}{_remedy(error)}") from error


@contextmanager
def open_database(path: Path) -> Iterator[Database]:
    """Open a database file for reading; nothing is written to it.

    Raises:
        CliError: The file does not exist, is not a SQLite database, or was not closed properly.
    """
    if not path.is_file():
        raise CliError(f"{path} is not a file; give the path of a SQLite database")
    try:
        # gRPC iterates over what is sent in a thread of its own, while this one waits.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise CliError(f"{path} cannot be opened: {error}{_remedy(error)}") from error
    with closing(connection):
        yield Database(connection, str(path))


def _remedy(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return "; its writer did not close it: copy it, and the files beside it, to a folder of yours and give the copy"
    if code == sqlite3.SQLITE_BUSY:
        return "; stop the program that has it open"
    return ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
