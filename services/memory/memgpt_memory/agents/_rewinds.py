"""Which messages of an agent were taken back: they stay in recall memory, but nobody is shown them unasked."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rewind:
    """The messages from `first` up to, without, `end`; `turn_id` took them back at `time`."""

    first: int
    end: int
    turn_id: str
    time: int


class Rewinds:
    """An immutable collection of rewinds that do not overlap: a message is taken back once."""

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
        """What took this message back, if anything did."""
        place = bisect_right(self._firsts, sequence) - 1
        return self._rewinds[place] if place >= 0 and sequence < self._rewinds[place].end else None

    def by_turn(self, turn_id: str) -> int:
        """How many messages this turn took back."""
        return sum(rewind.end - rewind.first for rewind in self._rewinds if rewind.turn_id == turn_id)

    def add(self, new: Rewind) -> Rewinds:
        """These, and of `new` what was not taken back before."""
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
        """As text; none give the empty text."""
        rows = [[rewind.first, rewind.end, rewind.turn_id, rewind.time] for rewind in self._rewinds]
        return json.dumps(rows, separators=(",", ":")) if rows else ""

    @staticmethod
    def parse(text: str) -> Rewinds:
        """From what `dump` gave."""
        return Rewinds(Rewind(*row) for row in json.loads(text)) if text else Rewinds()
