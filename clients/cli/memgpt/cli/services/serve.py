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
"""Seconds between checks that the services still run."""


class _Stopped(Exception):  # noqa: N818 - not an error, but a request to stop
    """SIGINT or SIGTERM arrived."""


@contextmanager
def _signals() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Only the first signal counts: the services then get the time they need to stop.
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
    """Start the services at their configured addresses, and keep them running until SIGINT or SIGTERM.

    Raises:
        CliError: A service did not start, or ended; the others are stopped.
    """
    # Print this at once: it takes seconds until the services are ready.
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
