"""What the Envoy of `deploy/envoy` does in front of Agents and Loaders."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.common.v1 import identity_service_pb2 as identity_pb
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.agent_state_service_pb2 import GetAgentRequest
from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceStub
from memgpt.memory.v1.tenant_service_pb2_grpc import TenantServiceStub

from tests.support.certificates import Authority, Certificate
from tests.support.credentials import bearer
from tests.support.edge import Edge
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import ScriptedLLM, call
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

SERVICE_KEY = "k" * 64
PATIENCE = "60s"
"""Servers in this process may be slow on a busy machine; they are ill only if they say so."""

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Guarded:
    """The suite behind the edge, with certificates, API keys and tokens."""

    edge: Edge
    authority: Authority
    client: Certificate
    issuer: Issuer
    operator: str
    llm: ScriptedLLM

    def channel(self, certificate: bool = True) -> grpc.Channel:
        own = (self.client.key.read_bytes(), self.client.cert.read_bytes()) if certificate else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.ca.read_bytes(), *own)
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self.edge.address, credentials, options)

    def post(self, path: str, body: object, token: str) -> tuple[int, str, bytes]:
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        context.load_cert_chain(self.client.cert, self.client.key)
        host, _, port = self.edge.address.rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
        headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.status, response.getheader("content-type", ""), response.read()
        connection.close()
        return content


def variables(section: str, **settings: object) -> dict[str, str]:
    return {f"MEMGPT_{section}_{key}".upper(): str(value) for key, value in settings.items()}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("edge")
    authority, issuer = Authority(folder / "certificates"), Issuer()
    issuer.add("one")
    jwks = folder / "jwks.json"
    jwks.write_bytes(issuer.jwks())
    with ScriptedLLM(lambda _: call("send_message", message="Hello.")) as llm:
        common = variables(
            "server",
            service_key=SERVICE_KEY,
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwt_jwks=jwks,
            jwt_tenant_claim="tenant",
            jwt_role_claim="role",
        )
        model = variables("agent", model="scripted", base_url=llm.base_url, mode="tools", context_window=32768)
        first_key = folder / "first_key"
        memory = ServiceProcess("memgpt_memory", folder, **common, MEMGPT_MEMORY_FIRST_KEY_FILE=str(first_key))
        with memory:
            address = memory.wait_ready()
            with (
                behind_tls("agent", authority, folder, address, common | model) as agent,
                behind_tls("loader", authority, folder, address, common) as loader,
                Edge(
                    folder,
                    agents=[agent.wait_ready()],
                    loaders=[loader.wait_ready()],
                    authority=authority,
                    jwks=issuer.jwks(),
                    issuer=ISSUER,
                ) as edge,
                grpc.insecure_channel(address) as channel,
            ):
                operator = first_key.read_text().strip()
                acme = tenants_pb.CreateTenantRequest(name="acme")
                TenantServiceStub(channel).CreateTenant(acme, metadata=bearer(operator))
                edge.wait_until("agent", 1)
                edge.wait_until("loader", 1)
                yield Guarded(edge, authority, authority.issue("client"), issuer, operator, llm)


def behind_tls(
    name: str, authority: Authority, folder: Path, memory_address: str, settings: dict[str, str]
) -> ServiceProcess:
    """Start a service that only the edge's certificates reach."""
    own = authority.issue(name, dns=name)
    tls = variables("server", tls_cert=own.cert, tls_key=own.key, tls_client_ca=authority.ca)
    return ServiceProcess(
        f"memgpt_{name}", folder, **{**settings, **tls, **variables(name, memory_address=memory_address)}
    )


def test_clients_without_a_certificate_are_refused(guarded: Guarded) -> None:
    with guarded.channel(certificate=False) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_health_of_the_agents_needs_no_token(guarded: Guarded) -> None:
    with guarded.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_tokens_are_checked_at_the_edge(guarded: Guarded) -> None:
    other = Issuer()
    other.add("one")
    wrong = [
        (),
        bearer("not.a.token"),
        bearer(other.token("one")),
        bearer(guarded.issuer.token("one", exp=time.time() - 600)),
        bearer(guarded.issuer.token("one", aud="someone else")),
        bearer(guarded.issuer.token("one", iss="https://other.example")),
    ]
    with guarded.channel() as channel:
        stub = IdentityServiceStub(channel)
        for metadata in wrong:
            before = guarded.edge.stats()["cluster.agent.upstream_rq_total"]
            with pytest.raises(grpc.RpcError) as caught:
                stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=metadata, timeout=60)
            assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            assert guarded.edge.stats()["cluster.agent.upstream_rq_total"] == before, "no server was asked"
        me = stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(guarded.issuer.token("one")), timeout=60)
        assert (me.tenant, me.credential_kind) == ("acme", identity_pb.CREDENTIAL_KIND_JWT)


def test_api_keys_reach_the_services(guarded: Guarded) -> None:
    with guarded.channel() as channel:
        stub = IdentityServiceStub(channel)
        me = stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(guarded.operator), timeout=60)
        assert me.credential_kind == identity_pb.CREDENTIAL_KIND_API_KEY
        with pytest.raises(grpc.RpcError) as caught:
            stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer("mgpt_forged_key"), timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_principal_of_callers_is_removed(guarded: Guarded) -> None:
    """Services refuse callers that name a principal; through the edge it does not arrive."""
    claimed = (*bearer(guarded.issuer.token("one")), ("x-memgpt-principal", "tenant=default;role=operator"))
    with guarded.channel() as channel:
        me = IdentityServiceStub(channel).WhoAmI(identity_pb.WhoAmIRequest(), metadata=claimed, timeout=60)
    assert me.tenant == "acme"


def test_memory_is_not_reached_from_outside(guarded: Guarded) -> None:
    with guarded.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        AgentStateServiceStub(channel).GetAgent(
            GetAgentRequest(agent_id="agent_x"), metadata=bearer(guarded.operator), timeout=10
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_calls_reach_the_loader(guarded: Guarded) -> None:
    with guarded.channel() as channel:
        formats = LoaderServiceStub(channel).ListFormats(
            loader_pb.ListFormatsRequest(), metadata=bearer(guarded.operator), timeout=10
        )
    assert formats.formats


def test_the_access_log_names_turns_and_traces(guarded: Guarded) -> None:
    metadata = (*bearer(guarded.operator), ("traceparent", TRACE), ("x-request-id", "from-the-client"))
    with guarded.channel() as channel:
        stub = AgentServiceStub(channel)
        agent = stub.CreateAgent(pb.CreateAgentRequest(), metadata=metadata, timeout=60).agent
        request = pb.SendMessageRequest(agent_id=agent.agent_id, text="Hello")
        events = [each.event for each in stub.SendMessage(request, metadata=metadata, timeout=60)]
    turn_id = next(event.started.turn_id for event in events if event.started.turn_id)
    line = wait_until(
        lambda: next((each for each in guarded.edge.access_log() if "SendMessage" in each["method"]), None)
    )
    assert line is not None
    assert (line["turn_id"], line["grpc_status"]) == (turn_id, "OK")
    assert line["traceparent"] == TRACE
    assert line["peer"].startswith("127.0.0.1:")


def test_json_is_translated_with_the_details_of_errors(guarded: Guarded) -> None:
    service = "/memgpt.agent.v1.AgentService"
    status, _, body = guarded.post(f"{service}/CreateAgent", {"name": "Bjørn 🦋"}, guarded.operator)
    agent = json.loads(body)["agent"]
    assert (status, agent["name"]) == (200, "Bjørn 🦋")

    status, kind, body = guarded.post(f"{service}/GetAgent", {"agentId": "agent_x"}, guarded.operator)
    problem = json.loads(body)
    assert (status, kind, problem["code"]) == (404, "application/json", grpc.StatusCode.NOT_FOUND.value[0])
    reasons = [each["reason"] for each in problem["details"] if each["@type"].endswith("google.rpc.ErrorInfo")]
    assert reasons == ["AGENT_NOT_FOUND"]

    message = {"agentId": agent["agentId"], "text": "Hello"}
    status, _, body = guarded.post(f"{service}/SendMessage", message, guarded.operator)
    events = [json.loads(line)["event"] for line in body.splitlines()]
    assert status == 200
    assert "Hello." in [event.get("message", {}).get("text") for event in events]
    assert events[-1]["done"]["state"] == "TURN_STATE_COMPLETED"


def test_a_stream_of_json_that_fails_says_why_in_its_trailers(guarded: Guarded) -> None:
    """Its status was 200 before it failed."""
    body = json.dumps({"agentId": "agent_x", "text": "Hello"})
    request = (
        "POST /memgpt.agent.v1.AgentService/SendMessage HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n"
        f"content-type: application/json\r\nauthorization: Bearer {guarded.operator}\r\nte: trailers\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    )
    context = ssl.create_default_context(cafile=str(guarded.authority.ca))
    context.load_cert_chain(guarded.client.cert, guarded.client.key)
    host, _, port = guarded.edge.address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(request.encode())
        received = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    started, trailers = received.split("\r\n0\r\n")
    assert started.startswith("HTTP/1.1 200 OK")
    assert '"started"' in started
    assert f"grpc-status: {grpc.StatusCode.NOT_FOUND.value[0]}\r\n" in trailers
    assert 'grpc-message: unknown agent "agent_x"' in trailers


def test_what_is_neither_grpc_nor_a_method_is_not_found(guarded: Guarded) -> None:
    for path in ("/memgpt.agent.v1.AgentService/Nothing", "/memgpt.memory.v1.TenantService/ListTenants", "/index.html"):
        status, _, body = guarded.post(path, {}, guarded.operator)
        assert (status, path in body.decode()) == (404, True)


def test_calls_may_have_long_headers(guarded: Guarded) -> None:
    """A token with many groups is longer than gRPC's own limit of 8 KiB."""
    health = health_pb2_grpc.HealthStub
    with guarded.channel() as channel:
        for size in (9_000, 15_000, 30_000):
            health(channel).Check(health_pb2.HealthCheckRequest(), metadata=[("x-long", "a" * size)], timeout=60)
        with pytest.raises(grpc.RpcError) as caught:
            health(channel).Check(health_pb2.HealthCheckRequest(), metadata=[("x-long", "a" * 40_000)], timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "metadata size exceeds" in str(caught.value.details())


def test_everything_can_be_on_ipv6(tmp_path: Path) -> None:
    port = free_port()
    own = variables("memory", host="::1")
    with ServiceProcess("memgpt_memory", tmp_path, **own) as memory:
        own = variables("agent", host="::1", memory_address=memory.wait_ready())
        with ServiceProcess("memgpt_agent", tmp_path, **own) as agent:
            address = agent.wait_ready()
            assert address.startswith("[::1]:")
            with Edge(tmp_path, agents=[address], listen=f"[::]:{port}") as edge:
                edge.wait_until("agent", 1)
                for host in ("[::1]", "127.0.0.1"):
                    with grpc.insecure_channel(f"{host}:{port}") as channel:
                        agent_id = (
                            AgentServiceStub(channel).CreateAgent(pb.CreateAgentRequest(), timeout=60).agent.agent_id
                        )
                        assert agent_id


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Edge, Upstream, Upstream]]:
    """An edge in front of two fake Agents, of which both are healthy."""
    with Upstream() as first, Upstream() as second:
        first.serve(healthy=True)
        second.serve(healthy=True)
        with Edge(tmp_path, agents=[first.address, second.address], patience=PATIENCE) as edge:
            edge.wait_until("agent", 2)
            channel, stub = stub_of(edge)
            with channel:
                wait_until(lambda: reached(stub, first, second) == [True, True])
            for server in (first, second):
                server.calls.clear()
            yield edge, first, second


def stub_of(edge: Edge) -> tuple[grpc.Channel, Any]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channel = grpc.insecure_channel(edge.address, options)
    return channel, AgentServiceStub(channel)


def reached(stub: Any, *servers: Upstream) -> list[bool]:
    """Return which servers are reached by calls: two that share them both get some of twenty."""
    for server in servers:
        server.calls.clear()
    for _ in range(20):
        stub.GetAgent(pb.GetAgentRequest(agent_id="a"), timeout=60)
    return [bool(server.calls) for server in servers]


def code_of(stub: Any) -> grpc.StatusCode:
    """Return the status of a call that is not repeated."""
    try:
        stub.CreateAgent(pb.CreateAgentRequest(), timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_only_calls_that_may_run_twice_are_repeated(two: tuple[Edge, Upstream, Upstream]) -> None:
    edge, first, second = two
    channel, stub = stub_of(edge)
    with channel:
        for server in two[1:]:
            server.failures.append(grpc.StatusCode.UNAVAILABLE)
        stub.GetAgent(pb.GetAgentRequest(agent_id="a"), timeout=60)
        assert sorted(first.methods + second.methods) == ["GetAgent"] * len(first.calls + second.calls)
        assert len(first.calls + second.calls) > 1
        for refused in (stub.CreateAgent, stub.Summarize, stub.UpdateAgent):
            for server in two[1:]:
                server.calls.clear()
                server.failures.clear()
                server.failures.append(grpc.StatusCode.UNAVAILABLE)
            with pytest.raises(grpc.RpcError) as caught:
                refused(pb.UpdateAgentRequest(), timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert len(first.calls + second.calls) == 1


def test_any_call_is_repeated_that_reached_no_server(tmp_path: Path) -> None:
    with Upstream() as server:
        server.serve(healthy=True)
        nobody = f"127.0.0.1:{free_port()}"
        with Edge(tmp_path, agents=[nobody, server.address], patience=PATIENCE) as edge:
            edge.wait_until("agent", 1)
            channel, stub = stub_of(edge)
            with channel:
                wait_until(lambda: code_of(stub) is grpc.StatusCode.OK)
                server.calls.clear()
                for _ in range(20):
                    stub.CreateAgent(pb.CreateAgentRequest(), timeout=60)
    assert server.methods == ["CreateAgent"] * 20


def test_unhealthy_servers_get_no_calls(two: tuple[Edge, Upstream, Upstream]) -> None:
    """Envoy's workers learn of a health check after its main thread, which counts the healthy servers."""
    edge, first, second = two
    channel, stub = stub_of(edge)
    with channel:
        first.serve(healthy=False)
        edge.wait_until("agent", 1)
        wait_until(lambda: reached(stub, first, second) == [False, True])
        assert reached(stub, first, second) == [False, True]
        second.serve(healthy=False)
        edge.wait_until("agent", 0)
        wait_until(lambda: code_of(stub) is grpc.StatusCode.UNAVAILABLE)
        assert code_of(stub) is grpc.StatusCode.UNAVAILABLE
        first.serve(healthy=True)
        edge.wait_until("agent", 1)
        wait_until(lambda: code_of(stub) is grpc.StatusCode.OK)
        assert reached(stub, first, second) == [True, False]


def test_answers_of_unavailable_eject_no_server(two: tuple[Edge, Upstream, Upstream]) -> None:
    edge, first, second = two
    channel, stub = stub_of(edge)
    with channel:
        for server in two[1:]:
            server.failures.extend([grpc.StatusCode.UNAVAILABLE] * 20)
        for _ in range(20):
            with pytest.raises(grpc.RpcError):
                stub.CreateAgent(pb.CreateAgentRequest(), timeout=60)
        assert edge.healthy("agent") == 2
    assert edge.stats().get("cluster.agent.outlier_detection.ejections_enforced_total", 0) == 0
    assert first.calls
    assert second.calls


def test_servers_that_refuse_connections_are_ejected(tmp_path: Path) -> None:
    """Outlier detection acts on the calls themselves, before the next health check."""
    with Upstream() as first:
        second = Upstream().__enter__()
        for server in (first, second):
            server.serve(healthy=True)
        with Edge(tmp_path, agents=[first.address, second.address], patience=PATIENCE) as edge:
            edge.wait_until("agent", 2)
            channel, stub = stub_of(edge)
            with channel:
                second.__exit__(None, None, None)
                for _ in range(50):
                    stub.CreateAgent(pb.CreateAgentRequest(), timeout=60)
                assert len(first.calls) == 50 - len(second.calls)
                ejected = "cluster.agent.outlier_detection.ejections_enforced_total"
                failed = "cluster.agent.health_check.failure"
                wait_until(lambda: any(edge.stats().get(name) for name in (ejected, failed)))
                edge.wait_until("agent", 1)


def test_calls_beyond_the_rate_limit_are_refused(tmp_path: Path) -> None:
    with Upstream() as server:
        server.serve(healthy=True)
        with Edge(tmp_path, agents=[server.address], calls_per_second=5, patience=PATIENCE) as edge:
            edge.wait_until("agent", 1)
            channel, stub = stub_of(edge)
            with channel:
                wait_until(lambda: code_of(stub) is grpc.StatusCode.OK)
                server.calls.clear()
                calls = [stub.GetAgent.future(pb.GetAgentRequest(agent_id="a"), timeout=60) for _ in range(200)]
                codes = Counter(each.code() for each in calls)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len(server.calls) == codes[grpc.StatusCode.OK]


def test_a_silent_stream_and_a_slow_call_are_not_cut(tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]) -> None:
    """Envoy's defaults end a call after 15 s."""
    gate = threading.Event()

    def answer(_request: object) -> object:
        assert gate.wait(60)
        return call("send_message", message="Done.")

    llm = scripted_llm(answer)
    model = variables("agent", model="scripted", base_url=llm.base_url, mode="tools", context_window=32768)
    silence = variables("agent", keep_alive_seconds=600)
    with ServiceProcess("memgpt_memory", tmp_path) as memory:
        own = {**model, **silence, **variables("agent", memory_address=memory.wait_ready())}
        with (
            ServiceProcess("memgpt_agent", tmp_path, **own) as agent,
            Edge(tmp_path, agents=[agent.wait_ready()]) as edge,
        ):
            edge.wait_until("agent", 1)
            channel, stub = stub_of(edge)
            with channel:
                agent_id = stub.CreateAgent(pb.CreateAgentRequest(), timeout=60).agent.agent_id
                events = stub.SendMessage(pb.SendMessageRequest(agent_id=agent_id, text="One"))
                assert next(events).event.HasField("started")
                waits = stub.Undo.future(pb.UndoRequest(agent_id=agent_id), timeout=60)
                gate_opens = threading.Timer(17, gate.set)
                gate_opens.start()
                began = time.monotonic()
                assert [each.event.message.text for each in events if each.event.HasField("message")] == ["Done."]
                assert time.monotonic() - began > 16
                assert waits.result().ListFields()
