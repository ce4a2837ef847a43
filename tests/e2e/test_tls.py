"""The three services and the command line with mutual TLS, and nothing in plaintext."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.certificates import Authority
from tests.support.processes import service_environment
from tests.support.suite import Suite

MEMGPT = Path(sys.executable).with_name("memgpt")

TEA = "Green tea is steeped at eighty degrees. Black tea is steeped in boiling water.\n"
QUESTION = "/attach tea\nHow is green tea steeped?\n"
ANSWER = "“Green tea is steeped at eighty degrees.”"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def _server(authority: Authority) -> dict[str, str]:
    server = authority.issue("server")
    return {"tls_cert": str(server.cert), "tls_key": str(server.key), "tls_client_ca": str(authority.ca)}


def _caller(authority: Authority, name: str, prefix: str = "") -> dict[str, str]:
    own = authority.issue(name)
    settings = {"tls": "true", "tls_ca": authority.ca, "tls_cert": own.cert, "tls_key": own.key}
    return {prefix + key: str(value) for key, value in settings.items()}


def _variables(section: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {f"MEMGPT_{section}_{key}".upper(): value for key, value in settings.items()}


def _memgpt(environment: Mapping[str, str], *arguments: str, text: str = "") -> str:
    done = subprocess.run(
        [MEMGPT, *arguments], input=text, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_services_that_ask_each_other_for_certificates(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "tea.txt").write_text(TEA)
    settings = _variables("server", _server(authority))
    for name in ("agent", "loader"):
        settings |= _variables(name, _caller(authority, name, "memory_"))
    with Suite(tmp_path / "home", **settings) as suite:
        addresses = {"agent_address": suite.agent_address, "loader_address": suite.loader_address}
        client = _variables("client", addresses | _caller(authority, "client"))
        environment = service_environment(suite.home, client)
        _memgpt(environment, "load", "directory", "--name", "tea", "--input-files", str(tmp_path / "tea.txt"))
        assert ANSWER in _memgpt(environment, "run", "--agent", "Ada", text=QUESTION)

        # Neither in plaintext nor without a certificate.
        for credentials in (None, grpc.ssl_channel_credentials(authority.ca.read_bytes())):
            for address in (suite.memory_address, suite.loader_address, suite.agent_address):
                with (
                    grpc.secure_channel(address, credentials)
                    if credentials is not None
                    else grpc.insecure_channel(address)
                ) as channel:
                    with pytest.raises(grpc.RpcError) as caught:
                        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_services_that_the_command_line_starts(authority: Authority, tmp_path: Path) -> None:
    """Two sections of one file suffice: services started here reach Memory as the command line reaches them."""
    (tmp_path / "tea.txt").write_text(TEA)
    home = tmp_path / "home"
    server = service_environment(home, _variables("server", _server(authority)))
    environment = {**server, **_variables("client", _caller(authority, "client"))}
    _memgpt(environment, "load", "directory", "--name", "tea", "--input-files", str(tmp_path / "tea.txt"))
    assert ANSWER in _memgpt(environment, "run", "--agent", "Ada", text=QUESTION)

    half = subprocess.run(
        [MEMGPT, "list", "agents"], env=server, capture_output=True, text=True, timeout=60, check=False
    )
    assert half.returncode == 2
    assert "[server] has tls_cert, but client.tls is not true" in half.stderr

    without = {**server, **_variables("client", {"tls": "true", "tls_ca": str(authority.ca)})}
    nameless = subprocess.run(
        [MEMGPT, "list", "agents"], env=without, capture_output=True, text=True, timeout=60, check=False
    )
    assert nameless.returncode == 2
    assert "requires a client certificate" in nameless.stderr
