"""A progress bar: `Loading files: 100%|██████████| 1/1 [00:00<00:00, 3.94file/s]`."""

from __future__ import annotations

import time
from types import TracebackType

from rich.live import Live
from rich.text import Text

from memgpt.cli.ui import Ui

_WIDTH = 30
_PARTS = " ▏▎▍▌▋▊▉█"


def bar_line(label: str, done: int, total: int, seconds: float, extra: str = "", unit: str = "file") -> str:
    """The line that shows `done` of `total` after so many seconds."""
    share = done / total if total else 1.0
    full, part = divmod(round(share * _WIDTH * 8), 8)
    bar = "█" * full + (_PARTS[part] if part else "")
    rate = done / seconds if seconds > 0 else 0.0
    left = _clock((total - done) / rate) if rate else "?"
    tail = f", {extra}" if extra else ""
    return f"{label}: {share:4.0%}|{bar:<{_WIDTH}}| {done}/{total} [{_clock(seconds)}<{left}, {rate:.2f}{unit}/s{tail}]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class Bar:
    """A bar on a terminal while it lasts; elsewhere only its last state, as a line.

    Attributes:
        total: What is to be done; may change.
    """

    def __init__(self, ui: Ui, label: str, total: int, unit: str = "file") -> None:
        self._ui = ui
        self._label = label
        self._unit = unit
        self.total = total
        self._start = time.monotonic()
        self._text = ""
        self._live = Live(console=ui.console, get_renderable=self._render, refresh_per_second=10)

    def _render(self) -> Text:
        return Text(self._text)

    def show(self, done: int, extra: str = "") -> None:
        """Moves the bar."""
        self._text = bar_line(self._label, done, self.total, time.monotonic() - self._start, extra, self._unit)

    def __enter__(self) -> Bar:
        if self._ui.terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._ui.terminal:
            self._live.stop()
        elif kind is None:
            self._ui.line(self._text)
