"""Pipes between a service and the process that started it.

The command line starts the services on free ports. One pipe tells it the ports. Another tells the services that it has
ended, even by ``kill -9``, since the kernel then closes its end.

* ``MEMGPT_READY_FD``: descriptor to which a service writes JSON lines, ``{"service", "host", "port", "state"}``, an
  IPv6 host in brackets. The first has the state ``bound`` (the port is ours; calls wait), the second ``serving`` (calls
  are answered); then it is closed. End of file without the second line: the service could not start, and wrote why to
  standard error.
* ``MEMGPT_PARENT_FD``: descriptor to read from; at end of file the service stops, without the pause that load
  balancers need.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress

from memgpt.config import ConfigError

READY_FD = "MEMGPT_READY_FD"
PARENT_FD = "MEMGPT_PARENT_FD"


def take_descriptor(variable: str) -> int | None:
    """Take a descriptor from the environment; this process's own children do not inherit it.

    Raises:
        ConfigError: The variable is not the number of an open descriptor.
    """
    text = os.environ.pop(variable, None)
    if not text:
        return None
    try:
        descriptor = int(text)
        os.set_inheritable(descriptor, False)
    except (ValueError, OSError):
        raise ConfigError(f'environment: {variable} must be the number of an open descriptor, not "{text}"') from None
    return descriptor


class Announcer:
    """Reports the progress of the start to the parent; without a descriptor it does nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def announce(self, service: str, host: str, port: int, state: str) -> None:
        """Write a line. A parent that no longer reads is not an error."""
        if self._descriptor is None:
            return
        line = json.dumps({"service": service, "host": host, "port": port, "state": state}) + "\n"
        with suppress(OSError):
            os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def watch_parent(descriptor: int, on_gone: Callable[[], None]) -> Callable[[], None]:
    """Call `on_gone` once when the other end of a pipe is closed.

    Args:
        descriptor: A pipe or a socket to read from; closed at the end.
        on_gone: Called in the running event loop.

    Returns:
        A function that ends the watch.

    Raises:
        ConfigError: The end of the descriptor cannot be detected, as for a file.
    """
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    watching = True

    def stop() -> None:
        nonlocal watching
        if watching:
            watching = False
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def readable() -> None:
        try:
            if os.read(descriptor, 4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        stop()
        on_gone()

    try:
        loop.add_reader(descriptor, readable)
    except OSError:
        raise ConfigError(f"environment: {PARENT_FD} must be a pipe, not a file") from None
    return stop
