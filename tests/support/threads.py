"""Threads of tests that must not outlive them."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def running(targets: Sequence[Callable[[], object]], patience: float) -> Iterator[None]:
    """Run each target in a thread of its own until the block and the target have ended.

    Args:
        targets: What to run. Each must end by itself soon after the block has.
        patience: Seconds that they have for it.

    Raises:
        AssertionError: Some have not ended; the stacks of all threads are on stderr.
    """
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        deadline = time.monotonic() + patience
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if hanging := sum(thread.is_alive() for thread in threads):
            faulthandler.dump_traceback(2)
            raise AssertionError(f"{hanging} of {len(threads)} threads did not end within {patience:.0f} s")
