"""The Envoy of `deploy/envoy` in front of Agents and Loaders."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts import protos
from scripts.envoy import Variant, render
from tests.support.certificates import Authority
from tests.support.envoy import envoy_program
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Edge:
    """Envoy as it is shipped, with addresses and files of a test; a context manager.

    Attributes:
        address: Address that it listens on.
        descriptors: File with the descriptor set of the contracts.
        folder: Its files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        agents: Sequence[str],
        loaders: Sequence[str] = (),
        authority: Authority | None = None,
        jwks: bytes | None = None,
        issuer: str | None = None,
        calls_per_second: int | None = 100_000,
        patience: str | None = None,
        listen: str | None = None,
    ) -> None:
        """Prepare the proxy; entering the context starts it.

        Args:
            folder: Folder for its files.
            agents: ``host:port`` of each Agent.
            loaders: ``host:port`` of each Loader.
            authority: Issues its certificate; None for plaintext.
            jwks: Public keys of an issuer of tokens; None to check no tokens.
            issuer: The issuer's name.
            calls_per_second: Its rate limit.
            patience: How long it waits for health checks and pings, such as ``30s``, with a check every second; None
                for what is shipped. Servers in a busy test process are slow without being ill.
            listen: Where it listens; None for a free port of the loopback.
        """
        port, admin = free_ports(2)
        self.folder = folder / "edge"
        (self.folder / "tls").mkdir(parents=True)
        self.descriptors = self.folder / "memgpt.pb"
        self.descriptors.write_bytes(protos.transcoding())
        if authority:
            certificate = authority.issue("edge")
            shutil.copy(certificate.cert, self.folder / "tls/tls.crt")
            shutil.copy(certificate.key, self.folder / "tls/tls.key")
            shutil.copy(authority.ca, self.folder / "tls/ca.crt")
        if jwks:
            (self.folder / "jwks.json").write_bytes(jwks)
        self.address = listen or f"127.0.0.1:{port}"
        self._admin = f"http://127.0.0.1:{admin}"
        self._patience = patience
        self._variant = Variant(
            listen=self.address,
            admin=f"127.0.0.1:{admin}",
            upstreams={"agent": agents, "loader": loaders},
            plaintext=authority is None,
            tokens=jwks is not None,
            issuer=issuer,
            calls_per_second=calls_per_second,
            folder=str(self.folder),
        )

    def __enter__(self) -> Self:
        config = self.folder / "envoy.json"
        config.write_text(self._render())
        command = [str(envoy_program()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]
        with (self.folder / "access.log").open("wb") as out, (self.folder / "envoy.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        try:
            self._wait_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def _render(self) -> str:
        config = json.loads(render(self._variant))
        for cluster in config["static_resources"]["clusters"] if self._patience else ():
            (protocol,) = cluster["typed_extension_protocol_options"].values()
            protocol["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]["timeout"] = (
                self._patience
            )
            for check in cluster["health_checks"]:
                check |= {"timeout": self._patience, "interval": "1s"}
        return json.dumps(config)

    def _wait_ready(self) -> None:
        """Wait until it listens and has checked its servers once."""

        def ready() -> bool:
            log = (self.folder / "envoy.log").read_text
            assert self._process.poll() is None, f"Envoy did not start:\n{log()}"
            try:
                with _NO_PROXY.open(f"{self._admin}/ready", timeout=60):
                    return True
            except urllib.error.HTTPError as error:
                error.close()  # or its socket stays open until it is collected
                return False

        wait_until(ready, ignore=OSError)

    def restart(self, **changes: Any) -> None:
        """Restart it with another configuration."""
        self._stop()
        self._variant = replace(self._variant, **changes)
        self.__enter__()

    def wait_until(self, cluster: str, healthy: int) -> None:
        """Wait until so many servers of a cluster are healthy; its workers distribute calls accordingly soon after."""
        wait_until(lambda: self.healthy(cluster) == healthy)

    def healthy(self, cluster: str) -> int:
        """Return how many servers of a cluster are healthy."""
        return self.stats().get(f"cluster.{cluster}.membership_healthy", 0)

    def stats(self) -> Mapping[str, int]:
        """Return its counters and gauges."""
        with _NO_PROXY.open(f"{self._admin}/stats?format=json", timeout=60) as response:
            stats = json.load(response)["stats"]
        return {each["name"]: each["value"] for each in stats if "name" in each}

    def access_log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log so far."""
        with _NO_PROXY.open(urllib.request.Request(f"{self._admin}/reopen_logs", method="POST"), timeout=60):
            pass  # it writes what it has buffered
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
