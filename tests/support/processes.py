"""Service processes for tests: started by module, awaited by their announcements, stopped by SIGTERM or `kill -9`.

    with ServiceProcess("memgpt_memory", home, MEMGPT_MEMORY_MILVUS_URI=str(home / "milvus.db")) as memory:
        address = memory.wait_ready()
        ...
        memory.kill9()

A service detects by a pipe that its parent is gone, so that no process outlives the test session.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from memgpt_runtime.parent import PARENT_FD, READY_FD

_ROOT = Path(__file__).parents[2]


def service_environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service, without the developer's own settings and terminal size.

    Args:
        home: Folder for its configuration and data.
        settings: Variables to add, such as `MEMGPT_*`.
    """
    own = ("MEMGPT_", "OPENAI_", "COLUMNS", "LINES")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    # Calls to loopback must not go through a proxy.
    return {**kept, "MEMGPT_HOME": str(home), "MEMGPT_SERVER_LOG_FORMAT": "json", "NO_PROXY": "127.0.0.1", **settings}


class ServiceProcess:
    """A service in its own process, on a port chosen by the kernel.

    Attributes:
        name: Name of the service, such as ``memory``.
        log: File to which its standard output and error go.
        popen: The process.
    """

    def __init__(
        self,
        module: str,
        home: Path,
        *arguments: str,
        name: str | None = None,
        python: Sequence[str] = (),
        **settings: str,
    ) -> None:
        """Start the process without waiting.

        Args:
            module: Module to run, such as ``memgpt_memory``.
            home: Folder for its configuration, its data and its log.
            arguments: Additional arguments.
            name: Name of the service, if it differs from the module's.
            python: Options of the interpreter, such as ``-W error``.
            settings: Environment variables, such as ``MEMGPT_AGENT_MEMORY_ADDRESS``.
        """
        self.name = name or module.removeprefix("memgpt_")
        section = f"MEMGPT_{self.name.upper()}"
        defaults = {f"{section}_HOST": "127.0.0.1", f"{section}_PORT": "0", f"{section}_METRICS_PORT": "0"}
        # No load balancer needs time to notice that it stops.
        defaults["MEMGPT_SERVER_DRAIN_PAUSE"] = "0"
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / f"{self.name}-{time.monotonic_ns()}.log"
        self._ready, ready_child = os.pipe()
        parent_child, self._parent = os.pipe()
        environment = service_environment(home, {**defaults, **settings})
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, *python, "-m", module, *arguments],
                cwd=_ROOT,
                env={**environment, READY_FD: str(ready_child), PARENT_FD: str(parent_child)},
                pass_fds=(ready_child, parent_child),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(ready_child)
        os.close(parent_child)
        self._announced = b""
        self._closed = False

    def wait_ready(self, timeout: float = 120) -> str:
        """Wait until it serves calls.

        Returns:
            Its address, ``host:port``.

        Raises:
            RuntimeError: It ended, or was not ready within `timeout` seconds; the message has its log.
        """
        return self._wait_announced("serving", timeout)

    def wait_bound(self, timeout: float = 120) -> str:
        """Wait until it listens on its port; calls wait from then on. Otherwise like `wait_ready`."""
        return self._wait_announced("bound", timeout)

    def _wait_announced(self, state: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._ready, selectors.EVENT_READ)
            while True:
                for line in self._announced.splitlines():
                    said = json.loads(line)
                    if said["state"] == state:
                        return f"{said['host']}:{said['port']}"
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise RuntimeError(f"{self.name} was not {state} within {timeout} s:\n{self.logged()}")
                read = os.read(self._ready, 65536)
                if not read:
                    code = self.wait(60)
                    raise RuntimeError(f"{self.name} ended with {code} and was never {state}:\n{self.logged()}")
                self._announced += read

    def logged(self) -> str:
        """Return everything it has written to standard output and error."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end and return the exit code; a negative code is the signal that ended it."""
        return self.popen.wait(timeout)

    def terminate(self, timeout: float = 30) -> None:
        """Send SIGTERM, and assert that it ends with exit code 0."""
        self.send(signal.SIGTERM)
        code = self.wait(timeout)
        assert code == 0, f"{self.name} ended with {code}:\n{self.logged()}"

    def kill9(self) -> None:
        """Kill it and its children, as in a crash."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Stop it if it runs, and close the pipes."""
        if not self._closed:
            self._closed = True
            self.kill9()
            os.close(self._ready)
            os.close(self._parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After a failed test, do not hide its error with one of the shutdown.
            if kind is None and not self._closed and self.popen.poll() is None:
                self.terminate()
        finally:
            self.close()


def open_channel(address: str) -> grpc.aio.Channel:
    """Open a separate plaintext channel, so that closing it does not affect others to the same address."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", 32 << 20),
    ]  # like the suite's own channels
    return grpc.aio.insecure_channel(address, options=options)
