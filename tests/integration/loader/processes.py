"""Real services as processes on free ports, which stop with the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memgpt_runtime.parent import PARENT_FD, READY_FD


class Service:
    """A running service."""

    def __init__(self, name: str, home: Path, environ: Mapping[str, str]) -> None:
        """Start it, and return when it serves calls."""
        ready_read, ready_write = os.pipe()
        parent_read, self._parent_write = os.pipe()
        prefix = f"MEMGPT_{name.upper()}_"
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"memgpt_{name}"],
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("MEMGPT_")},
                "MEMGPT_HOME": str(home),
                "MEMGPT_SERVER_DRAIN_PAUSE": "0",
                f"{prefix}PORT": "0",
                **environ,
                READY_FD: str(ready_write),
                PARENT_FD: str(parent_read),
            },
            pass_fds=(ready_write, parent_read),
        )
        os.close(ready_write)
        os.close(parent_read)
        with os.fdopen(ready_read) as ready:
            states: list[dict[str, Any]] = [json.loads(line) for line in ready]
        assert states, f"{name} did not start"
        assert states[-1]["state"] == "serving", states
        self.port: int = states[-1]["port"]
        self.address = f"127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill it, as in a crash."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Send SIGTERM, as an orchestrator does, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """Stop it, unless it has ended already."""
        os.close(self._parent_write)
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.wait()


@contextmanager
def service(name: str, home: Path, **settings: object) -> Iterator[Service]:
    """A service with settings of its own section, such as `memory_address="127.0.0.1:1"`."""
    environ = {f"MEMGPT_{name.upper()}_{key.upper()}": str(value) for key, value in settings.items()}
    running = Service(name, home, environ)
    try:
        yield running
    finally:
        running.close()
