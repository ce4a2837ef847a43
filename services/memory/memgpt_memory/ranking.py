"""Archival search: the ranking of a query, page by page to its end.

The ranking of a snapshot is one list of ids: by score, and by id among equal scores. It is fetched from Milvus in
growing pieces, cached, and cut into pages; a page's texts are read by key. A token holds the snapshot and the last
hit's score and id, so any replica can build the list again, exactly, and go on behind that hit. Filtering by owner
happens in Milvus; what is visible to the snapshot is decided here, from counters and versions, since only they say
what exists.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memgpt_runtime.errors import FailedPrecondition, Reason

from memgpt_memory.clock import Clock
from memgpt_memory.embedding import Embedder
from memgpt_memory.listing import fitting
from memgpt_memory.live import LiveAgent
from memgpt_memory.model import Hit, Passage, PassageFilter
from memgpt_memory.passages import Passages, document_passage_id, note_id, passage_of
from memgpt_memory.sources import LiveSource, Sources
from memgpt_memory.store import filters
from memgpt_memory.store.layout import partition_of
from memgpt_memory.store.milvus import SERVER_WINDOW, Match

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
    """

    snapshot: int
    total: int
    rank: int
    score: float
    id: str
    model: str

    def dump(self) -> dict[str, Any]:
        """As a token's payload."""
        return {"s": self.snapshot, "t": self.total, "r": self.rank, "c": self.score, "i": self.id, "m": self.model}

    @staticmethod
    def parse(payload: Mapping[str, Any]) -> Position:
        """From a token's payload."""
        return Position(payload["s"], payload["t"], payload["r"], payload["c"], payload["i"], payload["m"])


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


@dataclass(slots=True)
class _Ranking:
    """The ranked ids of a query and snapshot, as far as they have been fetched.

    Attributes:
        vector: The query.
        keys: (negated score, id) in order.
        owners: The owner of each.
        fetched: How many rows of Milvus the list covers.
        complete: Whether there is nothing more.
    """

    vector: list[float]
    keys: list[tuple[float, str]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    fetched: int = 0
    complete: bool = False


class Archive:
    """Searches, lists and reads passages of a scope."""

    def __init__(self, passages: Passages, sources: Sources, embedder: Embedder, clock: Clock) -> None:
        """Searches `passages`."""
        self._passages = passages
        self._sources = sources
        self._embedder = embedder
        self._clock = clock
        self._rankings: OrderedDict[str, _Ranking] = OrderedDict()

    async def count(self, scope: Scope) -> int:
        """Passages of a scope."""
        return (await self._view(scope, None, PassageFilter())).total()

    async def search(
        self, scope: Scope, query: str, wanted: PassageFilter, size: int, skip: int, position: Position | None
    ) -> tuple[list[Hit], Position | None, int]:
        """A page of the ranking, the position of the next one or None at the end, and the total.

        Raises:
            FailedPrecondition: The store has changed its embedding model since the position was given.
        """
        if position is not None and position.model != self._embedder.model:
            raise FailedPrecondition(
                Reason.PAGE_TOKEN_OUTDATED,
                "The store has another embedding model since this search began: search again without a page token.",
            )
        view = await self._view(scope, position.snapshot if position else None, wanted)
        ranking = await self._ranking(scope, query, view)
        whole = not wanted.empty
        start = skip
        if position is not None:
            start = await self._place(view, ranking, position)
        await self._grow(view, ranking, None if whole and position is None else start + size + 1)
        total = position.total if position else (len(ranking.keys) if whole else view.total())
        page = list(zip(ranking.keys[start : start + size], ranking.owners[start : start + size], strict=True))
        rank = position.rank if position else start
        more = start + len(page) < len(ranking.keys)
        passages = await self._read_page(scope, view, page)
        fits = fitting(passage.text if passage else "" for passage in passages)
        more = more or fits < len(page)
        page = page[:fits]
        hits = [
            Hit(passage, rank + offset, -score)
            for offset, (((score, _), _), passage) in enumerate(zip(page, passages, strict=False))
            if passage is not None
        ]
        if not more or not page:
            return hits, None, total
        (score, id_), _ = page[-1]
        return hits, Position(view.snapshot, total, rank + len(page), -score, id_, self._embedder.model), total

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

    async def _ranking(self, scope: Scope, query: str, view: _View) -> _Ranking:
        parts = (scope.tenant, scope.id, query, str(view.snapshot), repr(view.filter), *view.owners)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        ranking = self._rankings.get(key)
        if ranking is None:
            vector = (await self._embedder.embed([query]))[0].tolist()
            ranking = self._rankings[key] = _Ranking(vector)
            held = sum(len(one.keys) for one in self._rankings.values())
            while held > _MAX_CACHED_IDS and len(self._rankings) > 1:
                held -= len(self._rankings.popitem(last=False)[1].keys)
        self._rankings.move_to_end(key)
        return ranking

    async def _place(self, view: _View, ranking: _Ranking, position: Position) -> int:
        """Index behind the last hit of a position: behind its id, or where it would be if it has gone."""
        wanted = (-position.score, position.id)
        goal = position.rank + 1
        while True:
            await self._grow(view, ranking, goal)
            if ranking.complete or (ranking.keys and ranking.keys[-1] > wanted):
                place = bisect_left(ranking.keys, wanted)
                # The score may differ in its last bit when it was computed elsewhere: the id decides.
                for near in range(max(place - 8, 0), min(place + 8, len(ranking.keys))):
                    if ranking.keys[near][1] == position.id:
                        return near + 1
                return place
            goal = len(ranking.keys) * _GROWTH

    async def _grow(self, view: _View, ranking: _Ranking, length: int | None) -> None:
        """Fetches until the list has `length` ids, or all of them."""
        if not view.owners:
            ranking.complete = True
        limit = max(ranking.fetched, _FIRST_FETCH if length is None else max(_FIRST_FETCH, 2 * length))
        while not ranking.complete and (length is None or len(ranking.keys) < length):
            matches, complete = await self._fetch(view, ranking.vector, limit)
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
            ranking.fetched, ranking.complete = limit, complete
            limit *= _GROWTH

    async def _fetch(self, view: _View, vector: list[float], limit: int) -> tuple[list[Match], bool]:
        """The best `limit` rows, and whether they are all."""
        store, collection = self._passages.store, self._passages.collection
        tenant = (view.agent.row if view.agent is not None else view.sources[0].row).tenant
        partitions = sorted({partition_of(tenant, owner) for owner in view.owners})
        fields = ["owner", "version", "sequence", "stamp", *(["head"] if view.filter.tags else [])]
        condition = view.condition()
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

    async def _read_page(
        self, scope: Scope, view: _View, page: list[tuple[tuple[float, str], str]]
    ) -> list[Passage | None]:
        rows = await self._passages.read(scope.tenant, _by_owner((id_, owner) for (_, id_), owner in page))
        visible, owners, times = view.visible(), set(view.owners), _times(view)
        return [
            passage_of(rows[id_], times.get(rows[id_]["version"]))
            if id_ in rows and owner in owners and visible(rows[id_])
            else None
            for (_, id_), owner in page
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
