"""Archival search: the ranking of a query, page by page to its end.

The ranking of a snapshot is a list of ids: by likeness (score, and id among equal scores), or by likeness and words.
Then it has a head, in which the best of both are fused, and behind it all other passages by likeness. A ranking by
words alone has a head by BM25, and behind it the other passages that share a word with the query, in order of time.

The list is fetched from Milvus in growing pieces, cached, and cut into pages; a page's texts are read by key. A token
holds the snapshot, the head (see `fusion`) and the last hit's key, so any process can build the list again and go on
behind that hit. Filtering by owner happens in Milvus; what is visible to the snapshot is decided here, from counters
and versions, since only they say what exists.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from memgpt_runtime.errors import FailedPrecondition, Reason

from memgpt_memory.clock import Clock
from memgpt_memory.fusion import HEAD, HeadHit, Scored, fuse, mark, pin, pinned
from memgpt_memory.listing import fitting
from memgpt_memory.live import LiveAgent
from memgpt_memory.model import Hit, Passage, PassageFilter
from memgpt_memory.passages import Passages, Space, document_passage_id, note_id, passage_of
from memgpt_memory.sources import LiveSource, Sources
from memgpt_memory.store import filters
from memgpt_memory.store.layout import partition_of
from memgpt_memory.store.milvus import SERVER_WINDOW, Match
from memgpt_memory.words import query_words

_FIRST_FETCH = 64
_GROWTH = 8
_MAX_CACHED_IDS = 2_000_000
"""Ids in all cached rankings together: about 300 MB at the very most."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is searched: an agent with its attached sources, or one source."""

    tenant: str
    agent: LiveAgent | None
    source: LiveSource | None

    @property
    def id(self) -> str:
        """Id of the agent or source."""
        if self.agent is not None:
            return self.agent.id
        assert self.source is not None  # noqa: S101 - one of the two
        return self.source.id


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: what a token holds.

    Attributes:
        snapshot: Stamp of what is searched.
        total: Length of the ranking at the first page.
        rank: Rank of the next hit.
        score: Score of the last hit.
        id: Id of the last hit, or empty at the start.
        model: The embedding model.
        head: The head, pinned; empty for a ranking without one.
    """

    snapshot: int
    total: int
    rank: int
    score: float
    id: str
    model: str
    head: str = ""

    def dump(self) -> dict[str, Any]:
        """As a token's payload."""
        return {
            "s": self.snapshot,
            "t": self.total,
            "r": self.rank,
            "c": self.score,
            "i": self.id,
            "m": self.model,
            "h": self.head,
        }

    @staticmethod
    def parse(payload: Mapping[str, Any]) -> Position:
        """From a token's payload."""
        return Position(
            payload["s"], payload["t"], payload["r"], payload["c"], payload["i"], payload["m"], payload["h"]
        )


@dataclass(slots=True)
class _View:
    """What a snapshot of a scope holds: who owns passages, how many there are, and which rows count."""

    agent: LiveAgent | None
    sources: list[LiveSource]
    snapshot: int
    filter: PassageFilter

    @property
    def owners(self) -> list[str]:
        own = (
            [self.agent.id]
            if self.agent is not None and not self.filter.source_ids and not self.filter.file_names
            else []
        )
        return own + [source.id for source in self.sources]

    @property
    def partitions(self) -> list[str]:
        """Where the owners' passages are."""
        if not self.owners:
            return []
        tenant = (self.agent.row if self.agent is not None else self.sources[0].row).tenant
        return sorted({partition_of(tenant, owner) for owner in self.owners})

    @property
    def fields(self) -> list[str]:
        """The columns that say whether a row counts."""
        return ["owner", "version", "sequence", "stamp", *(["head"] if self.filter.tags else [])]

    def total(self) -> int:
        """Passages when nothing is filtered."""
        own = self.agent.note_count if self.agent is not None else 0
        return own + sum(
            version.passages
            for source in self.sources
            for _, version in source.visible
            if version.stamp <= self.snapshot
        )

    def visible(self) -> Callable[[Mapping[str, Any]], bool]:
        """Says of a row whether it counts."""
        versions = {
            id_: version.passages
            for source in self.sources
            for id_, (file, version) in source.versions().items()
            if version.stamp <= self.snapshot and (not self.filter.file_names or file.name in self.filter.file_names)
        }
        agent, snapshot, tags = self.agent, self.snapshot, self.filter.tags

        def check(row: Mapping[str, Any]) -> bool:
            if row["version"]:
                return row["sequence"] < versions.get(row["version"], 0) and not tags
            return (
                agent is not None
                and row["stamp"] <= snapshot
                and row["sequence"] < agent.row.next_note
                and row["sequence"] not in agent.dead_notes
                and (not tags or tags <= set(json.loads(row["head"] or "{}").get("tags", ())))
            )

        return check

    def condition(self) -> str:
        """The filter for Milvus: a superset of what is visible."""
        return filters.all_of(
            filters.one_of("owner", self.owners),
            filters.at_least("created", self.filter.created_from) if self.filter.created_from is not None else "",
            filters.below("created", self.filter.created_before) if self.filter.created_before is not None else "",
        )


class Mode(Enum):
    """How passages are ranked."""

    DENSE = "dense"
    TEXT = "text"
    HYBRID = "hybrid"


@dataclass(slots=True)
class _Ranking:
    """The ranked ids of a query and snapshot, as far as they have been fetched.

    Attributes:
        space: Where the vectors are.
        mode: How they are ranked.
        words: The query's words.
        vector: The query's embedding; empty for a ranking by words.
        head: What comes first; None until it is known.
        keys: Behind the head: (negated score, or stamp, and id) in order.
        owners: The owner of each key.
        fetched: How many rows of Milvus the list covers.
        complete: Whether there is nothing more.
        scored: Whether the head bears its scores by words; one that a token pinned gets them when it is shown.
    """

    space: Space
    mode: Mode
    words: list[str]
    vector: list[float]
    head: list[HeadHit] | None = None
    keys: list[tuple[float, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    fetched: int = 0
    complete: bool = False
    scored: bool = True

    @property
    def front(self) -> list[HeadHit]:
        """The head, or nothing."""
        return self.head or []

    @property
    def length(self) -> int:
        """Ids known so far."""
        return len(self.front) + len(self.keys)

    def slice(self, start: int, end: int) -> list[HeadHit]:
        """The hits from one rank to another."""
        front = self.front
        low, high = max(start - len(front), 0), max(end - len(front), 0)
        return front[start:end] + [
            HeadHit(id_, owner, dense=-score if self.mode is not Mode.TEXT else None)
            for (score, id_), owner in zip(self.keys[low:high], self.owners[low:high], strict=True)
        ]


class Archive:
    """Searches, lists and reads passages of a scope."""

    def __init__(self, passages: Passages, sources: Sources, clock: Clock) -> None:
        """Searches `passages`."""
        self._passages = passages
        self._sources = sources
        self._clock = clock
        self._rankings: OrderedDict[str, _Ranking] = OrderedDict()

    def forget(self) -> None:
        """Forgets every cached ranking: the store has another model."""
        self._rankings.clear()

    async def count(self, scope: Scope) -> int:
        """Passages of a scope."""
        return (await self._view(scope, None, PassageFilter())).total()

    @property
    def full_text(self) -> bool:
        """Whether passages can be ranked by words."""
        return self._passages.collection.full_text

    def mode(self, wanted: Mode | None) -> Mode:
        """What the store makes of a mode; None asks for the best."""
        if not self.full_text:
            return Mode.DENSE
        return wanted or Mode.HYBRID

    async def search(
        self,
        scope: Scope,
        query: str,
        mode: Mode,
        wanted: PassageFilter,
        size: int,
        skip: int,
        position: Position | None,
    ) -> tuple[list[Hit], Position | None, int]:
        """A page of the ranking, the position of the next one or None at the end, and the total.

        Raises:
            FailedPrecondition: The store has changed its embedding model since the position was given.
        """
        space = self._passages.space  # to the end, whatever the store moves to meanwhile
        if position is not None and position.model != space.embedder.model:
            raise FailedPrecondition(
                Reason.PAGE_TOKEN_OUTDATED,
                "The store has another embedding model since this search began: search again without a page token.",
            )
        async with space.reading():
            return await self._search(space, scope, query, mode, wanted, size, skip, position)

    async def _search(
        self,
        space: Space,
        scope: Scope,
        query: str,
        mode: Mode,
        wanted: PassageFilter,
        size: int,
        skip: int,
        position: Position | None,
    ) -> tuple[list[Hit], Position | None, int]:
        view = await self._view(scope, position.snapshot if position else None, wanted)
        ranking = await self._ranking(space, scope, query, mode, view)
        if mode is not Mode.DENSE and ranking.head is None:
            await self._make_head(view, ranking, position)
        start = await self._place(view, ranking, position) if position is not None else skip
        if start < len(ranking.front) and not ranking.scored:
            await self._score_head(view, ranking)
        # Only a filtered ranking must be known to its end for its total.
        counted = position is not None or (wanted.empty and mode is not Mode.TEXT)
        await self._grow(view, ranking, start + size + 1 if counted else None)
        total = position.total if position else (view.total() if counted else ranking.length)
        page = ranking.slice(start, start + size)
        rank = position.rank if position else start
        passages = await self._read_page(scope, view, page)
        page = page[: fitting(passage.text if passage else "" for passage in passages)]
        hits = [
            Hit(passage, rank + offset, hit.dense, hit.text, hit.fused)
            for offset, (hit, passage) in enumerate(zip(page, passages, strict=False))
            if passage is not None
        ]
        if start + len(page) >= ranking.length or not page:
            return hits, None, total
        behind = start + len(page) - len(ranking.front)
        key = ranking.keys[behind - 1] if behind > 0 else (0.0, "")
        head = pin(hit.id for hit in ranking.front)
        following = Position(view.snapshot, total, rank + len(page), -key[0], key[1], space.embedder.model, head)
        return hits, following, total

    async def page(
        self, scope: Scope, size: int, cursor: tuple[int, int, str, int] | None
    ) -> tuple[list[Passage], tuple[int, int, str, int] | None, int]:
        """A page of passages in order of storing: own notes first, then the files of each source.

        Args:
            scope: What is listed.
            size: Most passages.
            cursor: (snapshot, stamp of the file or 0, its version or the empty text, last number) of the last page.

        Returns:
            The passages, the next cursor or None, and the total.
        """
        view = await self._view(scope, cursor[0] if cursor else None, PassageFilter())
        after = cursor[1:] if cursor else (0, "", -1)
        keys: list[tuple[tuple[int, str, int], str, str]] = []
        more = False
        for key, id_, owner in _in_order(view, after):
            if len(keys) == size:
                more = True
                break
            keys.append((key, id_, owner))
        rows = await self._passages.read(scope.tenant, _by_owner((id_, owner) for _, id_, owner in keys))
        fits = fitting(str(rows[id_]["text"]) if id_ in rows else "" for _, id_, _ in keys)
        more = more or fits < len(keys)
        keys = keys[:fits]
        visible = view.visible()
        times = _times(view)
        found = [
            passage_of(rows[id_], times.get(rows[id_]["version"]))
            for _, id_, _ in keys
            if id_ in rows and visible(rows[id_])
        ]
        return found, (view.snapshot, *keys[-1][0]) if more else None, view.total()

    async def get(self, scope: Scope, ids: list[str]) -> list[Passage]:
        """Those of the passages that exist in the scope, in the order asked for."""
        view = await self._view(scope, None, PassageFilter())
        rows = await self._passages.read(
            scope.tenant, {owner: ids if not i else [] for i, owner in enumerate(view.owners)}
        )
        visible, owners, times = view.visible(), set(view.owners), _times(view)
        return [
            passage_of(rows[id_], times.get(rows[id_]["version"]))
            for id_ in ids
            if id_ in rows and rows[id_]["owner"] in owners and visible(rows[id_])
        ]

    async def _view(self, scope: Scope, snapshot: int | None, wanted: PassageFilter) -> _View:
        links = {link.source_id: link.stamp for link in scope.agent.links} if scope.agent is not None else {}
        sources = [found for id_ in links if (found := await self._sources.peek(id_)) is not None]
        if scope.source is not None:
            sources = [scope.source]
        owners = [source.id for source in sources] + ([scope.agent.id] if scope.agent is not None else [])
        pinned = await self._clock.snapshot(owners) if snapshot is None else snapshot
        return _View(
            scope.agent,
            [
                source
                for source in sources
                if links.get(source.id, 0) <= pinned and (not wanted.source_ids or source.id in wanted.source_ids)
            ],
            pinned,
            wanted,
        )

    async def _ranking(self, space: Space, scope: Scope, query: str, mode: Mode, view: _View) -> _Ranking:
        parts = (scope.tenant, scope.id, mode.value, query, str(view.snapshot), repr(view.filter), *view.owners)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        ranking = self._rankings.get(key)
        if ranking is None or ranking.space is not space:
            vector = [] if mode is Mode.TEXT else (await space.embedder.embed([query]))[0].tolist()
            words = [] if mode is Mode.DENSE else query_words(query)
            ranking = _Ranking(space, mode, words, vector)
            if space is not self._passages.space:
                return ranking  # the store has another model since: nobody else will ask for this one
            self._rankings[key] = ranking
            held = sum(one.length for one in self._rankings.values())
            while held > _MAX_CACHED_IDS and len(self._rankings) > 1:
                held -= self._rankings.popitem(last=False)[1].length
        self._rankings.move_to_end(key)
        return ranking

    async def _make_head(self, view: _View, ranking: _Ranking, position: Position | None) -> None:
        """Finds the head of a first page, or the pinned one of a position."""
        if not view.owners:
            ranking.head = []
            return
        if position is not None:
            await self._restore_head(view, ranking, position)
            return
        visible = view.visible()
        if ranking.mode is Mode.TEXT:
            everything = await self._fetch_words(view, ranking, view.total())
            best = sorted((match for match in everything if visible(match.row)), key=lambda one: (-one.score, one.id))
            ranking.head = [HeadHit(one.id, one.row["owner"], text=one.score) for one in best[:HEAD]]
            self._set_rest(ranking, best[HEAD:])
            return
        dense, words = await asyncio.gather(self._fetch(view, ranking, HEAD), self._fetch_words(view, ranking, HEAD))
        # Hidden rows take places in the window; there are few, and the head is the shorter for it.
        ranking.head = fuse(
            *(
                [Scored(match.id, match.row["owner"], match.score) for match in matches if visible(match.row)]
                for matches in (dense[0], words)
            )
        )

    async def _restore_head(self, view: _View, ranking: _Ranking, position: Position) -> None:
        """Builds the head that a token pins, out of the whole list; its scores are those of now."""
        marks = pinned(position.head)
        visible = view.visible()
        found: dict[bytes, HeadHit] = {}
        if ranking.mode is Mode.TEXT:
            everything = [match for match in await self._fetch_words(view, ranking, view.total()) if visible(match.row)]
            found = {mark(one.id): HeadHit(one.id, one.row["owner"], text=one.score) for one in everything}
            pinned_ids = {found[one].id for one in marks if one in found}
            self._set_rest(ranking, [match for match in everything if match.id not in pinned_ids])
        else:
            await self._grow(view, ranking, None)
            for (score, id_), owner in zip(ranking.keys, ranking.owners, strict=True):
                found[mark(id_)] = HeadHit(id_, owner, -score)
            ranking.scored = False
        ranking.head = [found.get(one, HeadHit("", "")) for one in marks]
        self._leave_out_head(ranking)

    async def _score_head(self, view: _View, ranking: _Ranking) -> None:
        """Adds the scores by words to a head that a token pinned; a page behind the head does without this search."""
        words = {match.id: match.score for match in await self._fetch_words(view, ranking, 2 * HEAD)}
        ranking.head = [replace(hit, text=words.get(hit.id)) for hit in ranking.front]
        ranking.scored = True

    def _set_rest(self, ranking: _Ranking, matches: list[Match]) -> None:
        """Puts what shares a word with the query behind the head, in order of time."""
        rest = sorted(((float(match.row["stamp"]), match.id), str(match.row["owner"])) for match in matches)
        ranking.keys = [key for key, _ in rest]
        ranking.owners = [owner for _, owner in rest]
        ranking.complete = True

    def _leave_out_head(self, ranking: _Ranking) -> None:
        ahead = {hit.id for hit in ranking.front}
        rest = [(key, owner) for key, owner in zip(ranking.keys, ranking.owners, strict=True) if key[1] not in ahead]
        ranking.keys = [key for key, _ in rest]
        ranking.owners = [owner for _, owner in rest]

    async def _place(self, view: _View, ranking: _Ranking, position: Position) -> int:
        """Rank behind the last hit of a position: behind its id, or where it would be if it has gone."""
        front = len(ranking.front)
        if not position.id:
            return min(position.rank, front)
        wanted = (-position.score, position.id)
        goal = position.rank + 1
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

    async def _grow(self, view: _View, ranking: _Ranking, length: int | None) -> None:
        """Fetches until the list has `length` ids, or all of them."""
        if not view.owners:
            ranking.complete = True
        limit = max(ranking.fetched, _FIRST_FETCH if length is None else max(_FIRST_FETCH, 2 * length))
        while not ranking.complete and (length is None or ranking.length < length):
            matches, complete = await self._fetch(view, ranking, limit)
            visible = view.visible()
            fresh = sorted(
                ((-match.score, match.id), str(match.row["owner"])) for match in matches if visible(match.row)
            )
            if not complete and fresh:
                # Rows of the last score may go on behind the limit: their order is not known yet.
                last = -matches[-1].score
                fresh = [entry for entry in fresh if entry[0][0] < last]
            ranking.keys = [key for key, _ in fresh]
            ranking.owners = [owner for _, owner in fresh]
            self._leave_out_head(ranking)
            ranking.fetched, ranking.complete = limit, complete
            limit *= _GROWTH

    async def _fetch_words(self, view: _View, ranking: _Ranking, limit: int) -> list[Match]:
        """The best `limit` rows by the query's words."""
        if limit < 1:
            return []
        return await self._passages.store.search_words(
            ranking.space.collection,
            ranking.words,
            view.condition(),
            view.fields,
            partitions=view.partitions,
            limit=limit,
        )

    async def _fetch(self, view: _View, ranking: _Ranking, limit: int) -> tuple[list[Match], bool]:
        """The best `limit` rows, and whether they are all."""
        store, collection, vector = self._passages.store, ranking.space.collection, ranking.vector
        partitions, fields, condition = view.partitions, view.fields, view.condition()
        window = limit if store.lite else min(limit, SERVER_WINDOW)
        matches = await store.search(collection, vector, condition, fields, partitions=partitions, limit=window)
        complete = len(matches) < window
        # A server answers one window at a time; the next one begins at the last score, whose ties come again.
        while not complete and len(matches) < limit:
            more = await store.search(
                collection,
                vector,
                condition,
                fields,
                partitions=partitions,
                limit=window,
                score_at_most=matches[-1].score,
            )
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

    async def _read_page(self, scope: Scope, view: _View, page: list[HeadHit]) -> list[Passage | None]:
        rows = await self._passages.read(scope.tenant, _by_owner((hit.id, hit.owner) for hit in page if hit.id))
        visible, owners, times = view.visible(), set(view.owners), _times(view)
        return [
            passage_of(rows[hit.id], times.get(rows[hit.id]["version"]))
            if hit.id in rows and hit.owner in owners and visible(rows[hit.id])
            else None
            for hit in page
        ]


def _by_owner(pairs: Any) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for id_, owner in pairs:
        grouped.setdefault(owner, []).append(id_)
    return grouped


def _times(view: _View) -> dict[str, int]:
    """When each visible version of a file became so."""
    return {version.version: version.created for source in view.sources for _, version in source.visible}


def _in_order(view: _View, after: tuple[int, str, int]) -> Any:
    """Keys, ids and owners of all passages in order of storing, behind a key."""
    if view.agent is not None:
        for number in range(after[2] + 1 if not after[1] else view.agent.row.next_note, view.agent.row.next_note):
            if number not in view.agent.dead_notes:
                yield (0, "", number), note_id(view.agent.id, number), view.agent.id
    files = sorted(
        (version.stamp, version.version, version.passages, source.id)
        for source in view.sources
        for _, version in source.visible
        if version.stamp <= view.snapshot
    )
    for stamp, version, count, owner in files:
        if (stamp, version) < (after[0], after[1]):
            continue
        first = after[2] + 1 if (stamp, version) == (after[0], after[1]) else 0
        for index in range(first, count):
            yield (stamp, version, index), document_passage_id(version, index), owner
