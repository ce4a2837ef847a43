"""What a tenant uses, kept as sums over its agents and sources, each of which stores its own amounts in its row.

The rows are the truth, so a crash loses nothing: sums are built from them when a tenant is first seen, and every commit
replaces the amounts of its owner. Replacing, and not adding, makes it harmless if a commit is noted twice, or while the
rows are being read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_DAY = 86_400_000_000


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


class TenantUsage:
    """The amounts of a tenant's owners, and their sums.

    Attributes:
        agents, sources, passages, bytes: The sums.
    """

    def __init__(self) -> None:
        self.agents = 0
        self.sources = 0
        self.passages = 0
        self.bytes = 0
        self._owners: dict[str, Amounts] = {}
        self._gone: set[str] | None = set()
        self._day = 0
        self._tokens = 0

    def set(self, owner: str, amounts: Amounts) -> None:
        """Replace the amounts of an owner."""
        former = self._owners.get(owner, _NOTHING)
        self._owners[owner] = amounts
        self._add(former, -1)
        self._add(amounts, 1)
        if amounts.tokens and amounts.day >= self._day:
            if amounts.day > self._day:
                self._day, self._tokens = amounts.day, 0
            self._tokens += amounts.tokens - (former.tokens if former.day == amounts.day else 0)

    def remove(self, owner: str) -> None:
        """Forget a deleted owner; the tokens that it used today stay used."""
        self._add(self._owners.pop(owner, _NOTHING), -1)
        if self._gone is not None:
            self._gone.add(owner)

    def fill(self, stored: Iterable[tuple[str, Amounts]]) -> None:
        """Add what was read from the store; owners that changed while it was read are known already."""
        gone, self._gone = self._gone or set(), None
        for owner, amounts in stored:
            if owner not in self._owners and owner not in gone:
                self.set(owner, amounts)

    def add_tokens(self, day: int, tokens: int) -> None:
        """Add tokens that deleted agents used."""
        if day > self._day:
            self._day, self._tokens = day, 0
        if day == self._day:
            self._tokens += tokens

    def tokens(self, day: int) -> int:
        """Return the tokens of the chat model on a day, the current one."""
        return self._tokens if day == self._day else 0

    def _add(self, amounts: Amounts, sign: int) -> None:
        self.agents += sign * amounts.agents
        self.sources += sign * amounts.sources
        self.passages += sign * amounts.passages
        self.bytes += sign * amounts.bytes
