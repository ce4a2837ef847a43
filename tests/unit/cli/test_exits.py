"""Waiting for processes, on Linux and as on a Mac, which has kqueue for that."""

from __future__ import annotations

import importlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from memgpt.cli.services import exits

pytestmark = pytest.mark.linux("waits for a process by pidfd")


class _Queue:
    """A stand-in for a kqueue, which is told of one process."""

    closed = False

    def control(self, events: list[int] | None, maximum: int, seconds: float | None = None) -> list[object]:
        if events:
            self._descriptor = os.pidfd_open(events[0])
        if maximum:
            return list(select.select([self._descriptor], [], [], seconds)[0])
        return []

    def close(self) -> None:
        self.closed = True
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


@pytest.fixture(params=["linux", "darwin"])
def exit_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", request.param)
        if request.param == "darwin":
            names = dict.fromkeys(("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_NOTE_EXIT"), 0)
            stand_in = SimpleNamespace(kqueue=_Queue, kevent=lambda pid, *_: pid, **names)
            patch.setitem(sys.modules, "select", stand_in)
        yield importlib.reload(exits).Exit
    importlib.reload(exits)


def test_it_returns_when_the_process_has_exited(exit_of: Any) -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    watched = exit_of(child.pid)
    child.stdin.close()
    watched.wait(60)
    assert child.wait(0) == 0  # at once


def test_it_gives_up_after_a_time(exit_of: Any) -> None:
    exit_of(os.getpid()).wait(0.01)


def test_a_process_that_is_gone_needs_no_waiting(exit_of: Any) -> None:
    child = subprocess.Popen(["true"])
    child.wait(60)
    exit_of(child.pid).wait(60)
