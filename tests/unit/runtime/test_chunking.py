from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_runtime.chunking import Chunk, chunk
from memgpt_runtime.tokens import count_tokens

# Texts made of what the rules look at.
PARTS = st.sampled_from(
    [
        *(
            "Hello",
            "world",
            "et al.",
            "e.g.",
            "Fig. 3",
            "J. Doe",
            "3.14",
            "1.",
            "x" * 40,
            "é" * 30,
            "汉字",
            "ไทย",
            "🎂",
        ),
        *(".", "!", "?", "…", "...", "。", "！", "”", ")", "_", " ", "\n", "\n\n", "\n \n", "\u200b", "\u00a0"),
    ]
)
TEXTS = st.lists(PARTS, max_size=60).map("".join) | st.text(max_size=200)


def texts(text: str, limit: int = 300) -> list[str]:
    return [piece.text for piece in chunk(text, limit)]


def sentences(text: str) -> list[str]:
    """The sentences of a text in which bars mark their ends: the limit lets each pass whole, but no two together."""
    limit = max((count_tokens(part) for part in text.split("|")), default=1)
    return texts(text.replace("|", ""), limit)


@given(text=TEXTS, limit=st.integers(2, 40))
def test_pieces_are_the_text(text: str, limit: int) -> None:
    at = 0
    for piece in chunk(text, limit):
        assert piece.text == text[piece.start : piece.end]
        assert piece.text == piece.text.strip()
        assert piece.text
        assert count_tokens(piece.text) <= limit
        assert text[at : piece.start].strip() == ""
        assert piece.start >= at
        at = piece.end
    assert text[at:].strip() == ""


@given(text=TEXTS, limit=st.integers(2, 40))
def test_pieces_are_filled(text: str, limit: int) -> None:
    """The first unit of a piece would not have fitted into the one before."""
    pieces = list(chunk(text, limit))
    for before, after in itertools.pairwise(pieces):
        first = next(chunk(after.text, limit))
        assert count_tokens(before.text) + count_tokens(first.text) > limit


@pytest.mark.parametrize(
    "text",
    [
        "One comes here. |Two comes now.",
        "Is it here? |Yes, it is!",
        "He said “stop it.” |She did so.",
        "(As it was said.) |Then it went on.",
        "It works… |And then it ended.",
        "No full stop here\n\n|but a blank line.",
        "我们在这里。|他们在那里！|你呢？",
        "「好的。」|他说了一下。",
        "It was in 2020. |Then came more.",
        "I said no. |Then I left it.",
        "We met Smith et al. |They were nice.",
    ],
)
def test_sentences_are_found(text: str) -> None:
    assert sentences(text) == [part.strip() for part in text.split("|")]


@pytest.mark.parametrize(
    "text",
    [
        "See Smith et al. (2020) for more.",
        "Some tools, e.g. Milvus, are fast.",
        "As Fig. 3 shows, it is so.",
        "Dr. Smith and Mr. Jones met.",
        "It was J. R. Tolkien who wrote.",
        "Use version 3.14 of it.",
        "Visit example.com for more.",
        "The U.S. economy grew.",
        "1. Introduction to it",
        "Figure 1. What it shows",
        "It works... but slowly.",
        "Page No. 5 of it.",
    ],
)
def test_what_is_no_end_of_a_sentence(text: str) -> None:
    limit = count_tokens(text)
    # With room for the one sentence only, a second copy must not share a piece with any part of the first.
    assert texts(f"{text}\n\n{text}", limit) == [text, text]
    assert texts(f"{text}\n\n{text}", 2 * limit - 1) == [text, text]


def test_sentence_is_kept_whole_where_it_fits() -> None:
    text = "Aaa bbb ccc. Ddd eee fff. Ggg hhh iii."
    assert texts(text, 8) == ["Aaa bbb ccc. Ddd eee fff.", "Ggg hhh iii."]
    assert texts(text, 7) == ["Aaa bbb ccc.", "Ddd eee fff.", "Ggg hhh iii."]


def test_sentence_over_the_limit_breaks_between_words() -> None:
    assert texts("aaa bbb ccc ddd eee.", 3) == ["aaa bbb ccc", "ddd eee."]


def test_word_over_the_limit_breaks_between_characters() -> None:
    assert texts("a" * 20, 2) == ["a" * 8, "a" * 8, "a" * 4]
    assert texts("汉" * 5, 2) == ["汉汉", "汉汉", "汉"]


def test_offsets_are_of_characters() -> None:
    assert list(chunk("  🎂 é.  Naïve. \n", 4)) == [Chunk("🎂 é.", 2, 6), Chunk("Naïve.", 8, 14)]


def test_blank_text_gives_nothing() -> None:
    assert texts("") == texts(" \n\t\u00a0") == []


def test_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(chunk("x", 0))


@pytest.mark.parametrize("unit", [".", ". ", "\n ", "a", ".)", "汉", "1.\n", "et al. ", "!?", "\u200b"])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    def seconds(times: int) -> float:
        begin = time.process_time()
        for _ in chunk(unit * times + "x"):
            pass
        return time.process_time() - begin

    seconds(1000)
    small, large = min(seconds(5_000) for _ in range(3)), seconds(40_000)
    # Linear is 8 times, quadratic 64; between them lies what the machine's other work may add.
    assert large < 30 * small + 0.05
