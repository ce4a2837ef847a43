"""The life of a real service process: start, signals, end of the parent, user errors."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt_runtime.parent import PARENT_FD, READY_FD
from memgpt_runtime.status import from_rpc_error

from tests.contract.runtime.probe import PREFIX

ROOT = Path(__file__).parents[3]
WAIT = 30


class Process:
    """A service process, its pipes, and a channel to it."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        ready, ready_child = os.pipe()
        parent_child, self.parent = os.pipe()
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MEMGPT_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.contract.runtime.service_main", *arguments],
            cwd=ROOT,
            env={
                **clean,
                "MEMGPT_HOME": str(home),
                "MEMGPT_SERVER_LOG_FORMAT": "json",
                READY_FD: str(ready_child),
                PARENT_FD: str(parent_child),
                **environment,
            },
            pass_fds=(ready_child, parent_child),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(ready_child)
        os.close(parent_child)
        self.lines = os.fdopen(ready)
        self.channel: grpc.Channel | None = None

    def until(self, state: str) -> dict[str, Any]:
        """Read lines up to the one with a state."""
        for line in self.lines:
            found: dict[str, Any] = json.loads(line)
            if found["state"] == state:
                return found
        raise AssertionError(f"never {state}: {self.finish()}")

    def connect(self) -> Any:
        """Wait until it serves; return the unary method."""
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.until('serving')['port']}")
        return self.channel.unary_unary(
            PREFIX + "Unary",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
        )

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, standard output and standard error."""
        out, err = self.popen.communicate(timeout=WAIT)
        return self.popen.returncode, out, err

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()
        self.lines.close()
        if self.parent >= 0:
            os.close(self.parent)

    def leave(self) -> None:
        """Close the parent end of the pipe, as the kernel does when the parent dies for any reason."""
        os.close(self.parent)
        self.parent = -1


Launch = Callable[..., Process]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    processes: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        processes.append(Process(tmp_path, *arguments, **environment))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def _entered(call: Any, home: Path) -> None:
    """Return once the handler runs, which then waits for the stop."""
    while not (home / "entered").exists():
        assert not call.done(), call.exception()


def test_port_is_announced_first_bound_then_serving(launch: Launch) -> None:
    process = launch()
    bound, serving = process.until("bound"), process.until("serving")
    assert bound["port"] == serving["port"] > 0
    assert bound == {"service": "memory", "host": "127.0.0.1", "port": bound["port"], "state": "bound"}
    assert process.lines.read() == ""


def test_sigterm_finishes_calls_then_closes_resources(launch: Launch, tmp_path: Path) -> None:
    process = launch(MEMGPT_SERVER_DRAIN_PAUSE="0.1")
    unary = process.connect()
    call = unary.future(StringValue(value="until stopping"), timeout=WAIT)
    _entered(call, tmp_path)
    process.popen.send_signal(signal.SIGTERM)
    assert call.result().value == "finished"
    code, out, err = process.finish()
    assert (code, out) == (0, "")
    assert (tmp_path / "closed").exists()
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events == ["serving", "draining", "rpc", "stopped"]


def test_sigterm_ends_a_start_that_waits(launch: Launch, tmp_path: Path) -> None:
    """What was opened until then is closed."""
    process = launch(MEMGPT_MEMORY_HANG="true")
    process.until("bound")
    process.popen.send_signal(signal.SIGTERM)
    code, out, err = process.finish()
    assert (code, out) == (0, "")
    assert (tmp_path / "closed").exists()
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["stopped_while_starting"]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_host_is_announced_in_brackets(launch: Launch, host: str) -> None:
    process = launch(MEMGPT_MEMORY_HOST=host)
    assert {process.until(state)["host"] for state in ("bound", "serving")} == {"[::1]"}


def test_sigterm_is_not_serving_during_the_pause_and_a_second_ends_it(launch: Launch) -> None:
    process = launch(MEMGPT_SERVER_DRAIN_PAUSE="600")
    unary = process.connect()
    assert process.channel is not None
    watch = health_pb2_grpc.HealthStub(process.channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    process.popen.send_signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert unary(StringValue(value="still here"), timeout=WAIT).value == "still here"
    process.popen.send_signal(signal.SIGTERM)
    assert process.finish()[0] == 0


def test_calls_beyond_the_grace_end_with_unavailable(launch: Launch, tmp_path: Path) -> None:
    process = launch(MEMGPT_SERVER_DRAIN_GRACE="0.1", MEMGPT_SERVER_DRAIN_PAUSE="0")
    unary = process.connect()
    first = unary.future(StringValue(value="until stopping"), timeout=WAIT)
    second = unary.future(StringValue(value="for ever"), timeout=WAIT)
    _entered(first, tmp_path)
    process.popen.send_signal(signal.SIGINT)
    assert first.result().value == "finished"
    error = from_rpc_error(second.exception())
    # The second may not have arrived when the drain began; both answers tell the client to come again.
    assert error.reason in ("SHUTTING_DOWN", "SERVICE_UNAVAILABLE")
    assert process.finish()[0] == 0


@pytest.mark.parametrize("hang", ["false", "true"])
def test_end_of_the_parent_is_its_own(launch: Launch, tmp_path: Path, hang: str) -> None:
    process = launch(MEMGPT_SERVER_DRAIN_PAUSE="600", MEMGPT_MEMORY_HANG=hang)
    process.until("bound" if hang == "true" else "serving")
    process.leave()
    assert process.finish()[0] == 0
    assert (tmp_path / "closed").exists() or hang == "true"


@pytest.mark.linux("waits for a process by pidfd")
def test_kill_of_the_parent_leaves_no_orphan(tmp_path: Path) -> None:
    """The child of a killed parent must see the end of the pipe, so it must not hold the other end itself."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.contract.runtime.test_process import Process\n"
        "process = Process(Path(sys.argv[1]))\n"
        "process.until('serving')\n"
        "print(process.popen.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            parent.wait()
            # Readable when the process has ended.
            ended, _, _ = select.select([child], [], [], WAIT)
            assert ended == [child]
        finally:
            os.close(child)
    assert (tmp_path / "closed").exists()


def test_busy_port_is_named_with_its_setting(launch: Launch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = launch(MEMGPT_MEMORY_PORT=str(port)).finish()
    assert (code, out) == (1, "")
    assert err == (
        f"memgpt-memory: cannot listen on 127.0.0.1:{port}: the address is in use; stop the other server, or choose "
        "another port with memory.port (MEMGPT_MEMORY_PORT)\n"
    )


def test_two_services_never_share_a_port(launch: Launch) -> None:
    port = launch().until("serving")["port"]
    code, _, err = launch(MEMGPT_MEMORY_PORT=str(port)).finish()
    assert code == 1
    assert f"127.0.0.1:{port}: the address is in use" in err


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"MEMGPT_MEMORY_HOST": "203.0.113.1"}, 1, "one of this machine's addresses with memory.host"),
        ({"MEMGPT_MEMORY_HOST": "no such host"}, 1, 'unknown host "no such host"'),
        ({"MEMGPT_MEMORY_PROT": "1"}, 2, 'unknown variable MEMGPT_MEMORY_PROT; did you mean "MEMGPT_MEMORY_PORT"?'),
        ({"MEMGPT_MEMORY_PORT": "many"}, 2, "environment: MEMGPT_MEMORY_PORT: "),
        ({"MEMGPT_CONFIG": "/nowhere/config.toml"}, 2, "/nowhere/config.toml: file not found"),
        (
            {"MEMGPT_SERVER_TLS_CERT": "/nowhere/c.pem", "MEMGPT_SERVER_TLS_KEY": "/nowhere/k.pem"},
            2,
            "server.tls_cert: cannot read /nowhere/c.pem",
        ),
        ({"MEMGPT_MEMORY_REFUSE": "1"}, 1, "the store was embedded by another model"),
        ({READY_FD: "77"}, 2, f"{READY_FD} must be the number of an open descriptor"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_end_with_one_line(launch: Launch, environment: dict[str, str], code: int, message: str) -> None:
    found, out, err = launch(**environment).finish()
    assert (found, out) == (code, "")
    assert err.startswith("memgpt-memory: ")
    assert message in err
    assert err.count("\n") == 1
