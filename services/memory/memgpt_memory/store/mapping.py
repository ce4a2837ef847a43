"""Conversion between rows as Milvus takes and returns them and the domain's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import itemgetter
from typing import TypeVar, cast

import numpy as np

from memgpt_memory.store.layout import NO_VECTOR, SPARSE, Collection, FieldType
from memgpt_memory.store.rows import Row

Columns = Mapping[str, object]
"""A row by the names of its columns."""

R = TypeVar("R", bound=Row)


@lru_cache(maxsize=64)
def columns_of(row: type[Row]) -> tuple[str, ...]:
    """Return the names of the columns that a class of rows is made of."""
    return tuple(field.name for field in fields(row))  # type: ignore[arg-type]


def reader(row: type[R]) -> Callable[[Columns], R]:
    """Return a function that makes a row from its columns; further columns are ignored."""
    names = columns_of(row)
    make = cast("Callable[..., R]", row)
    if len(names) == 1:
        return lambda columns: make(columns[names[0]])
    values = itemgetter(*names)
    return lambda columns: make(*values(columns))


def to_columns(collection: Collection, rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return rows as the collection stores them: without fields that have no column, and with what Milvus requires."""
    stored = [field for field in collection.fields if field.name != SPARSE]
    names = [field.name for field in stored if field.type is not FieldType.VECTOR]
    vector = collection.vector
    if not collection.searched:
        return [{**{name: getattr(row, name) for name in names}, vector: NO_VECTOR} for row in rows]
    return [
        {**{name: getattr(row, name) for name in names}, vector: np.asarray(getattr(row, vector)).tolist()}
        for row in rows
    ]


def check_distinct(rows: Sequence[Row]) -> None:
    """Reject two rows with one key in one call: some backends keep both, some the last one, and some refuse.

    Raises:
        ValueError: Two rows have the same key.
    """
    if len({row.id for row in rows}) != len(rows):
        raise ValueError("two rows of one upsert have the same key")
