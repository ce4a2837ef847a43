from __future__ import annotations

from memgpt_loader.loads.retry import Patience


def test_it_lasts_from_the_first_failure_since_a_file_got_further() -> None:
    now = 0.0
    told: list[tuple[int, int]] = []
    patience = Patience(10, lambda: now)
    tell = patience.watching(lambda documents, passages: told.append((documents, passages)))
    assert patience.lasts(10)
    assert not patience.lasts(11)
    now = 1000
    tell(1, 5)
    assert patience.lasts(10)
    now = 1009
    tell(0, 0)  # tried again, from the beginning
    tell(1, 5)
    assert not patience.lasts(2)
    tell(1, 6)
    assert patience.lasts(10)
    assert told == [(1, 5), (0, 0), (1, 5), (1, 6)]


def test_what_waited_for_long_before_its_first_failure_is_tried_again() -> None:
    now = 0.0
    patience = Patience(10, lambda: now)
    now = 1000
    assert patience.lasts(10)
    now = 1009
    assert not patience.lasts(2)
