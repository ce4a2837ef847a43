"""What a tenant uses, kept as sums over its agents and sources, each of which stores its own amounts in its row.

The rows are the truth, so a crash loses nothing. The sums of an earlier process hold until the rows have been counted,
which takes the longer the more there are. Every commit replaces the amounts of its owner. Replacing, and not adding,
makes it harmless if a commit is noted twice, or while the rows are being counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from memgpt_memory.records import StoredModel

_DAY = 86_400_000_000

_DAYS = 8
"""Days of which tokens are known: a clock that is ahead, and set again more than once, makes a few in the future."""


def utc_day(time: int) -> int:
    """Return the day of UTC of a time in microseconds since 1970, counted from then."""
    return time // _DAY


def seconds_left_of_day(time: int) -> float:
    """Return the seconds until the next day of UTC."""
    return (_DAY - time % _DAY) / 1e6


@dataclass(frozen=True, slots=True)
class Amounts:
    """What one agent or source uses.

    Attributes:
        agents: 1 for an agent.
        sources: 1 for a source.
        passages: Its passages.
        bytes: Bytes of its messages and passages.
        day: Day of UTC of `tokens`.
        tokens: Tokens of the chat model on that day.
    """

    agents: int = 0
    sources: int = 0
    passages: int = 0
    bytes: int = 0
    day: int = 0
    tokens: int = 0


_NOTHING = Amounts()


class UsageRow(StoredModel):
    """The sums of a tenant as they are stored: `tokens` of the chat model were used on the day `day` of UTC."""

    agents: int = 0
    sources: int = 0
    passages: int = 0
    bytes: int = 0
    day: int = 0
    tokens: int = 0


class _DayTokens:
    """Tokens of the chat model on the latest days: the current one may not be the last, if the clock was ahead."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}

    def add(self, day: int, tokens: int) -> None:
        """Add tokens of a day."""
        if tokens:
            self._of[day] = self.of(day) + tokens
            if len(self._of) > _DAYS:
                del self._of[min(self._of)]

    def add_all(self, other: _DayTokens) -> None:
        """Add other tokens, each to its day."""
        for day, tokens in other._of.items():
            self.add(day, tokens)

    def of(self, day: int) -> int:
        """Return the tokens of a day."""
        return self._of.get(day, 0)

    @property
    def last_day(self) -> int:
        """The last day with tokens; 0 if there is none."""
        return max(self._of, default=0)


class TenantUsage:
    """The amounts of a tenant's owners, and their sums.

    Attributes:
        agents, sources, passages, bytes: The sums.
        counted: Whether they were counted, and are not an earlier process's sums with the changes since.
        changed: Whether they have changed since they were last stored.
    """

    def __init__(self) -> None:
        self.agents = 0
        self.sources = 0
        self.passages = 0
        self.bytes = 0
        self.counted = False
        self.changed = False
        self._owners: dict[str, Amounts] = {}
        self._gone: set[str] = set()
        self._tokens = _DayTokens()
        self._tokens_of_deleted = _DayTokens()

    def begin(self, stored: UsageRow) -> None:
        """Begin with the sums of an earlier process."""
        self._add(Amounts(stored.agents, stored.sources, stored.passages, stored.bytes), 1)
        self._tokens.add(stored.day, stored.tokens)

    def set(self, owner: str, amounts: Amounts, former: Amounts = _NOTHING) -> None:
        """Replace the amounts of an owner.

        Args:
            owner: The agent or source.
            amounts: What it uses now.
            former: What it used before, which matters as long as the rows are not counted.
        """
        former = self._owners.get(owner, _NOTHING if self.counted else former)
        self._owners[owner] = amounts
        self._add(former, -1)
        self._add(amounts, 1)
        self._tokens.add(amounts.day, amounts.tokens - (former.tokens if former.day == amounts.day else 0))
        self.changed = True

    def remove(self, owner: str, former: Amounts = _NOTHING) -> None:
        """Forget a deleted owner; the tokens that it used today stay used. See `set`."""
        former = self._owners.pop(owner, _NOTHING if self.counted else former)
        self._add(former, -1)
        self._tokens_of_deleted.add(former.day, former.tokens)
        if not self.counted:
            self._gone.add(owner)
        self.changed = True

    def count(self, stored: Iterable[tuple[str, Amounts]]) -> None:
        """Replace the sums by those of the rows; owners that changed while these were read are known already."""
        before, changed = self.stored(), self.changed
        owners = {owner: amounts for owner, amounts in stored if owner not in self._gone} | self._owners
        self.agents = self.sources = self.passages = self.bytes = 0
        self._tokens = _DayTokens()
        self._tokens.add_all(self._tokens_of_deleted)
        self._owners = {}
        self.counted = True
        for owner, amounts in owners.items():
            self.set(owner, amounts)
        self._gone.clear()
        self.changed = changed or self.stored() != before

    def part(self, includes: Callable[[str, Amounts], bool]) -> TenantUsage:
        """Return the sums over some of the owners, without those that were deleted; the rows must be counted."""
        found = TenantUsage()
        found.count((owner, amounts) for owner, amounts in self._owners.items() if includes(owner, amounts))
        return found

    def add_tokens_of_deleted(self, day: int, tokens: int) -> None:
        """Add tokens that deleted agents used, as far as the sums do not include them yet."""
        self._tokens_of_deleted.add(day, tokens)
        if self.tokens(day) < tokens:
            self._tokens.add(day, tokens - self.tokens(day))

    def tokens(self, day: int) -> int:
        """Return the tokens of the chat model on a day, one of the latest."""
        return self._tokens.of(day)

    def stored(self) -> UsageRow:
        """Return the sums as they are stored and shown."""
        # Until the rows are counted, sums that were stored before a crash may be less than what was deleted since.
        return UsageRow(
            agents=max(0, self.agents),
            sources=max(0, self.sources),
            passages=max(0, self.passages),
            bytes=max(0, self.bytes),
            day=self._tokens.last_day,
            tokens=max(0, self._tokens.of(self._tokens.last_day)),
        )

    def _add(self, amounts: Amounts, sign: int) -> None:
        self.agents += sign * amounts.agents
        self.sources += sign * amounts.sources
        self.passages += sign * amounts.passages
        self.bytes += sign * amounts.bytes
