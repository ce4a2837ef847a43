"""Text, Markdown, tables and hits on terminals of any width."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt.cli.terminal.hits import excerpt, highlighted, query_words
from memgpt.cli.terminal.markdown import MarkdownStream
from memgpt.cli.terminal.table import Column, render_table
from memgpt.cli.terminal.wrapping import WordWrapper, wrap
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

WORDS = st.lists(st.text("abcdefghij,.", min_size=1, max_size=12), min_size=1, max_size=40)
PIECES = st.lists(st.integers(1, 9), min_size=1, max_size=40)

MIXED = (
    "Hello, 世界。我们在柏林见面！ This is **very bold**, and `so is code`.\n\n"
    "- one\n- two\n# End\n```\nx  =  1\n```\nBye."
)


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    """The text in pieces of these sizes, again and again."""
    pieces, place, turn = [], 0, 0
    while place < len(text):
        pieces.append(text[place : place + sizes[turn % len(sizes)]])
        place += len(pieces[-1])
        turn += 1
    return pieces


@given(WORDS, st.integers(40, 200), st.integers(0, 12))
def test_no_word_is_broken_at_any_width(words: list[str], width: int, indent: int) -> None:
    lines = wrap(" ".join(words), width, column=indent, indent=indent).split("\n")
    assert [word for line in lines for word in line.split()] == words
    assert all(len(line) <= width for line in lines)


FAMILY, ACCENT, KANA = "👩\u200d👩\u200d👧", "e\u0301", "か\u3099"
FLAG, HEART, THUMB = "🇩🇪", "❤\ufe0f", "👍\U0001f3fd"
CHARACTERS = [FAMILY, ACCENT, KANA, FLAG, HEART, THUMB]
SHORT = st.sampled_from([*CHARACTERS, "naïve" + ACCENT, "emoji" + HEART, "世", "界", "。", "word,"])


@given(st.lists(SHORT, min_size=1, max_size=80), PIECES, st.sampled_from([40, 80, 200]))
def test_no_character_is_broken_in_any_script(words: list[str], sizes: list[int], width: int) -> None:
    text = " ".join(words)
    wrapper = WordWrapper(width)
    lines = ("".join(wrapper.feed(piece) for piece in cut(text, sizes)) + wrapper.end()).split("\n")
    assert [word for line in lines for word in line.split()] == words
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_long_run_breaks_between_whole_characters(character: str) -> None:
    lines = wrap(character * 99, 40).split("\n")
    assert "".join(lines) == character * 99
    assert all(set(line.split(character)) == {""} for line in lines)
    assert all(cell_len(line) <= 40 for line in lines)


@given(WORDS, PIECES, st.integers(20, 200))
def test_a_text_in_pieces_is_broken_like_the_whole(words: list[str], sizes: list[int], width: int) -> None:
    text = " ".join(words)
    wrapper = WordWrapper(width)
    assert "".join(wrapper.feed(piece) for piece in cut(text, sizes)) + wrapper.end() == wrap(text, width)


@given(PIECES, st.sampled_from([20, 40, 80, 0]))
def test_markdown_in_pieces_looks_like_the_whole(sizes: list[int], width: int) -> None:
    def shown(pieces: list[str]) -> Text:
        stream = MarkdownStream(width, column=3, indent=3)
        text = Text()
        for piece in pieces:
            text.append_text(stream.feed(piece))
        text.append_text(stream.end())
        return text

    whole = shown([MIXED])
    console = Console(file=io.StringIO())
    parts = shown(cut(MIXED, sizes))
    assert parts.plain == whole.plain
    for place in range(len(whole.plain)):
        assert parts.get_style_at_offset(console, place) == whole.get_style_at_offset(console, place)
    assert "**" not in whole.plain
    assert "•" in whole.plain


def test_scripts_without_blanks_break_anywhere_but_before_a_closing_mark() -> None:
    assert wrap("我们在柏林。", 10) == "我们在柏\n林。"
    assert all(cell_len(line) <= 10 for line in wrap("世界" * 30, 10).split("\n"))


def test_a_word_that_is_longer_than_a_line_is_broken_there() -> None:
    assert wrap("x" * 25, 10) == "x" * 10 + "\n" + "x" * 10 + "\n" + "x" * 5


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_tables_fit_and_keep_the_first_column_whole(width: int) -> None:
    columns = [Column("Name"), Column("Id", wide=True), Column("Messages", number=True), Column("Text", whole=False)]
    rows = [["PoliteButterfly", "agent_0123456789", "12", "A long text " * 20]]
    out = io.StringIO()
    Console(file=out, width=width).print(render_table(columns, rows, width, wide=False))
    lines = out.getvalue().splitlines()
    assert all(cell_len(line.rstrip()) <= width for line in lines)
    assert "PoliteButterfly" in lines[1]
    assert "agent_" not in out.getvalue()


def test_a_hit_is_shortened_around_what_matches() -> None:
    text = "filler words " * 60 + "Green tea is steeped at eighty degrees. " + "more filler " * 60
    words = query_words("how is tea steeped")
    shown = excerpt(text, words, 120)
    assert "Green tea is steeped" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) <= 122


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("steeping 绿茶", "Tea steeps, 绿茶也一样", ["steeps", "绿茶"]),
        ("绿茶怎么泡", "绿茶用八十度的水泡，不要问怎么泡红茶。", ["绿茶", "怎么泡"]),
        ("茶", "绿茶和红茶", ["茶", "茶"]),
        ("iPhone手机 là gì", "新iphone手机多少钱? Là gì?", ["iphone", "手机", "Là", "gì"]),
        ("김치 레시피", "김치 담그는 레시피", ["김치", "레시피"]),
        ("is it on", "It is on the table", []),
    ],
)
def test_matches_are_highlighted(query: str, text: str, marked: list[str]) -> None:
    styled = highlighted(text, query_words(query))
    assert [styled.plain[span.start : span.end] for span in styled.spans] == marked


def test_an_excerpt_of_a_text_full_of_matches_is_found_at_once() -> None:
    """The comparison of each match with each other one took longer than pytest allows."""
    shown = excerpt("的蜜蜂x" * 60_000, query_words("蜜蜂"), 40)
    assert shown.count("蜜蜂") == 10
