"""Conversion of the hits of a search index to matches; columns that the index lacks are read from the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from memgpt_memory.store import filters
from memgpt_memory.store.filters import Condition
from memgpt_memory.store.layout import Collection
from memgpt_memory.store.lite.engine import Engine
from memgpt_memory.store.lite.index.hits import Hits
from memgpt_memory.store.lite.index.search_index import SearchIndex
from memgpt_memory.store.mapping import columns_of, reader
from memgpt_memory.store.port import Match, Matches
from memgpt_memory.store.rows import Row
from memgpt_memory.store.threaded import MAX_KEYS

_R = TypeVar("_R", bound=Row)


def matches_of(
    engine: Engine,
    collection: Collection,
    row: type[_R],
    where: Condition,
    partitions: Sequence[str],
    index: SearchIndex,
    hits: Hits,
) -> Matches[_R]:
    """Return the rows that a search of `index` hit, in the order of the hits.

    A condition on columns that the index lacks is evaluated here, and the number of all matches is then unknown.
    """
    complete = len(hits.keys) == hits.total
    wanted = columns_of(row)
    unknown = filters.columns_of(where) - index.columns
    if not unknown and index.columns.issuperset(wanted):
        make = cast("Callable[..., _R]", row)
        rows = map(make, *(hits.column(name) for name in wanted))
        return Matches(list(map(Match, rows, hits.scores)), complete, hits.total)
    columns = sorted({*wanted, *filters.columns_of(where)})
    stored = {
        str(one[collection.key]): one
        for start in range(0, len(hits.keys), MAX_KEYS)
        for one in engine.get(collection.name, hits.keys[start : start + MAX_KEYS], columns, partitions)
    }
    holds, read = filters.for_mappings(where if unknown else filters.EVERY_ROW), reader(row)
    found = [
        Match(read(stored[key]), score)
        for key, score in zip(hits.keys, hits.scores, strict=True)
        if key in stored and holds(stored[key])
    ]
    return Matches(found, complete, None if unknown else hits.total)
