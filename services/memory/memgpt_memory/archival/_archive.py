"""Search and listing of archival memory: an agent's notes and the passages of its sources, or one source.

Milvus filters by owner. Counters and versions decide what is visible to a snapshot, since only they say what exists;
and a document's tags and time are those of its file (see `ranking`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from memgpt_memory.agents import LiveAgent, Ranges
from memgpt_memory.archival._model import Hit, PassageFilter
from memgpt_memory.clock import Clock
from memgpt_memory.list_pages import fitting, size_of
from memgpt_memory.passages import Passage, Passages, VisibleVersion, document_passage_id, note_id, passage_of
from memgpt_memory.ranking import HeadHit, Position, Rankings, SearchMode
from memgpt_memory.sources import LiveSource, Sources
from memgpt_memory.store.filters import (
    EVERY_ROW,
    Between,
    Bounded,
    Condition,
    Contains,
    Equals,
    Not,
    OneOf,
    Outside,
    Predicate,
    Refined,
    all_of,
    any_of,
    for_rows,
)
from memgpt_memory.store.layout import partition_of
from memgpt_memory.store.rows import PassageRow, RowNumber

_MAX_LISTED_VERSIONS = 200
"""Maximum number of versions of files that a filter names; with more, all are read and the others are dropped here."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The scope of a search: an agent with its attached sources, or one source."""

    tenant: str
    agent: LiveAgent | None
    source: LiveSource | None


@dataclass(frozen=True)
class _View:
    """The contents of a scope at a snapshot, as of the moment in which the view was made (see `ranking.View`).

    Attributes:
        tenant: The tenant that owns it.
        snapshot: Revision of the last write that belongs to it.
        filter: Conditions on what belongs to it.
        agent: The agent whose notes belong to it, if any.
        end: The number at which the agent's notes end.
        dead: Numbers of deleted notes.
        versions: The versions of files that belong to it, by their ids, each with its source.
        source_names: The names of the sources, by their ids.
    """

    tenant: str
    snapshot: int
    filter: PassageFilter
    agent: str
    end: int
    dead: Ranges
    versions: Mapping[str, tuple[str, VisibleVersion]]
    source_names: Mapping[str, str]

    @property
    def _timed(self) -> bool:
        """Whether the filter has a condition on time."""
        return self.filter.created_from is not None or self.filter.created_before is not None

    @property
    def owners(self) -> list[str]:
        """Owners of its passages."""
        return sorted({*([self.agent] if self.agent else []), *(source for source, _ in self.versions.values())})

    @property
    def key(self) -> str:
        """See `ranking.View`. A deletion or a detachment makes a new snapshot."""
        return "\0".join((self.tenant, self.filter.key, *self.owners))

    @property
    def size(self) -> int:
        """Number of passages, as far as the filter can be decided without reading them."""
        return self.end - self.dead.below(self.end) + self.documents

    @property
    def documents(self) -> int:
        """Number of passages of documents."""
        return sum(version.passages for _, version in self.versions.values())

    @property
    def total(self) -> int | None:
        """See `ranking.View`."""
        return None if self.agent and self.filter.needs_rows else self.size

    @property
    def partitions(self) -> list[str]:
        """See `ranking.View`."""
        return sorted({partition_of(self.tenant, owner) for owner in self.owners})

    @cached_property
    def where(self) -> Condition:
        """See `ranking.View`."""
        owners = OneOf("owner", self.owners)
        if self.filter.empty:
            broad: Condition = owners
        else:
            broad = all_of(owners, any_of(*([self._notes] if self.agent else []), *self._listed_versions))
        return Refined(broad, self._exact)

    @property
    def notes_where(self) -> Condition:
        """The condition for notes alone."""
        return Refined(self._notes, self._exact_notes)

    @cached_property
    def counts(self) -> Predicate:
        """A predicate for the rows of passages that belong to the view."""
        return for_rows(self._exact)

    @property
    def _exact(self) -> Condition:
        ends = {id_: version.passages for id_, (_, version) in self.versions.items()}
        documents = Bounded("sequence", "version", ends)
        return any_of(self._exact_notes, documents) if self.agent else documents

    @property
    def _notes(self) -> Condition:
        """The part of the condition for notes that every backend evaluates."""
        times = Between("created", self.filter.created_from, self.filter.created_before)
        return all_of(Equals("version", ""), times if self._timed else EVERY_ROW)

    @property
    def _exact_notes(self) -> Condition:
        return all_of(
            self._notes,
            Equals("owner", self.agent),
            Between("stamp", end=self.snapshot + 1),
            Between("sequence", end=self.end),
            Outside("sequence", self.dead.pieces),
            Contains("head", "tags", self.filter.tags) if self.filter.tags else EVERY_ROW,
        )

    @property
    def _listed_versions(self) -> list[Condition]:
        if len(self.versions) > _MAX_LISTED_VERSIONS:
            return [Not(Equals("version", ""))]
        return [OneOf("version", list(self.versions))] if self.versions else []

    def passage(self, row: PassageRow) -> Passage:
        """Convert a row to a passage; a document's passage has the time and the tags of its file."""
        if not row.version:
            return passage_of(row)
        return passage_of(row, self.versions[row.version][1], self.source_names[row.owner])


class Archive:
    """Searches, lists and reads passages of a scope."""

    def __init__(self, passages: Passages, sources: Sources, clock: Clock) -> None:
        """Search `passages`."""
        self._passages = passages
        self._sources = sources
        self._clock = clock
        self.rankings = Rankings(passages.store)

    async def count(self, scope: Scope) -> int:
        """Return the number of passages of a scope."""
        notes = scope.agent.state.note_count if scope.agent is not None else 0
        return notes + sum(source.totals.passages for source in await self._sources_of(scope))

    @property
    def full_text(self) -> bool:
        """Whether passages can be ranked by words."""
        return self._passages.collection.full_text

    def mode(self, wanted: SearchMode | None) -> SearchMode:
        """Return the mode that the store uses for a requested one; None requests the best."""
        if not self.full_text:
            return SearchMode.DENSE
        return wanted or SearchMode.HYBRID

    async def search(
        self,
        scope: Scope,
        query: str,
        mode: SearchMode,
        wanted: PassageFilter,
        size: int,
        skip: int,
        position: Position | None,
    ) -> tuple[list[Hit], Position | None, int]:
        """Return a page of the ranking, the position of the next one or None at the end, and the total.

        Raises:
            FailedPrecondition: The store has changed its embedding model since the position was given.
        """
        index = self._passages.index  # kept to the end, even if the store moves to another model
        if position is not None:
            position.check(index)
        async with index.reading():
            view = await self._view(scope, position.snapshot if position else None, wanted)
            cut = await self.rankings.cut(index, index.collection, view, query, mode, size, skip, position)
            passages = await self._read(view, cut.hits)
        taken = fitting(_size(passage) if passage else 0 for passage in passages)
        hits = [
            Hit(passage, cut.rank + offset, hit.dense, hit.text, hit.fused)
            for offset, (hit, passage) in enumerate(zip(cut.hits[:taken], passages, strict=False))
            if passage is not None
        ]
        return hits, cut.following(taken), cut.total

    async def page(
        self, scope: Scope, wanted: PassageFilter, size: int, cursor: tuple[int, int, int, str, int] | None
    ) -> tuple[list[Passage], tuple[int, int, int, str, int] | None, int]:
        """Return a page of passages in order of storing: own notes first, then the files of each source.

        Args:
            scope: The passages to list from.
            wanted: The filter.
            size: Maximum number of passages.
            cursor: Where the last page ended: snapshot, total, revision of the file or 0, its version or "", number.

        Returns:
            The passages, the next cursor or None, and the total as of the first page.
        """
        view = await self._view(scope, cursor[0] if cursor else None, wanted)
        after = cursor[2:] if cursor else (0, "", -1)
        first = after[2] + 1 if not after[1] else view.end
        total = view.total
        notes: Iterable[int] = (number for number in range(first, view.end) if number not in view.dead)
        if total is None:
            notes = found = await self._matching(view, first)
            total = len(found) + view.documents
        total = cursor[1] if cursor else total
        keys: list[tuple[tuple[int, str, int], str, str]] = []
        more = False
        for key, id_, owner in _in_order(view, notes, after):
            if len(keys) == size:
                more = True
                break
            keys.append((key, id_, owner))
        rows = await self._passages.read(scope.tenant, _by_owner((id_, owner) for _, id_, owner in keys))
        fits = fitting(_size(view.passage(rows[id_])) if id_ in rows else 0 for _, id_, _ in keys)
        more = more or fits < len(keys)
        keys = keys[:fits]
        passages = [view.passage(rows[id_]) for _, id_, _ in keys if id_ in rows and view.counts(rows[id_])]
        return passages, (view.snapshot, total, *keys[-1][0]) if more else None, total

    async def _matching(self, view: _View, first: int) -> list[int]:
        """Return the numbers of the notes from `first` on whose rows pass the filter, in order."""
        if first >= view.end:
            return []
        condition = all_of(view.notes_where, Between("sequence", first))
        rows = await self._passages.find(view.tenant, view.agent, condition, RowNumber)
        return sorted(row.sequence for row in rows)

    async def get(self, scope: Scope, ids: list[str]) -> list[Passage]:
        """Return the passages that exist in the scope, in the order of `ids`."""
        view = await self._view(scope)
        rows = await self._passages.read(
            scope.tenant, {owner: ids if not i else [] for i, owner in enumerate(view.owners)}
        )
        return [view.passage(rows[id_]) for id_ in ids if id_ in rows and view.counts(rows[id_])]

    async def _sources_of(self, scope: Scope) -> list[LiveSource]:
        if scope.source is not None:
            return [scope.source]
        links = scope.agent.state.links if scope.agent is not None else []
        return list((await self._sources.find_many([link.source_id for link in links])).values())

    async def _view(
        self,
        scope: Scope,
        snapshot: int | None = None,
        wanted: PassageFilter = PassageFilter(),  # noqa: B008
    ) -> _View:
        agent = scope.agent
        links = {link.source_id: link.stamp for link in agent.state.links} if agent is not None else {}
        sources = await self._sources_of(scope)  # of the links above: they are read without an await in between
        await self._sources.files.load(sources)
        owners = [source.id for source in sources] + ([agent.id] if agent is not None else [])
        pinned = await self._clock.snapshot(owners) if snapshot is None else snapshot
        # Nothing is awaited from here on, so that the view is that of one moment.
        notes = agent if agent is not None and wanted.takes_notes else None
        return _View(
            scope.tenant,
            pinned,
            wanted,
            notes.id if notes is not None else "",
            notes.notes_at(pinned) if notes is not None else 0,
            notes.state.dead_notes if notes is not None else Ranges(),
            {
                version.version: (source.id, version)
                for source in sources
                if links.get(source.id, 0) <= pinned
                for file, version in source.visible
                if version.stamp <= pinned and wanted.takes(source.id, file.name, version)
            },
            {source.id: source.row.name for source in sources},
        )

    async def _read(self, view: _View, hits: list[HeadHit]) -> list[Passage | None]:
        """Read the passages of hits; None for deleted ones."""
        rows = await self._passages.read(view.tenant, _by_owner((hit.id, hit.owner) for hit in hits if hit.id))
        return [view.passage(rows[hit.id]) if hit.id in rows and view.counts(rows[hit.id]) else None for hit in hits]


def _by_owner(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for id_, owner in pairs:
        grouped.setdefault(owner, []).append(id_)
    return grouped


def _in_order(
    view: _View, notes: Iterable[int], after: tuple[int, str, int]
) -> Iterator[tuple[tuple[int, str, int], str, str]]:
    """Yield keys, ids and owners of all passages after a key, in order of storing; `notes` are those after it."""
    for number in notes:
        yield (0, "", number), note_id(view.agent, number), view.agent
    files = sorted((version.stamp, id_, version.passages, source) for id_, (source, version) in view.versions.items())
    for stamp, version, count, owner in files:
        if (stamp, version) < (after[0], after[1]):
            continue
        first = after[2] + 1 if (stamp, version) == (after[0], after[1]) else 0
        for index in range(first, count):
            yield (stamp, version, index), document_passage_id(version, index), owner


def _size(passage: Passage) -> int:
    """Return the room in bytes that a passage takes in a page."""
    cited = passage.citation
    return size_of(passage.text, *passage.tags, *((cited.source_name, cited.file_name) if cited else ()))
