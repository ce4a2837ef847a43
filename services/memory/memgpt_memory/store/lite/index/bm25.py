"""Which rows hold which words, and their scores by BM25.

A general engine was measured first (tantivy): it ranks as fast, but has fixed parameters of BM25, and can neither
evaluate the store's conditions nor return the set of all matches without an object for each. Here scores are exact
under `layout.BM25`, and the statistics are those of the rows that meet the condition: other owners do not matter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain

import numpy as np
import numpy.typing as npt

from memgpt_memory.store.layout import BM25

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Postings:
    """The words of some rows, by word.

    Attributes:
        lengths: Number of words of each row.
        words: Hashes of all words, sorted. Words of any length take the same room, and no text remains in a file.
        starts: Where the rows of each word start in `rows`, and where the last ones end.
        rows: The rows of each word, in order.
        counts: How often the word occurs in each of them.
    """

    lengths: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint16]

    def of(self, word: int) -> slice:
        """Return where the rows of a word are; empty for an unknown word."""
        place = int(np.searchsorted(self.words, np.uint64(word)))
        if place == len(self.words) or int(self.words[place]) != word:
            return slice(0, 0)
        return slice(int(self.starts[place]), int(self.starts[place + 1]))


@lru_cache(maxsize=1 << 16)
def hash_word(word: str) -> int:
    """Return the 64 bits that stand for a word."""
    return int.from_bytes(blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def index_texts(texts: Sequence[str]) -> Postings:
    """Index texts whose words are separated by spaces."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    split = [text.split() for text in texts]
    lengths = np.fromiter(map(len, split), np.uint32, len(split))
    flat = np.fromiter(map(numbers.__getitem__, chain.from_iterable(split)), np.int64, int(lengths.sum()))
    hashes = np.fromiter(map(hash_word, numbers), np.uint64, len(numbers))
    order = np.argsort(hashes)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    rows = np.repeat(np.arange(len(split), dtype=np.int64), lengths)
    pairs, counts = np.unique(ranks[flat] * max(len(split), 1) + rows, return_counts=True)
    of_word, of_row = np.divmod(pairs, max(len(split), 1))
    starts = np.searchsorted(of_word, np.arange(len(order) + 1))
    return Postings(lengths, hashes[order], starts, of_row.astype(np.uint32), _small(counts))


def merge_postings(parts: Iterable[tuple[Postings, Numbers]], rows: int) -> Postings:
    """Merge the words of several segments.

    Args:
        parts: The words of each segment, and the new number of each of its rows; -1 for one that is left out.
        rows: How many rows there are afterwards.
    """
    lengths = np.zeros(rows, np.uint32)
    words, numbers, counts = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for postings, renumbered in parts:
        kept = renumbered >= 0
        lengths[renumbered[kept]] = postings.lengths[kept]
        of_row = renumbered[postings.rows]
        left = of_row >= 0
        words.append(np.repeat(postings.words, np.diff(postings.starts))[left])
        numbers.append(of_row[left])
        counts.append(postings.counts[left])
    word, number = np.concatenate(words), np.concatenate(numbers)
    order = np.lexsort((number, word))
    distinct, starts = np.unique(word[order], return_index=True)
    return Postings(
        lengths,
        distinct,
        np.append(starts, len(word)).astype(np.int64),
        number[order].astype(np.uint32),
        np.concatenate(counts)[order],
    )


def bm25_scores(query: Sequence[str], parts: Sequence[tuple[Postings, Flags]]) -> list[Scores]:
    """Score rows by BM25; a row that is left out, or shares no word with the query, has the score zero.

    Args:
        query: The words to look for. A repeated word counts again.
        parts: The words of each segment, and which of its rows meet the condition.
    """
    sizes = [int(kept.sum()) for _, kept in parts]
    total = sum(sizes)
    lengths = sum(int(postings.lengths[kept].sum(dtype=np.int64)) for postings, kept in parts)
    scores = [np.zeros(len(kept), np.float32) for _, kept in parts]
    if not total or not lengths:
        return scores
    k1, b = BM25["bm25_k1"], BM25["bm25_b"]
    norms = [(k1 * (1 - b + b * postings.lengths * (total / lengths))).astype(np.float32) for postings, _ in parts]
    for word, times in Counter(query).items():
        places = [postings.of(hash_word(word)) for postings, _ in parts]
        found = [postings.rows[place] for (postings, _), place in zip(parts, places, strict=True)]
        having = sum(int(np.count_nonzero(kept[rows])) for (_, kept), rows in zip(parts, found, strict=True))
        if not having:
            continue
        weight = np.float32(times * np.log1p((total - having + 0.5) / (having + 0.5)) * (k1 + 1))
        for (postings, _), place, rows, norm, score in zip(parts, places, found, norms, scores, strict=True):
            if len(rows):
                counts = postings.counts[place].astype(np.float32)
                score[rows] += weight * counts / (counts + norm[rows])
    for (_, kept), score in zip(parts, scores, strict=True):
        score[~kept] = 0
    return scores


def _small(counts: Numbers) -> npt.NDArray[np.uint16]:
    return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)
