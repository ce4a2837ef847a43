"""Every RPC of the suite with every kind of credential, from the descriptors of the contracts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.common.v1 import identity_service_pb2 as identity_pb
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub
from memgpt.loader.v1 import load_pb2 as load_pb
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt_runtime.auth.permissions import LEAST_ROLE, declared, name_of
from memgpt_runtime.ids import new_id
from memgpt_runtime.principal import Role
from memgpt_runtime.status import from_rpc_error

from tests.support.contracts import service_methods
from tests.support.credentials import SERVERS, GuardedSuite, Metadata, bearer, reason_of
from tests.support.waiting import wait_until

REFUSED = {
    "none": "CREDENTIAL_MISSING",
    "malformed": "CREDENTIAL_MALFORMED",
    "unknown": "CREDENTIAL_UNKNOWN",
    "expired": "CREDENTIAL_EXPIRED",
    "revoked": "CREDENTIAL_REVOKED",
}
ROLES = ["reader", "user", "admin", "operator", "service"]
ALL_SERVERS = ["agent", "loader", "memory"]


def _methods() -> list[tuple[str, MethodDescriptor]]:
    found: list[tuple[str, MethodDescriptor]] = []
    for method in service_methods():
        package = method.containing_service.file.package
        servers = ALL_SERVERS if package == "memgpt.common.v1" else [SERVERS[package]] if package in SERVERS else []
        found += [(server, method) for server in servers]  # none for services that others implement
    return found


METHODS = _methods()
each_method = pytest.mark.parametrize(
    ("server", "method"), METHODS, ids=[f"{server}-{method.full_name}" for server, method in METHODS]
)


class Credentials:
    """A suite with a key of every kind, and with something of the tenant acme to ask for.

    Attributes:
        metadata: The metadata of a call, by kind of credential.
        ids: Ids of the tenant acme, by the name of the field that takes them.
    """

    def __init__(self, suite: GuardedSuite) -> None:
        self.suite = suite
        for tenant in ("acme", "globex"):
            suite.create_tenant(tenant)
        self.metadata: dict[str, Metadata] = {
            "none": (),
            "malformed": bearer("mgpt_too_short"),
            "unknown": bearer(f"mgpt_{'0' * 26}_{'A' * 43}"),
            "service": bearer(suite.service_key),
            "operator": bearer(suite.create_key("operator", "operator")[1]),
        }
        for role in ("reader", "user", "admin"):
            self.metadata[role] = bearer(suite.create_key(role, role, "acme")[1])
        narrow = suite.create_key("narrow", "user", "acme", agent_ids=[new_id("agent")], source_ids=[new_id("source")])
        self.metadata["restricted key"] = bearer(narrow[1])
        self.metadata["other tenant"] = bearer(suite.create_key("other", "admin", "globex")[1])
        expiring = Timestamp()
        expiring.FromDatetime(datetime.now(UTC) + timedelta(seconds=2))
        self.metadata["expired"] = bearer(suite.create_key("expired", "operator", expire_time=expiring)[1])
        revoked, token = suite.create_key("revoked", "operator")
        self.metadata["revoked"] = bearer(token)
        suite.keys.RevokeApiKey(keys_pb.RevokeApiKeyRequest(api_key_id=revoked), metadata=bearer(suite.operator))
        for kind in ("expired", "revoked"):
            self._await_refusal(kind)
        self.ids = self._fill()

    def _await_refusal(self, kind: str) -> None:
        wait_until(lambda: {self._reason(server, kind) for server in ALL_SERVERS} == {REFUSED[kind]})

    def _reason(self, server: str, kind: str) -> str:
        stub = IdentityServiceStub(self.suite.channel(server))
        try:
            stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=self.metadata[kind])
        except grpc.RpcError as error:
            return reason_of(error)
        return ""

    def _fill(self) -> dict[str, str]:
        agents = AgentServiceStub(self.suite.channel("agent"))
        loader = LoaderServiceStub(self.suite.channel("loader"))
        user = self.metadata["user"]
        agent = agents.CreateAgent(agent_pb.CreateAgentRequest(name="secret agent"), metadata=user).agent
        manifest = load_pb.FileManifest(name="secret.txt", size=1, sha256=bytes(32).hex())
        wanted = loader_pb.CreateLoadRequest(source_name="secret source", files=[manifest])
        load = loader.CreateLoad(wanted, metadata=user).load
        return {
            "agent_id": agent.agent_id,
            "source_id": load.source_id,
            "load_id": load.load_id,
            "api_key_id": self.suite.create_key("secret key", "reader", "acme")[0],
        }


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Credentials]:
    with GuardedSuite(tmp_path_factory.mktemp("matrix")) as suite:
        yield Credentials(suite)


def _request(method: MethodDescriptor, ids: dict[str, str]) -> Message:
    """Return a request with all ids that it takes; the rest is empty."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    _set_ids(request, ids)
    return cast("Message", request)


def _set_ids(message: Any, ids: dict[str, str]) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.name in ids and not field.is_repeated and field.type == field.TYPE_STRING:
            setattr(message, field.name, ids[field.name])
        elif field.name in ("header", "scope", "config") and field.message_type is not None:
            _set_ids(getattr(message, field.name), ids)


def _outcome(credentials: Credentials, server: str, method: MethodDescriptor, request: Message, kind: str) -> Any:
    """Return the error, or None and the response as text."""
    try:
        response = credentials.suite.call(server, method, request, credentials.metadata[kind])
    except grpc.RpcError as error:
        return error.code(), from_rpc_error(error), ""
    return grpc.StatusCode.OK, None, str(response)


@each_method
def test_a_call_without_a_valid_credential_is_refused(
    credentials: Credentials, server: str, method: MethodDescriptor
) -> None:
    for kind, reason in REFUSED.items():
        code, error, _ = _outcome(credentials, server, method, _request(method, {}), kind)
        assert (code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), kind


@each_method
def test_a_role_may_call_what_its_permissions_say(
    credentials: Credentials, server: str, method: MethodDescriptor
) -> None:
    permission = declared(method)
    least = LEAST_ROLE[permission]
    assert least is not None
    for name in ROLES:
        code, error, _ = _outcome(credentials, server, method, _request(method, {}), name)
        if Role.parse(name) < least:
            assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED"), name
            assert error.metadata == {"permission": name_of(permission), "role": name}
        else:
            assert code not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), (name, error)


@pytest.mark.parametrize("kind", ["other tenant", "restricted key"])
@each_method
def test_others_learn_nothing(credentials: Credentials, server: str, method: MethodDescriptor, kind: str) -> None:
    """What exists in another tenant, or is not among a key's, is answered as what exists nowhere."""
    invented = {name: new_id(value.partition("_")[0]) for name, value in credentials.ids.items()}
    outcomes = []
    for ids in (credentials.ids, invented):
        code, error, text = _outcome(credentials, server, method, _request(method, ids), kind)
        if code is grpc.StatusCode.OK:  # a list, or a new thing: nothing of what was asked for
            assert not any(id_ in text for id_ in credentials.ids.values())
            assert "secret " not in text
            outcomes.append((code, "", ""))
            continue
        message = error.message
        for name, id_ in ids.items():
            message = message.replace(id_, name)
        outcomes.append((code, error.reason, message))
    assert outcomes[0] == outcomes[1]
    assert "secret " not in outcomes[0][2]


@each_method
def test_a_principal_is_refused_from_everyone_but_services(
    credentials: Credentials, server: str, method: MethodDescriptor
) -> None:
    request = _request(method, {})
    claim: Metadata = (("x-memgpt-principal", "tenant=globex"),)
    with pytest.raises(grpc.RpcError) as caught:
        credentials.suite.call(server, method, request, credentials.metadata["operator"] + claim)
    assert from_rpc_error(caught.value).reason == "PRINCIPAL_REFUSED"
    assert "x-memgpt-principal" in from_rpc_error(caught.value).message
