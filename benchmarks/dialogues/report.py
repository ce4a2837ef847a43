"""The figures of held dialogues."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.common import Table
from benchmarks.dialogues.checks import Check, judge
from benchmarks.dialogues.contenders import Held, TurnResult
from benchmarks.dialogues.script import Dialogue

_LEAST: Mapping[str, float] = {
    "user gets words": 100,
    "no hidden hint": 100,
    "paper: searched first": 90,
    "paper: cites a page that holds it": 60,
    "unknown: not invented": 70,
}
"""The percentage that each metric of the agent has to reach."""

READ_PER_NEW = 1.3
"""Maximum number of tokens that the endpoint may read for each new one while the prompt only grows."""

_BESIDE = "bare model"


def table(dialogues: Iterable[Dialogue], held: Sequence[Held]) -> Table:
    """Return the figures of the agent, beside those of the bare model where it was asked too."""
    scripts = {dialogue.name: dialogue for dialogue in dialogues}
    ours = [one for one in held if one.contender == "agent"]
    bare = [one for one in held if one.contender == "bare"]
    made = Table(f"dialogues: {len(ours)} with the agent, {len(bare)} with the bare model")
    checks, beside = _by_metric(scripts, ours), _by_metric(scripts, bare)
    for metric in [*checks, *(metric for metric in beside if metric not in checks)]:
        _add_share(made, metric, checks.get(metric, []), beside.get(metric, []))
    _add_costs(made, [turn for one in ours for turn in one.turns], [turn for one in bare for turn in one.turns])
    return made


def failures(dialogues: Iterable[Dialogue], held: Sequence[Held]) -> list[dict[str, Any]]:
    """Return every failed check with what the contender did in that turn."""
    scripts = {dialogue.name: dialogue for dialogue in dialogues}
    return [
        {
            "dialogue": one.dialogue,
            "contender": one.contender,
            "turn": check.turn,
            "user": scripts[one.dialogue].turns[check.turn].user[:200],
            "failed": check.metric,
            "detail": check.detail,
            "answers": one.turns[check.turn].answers,
            "steps": one.turns[check.turn].steps,
        }
        for one in held
        if one.dialogue in scripts
        for check in judge(scripts[one.dialogue], one)
        if not check.passed
    ]


def _by_metric(scripts: Mapping[str, Dialogue], held: Iterable[Held]) -> dict[str, list[Check]]:
    by_metric: dict[str, list[Check]] = {}
    for one in held:
        for check in judge(scripts[one.dialogue], one):
            by_metric.setdefault(check.metric, []).append(check)
    return by_metric


def _add_share(made: Table, metric: str, ours: Sequence[Check], bare: Sequence[Check]) -> None:
    if not ours:
        return
    passed = sum(check.passed for check in ours)
    other = 100 * sum(check.passed for check in bare) / len(bare) if bare else None
    counts = f"{metric} ({passed}/{len(ours)})"
    # The bar is a percentage, not a multiple of the bare model's.
    made.add(counts, "%", 100 * passed / len(ours), other, other_name=_BESIDE)
    least = _LEAST.get(metric)
    if least is not None and 100 * passed / len(ours) < least:
        made.notes.append(f"MISSED: {metric}: at least {least:g} %")


def _add_costs(made: Table, ours: Sequence[TurnResult], bare: Sequence[TurnResult]) -> None:
    if not ours:
        return
    for what in ("prompt", "cached", "read", "completion"):
        other = statistics.fmean(_tokens(turn, what) for turn in bare) if bare else None
        label = {"read": "prompt tokens read", "completion": "tokens written"}.get(what, f"{what} tokens")
        made.add(f"{label} per turn, mean", "", statistics.fmean(_tokens(t, what) for t in ours), other,
                 other_name=_BESIDE)  # fmt: skip
    grown = [exchange for turn in ours for exchange in turn.exchanges if exchange["new"]]
    if grown:
        read = sum(exchange["prompt"] - exchange["cached"] for exchange in grown)
        new = sum(exchange["new"] for exchange in grown)
        made.add(
            f"prompt tokens read per new one ({len(grown)} requests)", "", read / new if new else 0, most=READ_PER_NEW
        )
    made.add("requests per turn, mean", "", statistics.fmean(len(turn.exchanges) for turn in ours))
    for name, pick in (("median", statistics.median), ("worst", max)):
        other = pick([turn.seconds for turn in bare]) if bare else None
        made.add(f"seconds per turn, {name}", "s", pick([turn.seconds for turn in ours]), other, other_name=_BESIDE)


def _tokens(turn: TurnResult, what: str) -> int:
    if what == "read":
        return _tokens(turn, "prompt") - _tokens(turn, "cached")
    return sum(int(exchange[what]) for exchange in turn.exchanges)
