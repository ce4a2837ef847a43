from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_runtime.tokens import count_tokens, piece_weights


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        (" \n\t", 0),
        ("word", 1),
        ("words", 2),
        ("Hello, world!", 6),
        ("1234567", 3),
        ("汉字，", 3),
        ("ไทย", 3),
        ("한국", 2),
        ("ひらカナ", 4),
        ("слово", 3),
        ("foo_bar", 3),
        ("____", 1),
        ("🎂", 2),
        ("don't", 3),
    ],
)
def test_count(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@given(text=st.text())
def test_what_is_not_blank_counts(text: str) -> None:
    assert (count_tokens(text) > 0) == bool(text.strip())


@given(text=st.text())
def test_pieces_add_up(text: str) -> None:
    assert sum(tokens for _, tokens in piece_weights(text)) == count_tokens(text)


@given(first=st.text(), second=st.text())
def test_counts_add_up_over_white_space(first: str, second: str) -> None:
    assert count_tokens(f"{first} {second}") == count_tokens(first) + count_tokens(second)
