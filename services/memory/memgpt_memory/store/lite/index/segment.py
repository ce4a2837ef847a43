"""An immutable part of a search index: rows in order of the key, with their vectors, words and small columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from memgpt_memory.store.layout import MAX_ID, Collection, FieldType
from memgpt_memory.store.lite.index.arrays import Array, DamagedFileError, read_arrays, write_arrays
from memgpt_memory.store.lite.index.bm25 import Flags, Numbers, Postings, index_texts, merge_postings
from memgpt_memory.store.rows import Vector

Keys = npt.NDArray[np.bytes_]

_WORDS = "words"


@dataclass(frozen=True, slots=True)
class DictionaryColumn:
    """A column of texts: the distinct ones, sorted, and which of them each row has."""

    distinct: Keys
    codes: npt.NDArray[np.uint32]

    def of_rows(self, rows: Numbers) -> list[str]:
        """Return the texts of rows."""
        texts = [text.decode() for text in self.distinct.tolist()]
        return [texts[code] for code in self.codes[rows].tolist()]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: rows in order of the key.

    Attributes:
        keys: The keys, sorted and distinct.
        numbers: The columns of whole numbers.
        texts: The columns of short texts.
        vectors: One row for each.
        words: The words of the rows; None in a collection without.
    """

    keys: Keys
    numbers: dict[str, Numbers]
    texts: dict[str, DictionaryColumn]
    vectors: Vector
    words: Postings | None

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, keys: Keys) -> Numbers:
        """Return the rows that have one of the keys."""
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        return places[self.keys[places] == keys] if len(self.keys) else np.empty(0, np.int64)

    def column(self, name: str, rows: Numbers) -> Sequence[object]:
        """Return the values of a column for some rows."""
        if name in self.texts:
            return self.texts[name].of_rows(rows)
        if name in self.numbers:
            return cast("list[object]", self.numbers[name][rows].tolist())
        return [key.decode() for key in self.keys[rows].tolist()]

    def write(self, path: Path) -> None:
        """Write the segment to a file."""
        arrays: dict[str, Array] = {"keys": self.keys, "vectors": self.vectors}
        arrays |= {f"number.{name}": column for name, column in self.numbers.items()}
        for name, column in self.texts.items():
            arrays |= {f"text.{name}.distinct": column.distinct, f"text.{name}.codes": column.codes}
        if self.words is not None:
            arrays |= {f"{_WORDS}.{name}": getattr(self.words, name) for name in Postings.__slots__}
        write_arrays(path, arrays)

    @staticmethod
    def read(path: Path, collection: Collection) -> Segment:
        """Map the segment of a file into memory.

        Raises:
            DamagedFileError: The file is damaged, or of another collection.
            OSError: The file cannot be read.
        """
        arrays = read_arrays(path)
        numbers, texts = small_columns(collection)
        try:
            words = None
            if has_words(collection):
                words = Postings(*(arrays[f"{_WORDS}.{name}"] for name in Postings.__slots__))  # type: ignore[arg-type]
            return Segment(
                cast("Keys", arrays["keys"]),
                {name: cast("Numbers", arrays[f"number.{name}"]) for name in numbers},
                {name: _read_coded(arrays, name) for name in texts},
                cast("Vector", arrays["vectors"]),
                words,
            )
        except KeyError as error:
            raise DamagedFileError(path.name) from error


def has_words(collection: Collection) -> bool:
    """Return whether a collection is searched by words."""
    return any(field.type is FieldType.WORDS for field in collection.fields)


def small_columns(collection: Collection) -> tuple[list[str], list[str]]:
    """Return the names of the columns of whole numbers, and of short texts without the key, that an index holds."""
    fields = [field for field in collection.fields if field.name != collection.key]
    numbers = [field.name for field in fields if field.type is FieldType.INTEGER]
    return numbers, [field.name for field in fields if field.type is FieldType.TEXT and field.size <= MAX_ID]


def new_segment(
    collection: Collection,
    keys: Sequence[str],
    columns: Mapping[str, Sequence[object]],
    vectors: Vector,
    words: Sequence[str],
) -> Segment:
    """Build a segment of rows with distinct keys, in any order."""
    ids = as_keys(keys)
    order = np.argsort(ids)
    numbers, texts = small_columns(collection)
    return Segment(
        ids[order],
        {name: np.array(columns[name], np.int64)[order] for name in numbers},
        {name: _coded(as_keys(cast("Sequence[str]", columns[name]))[order]) for name in texts},
        np.ascontiguousarray(vectors[order], np.float32),
        index_texts([words[row] for row in order.tolist()]) if has_words(collection) else None,
    )


def merge_segments(parts: Sequence[tuple[Segment, Flags]]) -> Segment:
    """Build one segment of the kept rows of several, in at most one of which each key is kept."""
    kept = [np.flatnonzero(flags) for _, flags in parts]
    keys = np.concatenate([segment.keys[rows] for (segment, _), rows in zip(parts, kept, strict=True)])
    order = np.argsort(keys)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    renumbered, begin = [], 0
    for (segment, _), rows in zip(parts, kept, strict=True):
        numbers = np.full(len(segment), -1, np.int64)
        numbers[rows] = places[begin : begin + len(rows)]
        renumbered.append(numbers)
        begin += len(rows)
    first = parts[0][0]
    vectors = np.empty((len(order), first.vectors.shape[1]), np.float32)
    for (segment, _), rows, numbers in zip(parts, kept, renumbered, strict=True):
        vectors[numbers[rows]] = segment.vectors[rows]

    def joined(columns: Sequence[Array]) -> Array:
        return np.concatenate([column[rows] for column, rows in zip(columns, kept, strict=True)])[order]

    words = None
    if first.words is not None:
        renumberings = zip(parts, renumbered, strict=True)
        words = merge_postings(
            [(one.words, numbers) for (one, _), numbers in renumberings if one.words is not None], len(order)
        )
    return Segment(
        keys[order],
        {name: cast("Numbers", joined([one.numbers[name] for one, _ in parts])) for name in first.numbers},
        {
            name: _coded(cast("Keys", joined([one.texts[name].distinct[one.texts[name].codes] for one, _ in parts])))
            for name in first.texts
        },
        vectors,
        words,
    )


def as_keys(texts: Sequence[str]) -> Keys:
    """Return texts as an array of bytes, which sorts as their characters do."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def _read_coded(arrays: Mapping[str, Array], name: str) -> DictionaryColumn:
    return DictionaryColumn(
        cast("Keys", arrays[f"text.{name}.distinct"]),
        cast("npt.NDArray[np.uint32]", arrays[f"text.{name}.codes"]),
    )


def _coded(texts: Keys) -> DictionaryColumn:
    distinct, codes = np.unique(texts, return_inverse=True)
    return DictionaryColumn(distinct, codes.astype(np.uint32))
