"""Waiting for the exit of processes that need not be children of this one."""

from __future__ import annotations

import os
import select
import sys

if sys.platform == "linux":

    class Exit:
        """The exit of a process, watched from when this object is made: its id is not reused unnoticed."""

        def __init__(self, pid: int) -> None:
            """Start to watch a process, which may have ended already."""
            try:
                self._descriptor = os.pidfd_open(pid)
            except OSError:
                self._descriptor = -1

        def wait(self, seconds: float) -> None:
            """Return when the process has exited, or after a time. May be called once."""
            if self._descriptor >= 0:
                select.select([self._descriptor], [], [], seconds)
                os.close(self._descriptor)

else:

    class Exit:
        """The exit of a process, for macOS and BSD."""

        def __init__(self, pid: int) -> None:
            """Start to watch a process, which may have ended already."""
            self._queue = select.kqueue()
            exited = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            try:
                self._queue.control([exited], 0)
            except OSError:
                self._queue.close()

        def wait(self, seconds: float) -> None:
            """Return when the process has exited, or after a time. May be called once."""
            if not self._queue.closed:
                self._queue.control(None, 1, seconds)
                self._queue.close()
