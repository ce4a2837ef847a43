"""The spinner line that says what is in progress, and for how long."""

from __future__ import annotations

import time

from rich.status import Status
from rich.text import Text

_TOLD_AFTER = 2.0
"""Seconds after which the elapsed time is shown."""


class BusyLine:
    """The current activity with its elapsed seconds; redrawn with every frame of the spinner."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._start = time.monotonic()

    def __rich__(self) -> Text:
        seconds = time.monotonic() - self._start
        told = f" ({seconds:.0f} s)" if seconds >= _TOLD_AFTER else ""
        return Text(f"{self.text}{told}", style="dim", no_wrap=True, overflow="ellipsis")


class Busy:
    """A running activity, as shown by `Ui.busy`."""

    def __init__(self, status: Status | None, line: BusyLine | None) -> None:
        self._status = status
        self._line = line

    def say(self, text: str) -> None:
        """Change the text."""
        if self._line is not None:
            self._line.text = text

    def pause(self) -> None:
        """Hide the line until `resume`."""
        if self._status is not None:
            self._status.stop()

    def resume(self) -> None:
        """Show the line again."""
        if self._status is not None:
            self._status.start()
