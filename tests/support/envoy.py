"""Envoy in front of gRPC servers, as in a mesh or an ingress."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from tests.support.missing import missing_tool
from tests.support.ports import free_port

_TYPES = "type.googleapis.com/envoy.extensions"
_MANAGER = "filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP2 = "upstreams.http.v3.HttpProtocolOptions"


def envoy_program() -> Path:
    """Return the path of Envoy; without it, the test is skipped."""
    program = Path(sys.executable).with_name("envoy")
    if not program.exists():
        missing_tool("Envoy has no package for this machine")
    return program


class Envoy:
    """Distributes calls over the servers; a context manager.

    Attributes:
        address: Address that it listens on.
    """

    def __init__(self, folder: Path, *targets: str, idle: str = "300s", timeout: str = "0s") -> None:
        """Prepare the proxy; entering the context starts it.

        Args:
            folder: Folder for its configuration and log.
            targets: ``host:port`` of each server, which need not run yet.
            idle: Idle time after which it ends a stream.
            timeout: Time after which it ends any call; ``0s`` for never.
        """
        self._program = envoy_program()
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._log = folder / "envoy.log"
        self._config = folder / "envoy.json"
        self._config.write_text(json.dumps(_config(self._port, targets, idle, timeout)))

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program),
                    "-c",
                    str(self._config),
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                    "-l",
                    "warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with grpc.insecure_channel(self.address, [("grpc.enable_http_proxy", 0)]) as channel:
            try:
                grpc.channel_ready_future(channel).result(30)
            except grpc.FutureTimeoutError:
                self._stop()
                raise RuntimeError(f"Envoy did not start:\n{self._log.read_text()}") from None
        return self

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


def _config(port: int, targets: Sequence[str], idle: str, timeout: str) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": _address(host, int(number))}}
        for host, _, number in (target.rpartition(":") for target in targets)
    ]
    manager = {
        "@type": f"{_TYPES}.{_MANAGER}",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "stream_idle_timeout": idle,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "servers", "timeout": timeout}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": _address("127.0.0.1", port),
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "servers",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {"cluster_name": "servers", "endpoints": [{"lb_endpoints": endpoints}]},
                    "typed_extension_protocol_options": {
                        f"envoy.extensions.{_HTTP2}": {
                            "@type": f"{_TYPES}.{_HTTP2}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                }
            ],
        }
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
