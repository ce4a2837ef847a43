"""What was taken back, against plain sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from memgpt_memory.agents import Rewind, Rewinds

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12)


@given(SPANS)
def test_a_message_is_taken_back_once_and_by_the_first(spans: list[tuple[int, int]]) -> None:
    rewinds = Rewinds()
    by: dict[int, str] = {}
    for place, (first, length) in enumerate(spans):
        rewinds = rewinds.add(Rewind(first, first + length, f"turn{place}", place))
        for sequence in range(first, first + length):
            by.setdefault(sequence, f"turn{place}")
    rewinds = Rewinds.parse(rewinds.dump())
    found = {sequence: rewind.turn_id for sequence in range(100) if (rewind := rewinds.of(sequence))}
    assert found == by
    assert len(rewinds) == len(by)
    for place in range(len(spans)):
        turn = f"turn{place}"
        assert rewinds.by_turn(turn) == sum(turn_id == turn for turn_id in by.values())


def test_nothing_is_the_empty_text() -> None:
    assert Rewinds().dump() == ""
    assert 0 not in Rewinds.parse("")
