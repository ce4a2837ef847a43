"""Plots of the benchmarks: which figures are drawn, and on which side of the line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.common import Table
from benchmarks.plots import draw, main


def report(table: Table, *, quick: bool = False) -> dict[str, Any]:
    return {"machine": "2 CPUs (<fast>)", "results": [{"benchmark": "search", "quick": quick, **table.json()}]}


def circles(drawn: str) -> list[tuple[str, float]]:
    """The measurements, without the three circles of the legend."""
    marks = ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}circle")
    return [(mark.attrib["class"], float(mark.attrib["cx"])) for mark in marks][3:]


def even(drawn: str) -> float:
    lines = ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}line")
    return next(float(line.attrib["x1"]) for line in lines if line.attrib["class"] == "even")


def test_the_cheaper_is_to_the_left_whether_times_or_rates_were_measured() -> None:
    table = Table("Search")
    table.add("half the time", "ms", 5, 10, most=1.5)
    table.add("twice the rate", "/s", 20, 10, least=0.5)
    table.add("twice the time", "ms", 20, 10, most=1.5)
    table.add("half the rate, without a target", "/s", 5, 10)
    drawn = draw(report(table))
    left, right = circles(drawn)[0][1], circles(drawn)[2][1]
    assert left < even(drawn) < right
    assert circles(drawn) == [("met", left), ("met", left), ("missed", right), ("free", right)]


def test_texts_are_short_however_large_a_difference_is() -> None:
    table = Table("Search")
    table.add("the last page", "ms", 12.3456, 12345.678)
    texts = [text.text for text in ET.fromstring(draw(report(table))).iter("{http://www.w3.org/2000/svg}text")]
    assert "1/1024×" in texts
    assert "12.3 ms; raw: 12,346" in texts


def test_counts_and_figures_without_a_comparison_are_left_out() -> None:
    table = Table("Search")
    table.add("page", "ms", 5, 10)
    table.add("hits", "", 5, 10)
    table.add("resident", "MB", 5, most=10)
    assert len(circles(draw(report(table)))) == 1


@pytest.mark.parametrize(("quick", "reason"), [(True, "without --quick"), (False, "no comparison")])
def test_what_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool, reason: str) -> None:
    table = Table("Search")
    with pytest.raises(ValueError, match=reason):
        draw(report(table, quick=quick))
    (tmp_path / "results.json").write_text(json.dumps(report(table, quick=quick)))
    monkeypatch.setattr(sys, "argv", ["plots", str(tmp_path / "results.json"), str(tmp_path / "plot.svg")])
    with pytest.raises(SystemExit):
        main()
    assert not (tmp_path / "plot.svg").exists()
