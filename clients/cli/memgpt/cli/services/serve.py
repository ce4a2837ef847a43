"""`memgpt server`: the three services in the foreground."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
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
    with _signals(), _started(ui, config, {}, logs=logs) as children:
        addresses = Addresses(**{child.name: child.address for child in children})
        with announced(config, addresses):
            _say_ready(ui, children)
            _watch(children)
    ui.line("memgpt server has stopped")


def serve_tests(ui: Ui, *, clock: str, logs: bool) -> None:
    """Start services for tests, which other commands do not find, and keep them running until SIGINT or SIGTERM.

    Args:
        ui: Shows their addresses.
        clock: Time at which their clock stands still; empty for the real time.
        logs: Whether they log all to standard error; else only errors.

    Raises:
        CliError: A service did not start, or ended; the others are stopped.
    """
    from memgpt.cli.services.testing import hold_services, parse_clock, temporary_home, testing_config, testing_settings

    time = parse_clock(clock) if clock else None
    with (
        _signals(),
        temporary_home() as home,
        os.fdopen(hold_services(home)) as held,
        # Never to files, which would be gone when a person looks.
        _started(
            ui, testing_config(home), testing_settings(home, time, quiet=not logs), logs=True, held=[held.fileno()]
        ) as children,
    ):
        _say_ready(ui, children)
        ui.line("Any bearer token is accepted and has a store of its own, which is gone when the server stops.")
        _watch(children)
    ui.line("memgpt server has stopped")


@contextmanager
def _started(
    ui: Ui, config: Config[ClientSettings], environ: Mapping[str, str], *, logs: bool, held: Sequence[int] = ()
) -> Iterator[list[Child]]:
    # Print this at once: it takes seconds until the services are ready.
    ui.progress("memgpt server is starting memory, loader and agent...")
    with start(config, environ, ui.warning, logs=not logs, held=held) as children:
        yield children


def _say_ready(ui: Ui, children: list[Child]) -> None:
    where = ", ".join(f"{child.name} {child.address}" for child in reversed(children))
    ui.line(f"memgpt server is ready: {where} (Ctrl-C stops it)")


def _watch(children: list[Child]) -> None:
    """Wait until a service ends, which is a failure."""
    while True:
        for child in children:
            if child.process.poll() is not None:
                raise child.failure()
        time.sleep(_LOOK_INTERVAL)
