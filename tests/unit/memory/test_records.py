"""Texts cut into rows, and keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from memgpt_memory.records import TextRef, key_of, split, text_ids

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(TEXT, st.integers(4, 40))
def test_pieces_put_together_are_the_text_and_no_piece_is_too_long(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= limit for piece in pieces)


def test_a_text_that_fits_is_one_piece() -> None:
    assert split("x" * 65_535) == ["x" * 65_535]
    assert split("") == [""]
    assert [len(piece.encode()) for piece in split("é" * 32_768)] == [65_534, 2]


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=2, max_size=2, unique_by=tuple))
def test_keys_are_ascii_short_and_differ(parts: list[list[str]]) -> None:
    keys = [key_of("turn", *pair) for pair in parts]
    assert all(key.isascii() and len(key) <= 64 for key in keys)
    # A zero character joins the parts; in names it is refused.
    if not any("\0" in text for pair in parts for text in pair):
        assert keys[0] != keys[1]


def test_keys_of_a_texts_rows_fit() -> None:
    ids = text_ids("profile-" + "0" * 32, "b0123456789", TextRef(version=36**5, parts=37))
    assert len(set(ids)) == 37
    assert max(map(len, ids)) <= 64
