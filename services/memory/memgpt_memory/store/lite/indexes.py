"""The search indexes of a Lite file, kept in step with its rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from memgpt_memory.store.layout import Collection
from memgpt_memory.store.lite import files
from memgpt_memory.store.lite.engine import Engine
from memgpt_memory.store.lite.index.search_index import SearchIndex
from memgpt_memory.store.lite.opening import disk_errors

_log = structlog.get_logger(__name__)


class SearchIndexes:
    """The open search index of each collection that is searched.

    Attributes:
        by_name: The indexes by the names of their collections.
    """

    def __init__(self, path: Path) -> None:
        """Keep the indexes of the Lite file at `path`."""
        self._path = path
        self.by_name: dict[str, SearchIndex] = {}

    def open(self, engine: Engine, collection: Collection) -> None:
        """Open the index of a collection, and add the rows that it lacks."""
        index = SearchIndex(self._folder(collection.name), collection)
        try:
            self._bring_up_to_date(engine, collection, index)
        except BaseException:
            index.close(keep=False)
            raise
        self.by_name[collection.name] = index

    def rebuild(self, engine: Engine, collection: Collection) -> None:
        """Build the index of a collection from its rows."""
        index = self.by_name[collection.name]
        index.clear()
        self._bring_up_to_date(engine, collection, index)

    def compact(self, collection: Collection) -> None:
        """Remove deleted rows from the files of an index."""
        with disk_errors(self._path, collection):
            self.by_name[collection.name].compact()

    def drop(self, name: str) -> None:
        """Delete the index of a collection, if there is one."""
        index = self.by_name.pop(name, None)
        if index is not None:
            index.close(keep=False)
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def close(self, *, keep: bool) -> None:
        """Close every index; without `keep`, recent writes are not saved."""
        while self.by_name:
            self.by_name.popitem()[1].close(keep=keep)

    def _folder(self, name: str) -> Path:
        return self._path / files.INDEXES / name

    def _bring_up_to_date(self, engine: Engine, collection: Collection, index: SearchIndex) -> None:
        """Bring an index up to date with the rows: add all if it is missing, else those that a crash kept out of it."""
        name = collection.name
        last_write = engine.last_write(name)
        if max(index.covered, index.flags_through) > last_write:  # the index belongs to another state of the rows
            index.clear()
        if index.covered == last_write:
            return
        _log.info("search_index_update_started", collection=name, covered=index.covered, last_write=last_write)
        fresh = index.covered == 0
        self._fill(engine, collection, index)
        if not fresh and index.count() != engine.count(name):  # Lite forgets deletions that hide nothing any more
            _log.warning(
                "search_index_rebuild_started", collection=name, indexed=index.count(), rows=engine.count(name)
            )
            index.clear()
            self._fill(engine, collection, index)

    def _fill(self, engine: Engine, collection: Collection, index: SearchIndex) -> None:
        """Add what was written after the last write that an index covers."""
        last_write = engine.flush(collection.name)
        columns = sorted(index.columns - {collection.key})
        with disk_errors(self._path, collection), engine.keeping_files(collection.name):
            for partition, chunks, dead in engine.changes_since(collection, index.covered, columns):
                index.fill(partition, chunks, dead)
            index.finish_filling(last_write)
