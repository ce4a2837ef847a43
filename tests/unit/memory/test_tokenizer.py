from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_memory.fulltext import query_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Memories, recalled!", "memori recal"),
        ("the agent's context", "the agent s context"),
        ("北京大学", "北京 京大 大学 北 京 大 学"),
        ("人々、ｶﾞﾗｽ・スミス", "人々 ガラ ラス スミ ミス 人 々 ガ ラ ス ミ"),
        ("학교에서", "학교 교에 에서 학 교 에 서"),
        ("GPT-4は大", "gpt 4 は大 は 大"),
        ("Ｆｕｌｌｗｉｄｔｈ", "fullwidth"),
        ("naïve Größe память мой Łódź", "naiv gross память мой lodz"),
        ("İstanbul ısparta cafe\u0301", "istanbul isparta cafe"),
        ("שָׁלוֹם مُحَمَّد", "שלום محمد"),
        ("👍🏽 👨\u200d👩\u200d👧 🇩🇪🇫🇷 ❤️", "u1f44d u1f468 u1f469 u1f467 u1f1e9u1f1ea u1f1ebu1f1f7 u2764"),
        ("C++17, g++, C#. A+", "cplusplus c 17 gplusplus g csharp c aplus a"),
        (".NET ASP.NET .gitignore", "dotnet net asp dotnet net dotgitignor gitignor"),
        ("item#5, 1+1, a+b and end. Next", "item 5 1 1 a b and end next"),
        ("00042 007 0.005 1,005 2024-01-05", "00042 42 007 7 0 005 1 005 2024 01 05"),
        ("ann.lee+x@Example.org", "anndotleeplusxatexampledotorg ann lee x exampl org"),
        ("user_name, getHTTPHeader __init__", "usernam user name gethttphead get http header init"),
        ("", ""),
    ],
)
def test_texts_are_cut_into_words(text: str, words: str) -> None:
    assert words_of(text) == words.split()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("猫", "猫"),
        ("好き 물", "好き 물"),
        ("C++ or C#", "cplusplus csharp"),
        (".NET", "dotnet"),
        ("00042", "00042"),
        ("user_name", "usernam user name"),
    ],
)
def test_a_query_says_what_it_means(query: str, words: str) -> None:
    assert query_words(query) == words.split()


@given(st.text() | st.lists(st.sampled_from([*"aAé._@+#0-猫물👍🇩 "]), max_size=30).map("".join))
def test_words_are_what_every_backend_keeps_and_a_text_finds_itself(text: str) -> None:
    words = words_of(text)
    assert all(word.split() == [word] for word in words)
    assert {*query_words(text)} <= {*words}


@pytest.mark.parametrize("unit", ["a", "a_", "a.", "a@", "a@b.", ".", "+", "猫", "e\u0301", "aB", "0", "_"])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    def seconds(times: int) -> float:
        begin = time.process_time()
        words_of(unit * times + "@")
        return time.process_time() - begin

    small, large = min(seconds(5_000) for _ in range(3)), seconds(40_000)
    # Linear is 8 times, quadratic 64; between them lies what the machine's other work may add.
    assert large < 30 * small + 0.05


def test_query_finds_other_forms_of_its_words() -> None:
    assert query_words("memory") == words_of("memories")
    assert query_words("paging") == words_of("pages") == words_of("paged")


def test_function_words_of_a_query_are_left_out_unless_there_are_no_others() -> None:
    assert query_words("What did the agents say about it?") == ["agent", "say"]
    assert query_words("who are you") == ["who", "are", "you"]
