"""The request of a read to a server, and the conversion of its response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from memgpt_memory.store import filters
from memgpt_memory.store.expressions import render
from memgpt_memory.store.filters import Condition
from memgpt_memory.store.layout import MAX_VARCHAR_BYTES, Collection
from memgpt_memory.store.mapping import columns_of, reader
from memgpt_memory.store.port import Match
from memgpt_memory.store.rows import Row

_R = TypeVar("_R", bound=Row)

_READ_ROWS, _READ_LONG_ROWS = 8_192, 1_000
"""Rows of one read, and of one with a column of 64 KB: a response has at most 100 MB."""


class ReadRequest(Generic[_R]):
    """A read: its filter, its columns, and the conversion of the response to rows.

    Attributes:
        filter: The condition as far as Milvus evaluates it.
        columns: The columns to read.
        holds: Whether the rest of the condition holds for what was read.
        read: Makes a row from its columns.
        read_rows: How many rows to read at a time.
    """

    def __init__(self, collection: Collection, where: Condition, row: type[_R], *more: str) -> None:
        rest = filters.exact(where)
        self.filter = render(filters.broad(where))
        self.columns = sorted({collection.key, *columns_of(row), *filters.columns_of(rest), *more})
        self.holds = filters.for_mappings(rest)
        self.read = reader(row)
        sizes = {field.name: field.size for field in collection.fields}
        long = any(sizes[column] == MAX_VARCHAR_BYTES for column in self.columns)
        self.read_rows = _READ_LONG_ROWS if long else _READ_ROWS

    def match(self, hit: Mapping[str, Any]) -> Match[_R]:
        """Return a hit as a match; BM25 scores of some versions are negative distances."""
        return Match(self.read(hit["entity"]), float(hit["distance"]))
