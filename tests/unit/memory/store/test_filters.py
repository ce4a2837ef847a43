"""Conditions: as Milvus's filters, split into what Milvus evaluates and the rest, and evaluated here."""

from __future__ import annotations

import pytest
from memgpt_memory.store.expressions import literal, render
from memgpt_memory.store.filters import (
    EVERY_ROW,
    AllOf,
    AnyOf,
    Between,
    Bounded,
    Condition,
    Contains,
    Equals,
    Not,
    OneOf,
    Outside,
    Refined,
    all_of,
    any_of,
    broad,
    columns_of,
    exact,
    for_mappings,
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", '"a"'),
        ('"', '"\\""'),
        ("\\", '"\\\\"'),
        ("a\nb\r\t", '"a\\nb\\r\\t"'),
        ("汉'%", '"汉\'%"'),
        (7, "7"),
        (True, "1"),
    ],
)
def test_values_are_written_so_that_they_stay_values(value: str | int, written: str) -> None:
    assert literal(value) == written
    assert render(Equals("field", value)) == f"field == {written}"


@pytest.mark.parametrize(
    ("condition", "written"),
    [
        (OneOf("owner", ["a", 'b"']), 'owner in ["a", "b\\""]'),
        (OneOf("owner", []), "owner in []"),
        (Between("n", 1, 3), "n >= 1 and n < 3"),
        (Between("n", end=3), "n < 3"),
        (Not(Equals("version", "")), 'version != ""'),
        (all_of(Equals("a", 1), EVERY_ROW, Equals("b", 2)), "a == 1 and b == 2"),
        (all_of(EVERY_ROW), ""),
        (any_of(Between("a", 1, 2), Equals("b", 2)), "((a >= 1 and a < 2) or (b == 2))"),
        (any_of(EVERY_ROW, Equals("b", 2)), ""),
        (all_of(Equals("o", 1), any_of(Equals("a", 1), Equals("b", 2))), "o == 1 and ((a == 1) or (b == 2))"),
    ],
)
def test_conditions_are_written_as_milvus_reads_them(condition: Condition, written: str) -> None:
    assert render(condition) == written


EXACT = [Bounded("n", "version", {"v": 3}), Outside("n", [(1, 4)]), Contains("head", "tags", frozenset({"x"}))]


@pytest.mark.parametrize("condition", EXACT)
def test_what_milvus_cannot_evaluate_is_left_for_the_adapter(condition: Condition) -> None:
    owner = Equals("owner", "o")
    for whole in (Refined(owner, condition), AllOf((owner, condition))):
        assert broad(whole) == owner
        assert exact(whole) == condition
    either = AnyOf((owner, condition))
    assert render(broad(either)) == ""
    assert exact(either) == either
    with pytest.raises(TypeError, match=type(condition).__name__):
        render(condition)


ROW = {"owner": "o", "version": "v", "n": 2, "head": '{"tags": ["x", "y"]}'}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (EVERY_ROW, True),
        (Equals("owner", "o"), True),
        (Equals("owner", "p"), False),
        (Not(Equals("owner", "p")), True),
        (Not(Equals("owner", "o")), False),
        (OneOf("n", [1, 2]), True),
        (OneOf("n", []), False),
        (Between("n", 2, 3), True),
        (Between("n", 3), False),
        (Between("n", end=2), False),
        (Bounded("n", "version", {"v": 3}), True),
        (Bounded("n", "version", {"v": 2}), False),
        (Bounded("n", "version", {"w": 3}), False),
        (Outside("n", []), True),
        (Outside("n", [(0, 2), (3, 4)]), True),
        (Outside("n", [(2, 3)]), False),
        (Contains("head", "tags", frozenset({"x"})), True),
        (Contains("head", "tags", frozenset({"x", "z"})), False),
        (AnyOf(()), False),
        (AnyOf((Equals("n", 1), Equals("n", 2))), True),
        (AllOf((Equals("n", 1), Equals("n", 2))), False),
        (Refined(Equals("n", 2), Equals("owner", "p")), False),
    ],
)
def test_conditions_are_evaluated(condition: Condition, holds: bool) -> None:
    assert for_mappings(condition)(ROW) is holds
    assert columns_of(condition) <= ROW.keys()


def test_a_row_without_tags_contains_none() -> None:
    assert not for_mappings(Contains("head", "tags", frozenset({"x"})))({"head": ""})
    assert for_mappings(Contains("head", "tags", frozenset()))({"head": ""})
