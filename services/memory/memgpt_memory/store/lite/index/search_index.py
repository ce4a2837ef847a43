"""The search index of one collection.

Writes are appended to a list and cost nothing else; the next search puts them into segments in memory. Once there are
enough, a background thread writes these to files and merges small files into larger ones. A manifest names the files
and the last write that they cover; what a crash between two manifests loses is restored from the rows.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import structlog

from memgpt_memory.store.filters import Condition
from memgpt_memory.store.layout import WORDS, Collection
from memgpt_memory.store.lite.checksums import CHECKSUM, manifest_checksum
from memgpt_memory.store.lite.index.arrays import DamagedFileError, is_intact, read_arrays, write_arrays
from memgpt_memory.store.lite.index.bm25 import Flags, bm25_scores
from memgpt_memory.store.lite.index.hits import Hits, Scored, best, candidates, exact, margin, products
from memgpt_memory.store.lite.index.masks import mask
from memgpt_memory.store.lite.index.segment import (
    Keys,
    Segment,
    as_keys,
    has_words,
    merge_segments,
    new_segment,
    small_columns,
)
from memgpt_memory.store.rows import Row, Vector

_log = structlog.get_logger(__name__)

FORMAT = 2
"""Raised by one when the files change or may be wrong; an index of another format is rebuilt."""

SEAL_ROWS = 4_096
"""Rows since the last time that are written to files, whether searches have put them into segments or not."""

MERGED_AT_A_TIME, LARGEST_MERGED_ROWS = 4, 65_536
"""Segments of similar size that are merged into one, up to this size: a search visits few, and a merge stays short."""

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Many rows with distinct keys, by column."""

    keys: Sequence[str]
    columns: dict[str, Sequence[object]]
    vectors: Vector
    words: Sequence[str]


@dataclass(slots=True)
class _Part:
    """A segment of a partition.

    Attributes:
        segment: The segment.
        alive: Which of its rows count; replaced, never changed.
        file: Its file; empty while it is only in memory.
        flags_file: The file of `alive`; empty if all rows counted when it was written.
        changed: Whether `alive` has changed since.
        busy: Whether the background work is replacing it.
    """

    segment: Segment
    alive: Flags
    file: str = ""
    flags_file: str = ""
    changed: bool = False
    busy: bool = False

    @property
    def dead(self) -> int:
        return len(self.alive) - int(np.count_nonzero(self.alive))

    def kill(self, keys: Keys) -> None:
        rows = self.segment.find(keys)
        if len(rows):
            self.alive = self.alive.copy()
            self.alive[rows] = False
            self.changed = True


_Operation: TypeAlias = tuple[str | None, Sequence[Row] | Sequence[str]]
"""Rows that were added to a partition, or keys that were removed from one, or from all."""


class SearchIndex:
    """The search index of a collection. Methods may be called from any thread; writes come in order of `last_write`.

    Attributes:
        covered: The number of the last write that is in the index.
        flags_through: The number of the last write that may have removed rows in its files, which `covered` may be
            behind.
        in_files: The number of the last write that is in its files.
    """

    def __init__(self, folder: Path, collection: Collection) -> None:
        """Open the index in a folder, or a new one; `covered` says whether it is up to date."""
        self._folder = folder
        self._collection = collection
        self._numbers, self._texts = small_columns(collection)
        self.columns = frozenset({collection.key, *self._numbers, *self._texts})
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search-index")
        self._closed = False
        self._damaged = threading.Event()
        self._file_numbers = count(1)
        self._maintaining = False
        self._pending: list[_Operation] = []  # in order; no segment has them yet
        self._unwritten = 0  # rows that were noted since the last time that everything was written to files
        self._parts: dict[str, list[_Part]] = {}
        self.covered = self.flags_through = self.in_files = 0
        try:
            self._read_manifest()
        except (DamagedFileError, OSError, ValueError, KeyError, TypeError) as error:
            if not isinstance(error, FileNotFoundError):
                _log.warning("search_index_damaged", collection=collection.name, error=str(error))
            self.clear()
        else:
            self._background.submit(self._verify)

    @property
    def damaged(self) -> bool:
        """Whether a file was found to be damaged: the index must be cleared and filled again."""
        return self._damaged.is_set()

    def clear(self) -> None:
        """Remove everything."""
        self._background.submit(self._clear).result()

    def put(self, partition: str, rows: Sequence[Row], last_write: int) -> None:
        """Add rows, which replace those with the same keys."""
        self._note(partition, rows, len(rows), last_write)

    def delete(self, partition: str | None, keys: list[str], last_write: int) -> None:
        """Remove rows."""
        self._note(partition, keys, len(keys), last_write)

    def fill(self, partition: str, chunks: Iterable[ColumnChunk], dead: Sequence[str]) -> None:
        """Remove rows and add many others at once, to bring the index up to date; end with `finish_filling`."""
        with self._lock:
            self._absorb()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._kill(partition, as_keys(dead))
            for chunk in chunks:
                self._kill(partition, as_keys(chunk.keys))
                part = _fresh(new_segment(self._collection, chunk.keys, chunk.columns, chunk.vectors, chunk.words))
                self._write_part(part)
                self._parts.setdefault(partition, []).insert(0, part)

    def finish_filling(self, last_write: int) -> None:
        """Note the last write that the index covers, and write the index to files."""
        with self._lock:
            self.covered = last_write
        self.checkpoint()

    def search(self, vector: Vector, where: Condition, partitions: Sequence[str], limit: int) -> Hits:
        """Find the rows with the greatest inner products. Scores are exact, and the same in every process."""
        parts = self._snapshot(partitions)
        flags = [alive & mask(where, segment) for segment, alive in parts]
        total = sum(int(np.count_nonzero(one)) for one in flags)
        query = np.asarray(vector, np.float64)
        found: list[Scored] = []
        for (segment, _), kept in zip(parts, flags, strict=True):
            rows = np.flatnonzero(kept)
            if len(rows):
                found.append((segment, rows, products(segment, rows, np.asarray(vector, np.float32))))
        if limit < total:
            found = candidates(found, limit, margin(query))
        return best([(segment, rows, exact(segment, rows, query)) for segment, rows, _ in found], limit, total)

    def search_words(
        self, words: Sequence[str], where: Condition, partitions: Sequence[str], limit: int | None
    ) -> Hits:
        """Find the rows that share words with the query, best first by BM25."""
        parts = [
            (segment, segment.words, alive & mask(where, segment))
            for segment, alive in self._snapshot(partitions)
            if segment.words is not None
        ]
        ranked = bm25_scores(words, [(postings, flags) for _, postings, flags in parts])
        found = [
            (segment, rows, scores[rows])
            for (segment, _, _), scores in zip(parts, ranked, strict=True)
            if len(rows := np.flatnonzero(scores))
        ]
        total = sum(len(rows) for _, rows, _ in found)
        if limit is not None and limit < total:
            found = candidates(found, limit, 0.0)
        return best(found, total if limit is None else limit, total)

    def vectors(self, partition: str, keys: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors of rows by key."""
        found: dict[str, Vector] = {}
        for segment, alive in self._snapshot([partition]):
            rows = segment.find(as_keys(keys))
            rows = rows[alive[rows]]
            names = [key.decode() for key in segment.keys[rows].tolist()]
            found |= zip(names, np.array(segment.vectors[rows]), strict=True)
        return found

    def count(self) -> int:
        """Return the number of rows."""
        return sum(int(np.count_nonzero(alive)) for _, alive in self._snapshot(()))

    def checkpoint(self) -> None:
        """Write everything to files."""
        self._background.submit(self._checkpoint).result()

    def compact(self) -> None:
        """Rewrite every segment with removed rows, so that nothing of them is left in a file."""
        self._background.submit(self._compact).result()

    def close(self, *, keep: bool = True) -> None:
        """Write everything to files, unless `keep` is false, and end the background work."""
        self._closed = True
        self._background.shutdown(wait=True, cancel_futures=True)
        if keep:
            try:
                self._checkpoint()
            except OSError as error:
                _log.warning("search_index_write_failed", collection=self._collection.name, error=str(error))

    def _note(self, partition: str | None, what: Sequence[Row] | Sequence[str], rows: int, last_write: int) -> None:
        with self._lock:
            self._pending.append((partition, what))
            self._unwritten += rows
            self.covered = last_write
            full = self._unwritten >= SEAL_ROWS and not self._maintaining
            self._maintaining = self._maintaining or full
        if full and not self._closed:
            self._background.submit(self._maintain).add_done_callback(self._report)

    def _report(self, done: Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.warning("search_index_write_failed", collection=self._collection.name, error=str(error))

    def _maintain(self) -> None:
        """Write what is in memory to files, and merge files until none are left to merge. Background only."""
        self._maintaining = False
        self._checkpoint()
        for partition in list(self._parts):
            while not self._closed and self._replace(partition, _to_merge):
                pass
        with self._lock:
            self._write_manifest()

    def _checkpoint(self) -> None:
        with self._lock:
            self._absorb()
            covered, self._unwritten = self.covered, 0
        for partition in list(self._parts):
            self._replace(partition, lambda parts: [part for part in parts if not part.file])
        with self._lock:
            self.in_files = covered
            self._write_manifest()

    def _clear(self) -> None:
        with self._lock:
            self._parts, self._pending, self._unwritten = {}, [], 0
            self.covered = self.flags_through = self.in_files = 0
            self._damaged.clear()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _compact(self) -> None:
        with self._lock:
            self._absorb()
            dead = [(name, part) for name, parts in self._parts.items() for part in parts if part.dead]
        for partition, part in dead:
            self._replace(partition, partial(_only, part))
        self._checkpoint()

    def _replace(self, partition: str, choose: Callable[[Sequence[_Part]], list[_Part]]) -> bool:
        """Merge some segments of a partition into a file; return whether any were chosen.

        Searches and writes continue while it is written: what they remove is removed from the new segment as well.
        """
        with self._lock:
            chosen = choose(self._parts.get(partition, []))
            for part in chosen:
                part.busy = True
            before = [part.alive for part in chosen]
        if not chosen:
            return False
        try:
            merged = _fresh(merge_segments(list(zip([part.segment for part in chosen], before, strict=True))))
            self._write_part(merged)
        except BaseException:  # such as a full disk
            with self._lock:
                for part in chosen:
                    part.busy = False
            raise
        with self._lock:
            current = self._parts.get(partition, [])
            places = [number for number, part in enumerate(current) if any(part is one for one in chosen)]
            if len(places) < len(chosen):
                return False  # cleared in the meantime
            for part, alive in zip(chosen, before, strict=True):
                gone = alive & ~part.alive
                if gone.any():
                    merged.kill(part.segment.keys[gone])
            kept = [part for number, part in enumerate(current) if number not in places]
            self._parts[partition] = [merged, *kept] if len(merged.segment) else kept
        return True

    def _snapshot(self, partitions: Sequence[str]) -> list[tuple[Segment, Flags]]:
        with self._lock:
            self._absorb()
            wanted = partitions or list(self._parts)
            return [(part.segment, part.alive) for name in wanted for part in self._parts.get(name, [])]

    def _absorb(self) -> None:
        """Put pending writes into segments; call it with the lock held."""
        operations, self._pending = self._pending, []
        if not operations:
            return
        fresh: dict[str, dict[str, Row]] = defaultdict(dict)
        dead: dict[str, set[str]] = defaultdict(set)
        for partition, what in operations:
            for name in [partition] if partition is not None else {*self._parts, *fresh}:
                for one in what:
                    if isinstance(one, str):
                        fresh[name].pop(one, None)
                        dead[name].add(one)
                    else:
                        fresh[name][one.id] = one
        for name, rows in fresh.items():
            self._kill(name, as_keys([*rows, *dead[name]]))
            if rows:
                self._add(name, self._build(list(rows.values())))

    def _build(self, rows: list[Row]) -> Segment:
        vector = self._collection.vector
        return new_segment(
            self._collection,
            [row.id for row in rows],
            {name: [getattr(row, name) for row in rows] for name in (*self._numbers, *self._texts)},
            np.array([getattr(row, vector) for row in rows], np.float32),
            [getattr(row, WORDS) for row in rows] if has_words(self._collection) else [],
        )

    def _add(self, partition: str, segment: Segment) -> None:
        """Add a segment; small ones in memory are joined like the digits of a counter."""
        if not len(segment):
            return
        parts = self._parts.setdefault(partition, [])
        part = _fresh(segment)
        while (
            parts and not (parts[-1].file or parts[-1].busy) and len(parts[-1].segment) <= len(part.segment) < SEAL_ROWS
        ):
            last = parts.pop()
            part = _fresh(merge_segments([(last.segment, last.alive), (part.segment, part.alive)]))
        parts.append(part)

    def _kill(self, partition: str, keys: Keys) -> None:
        if len(keys):
            for part in self._parts.get(partition, []):
                part.kill(keys)

    def _verify(self) -> None:
        """Look for damage in the files, as a background task: reading all of them takes a while."""
        with self._lock:
            every = [part for parts in self._parts.values() for part in parts]
        for part in every:
            if self._closed:
                return
            if part.file and not (is_intact(self._folder / part.file) or part.file not in self._files()):
                _log.warning("search_index_damaged", collection=self._collection.name, file=part.file)
                self._damaged.set()
                return

    def _files(self) -> set[str]:
        with self._lock:
            parts = [part for parts in self._parts.values() for part in parts]
        return {name for part in parts for name in (part.file, part.flags_file) if name}

    def _read_manifest(self) -> None:
        text = (self._folder / _MANIFEST).read_text()
        manifest = json.loads(text)
        if manifest["format"] != FORMAT:
            raise DamagedFileError("another format")
        if CHECKSUM in manifest and manifest[CHECKSUM] != manifest_checksum(manifest):
            raise DamagedFileError("its manifest has been altered")
        for partition, listed in manifest["parts"].items():
            self._parts[partition] = [self._read_part(file, flags_file) for file, flags_file in listed]
        self._file_numbers = count(int(manifest["next_file"]))
        self.covered = self.in_files = int(manifest["covered"])
        self.flags_through = int(manifest["flags_through"])

    def _read_part(self, file: str, flags_file: str) -> _Part:
        segment = Segment.read(self._folder / file, self._collection)
        alive = np.ones(len(segment), np.bool_)
        if flags_file:
            if not is_intact(self._folder / flags_file):  # at once: it is small, and hides or shows rows
                raise DamagedFileError(flags_file)
            # Copied, since every file that stays mapped keeps a descriptor.
            alive = cast("Flags", read_arrays(self._folder / flags_file)["alive"].copy())
        return _Part(segment, alive, file, flags_file)

    def _write_manifest(self) -> None:
        """Write the manifest, and remove the files that it does not name; call it with the lock held.

        Rows that were removed by writes after `in_files` count as removed already: those writes are repeated.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        listed = {name: [part for part in parts if part.file] for name, parts in self._parts.items()}
        for parts in listed.values():
            for part in parts:
                self._write_part(part)
        manifest = {
            "format": FORMAT,
            "covered": self.in_files,
            "flags_through": self.covered,
            "next_file": next(self._file_numbers),
            "parts": {name: [[part.file, part.flags_file] for part in parts] for name, parts in listed.items()},
        }
        draft = self._folder / f"{_MANIFEST}.tmp"
        with draft.open("w") as file:
            json.dump({**manifest, CHECKSUM: manifest_checksum(manifest)}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._folder / _MANIFEST)
        used = {_MANIFEST, *(name for listed in manifest["parts"].values() for names in listed for name in names)}  # type: ignore[attr-defined]
        for path in self._folder.iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)

    def _write_part(self, part: _Part) -> None:
        if not part.file:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.file = self._new_file()
            part.segment.write(self._folder / part.file)
            # From here on the file's pages hold it, which the system can drop, and not this process's memory.
            part.segment = Segment.read(self._folder / part.file, self._collection)
            part.changed = bool(part.dead)
        if part.changed:
            part.flags_file = self._new_file()
            write_arrays(self._folder / part.flags_file, {"alive": part.alive})
            part.changed = False

    def _new_file(self) -> str:
        return f"{next(self._file_numbers)}.arrays"


def _fresh(segment: Segment) -> _Part:
    return _Part(segment, np.ones(len(segment), np.bool_))


def _only(part: _Part, parts: Sequence[_Part]) -> list[_Part]:
    return [one for one in parts if one is part]


def _to_merge(parts: Sequence[_Part]) -> list[_Part]:
    """Choose files of similar size, or one with mostly deleted rows; none if no merge is needed."""
    written = [part for part in parts if part.file]
    for part in written:
        if part.dead * 2 > len(part.alive):
            return [part]
    small = [part for part in written if len(part.segment) < LARGEST_MERGED_ROWS]
    small.sort(key=lambda part: len(part.segment))
    for start in range(len(small) - MERGED_AT_A_TIME + 1):
        chosen = small[start : start + MERGED_AT_A_TIME]
        size = sum(len(part.segment) for part in chosen)
        if size <= LARGEST_MERGED_ROWS and size >= 2 * len(chosen[-1].segment):
            return chosen
    return []
