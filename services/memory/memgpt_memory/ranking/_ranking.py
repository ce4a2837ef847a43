"""The ranking of a query over a snapshot, page by page to its end.

A ranking is a list of ids: by likeness (score, and id among equal scores), or by likeness and words. Then it has a
head, in which the best of both are fused, and behind it everything else by likeness. A ranking by words alone has a
head by BM25, and behind it the other rows that share a word with the query, in order of time.

The list is fetched from Milvus in growing pieces, cached under a bound, and cut into pages. A token holds the snapshot,
the head (see `fusion`) and the last hit's key, so any process can build the list again and go on behind that hit. For a
ranking by likeness alone a server gives just the rest of it, from that hit's score on. What belongs to a snapshot says
a `View`: Milvus gets a condition that lets through a superset, and counters and versions decide the rest, since only
they say what exists.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np
from memgpt_runtime.errors import FailedPrecondition, Reason

from memgpt_memory.embedding import Vectors
from memgpt_memory.fulltext import query_words
from memgpt_memory.passages import EmbeddingIndex
from memgpt_memory.ranking._fusion import HEAD, HeadHit, Scored, fuse, mark, pin, pinned
from memgpt_memory.store import filters
from memgpt_memory.store.layout import Collection
from memgpt_memory.store.milvus import SERVER_WINDOW, Match, Milvus

_FIRST_FETCH = 24
_GROWTH = 8
_MAX_CACHED_BYTES = 128 << 20
"""About how much memory all cached rankings take together; a single one that is larger is kept alone."""

_MAX_CACHED = 128
"""Rankings that are cached at most. Few are looked at beyond their first page, and that soon or never."""

_BYTES_OF_AN_ID = 200
_BYTES_OF_A_HEAD_HIT = 300
_BYTES_OF_A_RANKING = 2_000


class Mode(Enum):
    """How rows are ranked."""

    DENSE = "dense"
    TEXT = "text"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: what a token holds.

    Attributes:
        snapshot: What is searched, as the view understands it.
        total: Length of the ranking at the first page.
        rank: Rank of the next hit.
        score: Score of the last hit.
        id: Id of the last hit, or empty at the start.
        space: Name of the embedding model's space.
        head: The head, pinned; empty for a ranking without one.
    """

    snapshot: int
    total: int
    rank: int
    score: float
    id: str
    space: str
    head: str = ""

    @property
    def key(self) -> tuple[float, str]:
        """The last hit's place in the order by likeness."""
        return -self.score, self.id

    def dump(self) -> dict[str, Any]:
        """As a token's payload."""
        return {
            "s": self.snapshot,
            "t": self.total,
            "r": self.rank,
            "c": self.score,
            "i": self.id,
            "m": self.space,
            "h": self.head,
        }

    @staticmethod
    def parse(payload: Mapping[str, Any]) -> Position:
        """From a token's payload."""
        return Position(
            payload["s"], payload["t"], payload["r"], payload["c"], payload["i"], payload["m"], payload["h"]
        )

    def check(self, space: EmbeddingIndex) -> None:
        """Refuses to go on in the space of another embedding model.

        Raises:
            FailedPrecondition: The store has changed its model since the position was given.
        """
        if self.space != space.name:
            raise FailedPrecondition(
                Reason.PAGE_TOKEN_OUTDATED,
                "The store has another embedding model since this search began: search again without a page token.",
            )


class View(Protocol):
    """What a snapshot holds: where its rows are, and which of them count. It does not change."""

    @property
    def key(self) -> str:
        """Tells two views of one collection apart."""
        ...

    @property
    def snapshot(self) -> int:
        """What a token pins."""
        ...

    @property
    def total(self) -> int | None:
        """How many rows count; None when they must be counted."""
        ...

    @property
    def partitions(self) -> Sequence[str]:
        """Where the rows are; none when there is nothing."""
        ...

    @property
    def fields(self) -> Sequence[str]:
        """The columns that say whether a row counts; for a ranking by words ``stamp`` must be among them."""
        ...

    def condition(self) -> str:
        """The filter for Milvus: a superset of what counts."""
        ...

    def counts(self, row: Mapping[str, Any]) -> bool:
        """Whether a row counts."""
        ...


@dataclass(slots=True)
class _Ranking:
    """The ranked ids of a query and snapshot, as far as they have been fetched.

    Attributes:
        collection: Where the rows are.
        mode: How they are ranked.
        words: The query's words.
        vector: The query's embedding; None for a ranking by words.
        head: What comes first; None until it is known.
        pin: The head as a token holds it.
        keys: Behind the head: (negated score, or stamp, and id) in order.
        owners: The owner of each key.
        fetched: How many rows of Milvus the list covers.
        complete: Whether there is nothing more.
        scored: Whether the head bears its scores by words; one that a token pinned gets them when it is shown.
        behind: The last key before the list, for one that is only the rest of a ranking.
    """

    collection: Collection
    mode: Mode
    words: list[str]
    vector: Vectors | None
    head: list[HeadHit] | None = None
    pin: str = ""
    keys: list[tuple[float, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    fetched: int = 0
    complete: bool = False
    scored: bool = True
    behind: tuple[float, str] | None = None

    @property
    def front(self) -> list[HeadHit]:
        """The head, or nothing."""
        return self.head or []

    @property
    def length(self) -> int:
        """Ids known so far."""
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
        """The hits from one rank to another."""
        front = self.front
        low, high = max(start - len(front), 0), max(end - len(front), 0)
        return front[start:end] + [
            HeadHit(id_, owner, dense=-score if self.mode is not Mode.TEXT else None)
            for (score, id_), owner in zip(self.keys[low:high], self.owners[low:high], strict=True)
        ]

    def begin(self, head: list[HeadHit], pinned_head: str | None = None) -> None:
        """Sets the head, and leaves it out behind itself."""
        self.head = head
        self.pin = pin(hit.id for hit in head) if pinned_head is None else pinned_head
        self.follow(zip(self.keys, self.owners, strict=True))

    def follow(self, rest: Iterable[tuple[tuple[float, str], str]]) -> None:
        """Sets what comes behind the head: keys in order, each with its owner."""
        ahead = {hit.id for hit in self.front}
        owners: dict[str, str] = {}  # one text for all rows of an owner
        kept = [(key, owners.setdefault(owner, owner)) for key, owner in rest if key[1] not in ahead]
        self.keys = [key for key, _ in kept]
        self.owners = [owner for _, owner in kept]


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a ranking: at most a page.

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
        """Where the next page begins when this one has the first `taken` hits; None at the end."""
        ranking, end = self._ranking, self._start + taken
        if not taken or end >= ranking.length:
            return None
        behind = end - len(ranking.front)
        score, id_ = ranking.keys[behind - 1] if behind > 0 else (0.0, "")
        return Position(self._snapshot, self.total, self.rank + taken, -score, id_, self._space, ranking.pin)


class Rankings:
    """The rankings of one kind of rows, and a cache of them.

    Attributes:
        hits: How often a ranking was cached.
        misses: How often one was not.
    """

    def __init__(self, store: Milvus) -> None:
        """Searches `store`."""
        self._store = store
        self._cache: OrderedDict[str, _Ranking] = OrderedDict()
        self.hits = self.misses = 0

    def clear(self) -> None:
        """Forgets what is cached."""
        self._cache.clear()

    async def cut(
        self,
        space: EmbeddingIndex,
        collection: Collection,
        view: View,
        query: str,
        mode: Mode,
        size: int,
        skip: int,
        position: Position | None,
    ) -> Cut:
        """The hits of a page.

        Args:
            space: The embedding model; hold its `reading`.
            collection: Where its vectors of these rows are.
            view: What is searched; for a page behind another one, at its snapshot.
            query: What is looked for.
            mode: How it is ranked.
            size: Most hits.
            skip: Hits to pass over before a first page.
            position: Where the page begins; None for a first page.
        """
        ranking = await self._ranking(space, collection, view, query, mode, position)
        if mode is not Mode.DENSE and ranking.head is None:
            await self._make_head(view, ranking, position)
        start = await self._place(view, ranking, position) if position is not None else skip
        if start < len(ranking.front) and not ranking.scored:
            await self._score_head(view, ranking)
        # A filtered ranking must be known to its end for its total, and one by words is anyway.
        total = position.total if position else (view.total if mode is not Mode.TEXT else None)
        await self._grow(view, ranking, None if total is None else min(start + size + 1, total))
        total = ranking.length if total is None else total
        self._trim()
        rank = position.rank if position else start
        return Cut(ranking.slice(start, start + size), rank, total, ranking, start, view.snapshot, space.name)

    async def _ranking(
        self,
        space: EmbeddingIndex,
        collection: Collection,
        view: View,
        query: str,
        mode: Mode,
        position: Position | None,
    ) -> _Ranking:
        parts = (collection.name, mode.value, query, str(view.snapshot), view.key)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        ranking = self._cache.get(key)
        if position is not None and position.head and (ranking is None or ranking.pin != position.head):
            # The statistics of words may have moved since that head was pinned: it goes on by itself.
            key += position.head
            ranking = self._cache.get(key)
        behind = None
        if ranking is None and mode is Mode.DENSE and position is not None and position.id and not self._store.lite:
            key, behind = f"{key}+", position.key
            ranking = self._cache.get(key)
            if ranking is not None and ranking.behind is not None and behind < ranking.behind:
                ranking = None
        if ranking is not None:
            self.hits += 1
        else:
            self.misses += 1
            vector = None if mode is Mode.TEXT else (await space.embedder.embed([query]))[0]
            words = [] if mode is Mode.DENSE else query_words(query)
            ranking = self._cache[key] = _Ranking(collection, mode, words, vector, behind=behind)
        self._cache.move_to_end(key)
        return ranking

    def _trim(self) -> None:
        held = sum(one.bytes for one in self._cache.values())
        while len(self._cache) > _MAX_CACHED or (held > _MAX_CACHED_BYTES and len(self._cache) > 1):
            held -= self._cache.popitem(last=False)[1].bytes

    async def _make_head(self, view: View, ranking: _Ranking, position: Position | None) -> None:
        """Finds the head of a first page, or the pinned one of a position."""
        if not view.partitions:
            ranking.begin([])
        elif position is not None:
            await self._restore_head(view, ranking, position)
        elif ranking.mode is Mode.TEXT:
            best = sorted(await self._every_match(view, ranking), key=lambda one: (-one.score, one.id))
            self._set_rest(ranking, best[HEAD:])
            ranking.begin([HeadHit(one.id, one.row["owner"], text=one.score) for one in best[:HEAD]])
        else:
            by_words = self._best(view, lambda limit: self._fetch_words(view, ranking, limit))
            dense, words = await asyncio.gather(self._best_by_likeness(view, ranking), by_words)
            ranking.begin(fuse(dense, words))

    async def _restore_head(self, view: View, ranking: _Ranking, position: Position) -> None:
        """Builds the head that a token pins, out of the whole list; its scores are those of now."""
        found: dict[bytes, HeadHit] = {}
        if ranking.mode is Mode.TEXT:
            everything = await self._every_match(view, ranking)
            found = {mark(one.id): HeadHit(one.id, one.row["owner"], text=one.score) for one in everything}
            self._set_rest(ranking, everything)
        else:
            await self._grow(view, ranking, None)
            for (score, id_), owner in zip(ranking.keys, ranking.owners, strict=True):
                found[mark(id_)] = HeadHit(id_, owner, -score)
            ranking.scored = False
        ranking.begin([found.get(one, HeadHit("", "")) for one in pinned(position.head)], position.head)

    async def _score_head(self, view: View, ranking: _Ranking) -> None:
        """Adds the scores by words to a head that a token pinned; a page behind the head does without this search."""
        matches, _ = await self._fetch_words(view, ranking, 2 * HEAD)
        words = {match.id: match.score for match in matches}
        ranking.head = [replace(hit, text=words.get(hit.id)) for hit in ranking.front]
        ranking.scored = True

    def _set_rest(self, ranking: _Ranking, matches: list[Match]) -> None:
        """Puts what shares a word with the query behind the head, in order of time."""
        ranking.follow(sorted(((float(match.row["stamp"]), match.id), str(match.row["owner"])) for match in matches))
        ranking.complete = True

    async def _place(self, view: View, ranking: _Ranking, position: Position) -> int:
        """Rank behind the last hit of a position: behind its id, or where it would be if it has gone."""
        front = len(ranking.front)
        if not position.id:
            return min(position.rank, front)
        wanted = position.key
        goal = position.rank + 1 if ranking.behind is None else 1
        while True:
            await self._grow(view, ranking, goal)
            if ranking.complete or (ranking.keys and ranking.keys[-1] > wanted):
                place = bisect_left(ranking.keys, wanted)
                # The score may differ in its last bit when it was computed elsewhere: the id decides.
                for near in range(max(place - 8, 0), min(place + 8, len(ranking.keys))):
                    if ranking.keys[near][1] == position.id:
                        return front + near + 1
                return front + place
            goal = max(ranking.length, 1) * _GROWTH

    async def _grow(self, view: View, ranking: _Ranking, length: int | None) -> None:
        """Fetches until the list has `length` ids, or all of them."""
        if not view.partitions:
            ranking.complete = True
        limit = max(ranking.fetched, _FIRST_FETCH if length is None else max(_FIRST_FETCH, 2 * length))
        while not ranking.complete and (length is None or ranking.length < length):
            matches, complete = await self._fetch(view, ranking, limit)
            if ranking.complete or limit <= ranking.fetched:  # another page has fetched more meanwhile
                limit = max(limit, ranking.fetched) * _GROWTH
                continue
            fresh = sorted(
                ((-match.score, match.id), str(match.row["owner"])) for match in matches if view.counts(match.row)
            )
            if not complete and fresh:
                # Rows of the last score may go on behind the limit: their order is not known yet.
                last = -matches[-1].score
                fresh = [entry for entry in fresh if entry[0][0] < last]
            ranking.follow(fresh)
            ranking.fetched, ranking.complete = limit, complete
            limit *= _GROWTH

    async def _best_by_likeness(self, view: View, ranking: _Ranking) -> list[Scored]:
        if view.total is not None:
            return await self._best(view, lambda limit: self._fetch(view, ranking, limit))
        await self._grow(view, ranking, None)  # it is needed whole for its total anyway
        best = zip(ranking.keys[:HEAD], ranking.owners[:HEAD], strict=True)
        return [Scored(id_, owner, -score) for (score, id_), owner in best]

    async def _best(self, view: View, fetch: Callable[[int], Awaitable[tuple[list[Match], bool]]]) -> list[Scored]:
        """The best rows of a ranker that count, as many as a head takes."""
        limit = HEAD
        while True:
            matches, complete = await fetch(limit)
            counting = [match for match in matches if view.counts(match.row)]
            if complete or len(counting) >= HEAD:
                return [Scored(match.id, match.row["owner"], match.score) for match in counting[:HEAD]]
            limit *= _GROWTH

    async def _every_match(self, view: View, ranking: _Ranking) -> list[Match]:
        """Every row that shares a word with the query and counts, beyond the window of a server too."""
        found: list[Match] = []
        everything = (0, view.snapshot + 1)
        spans = [everything]
        while spans:
            low, high = span = spans.pop()
            bounds = filters.all_of(filters.at_least("stamp", low), filters.below("stamp", high))
            matches, _ = await self._fetch_words(view, ranking, SERVER_WINDOW, "" if span is everything else bounds)
            if len(matches) < SERVER_WINDOW:
                found += [match for match in matches if view.counts(match.row)]
                continue
            stamps = sorted(stamp for match in matches if low <= (stamp := int(match.row["stamp"])) < high)
            middle = max(stamps[len(stamps) // 2], low + 1) if stamps else (low + high) // 2
            if not low < middle < high:
                raise FailedPrecondition(
                    Reason.WRONG_STATE,
                    f"More than {SERVER_WINDOW:,} passages were stored at one instant: narrow the search by a filter.",
                )
            spans += [(low, middle), (middle, high)]
        return found

    async def _fetch_words(
        self, view: View, ranking: _Ranking, limit: int, bounds: str = ""
    ) -> tuple[list[Match], bool]:
        """The best `limit` rows by the query's words, and whether they are all that one search can answer."""
        window = limit if self._store.lite else min(limit, SERVER_WINDOW)
        matches = await self._store.search_words(
            ranking.collection,
            ranking.words,
            filters.all_of(view.condition(), bounds),
            view.fields,
            partitions=view.partitions,
            limit=window,
        )
        return matches, len(matches) < limit

    async def _fetch(self, view: View, ranking: _Ranking, limit: int) -> tuple[list[Match], bool]:
        """The best `limit` rows by likeness, and whether they are all."""
        vector: list[float] = np.asarray(ranking.vector).tolist()
        window = limit if self._store.lite else min(limit, SERVER_WINDOW)

        async def search(score_at_most: float | None) -> list[Match]:
            return await self._store.search(
                ranking.collection,
                vector,
                view.condition(),
                view.fields,
                partitions=view.partitions,
                limit=window,
                score_at_most=score_at_most,
            )

        matches = await search(None if ranking.behind is None else -ranking.behind[0])
        complete = len(matches) < window
        # A server answers one window at a time; the next one begins at the last score, whose ties come again.
        while not complete and len(matches) < limit:
            more = await search(matches[-1].score)
            known = {match.id for match in matches}
            fresh = [match for match in more if match.id not in known]
            complete = len(more) < window
            if not fresh and not complete:
                raise FailedPrecondition(
                    Reason.WRONG_STATE,
                    f"More than {window} passages have the same score: narrow the search by a filter.",
                )
            matches += fresh
        return matches, complete
