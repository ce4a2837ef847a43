"""Tests of the process helpers, with a service that does nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.processes import ServiceProcess

MODULE = "tests.contract.runtime.service_main"


def test_start_and_polite_end(tmp_path: Path):
    with ServiceProcess(MODULE, tmp_path, name="memory", python=("-W", "error")) as service:
        host, _, port = service.wait_ready().rpartition(":")
        assert (host, service.wait_bound()) == ("127.0.0.1", f"127.0.0.1:{port}")
    assert service.popen.returncode == 0
    assert "SIGTERM" in service.logged()


def test_kill9(tmp_path: Path):
    with ServiceProcess(MODULE, tmp_path, name="memory") as service:
        service.wait_ready()
        service.kill9()
        assert service.wait() == -signal.SIGKILL


def test_a_start_that_fails_says_why(tmp_path: Path):
    with (
        ServiceProcess(MODULE, tmp_path, name="memory", MEMGPT_SERVER_LOG_LEVEL="loud") as service,
        pytest.raises(RuntimeError, match=r"ended with 2 (?s:.)*LOG_LEVEL"),
    ):
        service.wait_ready()
