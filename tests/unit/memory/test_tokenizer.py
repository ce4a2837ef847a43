from __future__ import annotations

import pytest
from memgpt_memory.fulltext import query_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Memories, recalled!", ["memori", "recal"]),
        ("the agent's context", ["the", "agent", "s", "context"]),
        ("北京大学", ["北京", "京大", "大学"]),
        ("GPT-4は大", ["gpt", "4", "は大"]),
        ("Ｆｕｌｌｗｉｄｔｈ", ["fullwidth"]),
        ("naïve Größe память", ["naïve", "grösse", "память"]),
        ("", []),
    ],
)
def test_texts_are_cut_into_stems_and_pairs(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_query_finds_other_forms_of_its_words() -> None:
    assert query_words("memory") == words_of("memories")
    assert query_words("paging") == words_of("pages") == words_of("paged")


def test_function_words_of_a_query_are_left_out_unless_there_are_no_others() -> None:
    assert query_words("What did the agents say about it?") == ["agent", "say"]
    assert query_words("who are you") == ["who", "are", "you"]
