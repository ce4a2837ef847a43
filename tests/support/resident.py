"""Measurement of the peak memory of a process and its children."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class Peak:
    """The peak, updated while it is watched."""

    bytes: int = 0
    """Maximum total resident bytes of all processes; shared pages count for each."""


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Watch a process and its descendants while the context is open."""
    peak, stop = Peak(), Event()

    def watch() -> None:
        while not stop.wait(_PAUSE_SECONDS):
            peak.bytes = max(peak.bytes, _resident(pid))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return 0
    own = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return own + sum(_resident(int(child)) for child in children)
