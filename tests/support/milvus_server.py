"""A real Milvus 2.3.5 server for tests, standalone in one process: start, `kill -9`, restart, hang.

The server comes from `scripts/tools.py milvus`. Every server has its own ports and folder, so that several can run
side by side. It is ready about 3 s after its start.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.ports import free_ports

_ROOT = Path(__file__).parents[2]
_HOME = _ROOT / ".tools" / "milvus-2.3.5"
_LAUNCHER = Path(__file__).with_name("die_with_parent.py")

# The kernel ties a child's life to the *thread* that started it. This thread lives as long as the test session,
# whichever thread requests a server.
_starter = ThreadPoolExecutor(1, thread_name_prefix="milvus-starter")

# Milvus responds as soon as it is up, but first waits for the leases of its killed predecessor to expire.
_SESSION_TTL = 5


def why_unavailable() -> str | None:
    """Return why no server can be started on this machine; None if one can."""
    if (_HOME / "bin" / "milvus").exists():
        return None
    return "the Milvus 2.3.5 server is not installed: run `make tools`, which also says why if it cannot be had"


class MilvusServer:
    """One server process and its data.

    Attributes:
        uri: URI for clients, such as ``http://127.0.0.1:40123``; the same after every restart.
        folder: Folder of its data, configuration and logs.
    """

    def __init__(self, folder: Path) -> None:
        """Choose ports and write the configuration into `folder`, without starting the server."""
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._configure()

    def _configure(self) -> None:
        template = (_HOME / "config.yaml.template").read_text()
        keys = list(dict.fromkeys(re.findall(r"\{\{ *(\w+_port)\b", template)))
        *ports, self._health_port = free_ports(len(keys) + 1)
        values = {key: str(port) for key, port in zip(keys, ports, strict=True)}
        self.uri = f"http://127.0.0.1:{values['proxy_port']}"
        values |= {
            "etcd_log_path": f"{self.folder}/etcd.log",
            "etcd_log_level": "warn",
            "etcd_data_dir": f"{self.folder}/etcd",
            "local_storage_dir": f"{self.folder}/storage",
            "rocksmq_data_dir": f"{self.folder}/rocksmq",
            "system_log_path": "",
        }

        def fill(match: re.Match[str]) -> str:
            name, _, default = match[1].partition(":")
            return values.get(name.split("(")[0].strip(), default.strip())

        text = re.sub(r"\{\{(.*?)\}\}", fill, template)
        text = re.sub(r"(?m)^  ip:.*$", "  ip: 127.0.0.1", text)
        text = re.sub(r"(?m)^    ttl: \d+", f"    ttl: {_SESSION_TTL}", text)
        text = text.replace("log:\n  level: info", "log:\n  level: warn")
        # Embedded etcd ignores the port above: without a file of its own it binds the well-known ones.
        text = text.replace(
            "  use:\n    embed: true", f"  config:\n    path: {self.folder}/etcd.yaml\n  use:\n    embed: true"
        )
        configs = self.folder / "configs"
        configs.mkdir(parents=True)
        (configs / "milvus.yaml").write_text(text)
        shutil.copy(_HOME / "glog.conf", configs)
        (self.folder / "logs").mkdir()
        (self.folder / "etcd.yaml").write_text(
            "name: default\n"
            "listen-client-urls: http://127.0.0.1:0\n"
            f"advertise-client-urls: http://127.0.0.1:{values['etcd_port']}\n"
            "listen-peer-urls: http://127.0.0.1:0\n"
            "initial-advertise-peer-urls: http://127.0.0.1:2380\n"
            "initial-cluster: default=http://127.0.0.1:2380\n"
        )

    @property
    def _log(self) -> Path:
        return self.folder / "milvus.log"

    def start(self) -> None:
        """Start the process without waiting; see `wait_ready`."""
        assert self._process is None, "it runs already"
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": f"{_HOME}/bin",
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health_port),
            "MILVUSCONF": f"{self.folder}/configs",
            "MILVUS_RUN_DIR": f"{self.folder}/run",
        }
        self._process = _starter.submit(self._launch, environment).result()

    def _launch(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*launcher, f"{_HOME}/bin/milvus", "run", "standalone"],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, timeout: float = 120) -> None:
        """Wait until every component of the server reports that it is healthy.

        Raises:
            RuntimeError: It ended, or was not ready within `timeout` seconds; the message has the end of its log.
        """
        assert self._process is not None, "it does not run"
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.is_healthy():
                return
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"Milvus ended with {self._process.returncode}:\n{self.log_end()}")
        raise RuntimeError(f"Milvus was not ready within {timeout} s:\n{self.log_end()}")

    def is_healthy(self) -> bool:
        """Whether every component reports that it is healthy."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health_port}/healthz", timeout=60) as answer:
                return bool(answer.read() == b"OK")
        except OSError:
            return False

    @property
    def ended(self) -> bool:
        """Whether it ran and has ended by itself, as it does after losing its session in etcd."""
        return self._process is not None and self._process.poll() is not None

    def kill9(self) -> None:
        """Kill it, as in a crash."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(60)
        self._process = None

    def restart(self, timeout: float = 120) -> None:
        """Restart it on the same data and ports, with `kill9` if it runs, and wait until it is ready."""
        if self._process is not None:
            self.kill9()
        self.start()
        self.wait_ready(timeout)

    def suspend(self) -> None:
        """Suspend it: connections stay open without responses."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after `suspend`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it if it runs. Nothing is flushed, since its data is not kept."""
        if self._process is not None:
            self.kill9()

    def log_end(self, size: int = 4000) -> str:
        """Return the last characters of its log."""
        return self._log.read_text(errors="replace")[-size:] if self._log.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        if not self.ended:
            os.killpg(self._process.pid, number)
