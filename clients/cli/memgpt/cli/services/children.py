"""The three services as child processes.

They exit when the last writer of a pipe that they read from is gone, even after ``kill -9``: see `Lifeline`. They are
programs of other distributions, such as `memgpt-milvus-memory`, which need not be installed here.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from memgpt.cli.errors import FAILURE, MISUSE, CliError
from memgpt.cli.settings import ClientSettings
from memgpt.config import Config

READY_FD = "MEMGPT_READY_FD"
"""Environment variable: the descriptor to which a service writes a JSON line per state, `bound` and then `serving`."""

PARENT_FD = "MEMGPT_PARENT_FD"
"""Environment variable: the descriptor of a pipe; a service stops when the pipe's other end is closed."""

START_TIMEOUT = 120.0
"""Seconds for a service to start; a Milvus server that was killed may take 90 s to recover."""

STOP_TIMEOUT = 20.0
"""Seconds for a service to stop before it is killed; its drain takes at most 13."""

_TELLING = 8.0
"""Seconds after which the command reports that a service is not ready yet."""

_HEALTH_INTERVAL = 0.05
_LOG_BYTES = 10 * 1024 * 1024
_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the services, each as `host:port`."""

    agent: str
    loader: str
    memory: str = ""


class Lifeline:
    """A pipe that services read from; they stop when no process holds its other end any more."""

    def __init__(self, fifo: Path | None = None) -> None:
        """Open both ends.

        Args:
            fifo: Path of a named pipe to create, which other processes can hold as well; None for an anonymous pipe.
        """
        if fifo is None:
            self.read_fd, self._write_fd = os.pipe()
            return
        os.mkfifo(fifo, 0o600)
        self.read_fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._write_fd = os.open(fifo, os.O_WRONLY)

    def started(self) -> None:
        """Close this process's copy of the end that the services have inherited."""
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1

    def let_go(self) -> None:
        """Close this process's end. Idempotent."""
        self.started()
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1


class Child:
    """A service that runs as a child process.

    Attributes:
        name: `memory`, `loader` or `agent`.
        address: `host:port`; empty until it is bound.
        serving: Whether it serves calls.
        log: File with its log; None if the log goes to standard error.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], log: Path | None, lifeline: Lifeline, held: Sequence[int] = ()
    ) -> None:
        """Start the process.

        Args:
            name: `memory`, `loader` or `agent`.
            environ: Its settings, in addition to this process's environment.
            log: File to append its log to; None for standard error.
            lifeline: The lifeline that the service depends on.
            held: Descriptors that the service inherits, and keeps open until it ends.
        """
        self.name = name
        self.address = ""
        self.serving = False
        self.log = log
        self._log_start = 0
        ready_read, ready_write = os.pipe()
        self.ready = os.fdopen(ready_read, "rb", buffering=0)  # the selector does not see buffered lines
        with ExitStack() as stack:
            stack.callback(os.close, ready_write)
            output: BinaryIO | None = None
            if log is not None:
                output = stack.enter_context(_open_log(log))
                self._log_start = output.tell()
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter and fixed module names
                # -P: modules in the user's folder must not stand in for the services' own.
                [sys.executable, "-P", "-m", f"memgpt_{name}"],
                env={**os.environ, **environ, READY_FD: str(ready_write), PARENT_FD: str(lifeline.read_fd)},
                pass_fds=(ready_write, lifeline.read_fd, *held),
                stdin=subprocess.DEVNULL,
                stdout=output or sys.stderr,
                stderr=output or sys.stderr,
                # Only this process handles Ctrl-C at the terminal: it stops the services in order.
                start_new_session=True,
            )

    def heard(self) -> bool:
        """Read a state announcement of the service; return False after the last one."""
        line = self.ready.readline()
        if not line:
            return False
        news = json.loads(line)
        host = _ANY.get(news["host"], news["host"])
        self.address = f"{host}:{news['port']}"
        self.serving = news["state"] == "serving"
        return True

    def failure(self) -> CliError:
        """Return why the service ended, from its log if that tells."""
        code = self.process.wait()
        if self.log is None:
            return CliError(f"the {self.name} service ended, exit code {code}; what it said is above", _exit_code(code))
        prefix = f"memgpt-{self.name}: "
        words = [line.removeprefix(prefix) for line in self._lines() if line.startswith(prefix)]
        if words:
            return CliError(f"{self.name}: {words[-1]}", _exit_code(code))
        return CliError(f"the {self.name} service ended, exit code {code}; its log is {self.log}", _exit_code(code))

    def _lines(self) -> list[str]:
        """Return the lines of its log."""
        if self.log is None:
            return []
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace").splitlines()

    def wait(self) -> None:
        """Wait for the service to end, and kill it if it takes too long."""
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.ready.close()

    def leave(self) -> None:
        """Leave the service to the other processes that use it."""
        self.process.returncode = 0  # keeps Popen from waiting for it: other processes use it
        self.ready.close()


@contextmanager
def start(
    config: Config[ClientSettings],
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    *,
    logs: bool = True,
    held: Sequence[int] = (),
) -> Iterator[list[Child]]:
    """Start the three services, and stop them when the context ends, Memory last.

    Args:
        config: Has the folder for the logs.
        environ: Settings for the services.
        tell: Receives messages for people while services are not ready.
        logs: Whether their logs go to files instead of standard error.
        held: Descriptors that they inherit, and keep open until they end.

    Yields:
        The serving Memory, Loader and Agent.

    Raises:
        CliError: A service did not start, or ``[server]`` and ``[client]`` do not agree on TLS.
    """
    children: list[Child] = []
    front, memory = Lifeline(), Lifeline()
    try:
        yield launch(config, environ, tell, children, front, memory, logs=logs, held=held)
    finally:
        stop(children, front, memory)


def launch(
    config: Config[ClientSettings],
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    children: list[Child],
    front: Lifeline,
    back: Lifeline,
    *,
    logs: bool = True,
    held: Sequence[int] = (),
) -> list[Child]:
    """Start the services and return them once all serve; see `start`.

    Args:
        config: Has the folder for the logs.
        environ: Settings for the services.
        tell: Receives messages for people while services are not ready.
        children: Each service is appended when it starts, even if a later one fails.
        front: Lifeline of Agent and Loader.
        back: Lifeline of Memory, which must outlive them.
        logs: Whether their logs go to files instead of standard error.
        held: Descriptors that they inherit, and keep open until they end.
    """
    require_installed("memory", "loader", "agent")
    _require_agreement(config)

    def begin(name: str, lifeline: Lifeline, **settings: str) -> Child:
        log = config.home / "logs" / f"{name}.log" if logs else None
        children.append(Child(name, {**environ, **settings}, log, lifeline, held))
        return children[-1]

    memory = begin("memory", back)
    back.started()
    # Imported while Memory starts, which saves a second.
    from memgpt.cli.services.health import says_serving
    from memgpt.client import open_channel

    deadline = time.monotonic() + START_TIMEOUT
    # The others only need Memory's address, which is known long before its store is open.
    _await(children, deadline, lambda: bool(memory.address))
    for name in ("loader", "agent"):
        begin(name, front, **_memory_settings(name, memory.address, config.service))
    front.started()
    _await(children, deadline, lambda: all(child.serving for child in children))
    for child in children:
        # Memory serves before its store is open; the others become ready after Memory.
        with open_channel(child.address, config.service.credentials()) as channel:
            _await_ready(children, child, deadline, partial(says_serving, channel), tell)
    return children


def stop(children: list[Child], front: Lifeline, back: Lifeline) -> None:
    """Stop the services in order: Agent and Loader may need Memory until they end."""
    front.let_go()
    for child in children[1:]:
        child.wait()
    back.let_go()
    for child in children[:1]:
        child.wait()


def _require_agreement(config: Config[ClientSettings]) -> None:
    """Check that services configured by ``[server]`` can be reached with the settings in ``[client]``."""
    if (config.server.tls_cert is not None) != config.service.tls:
        raise CliError(
            "the services could not be reached after their start: [server] has "
            + (
                "tls_cert, but client.tls is not true"
                if config.server.tls_cert
                else "no tls_cert, but client.tls is true"
            )
            + "; enable TLS in both sections or in neither",
            MISUSE,
        )
    if config.server.tls_client_ca is not None and config.service.tls_cert is None:
        raise CliError(
            "the services could not be reached after their start: [server] has tls_client_ca, which requires"
            " a client certificate; set tls_cert and tls_key in [client]",
            MISUSE,
        )


def require_installed(*names: str) -> None:
    """Check that services can be started here.

    Raises:
        CliError: A service is not installed; the message has the command that installs it.
    """
    missing = [f"memgpt-milvus-{name}" for name in names if find_spec(f"memgpt_{name}") is None]
    if missing:
        raise CliError(
            f"not installed: {', '.join(missing)}; run `pip install {' '.join(missing)}`, or set agent_address and"
            " loader_address in [client] of the configuration to use services that run elsewhere",
            MISUSE,
        )


def _memory_settings(name: str, address: str, client: ClientSettings) -> dict[str, str]:
    """Return the settings by which a service reaches the Memory started here, the same as this process's."""
    settings = {"memory_address": address}
    if client.tls:
        settings["memory_tls"] = "true"
        files = {"ca": client.tls_ca, "cert": client.tls_cert, "key": client.tls_key}
        settings |= {f"memory_tls_{kind}": str(path) for kind, path in files.items() if path is not None}
    return {f"MEMGPT_{name}_{key}".upper(): value for key, value in settings.items()}


def _await(children: list[Child], deadline: float, done: Callable[[], bool]) -> None:
    with selectors.DefaultSelector() as selector:
        for child in children:
            if not child.serving:
                selector.register(child.ready, selectors.EVENT_READ, child)
        while not done():
            events = selector.select(max(0.0, deadline - time.monotonic()))
            if not events:
                late = ", ".join(child.name for child in children if not child.serving)
                raise CliError(f"not started within {START_TIMEOUT:.0f} s: {late}; see the logs in ~/.memgpt/logs")
            for key, _ in events:
                child = key.data
                if not child.heard():
                    raise child.failure()
                if child.serving:
                    selector.unregister(child.ready)


def _await_ready(
    children: list[Child], child: Child, deadline: float, ready: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    telling = time.monotonic() + _TELLING
    while not ready():
        if time.monotonic() > telling:
            telling = deadline
            tell(f"the {child.name} service is not ready yet; still waiting (its log: {child.log})")
        for other in children:
            if other.process.poll() is not None:
                raise other.failure()
        if time.monotonic() > deadline:
            raise CliError(f"the {child.name} service is not ready after {START_TIMEOUT:.0f} s; its log is {child.log}")
        time.sleep(_HEALTH_INTERVAL)


def _exit_code(code: int) -> int:
    return MISUSE if code == MISUSE else FAILURE


def _open_log(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    return log.open("ab")
