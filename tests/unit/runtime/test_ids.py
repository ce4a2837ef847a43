from __future__ import annotations

import re
import time

import pytest
from memgpt_runtime.ids import encode_base32, new_id


def test_form() -> None:
    assert re.fullmatch(r"agent_[0-9a-hjkmnp-tv-z]{26}", new_id("agent"))
    assert len(new_id("a234567890123")) == 40


def test_ids_are_unique_and_ascend_within_a_millisecond() -> None:
    made = [new_id("x") for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_sort_by_time_and_stand_a_clock_that_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    made = []
    for moment in (now + 10**9, now + 3 * 10**9, now, now + 4 * 10**9):
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        made.append(new_id("x"))
    assert made == sorted(made)
    assert made[0][2:12] == encode_base32((now + 10**9) // 10**6, 10)


@pytest.mark.parametrize("prefix", ["", "Agent", "a_b", "1a", "a" * 14, "é"])
def test_bad_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        new_id(prefix)
