"""Search and listing of recall memory: messages by words, by similarity and by day."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from memgpt_runtime import reasons
from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_memory.agents import LiveAgent, Ranges
from memgpt_memory.fulltext import fold
from memgpt_memory.list_pages import Page, fitting, size_of
from memgpt_memory.messages import CHUNK, Line, Message, Messages, Role, Transcripts
from memgpt_memory.passages import Passages
from memgpt_memory.ranking import HeadHit, Position, Rankings, SearchMode
from memgpt_memory.recall._message_index import MessageIndex, sequence_of
from memgpt_memory.store.filters import EVERY_ROW, Between, Condition, Equals, OneOf, Outside, Refined, all_of
from memgpt_memory.store.layout import partition_of

_SMALL_CHUNK = 100
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UTC = ZoneInfo("UTC")
_EVER = 1 << 62
_NEIGHBOR_BYTES = 512 << 10
"""Maximum text of all neighbors of a page: with a full page, a response stays below the 4 MiB that clients accept."""


class RecallMode(Enum):
    """How messages are searched: by words, by similarity, or by both."""

    TEXT = "text"
    SEMANTIC = "semantic"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """A query of recall memory; an empty field is not a condition.

    Attributes:
        text: Words that must all occur, ignoring case; for similarity, the text to compare with.
        first_day: ``YYYY-MM-DD`` in the agent's time zone.
        last_day: The same; the whole day is included.
        roles: The roles of the senders.
        mode: How they are found.
        rewound: Whether messages that were taken back are found as well.
        before: Only messages with a smaller sequence; None for all.
        neighbors: How many messages around each match are wanted, on either side.
    """

    text: str
    first_day: str
    last_day: str
    roles: frozenset[Role]
    mode: RecallMode = RecallMode.TEXT
    rewound: bool = False
    before: int | None = None
    neighbors: int = 0

    def count(self, live: LiveAgent) -> int:
        """Return how many of an agent's messages are searched."""
        count = live.row.message_count
        return count if self.before is None else min(count, self.before)


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of found messages.

    Attributes:
        messages: The messages.
        scores: Their scores; empty for a search by words.
        following: Where the next page begins, for a token; None at the end.
        total: All matches, as of the first page.
        mode: How they were found.
    """

    messages: list[Message]
    scores: list[HeadHit]
    following: dict[str, Any] | None
    total: int
    mode: RecallMode


@dataclass(frozen=True, slots=True)
class Neighbors:
    """What was said around a message, oldest first."""

    before: list[Message]
    after: list[Message]


@dataclass(frozen=True, slots=True)
class _Span:
    """Times from `start` to before `end`, in microseconds; None means no bound."""

    start: int | None
    end: int | None

    @staticmethod
    def of(query: RecallQuery, zone: ZoneInfo) -> _Span:
        """Return the days of a query."""
        start = _day_start(query.first_day, zone, "start_date") if query.first_day else None
        end = _day_start(query.last_day, zone, "end_date", after=True) if query.last_day else None
        return _Span(start, end)

    @property
    def bounded(self) -> bool:
        """Whether it has a start or an end."""
        return self.start is not None or self.end is not None

    def __contains__(self, time: int) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


@dataclass(frozen=True, slots=True)
class _View:
    """The messages of an agent that a search by similarity ranks (see `ranking.View`).

    Attributes:
        tenant: The tenant that owns the agent.
        agent: The agent.
        snapshot: How many messages there were at the first page.
        roles: The roles of the senders.
        span: When they were stored.
        hidden: Messages that were forgotten or, unless they are to be found as well, taken back.
        rewound: Whether those that were taken back are found as well.
    """

    tenant: str
    agent: str
    snapshot: int
    roles: frozenset[Role]
    span: _Span
    hidden: Ranges
    rewound: bool
    total: None = None

    @property
    def key(self) -> str:
        """See `ranking.View`."""
        # The sets of messages that were taken back and forgotten only grow, so their size identifies them.
        return repr((self.agent, sorted(self.roles), self.span, self.rewound, len(self.hidden)))

    @property
    def partitions(self) -> Sequence[str]:
        """See `ranking.View`."""
        return [partition_of(self.tenant, self.agent)] if self.snapshot else []

    @property
    def where(self) -> Condition:
        """See `ranking.View`."""
        broad = all_of(
            Equals("owner", self.agent),
            OneOf("role", sorted(role.value for role in self.roles)),
            Between("sequence", end=self.snapshot),
            Between("created", self.span.start, self.span.end) if self.span.bounded else EVERY_ROW,
        )
        hidden = self.hidden.pieces
        return Refined(broad, Outside("sequence", hidden)) if hidden else broad


class Recall:
    """Searches and lists the messages of an agent."""

    def __init__(self, messages: Messages, passages: Passages, index: MessageIndex) -> None:
        """Read `messages`; `index` ranks them by the model of `passages`."""
        self._messages = messages
        self._passages = passages
        self._index = index
        self._transcripts = Transcripts(messages)
        self.rankings = Rankings(passages.store)

    async def search(
        self, live: LiveAgent, query: RecallQuery, size: int, skip: int, at: Mapping[str, Any] | None
    ) -> MessagePage:
        """Return a page of matches.

        Args:
            live: The agent.
            query: The query.
            size: Maximum number of messages.
            skip: Matches to skip before a first page.
            at: Where the page begins, from `MessagePage.following`; None for a first page.

        Raises:
            InvalidArgument: A day is not a date, or the first day is after the last one.
            FailedPrecondition: The store has changed its embedding model since `at` was given.
        """
        # Pinned like everything else: the agent's time zone may change between two pages.
        span = _Span(*at["days"]) if at else _Span.of(query, ZoneInfo(live.row.time_zone))
        if query.mode is RecallMode.TEXT:
            return await self._by_words(live, query, span, size, skip, at)
        return await self._by_similarity(live, query, span, size, skip, at)

    async def _by_words(
        self, live: LiveAgent, query: RecallQuery, span: _Span, size: int, skip: int, at: Mapping[str, Any] | None
    ) -> MessagePage:
        """Return matches, the latest first. The first page looks at every message, for the total."""
        count = at["count"] if at else query.count(live)
        below = at["below"] if at else count
        found: list[int] = []
        async for line in self._lines(live, query, span, below, count):
            found.append(line.sequence)
            if at is not None and len(found) > size:
                break
        total = at["total"] if at else len(found)
        found = found[0 if at else skip :]
        wanted = found[:size]
        # Those that were forgotten since they were found are missing.
        read = {message.sequence: message for message in await self._messages.read(live.id, wanted)}
        sizes = (_size(read[sequence]) if sequence in read else 0 for sequence in wanted)
        taken = fitting(sizes, _room(query))
        messages = [read[sequence] for sequence in wanted[:taken] if sequence in read]
        following = None
        if taken < len(found):
            following = {"count": count, "below": found[taken - 1], "total": total, "days": [span.start, span.end]}
        return MessagePage(messages, [], following, total, RecallMode.TEXT)

    async def _lines(
        self, live: LiveAgent, query: RecallQuery, span: _Span, below: int, count: int
    ) -> AsyncIterator[Line]:
        """Yield the matching lines, the latest first. No index knows "all of these words" in every script."""
        words = fold(query.text).split()
        hidden = _hidden(live, query)
        for number in range((below - 1) // CHUNK, -1, -1):
            for line in reversed(await self._transcripts.chunk(live.id, number, count)):
                if (
                    line.sequence < below
                    and line.sequence not in hidden
                    and line.text
                    and line.role in query.roles
                    and line.created in span
                    and all(word in line.text for word in words)
                ):
                    yield line

    async def _by_similarity(
        self, live: LiveAgent, query: RecallQuery, span: _Span, size: int, skip: int, at: Mapping[str, Any] | None
    ) -> MessagePage:
        index = self._passages.index  # kept to the end, even if the store moves to another model
        position = Position.parse(at["at"]) if at else None
        if position is not None:
            position.check(index)
        count = position.snapshot if position is not None else query.count(live)
        async with index.reading():
            collection = await self._index.take_in(index, live, count)
            mode = SearchMode.HYBRID if query.mode is RecallMode.HYBRID and collection.full_text else SearchMode.DENSE
            view = _View(live.row.tenant, live.id, count, query.roles, span, _hidden(live, query), query.rewound)
            cut = await self.rankings.cut(index, collection, view, query.text, mode, size, skip, position)
        wanted = [sequence_of(hit.id) if hit.id else -1 for hit in cut.hits]
        read = await self._messages.read(live.id, [sequence for sequence in wanted if sequence >= 0])
        # A head that was pinned before a message was taken back still names it.
        by_sequence = {message.sequence: message for message in read if message.sequence not in view.hidden}
        found = [by_sequence.get(sequence) for sequence in wanted]
        taken = fitting((_size(message) if message is not None else 0 for message in found), _room(query))
        pairs = [(message, hit) for message, hit in zip(found[:taken], cut.hits, strict=False) if message is not None]
        following = cut.following(taken)
        return MessagePage(
            [message for message, _ in pairs],
            [hit for _, hit in pairs],
            {"at": following.dump(), "days": [span.start, span.end]} if following is not None else None,
            cut.total,
            RecallMode.HYBRID if mode is SearchMode.HYBRID else RecallMode.SEMANTIC,
        )

    async def neighbors(self, live: LiveAgent, query: RecallQuery, found: Sequence[Message]) -> list[Neighbors]:
        """Return what was said around each of the found messages; an empty list if the query wants none."""
        if not query.neighbors:
            return []
        hidden = _hidden(live, query)
        around = [await self._around(live, query, message.sequence, hidden) for message in found]
        wanted = sorted({sequence for before, after in around for sequence in (*before, *after)})
        messages = {message.sequence: message for message in await self._messages.read(live.id, wanted)}
        room = _NEIGHBOR_BYTES
        made: list[Neighbors] = []
        for sides in around:
            kept: tuple[list[Message], list[Message]] = ([], [])
            for side, sequences in zip(kept, sides, strict=True):
                for sequence in (one for one in sequences if one in messages):  # others were just forgotten
                    size = _size(messages[sequence])
                    if size <= room:
                        room -= size
                        side.append(messages[sequence])
            made.append(Neighbors(*kept))
        return made

    async def _around(
        self, live: LiveAgent, query: RecallQuery, sequence: int, hidden: Ranges
    ) -> tuple[list[int], list[int]]:
        """Return the sequences of what was said next to a message, if it is no further than a chunk away."""
        count, number = query.count(live), sequence // CHUNK
        said = [
            line.sequence
            for chunk in range(max(number - 1, 0), number + 2)
            if chunk * CHUNK < count
            for line in await self._transcripts.chunk(live.id, chunk, count)
            if line.said and line.sequence not in hidden and line.role in query.roles
        ]
        place = bisect_left(said, sequence)
        after = bisect_right(said, sequence)
        return said[max(place - query.neighbors, 0) : place], said[after : after + query.neighbors]

    async def forget(self, live: LiveAgent) -> None:
        """Delete what is derived from the messages of a deleted agent."""
        self._transcripts.forget(live.id)
        await self._index.forget(live)

    async def drop(self, live: LiveAgent, sequences: Sequence[int]) -> None:
        """Delete what is derived from forgotten messages."""
        if sequences:
            self._transcripts.forget(live.id)
            await self._index.drop(live, sequences)

    async def drop_older(self, live: LiveAgent, before: int) -> None:
        """Delete what is derived from forgotten messages that were stored before a time."""
        self._transcripts.forget(live.id)
        await self._index.drop_older(live, before)

    async def sweep(self, live: LiveAgent) -> None:
        """Delete what a failure or a crash left of what was derived from forgotten messages."""
        await self._index.sweep(live)

    async def page(self, live: LiveAgent, size: int, position: tuple[int, int] | None) -> Page[Message]:
        """Return a page of messages, the latest first.

        Args:
            live: The agent.
            size: Maximum number of messages.
            position: Sequence after the latest message of the first page, and how many sequences from it on the pages
                before have passed; None for the first page.
        """
        count, passed = position or (live.row.message_count, 0)
        forgotten = live.state.forgotten
        high = count - passed
        items: list[Message] = []
        room = PAGE_BYTES
        while high > 0 and len(items) < size and room > 0:
            low = max(high - min(size - len(items), _SMALL_CHUNK), 0)
            wanted = [sequence for sequence in range(high - 1, low - 1, -1) if sequence not in forgotten]
            high = low
            for message in await self._messages.read(live.id, wanted):
                room -= _size(message)
                if room < 0 and items:
                    high = message.sequence + 1
                    break
                items.append(message)
        while high and high - 1 in forgotten:
            high -= 1
        total = count - forgotten.below(count)
        return Page(items, json.dumps([count, count - high]) if high else "", total)


def _hidden(live: LiveAgent, query: RecallQuery) -> Ranges:
    """Return the messages that a search leaves out."""
    return live.state.forgotten if query.rewound else live.state.hidden


def _size(message: Message) -> int:
    """Return the room in bytes that a message takes in a page."""
    call = message.function_call
    return size_of(message.text, *((call.arguments, call.endpoint_data) if call is not None else ()))


def _room(query: RecallQuery) -> int:
    """Return the room in bytes for the messages found, beside their neighbors."""
    return PAGE_BYTES - (_NEIGHBOR_BYTES if query.neighbors else 0)


def check_days(*, start_date: str = "", end_date: str = "") -> None:
    """Check the days of a query.

    Raises:
        InvalidArgument: One is not a date, or they are in the wrong order.
    """
    start = _day_start(start_date, _UTC, "start_date") if start_date else None
    end = _day_start(end_date, _UTC, "end_date", after=True) if end_date else None
    if start is not None and end is not None and start >= end:
        raise reasons.invalid_field(f"end_date {end_date} is before start_date {start_date}", field="end_date")


def _day_start(day: str, zone: ZoneInfo, field: str, *, after: bool = False) -> int:
    """Return the first microsecond of a day, or of the one after it."""
    try:
        if not _DAY.fullmatch(day):
            raise ValueError(day)
        when = date.fromisoformat(day)
    except ValueError as error:
        raise reasons.invalid_field(f'invalid date "{day}"; use YYYY-MM-DD, such as 2026-01-31', field=field) from error
    try:
        when += timedelta(days=int(after))
        return int(datetime.combine(when, time_of_day(), zone).timestamp() * 1_000_000)
    except OverflowError:  # the first or the last date that exists, such as for an open range
        return _EVER if after else -_EVER
