"""A set of numbers as ranges is a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from memgpt_memory.agents import Ranges

NUMBERS = st.sets(st.integers(0, 60))


@given(st.lists(NUMBERS, max_size=6))
def test_it_holds_what_was_added(batches: list[set[int]]) -> None:
    ranges, expected = Ranges(), set[int]()
    for batch in batches:
        ranges, expected = ranges.add(batch), expected | batch
        ranges = Ranges.parse(ranges.dump())
        assert {number for number in range(-1, 63) if number in ranges} == expected
        assert len(ranges) == len(expected)
    assert (ranges.dump() == "") == (not expected)


def test_neighbors_become_one_range() -> None:
    assert Ranges().add([3, 1, 2]).add([0]).dump() == "[[0, 4]]"


@given(NUMBERS, NUMBERS)
def test_difference(some: set[int], others: set[int]) -> None:
    left = Ranges().add(some).minus(Ranges().add(others))
    assert {n for start, end in left.pieces for n in range(start, end)} == some - others
    assert Ranges.parse(left.dump()).pieces == left.pieces


@given(NUMBERS, st.integers(0, 30))
def test_first(some: set[int], count: int) -> None:
    assert Ranges().add(some).first(count) == sorted(some)[:count]
