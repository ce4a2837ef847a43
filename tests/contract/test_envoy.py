"""The configuration of Envoy repeats only what the contract allows, and every variant is valid."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from memgpt.agent.v1 import agent_service_pb2
from memgpt.client.channel import service_config
from memgpt.common.v1 import identity_service_pb2
from memgpt.common.v1.permission_pb2 import PERMISSION_PUBLIC, PERMISSION_READ, permission
from memgpt.loader.v1 import loader_service_pb2

from scripts import protos
from scripts.envoy import SOURCE, Variant, render
from tests.support.certificates import Authority
from tests.support.envoy import envoy_program
from tests.support.issuer import Issuer

SERVICES: tuple[ServiceDescriptor, ...] = (
    agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"],
    identity_service_pb2.DESCRIPTOR.services_by_name["IdentityService"],
    loader_service_pb2.DESCRIPTOR.services_by_name["LoaderService"],
)
NAME_AN_EARLIER_REQUEST = {"CancelTurn"}
"""Methods whose request id is that of another request."""


def manager() -> dict[str, Any]:
    config = yaml.safe_load(SOURCE.read_text())
    (listener,) = config["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def host() -> dict[str, Any]:
    (found,) = manager()["route_config"]["virtual_hosts"]
    return dict(found)


METHODS = [(f"/{service.full_name}/{method.name}", method) for service in SERVICES for method in service.methods]
each_method = pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])


def may_run_twice(method: MethodDescriptor) -> bool:
    """Whether a proxy may repeat it: a client sends a request id, but a proxy cannot know whether this one has."""
    assert method.containing_service is not None
    if method.client_streaming or method.server_streaming:
        return False
    if method.GetOptions().Extensions[permission] in (PERMISSION_READ, PERMISSION_PUBLIC):
        return True
    clients = json.loads(service_config())["methodConfig"][0]["name"]
    keyed = "request_id" in method.input_type.fields_by_name and method.name not in NAME_AN_EARLIER_REQUEST
    return not keyed and {"service": method.containing_service.full_name, "method": method.name} in clients


def route_of(path: str) -> dict[str, Any]:
    for route in host()["routes"]:
        match = route["match"]
        expression = match["safe_regex"]["regex"] if "safe_regex" in match else ""
        if path == match.get("path") or (expression and re.fullmatch(expression, path)):
            return dict(route)
        if path.startswith(match.get("prefix", "\0")):
            return dict(route)
    raise AssertionError(f"no route for {path}")


@each_method
def test_a_call_is_repeated_only_if_it_may_run_twice(path: str, method: MethodDescriptor) -> None:
    policy = route_of(path)["route"].get("retry_policy", host()["retry_policy"])
    conditions = set(policy["retry_on"].split(","))
    unseen = {"connect-failure", "refused-stream"}
    assert conditions == (unseen | {"unavailable", "reset"} if may_run_twice(method) else unseen)


@each_method
def test_calls_reach_their_service_without_a_timeout(path: str, method: MethodDescriptor) -> None:
    route = route_of(path)["route"]
    assert route["cluster"] == ("loader" if "LoaderService" in path else "agent")
    assert route["timeout"] == "0s"
    assert manager()["stream_idle_timeout"] == "0s"


def test_memory_has_no_route() -> None:
    for path in ("/memgpt.memory.v1.AgentStateService/GetAgent", "/memgpt.tool.v1.ToolService/CallTool"):
        with pytest.raises(AssertionError, match="no route"):
            route_of(path)


@pytest.mark.parametrize("plaintext", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_envoy_accepts_every_variant(plaintext: bool, tokens: bool, tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    authority = Authority(tls, "ca")
    certificate = authority.issue("tls")
    authority.ca.rename(tls / "ca.crt")
    certificate.cert.rename(tls / "tls.crt")
    certificate.key.rename(tls / "tls.key")
    issuer = Issuer()
    issuer.add("one")
    (tmp_path / "jwks.json").write_bytes(issuer.jwks())
    (tmp_path / "memgpt.pb").write_bytes(protos.transcoding())
    config = tmp_path / "envoy.json"
    config.write_text(render(Variant(plaintext=plaintext, tokens=tokens, folder=str(tmp_path))))
    command = [str(envoy_program()), "--mode", "validate", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    assert ("transport_socket" not in config.read_text()) == plaintext
    assert ("jwt_authn" in config.read_text()) == tokens
