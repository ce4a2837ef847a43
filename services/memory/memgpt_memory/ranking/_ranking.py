"""The ranking of a query over a snapshot, page by page to its end.

A ranking is a list of ids: by similarity (score, and id among equal scores), or by similarity and words. The latter has
a head, in which the best of both are fused, and after it everything else by similarity. A ranking by words alone has a
head by BM25, and after it the other rows that share a word with the query, in order of time.

The list is fetched from Milvus in growing pieces, cached up to a bound, and cut into pages. A page token holds the
snapshot, the head (see `_fusion`) and the last hit's key, so any process can build the list again and continue after
that hit. For a ranking by similarity alone a server returns just the rest of it, from that hit's score on. A `View`
says what belongs to a snapshot.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol, TypeVar

import numpy as np
from memgpt_runtime import reasons

from memgpt_memory.embedding import Vectors
from memgpt_memory.fulltext import query_words
from memgpt_memory.passages import EmbeddingIndex
from memgpt_memory.ranking._fusion import HEAD, HeadHit, Scored, fuse, mark, pin, pinned
from memgpt_memory.store import Match, Matches, Store
from memgpt_memory.store.filters import Condition
from memgpt_memory.store.layout import Collection
from memgpt_memory.store.rows import OwnedRevision, RowOwner

_R = TypeVar("_R", RowOwner, OwnedRevision)

_FIRST_FETCH = 24
_GROWTH = 8
_MAX_CACHED_BYTES = 128 << 20
"""Approximate size of all cached rankings, in bytes; a single larger one is kept alone."""

_MAX_CACHED = 128
"""Maximum number of cached rankings. Few are read beyond their first page, and those soon after it."""

_BYTES_OF_AN_ID = 200
_BYTES_OF_A_HEAD_HIT = 300
_BYTES_OF_A_RANKING = 2_000


class SearchMode(Enum):
    """How rows are ranked."""

    DENSE = "dense"
    TEXT = "text"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: the content of a page token.

    Attributes:
        snapshot: The snapshot that is searched, as the view understands it.
        total: Length of the ranking at the first page.
        rank: Rank of the next hit.
        score: Score of the last hit.
        id: Id of the last hit, or empty at the start.
        index: Name of the embedding index.
        head: The head, pinned; empty for a ranking without one.
    """

    snapshot: int
    total: int
    rank: int
    score: float
    id: str
    index: str
    head: str = ""

    @property
    def key(self) -> tuple[float, str]:
        """The last hit's place in the order by similarity."""
        return -self.score, self.id

    def dump(self) -> dict[str, Any]:
        """Return the token's payload."""
        return {
            "s": self.snapshot,
            "t": self.total,
            "r": self.rank,
            "c": self.score,
            "i": self.id,
            "m": self.index,
            "h": self.head,
        }

    @staticmethod
    def parse(payload: Mapping[str, Any]) -> Position:
        """Return the position of a token's payload."""
        return Position(
            payload["s"], payload["t"], payload["r"], payload["c"], payload["i"], payload["m"], payload["h"]
        )

    def check(self, index: EmbeddingIndex) -> None:
        """Refuse to continue with another embedding model.

        Raises:
            FailedPrecondition: The store has changed its model since the position was given.
        """
        if self.index != index.name:
            raise reasons.page_token_expired(
                "the store has changed its embedding model since this search began; search again without a page token"
            )


class View(Protocol):
    """An immutable snapshot: where its rows are, and which of them belong to it."""

    @property
    def key(self) -> str:
        """A text that differs between views of one collection."""
        ...

    @property
    def snapshot(self) -> int:
        """The snapshot's number, which a token pins."""
        ...

    @property
    def total(self) -> int | None:
        """How many rows belong to the snapshot; None if they must be counted."""
        ...

    @property
    def partitions(self) -> Sequence[str]:
        """Where the rows are; empty if there are none."""
        ...

    @property
    def where(self) -> Condition:
        """The condition for the rows that belong to the snapshot."""
        ...


@dataclass(slots=True)
class _Ranking:
    """The ranked ids of a query and snapshot, as far as they have been fetched.

    Attributes:
        collection: Where the rows are.
        mode: How they are ranked.
        words: The query's words.
        vector: The query's embedding; None for a ranking by words.
        head: The first hits; None until they are known.
        pin: The head as a token holds it.
        keys: After the head, in order: pairs of the negated score or the revision, and the id.
        owners: The owner of each key.
        fetched: How many rows have been fetched from Milvus.
        complete: Whether there is nothing more to fetch.
        total: How many rows match, if a search has returned it.
        scored: Whether the head has its scores by words; a pinned head gets them when it is returned.
        after: The last key before the list, if the list is only the rest of a ranking.
        making: Held while the head is made: two searches may rank by different statistics.
    """

    collection: Collection
    mode: SearchMode
    words: list[str]
    vector: Vectors | None
    head: list[HeadHit] | None = None
    pin: str = ""
    keys: list[tuple[float, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    fetched: int = 0
    complete: bool = False
    total: int | None = None
    scored: bool = True
    after: tuple[float, str] | None = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def front(self) -> list[HeadHit]:
        """The head, or nothing."""
        return self.head or []

    @property
    def length(self) -> int:
        """Number of known ids."""
        return len(self.front) + len(self.keys)

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return (
            _BYTES_OF_A_RANKING
            + (0 if self.vector is None else self.vector.nbytes)
            + 80 * len(self.words)
            + _BYTES_OF_A_HEAD_HIT * len(self.front)
            + _BYTES_OF_AN_ID * len(self.keys)
        )

    def slice(self, start: int, end: int) -> list[HeadHit]:
        """Return the hits from one rank to another."""
        front = self.front
        low, high = max(start - len(front), 0), max(end - len(front), 0)
        return front[start:end] + [
            HeadHit(id_, owner, dense=-score if self.mode is not SearchMode.TEXT else None)
            for (score, id_), owner in zip(self.keys[low:high], self.owners[low:high], strict=True)
        ]

    def begin(self, head: list[HeadHit], pinned_head: str | None = None) -> None:
        """Set the head, whose passages are left out of the rest."""
        self.head = head
        self.pin = pin(hit.id for hit in head) if pinned_head is None else pinned_head
        self.follow(zip(self.keys, self.owners, strict=True))

    def follow(self, rest: Iterable[tuple[tuple[float, str], str]]) -> None:
        """Set what comes after the head: keys in order, each with its owner."""
        ahead = {hit.id for hit in self.front}
        owners: dict[str, str] = {}  # one text for all rows of an owner
        kept = [(key, owners.setdefault(owner, owner)) for key, owner in rest if key[1] not in ahead]
        self.keys = [key for key, _ in kept]
        self.owners = [owner for _, owner in kept]


@dataclass(frozen=True, slots=True)
class RankingPage:
    """A slice of a ranking: at most a page.

    Attributes:
        hits: The hits.
        rank: Rank of the first.
        total: Length of the ranking at the first page.
    """

    hits: list[HeadHit]
    rank: int
    total: int
    _ranking: _Ranking
    _start: int
    _snapshot: int
    _space: str

    def following(self, taken: int) -> Position | None:
        """Return where the next page begins if this one has the first `taken` hits; None at the end."""
        ranking, end = self._ranking, self._start + taken
        if not taken or end >= ranking.length:
            return None
        after = end - len(ranking.front)
        score, id_ = ranking.keys[after - 1] if after > 0 else (0.0, "")
        return Position(self._snapshot, self.total, self.rank + taken, -score, id_, self._space, ranking.pin)


class Rankings:
    """The rankings of one kind of rows, cached.

    Attributes:
        hits: How often a ranking was cached.
        misses: How often one was not.
    """

    def __init__(self, store: Store) -> None:
        """Search `store`."""
        self._store = store
        # Rankings grow while they are cached, which cachetools does not expect.
        self._cache: OrderedDict[str, _Ranking] = OrderedDict()
        self.hits = self.misses = 0

    def clear(self) -> None:
        """Drop the cache."""
        self._cache.clear()

    async def cut(
        self,
        index: EmbeddingIndex,
        collection: Collection,
        view: View,
        query: str,
        mode: SearchMode,
        size: int,
        skip: int,
        position: Position | None,
    ) -> RankingPage:
        """Return the hits of a page.

        Args:
            index: The embedding model and its collection of passages; hold its `reading`.
            collection: Where its vectors of these rows are.
            view: The rows to search; for a later page, at the snapshot of the first one.
            query: The text of the query.
            mode: How it is ranked.
            size: Maximum number of hits.
            skip: Hits to skip before a first page.
            position: Where the page begins; None for a first page.
        """
        ranking = await self._ranking(index, collection, view, query, mode, position)
        if mode is not SearchMode.DENSE:
            async with ranking.making:
                if ranking.head is None:
                    await self._make_head(view, ranking, position)
        start = await self._place(view, ranking, position) if position is not None else skip
        if start < len(ranking.front) and not ranking.scored:
            await self._score_head(view, ranking)
        total = position.total if position else await self._total(view, ranking)
        await self._grow(view, ranking, min(start + size + 1, total))
        self._trim()
        rank = position.rank if position else start
        return RankingPage(ranking.slice(start, start + size), rank, total, ranking, start, view.snapshot, index.name)

    async def _ranking(
        self,
        index: EmbeddingIndex,
        collection: Collection,
        view: View,
        query: str,
        mode: SearchMode,
        position: Position | None,
    ) -> _Ranking:
        parts = (collection.name, mode.value, query, str(view.snapshot), view.key)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        ranking = self._cache.get(key)
        if position is not None and position.head and (ranking is None or ranking.pin != position.head):
            # Word statistics may have changed since that head was pinned, so it gets a ranking of its own.
            key += position.head
            ranking = self._cache.get(key)
        after = None
        resumable = mode is SearchMode.DENSE and self._store.capabilities.range_search
        if ranking is None and resumable and position is not None and position.id:
            key, after = f"{key}+", position.key
            ranking = self._cache.get(key)
            if ranking is not None and ranking.after is not None and after < ranking.after:
                ranking = None
        if ranking is not None:
            self.hits += 1
        else:
            self.misses += 1
            vector = None if mode is SearchMode.TEXT else (await index.embedder.embed([query], query=True))[0]
            words = [] if mode is SearchMode.DENSE else query_words(query)
            ranking = self._cache[key] = _Ranking(collection, mode, words, vector, after=after)
        self._cache.move_to_end(key)
        return ranking

    async def _total(self, view: View, ranking: _Ranking) -> int:
        """Return the length of a ranking: known, returned by a search, or counted when the list is complete."""
        if view.total is not None and ranking.mode is not SearchMode.TEXT:
            return view.total
        if ranking.total is None:
            await self._grow(view, ranking, 1)
        if ranking.total is None:
            await self._grow(view, ranking, None)
            ranking.total = ranking.length
        return ranking.total

    def _trim(self) -> None:
        held = sum(one.bytes for one in self._cache.values())
        while len(self._cache) > _MAX_CACHED or (held > _MAX_CACHED_BYTES and len(self._cache) > 1):
            held -= self._cache.popitem(last=False)[1].bytes

    async def _make_head(self, view: View, ranking: _Ranking, position: Position | None) -> None:
        """Find the head of a first page, or the pinned one of a position."""
        if not view.partitions:
            ranking.begin([])
        elif position is not None:
            await self._restore_head(view, ranking, position)
        elif ranking.mode is SearchMode.TEXT:
            await self._begin_by_words(view, ranking)
        else:
            by_words = self._best(lambda limit: self._fetch_words(view, ranking, limit))
            dense, words = await asyncio.gather(self._best_by_similarity(view, ranking), by_words)
            ranking.begin(fuse(dense, words))

    async def _begin_by_words(self, view: View, ranking: _Ranking) -> None:
        """Rank the head of a keyword search; find every match only if the backend does not return their number."""
        matches = await self._search_words(view, ranking, OwnedRevision, HEAD)
        if matches.total is None and not matches.complete:
            matches = await self._every_match(view, ranking)
        best = sorted(matches.found, key=lambda one: (-one.score, one.id))
        ranking.total = len(best) if matches.total is None else matches.total
        if ranking.total == len(best):
            self._set_rest(ranking, best[HEAD:])
        ranking.begin([HeadHit(one.id, one.row.owner, text=one.score) for one in best[:HEAD]])

    async def _restore_head(self, view: View, ranking: _Ranking, position: Position) -> None:
        """Find the passages of a pinned head in the whole list; their scores are current ones."""
        found: dict[bytes, HeadHit] = {}
        if ranking.mode is SearchMode.TEXT:
            everything = (await self._every_match(view, ranking)).found
            found = {mark(one.id): HeadHit(one.id, one.row.owner, text=one.score) for one in everything}
            self._set_rest(ranking, everything)
        else:
            await self._grow(view, ranking, None)
            for (score, id_), owner in zip(ranking.keys, ranking.owners, strict=True):
                found[mark(id_)] = HeadHit(id_, owner, -score)
            ranking.scored = False
        ranking.begin([found.get(one, HeadHit("", "")) for one in pinned(position.head)], position.head)

    async def _score_head(self, view: View, ranking: _Ranking) -> None:
        """Add the scores by words to a pinned head; pages after the head do not need this search."""
        matches = await self._fetch_words(view, ranking, 2 * HEAD)
        words = {match.id: match.score for match in matches.found}
        ranking.head = [replace(hit, text=words.get(hit.id)) for hit in ranking.front]
        ranking.scored = True

    def _set_rest(self, ranking: _Ranking, matches: list[Match[OwnedRevision]]) -> None:
        """Put the rows that share a word with the query after the head, in order of time."""
        ranking.follow(sorted(((float(match.row.stamp), match.id), match.row.owner) for match in matches))
        ranking.complete = True

    async def _place(self, view: View, ranking: _Ranking, position: Position) -> int:
        """Return the rank after the last hit of a position: after its id, or where that would be if it was deleted."""
        front = len(ranking.front)
        if not position.id:
            return min(position.rank, front)
        wanted = position.key
        goal = position.rank + 1 if ranking.after is None else 1
        while True:
            await self._grow(view, ranking, goal)
            if ranking.complete or (ranking.keys and ranking.keys[-1] > wanted):
                place = bisect_left(ranking.keys, wanted)
                # The score may differ in its last bit if another process computed it, so the id decides.
                for near in range(max(place - 8, 0), min(place + 8, len(ranking.keys))):
                    if ranking.keys[near][1] == position.id:
                        return front + near + 1
                return front + place
            goal = max(ranking.length, 1) * _GROWTH

    async def _grow(self, view: View, ranking: _Ranking, length: int | None) -> None:
        """Fetch until the list has `length` ids, or all of them."""
        if not view.partitions:
            ranking.complete = True
        if ranking.mode is SearchMode.TEXT and not ranking.complete and (length is None or ranking.length < length):
            self._set_rest(ranking, (await self._every_match(view, ranking)).found)
        limit = max(ranking.fetched, _FIRST_FETCH if length is None else max(_FIRST_FETCH, 2 * length))
        while not ranking.complete and (length is None or ranking.length < length):
            matches = await self._fetch(view, ranking, limit)
            if ranking.complete or limit <= ranking.fetched:  # another page has fetched more in the meantime
                limit = max(limit, ranking.fetched) * _GROWTH
                continue
            fresh = sorted(((-match.score, match.id), match.row.owner) for match in matches.found)
            if not matches.complete and fresh:
                # More rows with the last score may follow after the limit, so their order is not known yet.
                last = fresh[-1][0][0]
                fresh = [entry for entry in fresh if entry[0][0] < last]
            ranking.follow(fresh)
            ranking.fetched, ranking.complete = limit, matches.complete
            limit *= _GROWTH

    async def _best_by_similarity(self, view: View, ranking: _Ranking) -> list[Scored]:
        return await self._best(lambda limit: self._fetch(view, ranking, limit))

    async def _best(self, fetch: Callable[[int], Awaitable[Matches[RowOwner]]]) -> list[Scored]:
        """Return the best rows of a ranker, as many as a head takes."""
        limit = HEAD
        while True:
            matches = await fetch(limit)
            if matches.complete or len(matches.found) >= HEAD:
                return [Scored(match.id, match.row.owner, match.score) for match in matches.found[:HEAD]]
            limit *= _GROWTH

    async def _every_match(self, view: View, ranking: _Ranking) -> Matches[OwnedRevision]:
        """Return every row of the snapshot that shares a word with the query."""
        return await self._search_words(view, ranking, OwnedRevision, None)

    async def _fetch_words(self, view: View, ranking: _Ranking, limit: int) -> Matches[RowOwner]:
        """Return the best rows by the query's words, out of `limit`."""
        return await self._search_words(view, ranking, RowOwner, limit)

    async def _search_words(self, view: View, ranking: _Ranking, row: type[_R], limit: int | None) -> Matches[_R]:
        return await self._store.search_words(
            ranking.collection, ranking.words, view.where, row, partitions=view.partitions, limit=limit
        )

    async def _fetch(self, view: View, ranking: _Ranking, limit: int) -> Matches[RowOwner]:
        """Return the best rows by similarity, out of `limit`."""
        matches = await self._store.search(
            ranking.collection,
            np.asarray(ranking.vector),
            view.where,
            RowOwner,
            partitions=view.partitions,
            limit=limit,
            score_at_most=None if ranking.after is None else -ranking.after[0],
        )
        if ranking.after is None:
            ranking.total = matches.total
        return matches
