"""What the benchmarks print, and what they work on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common import PASSAGE_CHARS, Figure, Table, compare, queries, take, texts


@pytest.mark.parametrize(
    ("figure", "bar", "met"),
    [
        (Figure("a", "ms", 14, 10, most=1.5), "<= 1.5 x raw", True),
        (Figure("a", "ms", 16, 10, most=1.5), "<= 1.5 x raw", False),
        (Figure("a", "/s", 6, 10, least=0.6), ">= 0.6 x raw", True),
        (Figure("a", "/s", 5, 10, least=0.6), ">= 0.6 x raw", False),
        (Figure("a", "MB", 701, most=700), "<= 700 MB", False),
        (Figure("a", "", 9, 10, other_name="stored", most=1, least=1), "<= 1 x stored, >= 1 x stored", False),
        (Figure("a", "ms", 14, 10), "", None),
    ],
)
def test_a_bar_is_a_ratio_or_a_size(figure: Figure, bar: str, met: bool | None):
    assert (figure.bar, figure.met) == (bar, met)


def test_a_table_for_people_and_for_programs():
    table = Table("a title", notes=["a note"])
    table.add("fast enough", "ms", 12.5, 10, most=1.5)
    table.add("too large", "MB", 1234, most=700)
    title, heads, fast, large, note = table.text().splitlines()
    assert title == "a title"
    assert heads.split() == ["ours", "beside", "ratio", "bar"]
    assert " ".join(fast.split()) == "fast enough 12.5 ms 10 ms (raw) 1.25 <= 1.5 x raw met"
    assert " ".join(large.split()) == "too large 1,234 MB <= 700 MB MISSED"
    assert note.strip() == "a note"
    figures = json.loads(json.dumps(table.json()))["figures"]
    assert [(one["ours"], one["ratio"], one["met"]) for one in figures] == [(12.5, 1.25, True), (1234, None, False)]


async def test_contenders_take_turns_to_be_first():
    order: list[str] = []

    async def one(repetition: int) -> None:
        order.append(f"one {repetition}")

    times = await compare(2, one=one, other=lambda n: order.append(f"other {n}"))
    assert order == ["other 0", "one 0", "one 1", "other 1"]
    assert set(times) == {"one", "other"}


def test_texts_are_as_long_as_passages_and_always_the_same():
    made = texts(20)
    assert made == texts(20)
    assert made != texts(20, seed=2)
    assert len(set(made)) == 20
    assert all(PASSAGE_CHARS * 0.6 < len(text) <= PASSAGE_CHARS for text in made)


def test_no_query_is_asked_twice():
    asked = take(queries(), 2_000)
    assert len(set(asked)) == 2_000


def test_a_benchmark_runs_and_prints_json():
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "attach",
        "--quick",
        "--passages",
        "100",
        "--backend",
        "lite",
        "--json",
    ]
    root = Path(__file__).parents[3]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    (result,) = json.loads(run.stdout)["results"]
    assert (result["benchmark"], result["backend"]) == ("attach", "lite")
    assert all(figure["ours"] > 0 for figure in result["figures"])


def test_an_unknown_benchmark_is_refused():
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    root = Path(__file__).parents[3]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "there is no benchmark nonsense: choose from search," in run.stderr
