"""Fair shares of a limited number of places, without waiting: an owner that asks for more than its share is refused."""

from __future__ import annotations

from collections import Counter

_ROOM = 4
"""One place in this many is kept beyond the limit, for owners that hold less than their share."""


class FairShares:
    """Counts the places that owners hold, and decides who gets another.

    A single owner may hold all places. Once several hold some, the share of each is the limit divided by their number.
    An owner below its share gets a place even if others hold them all: a quarter more places are kept for that. Since
    owners above their shares are refused in the meantime, the number of places soon falls to the limit again.

    Attributes:
        limit: The places.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._most = limit + -(-limit // _ROOM)
        self._held: Counter[str] = Counter()
        self._total = 0

    @property
    def held(self) -> int:
        """Places that are held by all."""
        return self._total

    def take(self, owner: str) -> bool:
        """Take a place for an owner; return whether there was one."""
        if self._total >= self.limit:
            owners = len(self._held) + (owner not in self._held)
            if self._total >= self._most or self._held[owner] >= self.limit // owners:
                return False
        self._held[owner] += 1
        self._total += 1
        return True

    def give_back(self, owner: str) -> None:
        """Give a place back."""
        self._total -= 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
