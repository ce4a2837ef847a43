from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from memgpt_runtime import graphemes
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
        *(
            "👨\u200d👩\u200d👧\u200d👦",
            "🇩🇪",
            "👍🏽",
            "e\u0301",
            "क्षि",
            "กำ",
            "\u1112\u1161\u11ab",
            "# Head\n",
            "\n## B\n",
        ),
        *(".", "!", "?", "…", "...", "。", "！", "”", ")", "_", " ", "\n", "\n\n", "\n \n", "\u200b", "\u00a0"),
    ]
)
TEXTS = st.lists(PARTS, max_size=60).map("".join) | st.text(max_size=200)


def texts(text: str, limit: int = 300) -> list[str]:
    return [piece.text for piece in chunk(text, limit)]


def texts_with(overlap: int, text: str, limit: int) -> list[str]:
    return [piece.text for piece in chunk(text, limit, overlap)]


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
@example(text="x" * 40 + "क्षि", limit=5)  # together they are more tokens than one by one
@example(text="HelloHelloHello\n## B\n" + "x" * 40 + "é" * 30, limit=7)  # parts of a word are fewer than their share
@example(text="aé\u0301" * 40 + "\n## B\n" + "x" * 40, limit=9)
def test_pieces_are_filled(text: str, limit: int) -> None:
    """What comes next would not have fitted, or the piece ends behind its middle, where something better ends."""
    pieces = list(chunk(text, limit))
    for before, after in itertools.pairwise(pieces):
        first = next(chunk(after.text, limit))
        together = count_tokens(text[before.start : after.start + first.end])
        assert together > limit or 2 * count_tokens(before.text) >= limit


@given(text=TEXTS, limit=st.integers(2, 40), half=st.integers(0, 20))
@example(text="et al." + "x" * 40 + "\u1112\u1161\u11ab", limit=16, half=8)  # the word's last letters double its tokens
def test_pieces_that_overlap_are_the_text_as_well(text: str, limit: int, half: int) -> None:
    overlap = min(half, limit // 2)
    pieces = list(chunk(text, limit, overlap))
    at = 0
    for piece in pieces:
        assert piece.text == text[piece.start : piece.end] == piece.text.strip() != ""
        assert count_tokens(piece.text) <= limit
        assert text[at : piece.start].strip() == ""
        assert piece.end > at
        at = piece.end
    assert text[at:].strip() == ""
    for before, after in itertools.pairwise(pieces):
        assert after.start > before.start
        assert count_tokens(text[after.start : before.end]) <= overlap
    assert pieces == list(chunk(text, limit, overlap))


@given(text=TEXTS, limit=st.integers(30, 60), overlap=st.integers(0, 15))
def test_no_piece_begins_or_ends_within_what_a_reader_sees_as_one(text: str, limit: int, overlap: int) -> None:
    ends = {0, *graphemes.ends(text)}
    for piece in chunk(text, limit, overlap):
        assert {piece.start, piece.end} <= ends or any(char.isspace() for char in text[piece.start - 1 : piece.start])


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


def test_a_passage_ends_where_a_paragraph_or_a_section_does() -> None:
    text = "Aa bb cc. Dd ee ff.\n\nGg hh ii. Jj kk ll."
    assert texts(text, 12) == ["Aa bb cc. Dd ee ff.", "Gg hh ii. Jj kk ll."]
    assert texts("Aa bb cc. Dd ee.\n\n## Ff\n\nGg hh ii. Jj kk.", 12) == [
        "Aa bb cc. Dd ee.",
        "## Ff\n\nGg hh ii. Jj kk.",
    ]


def test_a_heading_stays_with_what_it_is_about() -> None:
    assert texts("Aa bb cc dd.\n\n# Ee\n\nFf gg hh ii jj.", 10) == ["Aa bb cc dd.", "# Ee\n\nFf gg hh ii jj."]


def test_an_overlap_is_of_sentences_or_else_of_words() -> None:
    assert texts_with(3, "Aa bb. Cc dd. Ee ff.", 6) == ["Aa bb. Cc dd.", "Cc dd. Ee ff."]
    assert texts_with(2, "Aa bb cc. Dd ee ff.", 6) == ["Aa bb cc.", "cc. Dd ee ff."]
    assert texts_with(3, "Aa bb. Cc dd.\n\n# Ee\n\nFf.", 6) == ["Aa bb. Cc dd.", "# Ee\n\nFf."]


def test_what_a_reader_sees_as_one_is_not_broken() -> None:
    family = "👨\u200d👩\u200d👧\u200d👦"
    assert texts(family * 6, 25) == [family * 2] * 3
    assert texts("🇩🇪" * 6, 5) == ["🇩🇪"] * 6
    assert texts("กำ" * 6, 3) == ["กำ"] * 6
    assert texts("e\u0301" * 6, 4) == ["e\u0301" * 2] * 3
    assert texts("Z" + "\u0335" * 10, 4) == ["Z\u0335\u0335\u0335", "\u0335" * 4, "\u0335" * 3]


def test_offsets_are_of_characters() -> None:
    assert list(chunk("  🎂 é.  Naïve. \n", 4)) == [Chunk("🎂 é.", 2, 6), Chunk("Naïve.", 8, 14)]


def test_blank_text_gives_nothing() -> None:
    assert texts("") == texts(" \n\t\u00a0") == []


def test_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(chunk("x", 0))
    with pytest.raises(ValueError, match="half of max_tokens"):
        list(chunk("x", 10, 6))


@pytest.mark.parametrize(
    "unit", [".", ". ", "\n ", "a", ".)", "汉", "1.\n", "et al. ", "!?", "\u200b", "# ", "# a\n", "\u0301", "🇩🇪"]
)
@pytest.mark.parametrize("overlap", [0, 100])
def test_hostile_text_takes_linear_time(unit: str, overlap: int) -> None:
    def seconds(times: int) -> float:
        begin = time.process_time()
        for _ in chunk(unit * times + "x", 300, overlap):
            pass
        return time.process_time() - begin

    seconds(1000)
    small, large = min(seconds(5_000) for _ in range(3)), seconds(40_000)
    # Linear is 8 times, quadratic 64; between them lies what the machine's other work may add.
    assert large < 30 * small + 0.05
