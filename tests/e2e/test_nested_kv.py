"""Small nested key-value retrieval: a policy that reads to the end finds every value, and the controls do not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nested_kv import (
    CONTENDERS,
    PAIRS,
    PAIRS_A_PASSAGE,
    POLICIES,
    Score,
    Scores,
    experiment,
    is_right,
    ordering,
    plot,
    question,
)

LEVELS = (0, 2, 4)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    """Two orderings of 60 pairs, which are 15 passages, on three pages."""
    home = tmp_path_factory.mktemp("nested_kv")
    return asyncio.run(
        experiment(home, str(home / "memory.db"), orderings=2, levels=LEVELS, pairs=60, contenders=CONTENDERS[:-1])
    )


@pytest.mark.parametrize("contender", ["reads the list", "searches for the key"])
def test_paging_and_following_finds_every_value(found: Scores, contender: str) -> None:
    assert {level: outcome.accuracy for level, outcome in found[contender].items()} == dict.fromkeys(LEVELS, 100)


@pytest.mark.parametrize("control", ["no paging", "wrong totals"])
def test_reading_one_page_only_fails(found: Scores, control: str) -> None:
    outcomes = found[control].values()
    assert sum(outcome.right for outcome in outcomes) < sum(outcome.asked for outcome in outcomes) / 2
    assert found[control][4].right == 0


def test_without_following_only_flat_values_are_found(found: Scores) -> None:
    assert {level: outcome.accuracy for level, outcome in found["one hop"].items()} == {0: 100, 2: 0, 4: 0}


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    some: Scores = {name: {level: Score(2, 1, 10) for level in LEVELS} for name in CONTENDERS}
    plot(some, tmp_path / "new" / "plot.png", PAIRS)
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_an_ordering_has_a_chain_for_every_level() -> None:
    made = ordering(7)
    pairs = dict(line.removeprefix("key ").split(", value ") for text in made.passages for line in text.splitlines())
    assert len(pairs) == PAIRS
    assert len(made.passages) == PAIRS / PAIRS_A_PASSAGE
    for level, (value, last) in made.questions.items():
        hops = 0
        while value in pairs:
            value, hops = pairs[value], hops + 1
        assert (hops, value) == (level + 1, last)
    assert ordering(7) == made
    assert ordering(8) != made


@pytest.mark.parametrize(
    ("answer", "right"), [("{value}", True), ("It is {value}.", True), ("{value}, or {other}", False), ("", False)]
)
def test_an_answer_counts_by_the_last_it_names(answer: str, right: bool) -> None:
    (value, other) = ordering(1).questions[0]
    assert is_right(answer.format(value=value, other=other), value) is right


def test_a_policy_goes_by_the_request_alone() -> None:
    (key, value) = ordering(1, [0]).questions[0]
    asked = {"role": "user", "content": json.dumps({"type": "user_message", "message": question(key)})}
    policy = POLICIES["reads the list"]
    (search,) = policy.decide([asked]).tool_calls

    def shown(result: str) -> list[dict[str, Any]]:
        made = {"function": {"name": search[0], "arguments": json.dumps({"inner_thoughts": f"I look for {key}."})}}
        return [{"role": "assistant", "tool_calls": [made]}, {"role": "tool", "content": result}]

    def page(place: str) -> int:
        """The page that the policy asks for next."""
        ((name, arguments),) = policy.decide(shown(f"Showing 5 of 35 results (page {place}): []")).tool_calls
        assert name == "archival_memory_search"
        return int(json.loads(arguments)["page"])

    assert page("0/6") == 1  # the question has long left the window
    assert page("5/6") == 6
    ((name, arguments),) = policy.decide(shown("Showing 5 of 35 results (page 6/6): []")).tool_calls
    assert (name, json.loads(arguments)["message"]) == ("send_message", key)
    found = f"Showing 5 of 35 results (page 2/6): key {key}, value {value}"
    ((name, arguments),) = policy.decide(shown(found)).tool_calls
    assert (name, json.loads(arguments)["page"]) == ("archival_memory_search", 0)  # the value may be a key
