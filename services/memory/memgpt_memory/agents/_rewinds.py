"""Messages of an agent that were taken back; they stay in recall memory, but are returned only on request."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rewind:
    """The messages ``[first, end)``, taken back by the turn `turn_id` at `time`."""

    first: int
    end: int
    turn_id: str
    time: int


class Rewinds:
    """An immutable set of rewinds that do not overlap: a message is taken back once."""

    def __init__(self, rewinds: Iterable[Rewind] = ()) -> None:
        """Take disjoint rewinds, sorted."""
        self._rewinds = list(rewinds)
        self._firsts = [rewind.first for rewind in self._rewinds]

    def __contains__(self, sequence: int) -> bool:
        return self.of(sequence) is not None

    def __iter__(self) -> Iterator[Rewind]:
        return iter(self._rewinds)

    def __len__(self) -> int:
        return sum(rewind.end - rewind.first for rewind in self._rewinds)

    def of(self, sequence: int) -> Rewind | None:
        """Return the rewind that took a message back, or None."""
        place = bisect_right(self._firsts, sequence) - 1
        return self._rewinds[place] if place >= 0 and sequence < self._rewinds[place].end else None

    def by_turn(self, turn_id: str) -> int:
        """Return how many messages a turn took back."""
        return sum(rewind.end - rewind.first for rewind in self._rewinds if rewind.turn_id == turn_id)

    def add(self, new: Rewind) -> Rewinds:
        """Return these rewinds with those messages of `new` that they do not have."""
        pieces = list(self._rewinds)
        first = new.first
        for rewind in self._rewinds:
            if rewind.end > first and rewind.first < new.end:
                if first < rewind.first:
                    pieces.append(replace(new, first=first, end=rewind.first))
                first = rewind.end
        if first < new.end:
            pieces.append(replace(new, first=first))
        return Rewinds(sorted(pieces, key=lambda rewind: rewind.first))

    def dump(self) -> str:
        """Return the rewinds as text, which is empty if there are none."""
        rows = [[rewind.first, rewind.end, rewind.turn_id, rewind.time] for rewind in self._rewinds]
        return json.dumps(rows, separators=(",", ":")) if rows else ""

    @staticmethod
    def parse(text: str) -> Rewinds:
        """Return the rewinds that `dump` wrote."""
        return Rewinds(Rewind(*row) for row in json.loads(text)) if text else Rewinds()
