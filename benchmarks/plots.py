"""``python -m benchmarks.plots RESULTS.json FILE.svg`` draws what ``python -m benchmarks --json`` compared.

Each line is the cost of one operation relative to the other contender: the ratio of times or sizes, or for rates the
inverse. Counts, which are checks rather than measurements, and figures without a comparison are left out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

_WIDTH = 1000
_LEFT = 420
"""Where the scale begins; the labels are to the left of it."""
_RIGHT = 760
"""Where the scale ends; the measured values are to the right of it."""
_TOP = 124
_ROW = 22
_HEADING = 40
_LEGEND = {"met": "meets its target", "missed": "misses its target", "free": "has no target"}
_STYLE = """
  text { font-size: 12.5px; fill: #334155 } .title { font-size: 17px; font-weight: 600; fill: #0f172a }
  .heading { font-size: 13.5px; font-weight: 600; fill: #0f172a } .grid { stroke: #e2e8f0 } .even { stroke: #64748b }
  .limit { stroke: #0f172a; stroke-width: 2 } .free { fill: #64748b } .met { fill: #0284c7 } .missed { fill: #dc2626 }
"""


@dataclass(frozen=True, slots=True)
class _Row:
    what: str
    value: str
    cost: float
    limit: float | None
    met: bool | None


def main() -> None:
    """Draw the results in a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("results", type=Path, help="what `python -m benchmarks --json` printed")
    parser.add_argument("plot", type=Path, help="the SVG file to write")
    arguments = parser.parse_args()
    try:
        drawn = draw(json.loads(arguments.results.read_text("utf-8")))
    except ValueError as error:
        parser.error(f"{arguments.results}: {error}")
    arguments.plot.parent.mkdir(parents=True, exist_ok=True)
    arguments.plot.write_text(drawn, "utf-8")


def draw(report: Mapping[str, Any]) -> str:
    """Return the comparisons of a report as an SVG image.

    Raises:
        ValueError: The report is of a quick run, or has no comparison.
    """
    if any(result["quick"] for result in report["results"]):
        raise ValueError("the figures of a quick run mean nothing; measure without --quick")
    groups = {result["title"]: rows for result in report["results"] if (rows := list(_rows(result["figures"])))}
    if not groups:
        raise ValueError("there is no comparison to draw; run other benchmarks, such as search")
    ratios = [ratio for rows in groups.values() for row in rows for ratio in (row.cost, row.limit) if ratio]
    scale = _Scale(min(ratios), max(ratios))
    height = _TOP + sum(_HEADING + _ROW * len(rows) for rows in groups.values()) + 20
    return "\n".join([*_frame(report["machine"], scale, height), *_lines(groups, scale), "</svg>", ""])


class _Scale:
    """A logarithmic scale that contains 1."""

    def __init__(self, low: float, high: float) -> None:
        self._low = math.floor(math.log2(min(low, 0.5)))
        self._high = math.ceil(math.log2(max(high, 2)))

    def x(self, ratio: float) -> float:
        """Return the position of a ratio in the image."""
        share = (math.log2(ratio) - self._low) / (self._high - self._low)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def ticks(self) -> Iterator[float]:
        """Yield the ratios that are marked: powers of two, at most about eight of them."""
        step = max(1, math.ceil((self._high - self._low) / 8))
        for power in range(-step * (-self._low // step), self._high + 1, step):
            yield 2.0**power


def _rows(figures: Sequence[Mapping[str, Any]]) -> Iterator[_Row]:
    for figure in figures:
        ratio, unit = figure["ratio"], figure["unit"]
        if ratio and unit:
            rate = unit.startswith("/")
            limit = figure["least"] if rate else figure["most"]
            value = f"{_number(figure['ours'])} {unit}; {figure['other_name']}: {_number(figure['other'])}"
            cost, limit = (1 / ratio, limit and 1 / limit) if rate else (ratio, limit)
            yield _Row(figure["what"], value, cost, limit, figure["met"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _times(ratio: float) -> str:
    """Return a power of two as people read it: ``1/16×`` rather than ``0.0625×``."""
    return f"{ratio:g}×" if ratio >= 0.5 else f"1/{1 / ratio:g}×"


def _frame(machine: str, scale: _Scale, height: int) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        " font-family=\"system-ui, -apple-system, 'Segoe UI', sans-serif\">"
    )
    yield f"<title>Benchmarks</title><style>{_STYLE}</style>"
    yield f'<rect width="{_WIDTH}" height="{height}" rx="14" fill="#ffffff"/>'
    yield '<text class="title" x="24" y="34">Cost of an operation, relative to the comparison at the right</text>'
    yield f'<text x="24" y="54">{escape(machine)}. Left of 1× is cheaper; black lines are targets.</text>'
    for place, (kind, meaning) in enumerate(_LEGEND.items()):
        left = 30 + 160 * place
        yield f'<circle class="{kind}" cx="{left}" cy="74" r="5"/><text x="{left + 12}" y="78">{meaning}</text>'
    for ratio in scale.ticks():
        kind, x = ("even" if ratio == 1 else "grid"), scale.x(ratio)
        yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_TOP - 8}" y2="{height - 20}"/>'
        yield f'<text x="{x}" y="{_TOP - 16}" text-anchor="middle">{_times(ratio)}</text>'


def _lines(groups: Mapping[str, Sequence[_Row]], scale: _Scale) -> Iterator[str]:
    y = _TOP
    for title, rows in groups.items():
        y += _HEADING
        yield f'<text class="heading" x="24" y="{y - 17}">{escape(title)}</text>'
        for row in rows:
            kind = {None: "free", True: "met", False: "missed"}[row.met]
            yield f'<text x="{_LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(row.what)}</text>'
            if row.limit:
                x = scale.x(row.limit)
                yield f'<line class="limit" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>'
            yield f'<circle class="{kind}" cx="{scale.x(row.cost)}" cy="{y}" r="5"/>'
            yield f'<text x="{_RIGHT + 14}" y="{y + 4}">{escape(row.value)}</text>'
            y += _ROW


if __name__ == "__main__":
    main()
