from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from memgpt_runtime import clock, ids
from memgpt_runtime.ids import encode_base32, new_id, random_bytes


def test_form() -> None:
    assert re.fullmatch(r"agent_[0-9a-hjkmnp-tv-z]{26}", new_id("agent"))
    assert len(new_id("a234567890123")) == 40


def test_ids_are_unique_and_ascend_within_a_millisecond() -> None:
    made = [new_id("x") for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_sort_by_time_and_stand_a_clock_that_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_last", 0)  # another test may have made ids of a later time
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


def test_numbered_ids_are_repeated_by_another_process_and_ascend_by_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_stopped", datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(ids, "_numbering", None)
    tenant = "first"

    def process(name: str) -> list[str]:
        ids.number_from_now_on(name, lambda: tenant)
        return [new_id("x") for _ in range(300)] + [new_id("x", scope="mine"), random_bytes("call", 12).hex()]

    made = process("agent")
    assert process("agent") == made, "the same in every run"
    assert made[:300] == sorted(set(made[:300]))
    assert made[0][2:12] == encode_base32(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000), 10)
    others = process("memory")
    tenant = "second"
    others += process("agent")
    assert not {*made} - {made[300]} & {*others}, "no other service or tenant has the same ones"


def test_random_bytes_differ() -> None:
    assert len(random_bytes("call", 12)) == 12
    assert random_bytes("call", 12) != random_bytes("call", 12)
