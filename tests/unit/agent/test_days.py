"""Days in words."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_agent.functions.days import days_of

WEDNESDAY = date(2024, 5, 1)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024-04-30", "2024-04-30", "2024-04-30"),
        ("2024-04-30 07:01:02 PM UTC+0000", "2024-04-30", "2024-04-30"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("Today", "2024-05-01", "2024-05-01"),
        ("昨天", "2024-04-30", "2024-04-30"),
        ("the day before yesterday", "2024-04-29", "2024-04-29"),
        ("last_week", "2024-04-22", "2024-04-28"),
        ("上周", "2024-04-22", "2024-04-28"),
        ("this week", "2024-04-29", "2024-05-05"),
        ("last month", "2024-04-01", "2024-04-30"),
        ("5 months ago", "2023-12-01", "2023-12-31"),
        ("three days ago", "2024-04-28", "2024-04-28"),
        ("两周前", "2024-04-15", "2024-04-21"),
        ("3天以前", "2024-04-28", "2024-04-28"),
        ("on Monday", "2024-04-29", "2024-04-29"),
        ("last wednesday", "2024-04-24", "2024-04-24"),
        ("上周五", "2024-04-26", "2024-04-26"),
        ("周二", "2024-04-30", "2024-04-30"),
    ],
)
def test_days(text: str, first: str, last: str) -> None:
    assert days_of(text, WEDNESDAY) == (date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    "text", ["", "soon", "2024-02-30", "2024-13", "0000-01", "9999 months ago", "last", "many days ago"]
)
def test_no_days(text: str) -> None:
    assert days_of(text, date(2, 1, 1) if "months" in text else WEDNESDAY) is None


@given(st.text(max_size=30), st.dates())
def test_any_text_is_days_in_order_or_none(text: str, today: date) -> None:
    days = days_of(text, today)
    assert days is None or days[0] <= days[1]
