"""A progress bar: `Loading files: 100%|██████████| 1/1 [00:00<00:00, 3.94file/s]`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from memgpt.cli.terminal.ui import Ui
from memgpt.cli.terminal.wrapping import wrap
from rich.live import Live
from rich.text import Text

_WIDTH, _LEAST_WIDTH = 30, 6
_PARTS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an operation.

    Attributes:
        done: Number of completed units.
        total: Total number of units.
        extra: Additional text.
        before: Units in `done` that took no work and do not count toward the rate.
        work: The share of the work that is done, from 0 to 1, where units differ in size; None if they are
            equal.
    """

    done: int = 0
    total: int = 0
    extra: str = ""
    before: int = 0
    work: float | None = None

    @property
    def worked(self) -> float:
        """Fraction of the work that is done."""
        if self.work is not None:
            return self.work
        return (self.done - self.before) / (self.total - self.before) if self.total > self.before else 1.0


def bar_line(label: str, progress: Progress, seconds: float, unit: str = "file", width: int = 0) -> str:
    """Return the line that shows a progress.

    Args:
        label: Name of the operation.
        progress: Its progress.
        seconds: Elapsed time.
        unit: Name of a unit.
        width: Maximum cells of the line; 0 for no limit. The bar gets shorter first, then the rest is left out.
    """
    done, total, worked = progress.done, progress.total, progress.worked
    share = done / total if total else 1.0
    fresh = done - progress.before
    rate = f"{fresh / seconds:.2f}" if fresh and seconds > 0 else "?"
    left = _clock(seconds * (1 - worked) / worked) if worked else "?"
    tail = f", {progress.extra}" if progress.extra else ""
    head, times = f"{label}: {share:4.0%}|", f" [{_clock(seconds)}<{left}, {rate}{unit}/s{tail}]"
    count = f"| {done}/{total}"
    cells = _WIDTH if not width else min(_WIDTH, width - len(head) - len(count) - len(times))
    if cells < _LEAST_WIDTH:
        times = f" [{_clock(seconds)}<{left}]"
        cells = min(_WIDTH, width - len(head) - len(count) - len(times))
    if cells < _LEAST_WIDTH:
        return f"{label}: {share:4.0%} {done}/{total}"[:width]
    full, part = divmod(round(share * cells * 8), 8)
    bar = "█" * full + (_PARTS[part] if part else "")
    return f"{head}{bar:<{cells}}{count}{times}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class Bar:
    """A progress bar on a terminal; elsewhere only its last state as a line."""

    def __init__(self, ui: Ui, label: str, unit: str = "file") -> None:
        self._ui = ui
        self._label = label
        self._unit = unit
        self._progress = Progress()
        self._note: Callable[[], str] = str
        self._start = time.monotonic()
        self._live = Live(console=ui.console, get_renderable=self._render, refresh_per_second=10)

    def _render(self) -> Text:
        line = bar_line(self._label, self._progress, time.monotonic() - self._start, self._unit, self._ui.width)
        note = self._note()
        return Text(line).append(f"\n{wrap(note, self._ui.width)}" if note else "", style="dim")

    def show_below(self, note: Callable[[], str]) -> None:
        """Show what a function returns below the bar on a terminal, as it is at the time."""
        if self._ui.terminal:
            self._note = note

    def show(self, progress: Progress) -> None:
        """Update the bar."""
        self._progress = progress

    def __enter__(self) -> Bar:
        if self._ui.terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._ui.terminal:
            self._live.stop()
        elif kind is None:
            self._ui.line(self._render().plain)
