"""A compact set of integers that are mostly consecutive."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable
from itertools import islice


class Ranges:
    """An immutable set of integers, kept as ranges ``[start, end)``."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Take disjoint, sorted ranges."""
        self._ranges = list(ranges)
        self._starts = [start for start, _ in self._ranges]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._ranges[place][1]

    def __len__(self) -> int:
        return sum(end - start for start, end in self._ranges)

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """The ranges ``[start, end)``, disjoint and sorted."""
        return self._ranges

    def below(self, end: int) -> int:
        """Return how many of the numbers are less than `end`."""
        return sum(min(stop, end) - start for start, stop in self._ranges if start < end)

    def add(self, numbers: Iterable[int]) -> Ranges:
        """Return the union with `numbers`."""
        return self.union((number, number + 1) for number in numbers)

    def union(self, others: Iterable[tuple[int, int]]) -> Ranges:
        """Return the union with other ranges ``[start, end)``."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self._ranges, *others]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return Ranges(merged)

    def minus(self, others: Ranges) -> Ranges:
        """Return the numbers that are not in `others`."""
        left: list[tuple[int, int]] = []
        for start, end in self._ranges:
            for first, stop in others.pieces[max(bisect_right(others._starts, start) - 1, 0) :]:
                if first >= end:
                    break
                if first > start:
                    left.append((start, first))
                start = max(start, stop)
            if start < end:
                left.append((start, end))
        return Ranges(left)

    def first(self, count: int) -> list[int]:
        """Return the lowest numbers, at most `count`."""
        return list(islice((number for start, end in self._ranges for number in range(start, end)), count))

    def dump(self) -> str:
        """Return the set as text; the empty set gives the empty text."""
        return json.dumps(self._ranges) if self._ranges else ""

    @staticmethod
    def parse(text: str) -> Ranges:
        """Return the set that `dump` wrote."""
        return Ranges((start, end) for start, end in json.loads(text)) if text else Ranges()
