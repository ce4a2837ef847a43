"""The bar of a context window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from memgpt.cli.chat.context_bar import cells


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=6), st.integers(6, 100))
def test_characters_are_shared_out(sizes: list[int], width: int) -> None:
    shares = cells(sizes, width)
    assert sum(shares) == (width if any(sizes) else 0)
    for size, share in zip(sizes, shares, strict=True):
        assert (share > 0) == (size > 0), "what is there is seen"
    for smaller, larger in zip(
        sorted(zip(sizes, shares, strict=True)), sorted(zip(sizes, shares, strict=True))[1:], strict=False
    ):
        assert smaller[1] <= larger[1] or smaller[0] == larger[0]


def test_large_parts_are_as_large_as_they_are() -> None:
    assert cells([50, 25, 25, 0], 60) == [30, 15, 15, 0]
    assert cells([1, 999_999], 60) == [1, 59]
