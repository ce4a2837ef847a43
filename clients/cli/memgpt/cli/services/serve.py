"""`memgpt server`: the three services in the foreground."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from memgpt.cli.services.children import Addresses, Child, start
from memgpt.cli.services.connect import announced
from memgpt.cli.settings import ClientSettings
from memgpt.cli.terminal.ui import Ui
from memgpt.config import Config

_LOOK_INTERVAL = 0.25
"""Seconds between two looks at whether the services still run."""


class _Stopped(Exception):  # noqa: N818 - no error: the wish to stop
    """SIGINT or SIGTERM arrived."""


@contextmanager
def _signals() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Once: the services then get the time that they need.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(ui: Ui, config: Config[ClientSettings], *, logs: bool) -> None:
    """Start the services where their own settings say, and keep them up until SIGINT or SIGTERM.

    Raises:
        CliError: One did not start, or ended; the others are stopped.
    """
    # At once: that they get ready takes seconds.
    ui.progress("memgpt server is starting memory, loader and agent...")
    with _signals(), start(config, {}, ui.warning, logs=not logs) as children:
        addresses = Addresses(**{child.name: child.address for child in children})
        with announced(config, addresses):
            where = ", ".join(f"{child.name} {child.address}" for child in reversed(children))
            ui.line(f"memgpt server is ready: {where} (Ctrl-C stops it)")
            _watch(children)
    ui.line("memgpt server has stopped")


def _watch(children: list[Child]) -> None:
    """Wait until a service ends, which is a failure."""
    while True:
        for child in children:
            if child.process.poll() is not None:
                raise child.failure()
        time.sleep(_LOOK_INTERVAL)
