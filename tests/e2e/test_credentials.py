"""API keys over the three services: who may call, and what ends when a key does."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1 import heartbeat_pb2
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.common.v1 import identity_service_pb2 as identity_pb
from memgpt.common.v1 import permission_pb2
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub
from memgpt.loader.v1 import load_pb2 as load_pb
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import tenant_pb2
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_PERSONA
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED
from memgpt_runtime.status import from_rpc_error

from tests.support.certificates import Authority, Certificate
from tests.support.credentials import GuardedSuite, Metadata, bearer, reason_of
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Hang, ScriptedLLM
from tests.support.suite import Suite
from tests.support.waiting import wait_until

REVOKED_WITHIN = 5.0
"""Seconds after which no server accepts a revoked key, nor keeps a stream open for it."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedSuite]:
    with GuardedSuite(tmp_path_factory.mktemp("guarded")) as suite:
        suite.create_tenant("acme")
        suite.create_tenant("globex")
        yield suite


@pytest.mark.parametrize("server", ["memory", "loader", "agent"])
def test_every_server_knows_an_api_key(suite: GuardedSuite, server: str) -> None:
    key_id, token = suite.create_key(f"who {server}", "user", "acme", agent_ids=["agent_1"])
    me = IdentityServiceStub(suite.channel(server)).WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(token))
    assert me == identity_pb.WhoAmIResponse(
        tenant="acme",
        role=permission_pb2.ROLE_USER,
        credential_kind=identity_pb.CREDENTIAL_KIND_API_KEY,
        credential_id=key_id,
        credential_name=f"who {server}",
        agent_ids=["agent_1"],
    )


def test_a_tenant_sees_its_own_agents_only(suite: GuardedSuite) -> None:
    agents = AgentServiceStub(suite.channel("agent"))
    acme, globex = (bearer(suite.create_key("mine", "user", tenant)[1]) for tenant in ("acme", "globex"))
    agent = agents.CreateAgent(agent_pb.CreateAgentRequest(name="shared name"), metadata=acme).agent
    other = agents.CreateAgent(agent_pb.CreateAgentRequest(name="shared name"), metadata=globex).agent
    listed = agents.ListAgents(agent_pb.ListAgentsRequest(), metadata=acme).agents
    assert [each.agent_id for each in listed] == [agent.agent_id]
    with pytest.raises(grpc.RpcError) as caught:
        agents.GetAgent(agent_pb.GetAgentRequest(agent_id=other.agent_id), metadata=acme)
    assert reason_of(caught.value) == "AGENT_NOT_FOUND"


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason_of(caught.value)


def test_a_restricted_key_sees_its_agents_and_sources_only(suite: GuardedSuite) -> None:
    agents, loader = AgentServiceStub(suite.channel("agent")), LoaderServiceStub(suite.channel("loader"))
    archive = ArchivalMemoryServiceStub(suite.channel("memory"))
    full = bearer(suite.create_key("full", "admin", "acme")[1])
    mine, other = (
        agents.CreateAgent(agent_pb.CreateAgentRequest(name=name), metadata=full).agent for name in ("mine", "other")
    )
    loads = {}
    for name in ("my source", "other source"):
        manifest = load_pb.FileManifest(name="a.txt", size=1, sha256=bytes(32).hex())
        wanted = loader_pb.CreateLoadRequest(source_name=name, files=[manifest])
        loads[name] = loader.CreateLoad(wanted, metadata=full).load
    key = bearer(
        suite.create_key(
            "narrow", "user", "acme", agent_ids=[mine.agent_id], source_ids=[loads["my source"].source_id]
        )[1]
    )
    listed = agents.ListAgents(agent_pb.ListAgentsRequest(), metadata=key).agents
    assert [each.agent_id for each in listed] == [mine.agent_id]
    assert agents.GetAgent(agent_pb.GetAgentRequest(name="mine"), metadata=key).agent == mine
    foreign = other.agent_id
    hidden: dict[str, Callable[[], object]] = {
        "by id": lambda: agents.GetAgent(agent_pb.GetAgentRequest(agent_id=foreign), metadata=key),
        "by name": lambda: agents.GetAgent(agent_pb.GetAgentRequest(name="other"), metadata=key),
        "turns": lambda: agents.ListTurns(agent_pb.ListTurnsRequest(agent_id=foreign), metadata=key),
        "a turn": lambda: list(
            agents.ResumeTurn(agent_pb.ResumeTurnRequest(agent_id=foreign, request_id="r"), metadata=key)
        ),
        "talk": lambda: list(agents.SendMessage(agent_pb.SendMessageRequest(agent_id=foreign, text="x"), metadata=key)),
        "notes": lambda: archive.ListPassages(
            archival_pb.ListPassagesRequest(scope=archival_pb.PassageScope(agent_id=foreign)), metadata=key
        ),
    }
    assert {what: _refused(call) for what, call in hidden.items()} == dict.fromkeys(hidden, "AGENT_NOT_FOUND")
    sources = agents.ListSources(agent_pb.ListSourcesRequest(), metadata=key).sources
    assert [each.name for each in sources] == ["my source"]
    listed_loads = loader.ListLoads(loader_pb.ListLoadsRequest(), metadata=key).loads
    assert [each.load_id for each in listed_loads] == [loads["my source"].load_id]
    other_load = loads["other source"].load_id
    assert _refused(lambda: loader.GetLoad(loader_pb.GetLoadRequest(load_id=other_load), metadata=key)) == (
        "LOAD_NOT_FOUND"
    )
    assert _refused(lambda: agents.CreateAgent(agent_pb.CreateAgentRequest(), metadata=key)) == "NOT_PERMITTED"
    _check_profiles(agents, full, key)
    _check_nothing_is_told_of(agents, other, full, key, mine.agent_id)


def _check_profiles(agents: Any, full: Metadata, key: Metadata) -> None:
    """Profiles are for new agents, which a key that is restricted to agents cannot create."""
    profile = agent_pb.PutProfileRequest(kind=PROFILE_KIND_PERSONA, name="ours", text="t")
    agents.PutProfile(profile, metadata=full)
    assert _refused(lambda: agents.PutProfile(profile, metadata=key)) == "NOT_PERMITTED"
    get = agent_pb.GetProfileRequest(kind=PROFILE_KIND_PERSONA, name="ours")
    assert _refused(lambda: agents.GetProfile(get, metadata=key)) == "PROFILE_NOT_FOUND"
    delete = agent_pb.DeleteProfileRequest(kind=PROFILE_KIND_PERSONA, name="ours")
    assert _refused(lambda: agents.DeleteProfile(delete, metadata=key)) == "NOT_PERMITTED"
    listing = agent_pb.ListProfilesRequest(kind=PROFILE_KIND_PERSONA)
    assert all(one.built_in for one in agents.ListProfiles(listing, metadata=key).profiles)
    assert agents.GetProfile(get, metadata=full).profile.text == "t"


def _check_nothing_is_told_of(agents: Any, other: Any, full: Metadata, key: Metadata, mine: str) -> None:
    """Errors about the restricted key's own agent say nothing of another agent: neither its turns nor its id."""
    turn = agent_pb.SendMessageRequest(agent_id=other.agent_id, text="x", request_id="theirs")
    list(agents.SendMessage(turn, metadata=full))
    cancel = agent_pb.CancelTurnRequest(agent_id=mine, request_id="theirs")
    assert _refused(lambda: agents.CancelTurn(cancel, metadata=key)) == "TURN_NOT_FOUND"
    rename = agent_pb.UpdateAgentRequest(
        agent=Agent(agent_id=mine, name=other.name), update_mask=FieldMask(paths=["name"])
    )
    with pytest.raises(grpc.RpcError) as caught:
        agents.UpdateAgent(rename, metadata=key)
    error = from_rpc_error(caught.value)
    assert error.reason == "NAME_TAKEN"
    assert other.agent_id not in f"{error} {error.metadata}"


def test_timed_heartbeats_of_every_tenant_run(tmp_path: Path) -> None:
    with GuardedSuite(tmp_path, MEMGPT_AGENT_HEARTBEAT_POLL_SECONDS="0.2") as suite:
        agents, waiting = AgentServiceStub(suite.channel("agent")), list[Callable[[], Any]]()
        for tenant in ("acme", "globex", "default"):
            if tenant != "default":
                suite.create_tenant(tenant)
            key = bearer(suite.create_key("key", "user", tenant)[1])
            agent_id = agents.CreateAgent(agent_pb.CreateAgentRequest(), metadata=key).agent.agent_id
            beat = heartbeat_pb2.Heartbeat(at=Timestamp(seconds=int(time.time())), reason="Look.")
            agents.SetHeartbeat(agent_pb.SetHeartbeatRequest(agent_id=agent_id, heartbeat=beat), metadata=key)
            request = agent_pb.ListTurnsRequest(agent_id=agent_id)
            waiting.append(lambda request=request, key=key: agents.ListTurns(request, metadata=key).turns)  # type: ignore[misc]
        for turns in waiting:
            wait_until(lambda turns=turns: [turn.state for turn in turns()][:1] == [TURN_STATE_COMPLETED])  # type: ignore[misc]


def test_keys_cannot_be_used_to_rise(suite: GuardedSuite) -> None:
    operator_id, _ = suite.create_key("above", "operator", "acme")
    admin_id, token = suite.create_key("below", "admin", "acme")
    admin = bearer(token)
    refused: dict[str, Callable[[], object]] = {
        "create": lambda: suite.keys.CreateApiKey(
            keys_pb.CreateApiKeyRequest(name="rise", role=permission_pb2.ROLE_OPERATOR), metadata=admin
        ),
        "rotate": lambda: suite.keys.RotateApiKey(keys_pb.RotateApiKeyRequest(api_key_id=operator_id), metadata=admin),
        "revoke": lambda: suite.keys.RevokeApiKey(keys_pb.RevokeApiKeyRequest(api_key_id=operator_id), metadata=admin),
        "delete": lambda: suite.keys.DeleteApiKey(keys_pb.DeleteApiKeyRequest(api_key_id=operator_id), metadata=admin),
        "another tenant": lambda: suite.keys.CreateApiKey(
            keys_pb.CreateApiKeyRequest(name="rise", role=permission_pb2.ROLE_USER, tenant="globex"), metadata=admin
        ),
        "its list": lambda: suite.keys.ListApiKeys(keys_pb.ListApiKeysRequest(tenant="globex"), metadata=admin),
    }
    assert {what: _refused(call) for what, call in refused.items()} == dict.fromkeys(refused, "NOT_PERMITTED")
    assert _refused(lambda: suite.create_key("wide", "admin", "acme", agent_ids=["agent_1"])) == "INVALID_FIELD"
    assert _refused(lambda: suite.create_key("below", "user", "acme")) == "NAME_TAKEN"
    assert _refused(lambda: suite.create_key("nowhere", "user", "nobody")) == "TENANT_NOT_FOUND"
    own = suite.keys.GetApiKey(keys_pb.GetApiKeyRequest(name="below"), metadata=admin).api_key
    assert own.api_key_id == admin_id
    assert token.endswith(own.secrets[0].hint)
    assert token not in str(own)


def test_a_key_is_rotated_without_a_refused_call(suite: GuardedSuite) -> None:
    key_id, token = suite.create_key("rotating", "reader", "acme")
    stubs = [IdentityServiceStub(suite.channel(server)) for server in ("memory", "loader", "agent")]
    current, stop, refused = [token], threading.Event(), list[str]()
    calls = 0

    def use(stub: IdentityServiceStub) -> None:
        nonlocal calls
        while not stop.is_set():
            try:
                stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(current[0]))
                calls += 1
            except grpc.RpcError as error:
                refused.append(reason_of(error))

    threads = [threading.Thread(target=use, args=(stub,)) for stub in stubs]
    for thread in threads:
        thread.start()
    for _ in range(3):
        done = calls
        request = keys_pb.RotateApiKeyRequest(api_key_id=key_id, tenant="acme")
        current[0] = suite.keys.RotateApiKey(request, metadata=bearer(suite.operator)).token
        wait_until(lambda done=done: calls >= done + 50 or refused)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert not refused
    get = keys_pb.GetApiKeyRequest(api_key_id=key_id, tenant="acme")
    key = suite.keys.GetApiKey(get, metadata=bearer(suite.operator))
    assert [secret.HasField("expire_time") for secret in key.api_key.secrets] == [False, True], "two secrets at a time"
    for stub in stubs:
        assert _refused(lambda stub=stub: stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(token))) == (  # type: ignore[misc]
            "CREDENTIAL_UNKNOWN"
        )


def test_a_secret_that_is_replaced_at_once_ends_its_open_streams(suite: GuardedSuite) -> None:
    key_id, token = suite.create_key("leaked", "user", "acme")
    loader = LoaderServiceStub(suite.channel("loader"))
    manifest = load_pb.FileManifest(name="a.txt", size=1, sha256=bytes(32).hex())
    wanted = loader_pb.CreateLoadRequest(source_name="leaked", files=[manifest])
    load = loader.CreateLoad(wanted, metadata=bearer(token)).load
    watch = loader_pb.WatchLoadRequest(load_id=load.load_id)
    stream = loader.WatchLoad(watch, metadata=bearer(token), timeout=60)
    next(stream)
    rotate = keys_pb.RotateApiKeyRequest(api_key_id=key_id, tenant="acme", overlap=Duration())
    newer = suite.keys.RotateApiKey(rotate, metadata=bearer(suite.operator)).token
    rotated = time.monotonic()
    going_on = loader.WatchLoad(watch, metadata=bearer(newer), timeout=60)
    next(going_on)
    assert _refused(lambda: list(stream)) == "CREDENTIAL_EXPIRED"
    assert time.monotonic() - rotated < REVOKED_WITHIN
    assert going_on.is_active()
    going_on.cancel()


def test_a_deleted_tenant_leaves_a_receipt_and_nothing_else(suite: GuardedSuite) -> None:
    suite.create_tenant("doomed")
    _, token = suite.create_key("key", "user", "doomed")
    agents, key = AgentServiceStub(suite.channel("agent")), bearer(token)
    for name in ("one", "two"):
        agent = agents.CreateAgent(agent_pb.CreateAgentRequest(name=name), metadata=key).agent
        archive = ArchivalMemoryServiceStub(suite.channel("memory"))
        archive.InsertPassages(
            archival_pb.InsertPassagesRequest(agent_id=agent.agent_id, texts=["a", "b"]), metadata=key
        )
    profile = agent_pb.PutProfileRequest(kind=PROFILE_KIND_PERSONA, name="p", text="t")
    agents.PutProfile(profile, metadata=key)
    operator = bearer(suite.operator)
    delete = tenants_pb.DeleteTenantRequest(name="doomed")
    deleted = suite.tenants.DeleteTenant(delete, metadata=operator, timeout=120).tenant
    receipt = deleted.receipt
    assert deleted.state == tenant_pb2.TENANT_STATE_DELETED
    counts = receipt.agent_count, receipt.passage_count, receipt.profile_count, receipt.api_key_count
    assert counts == (2, 4, 1, 1)
    assert receipt.message_count >= 2
    assert receipt.other_row_count > 0
    assert suite.tenants.DeleteTenant(delete, metadata=operator).tenant == deleted, "idempotent"
    listed = suite.tenants.ListTenants(tenants_pb.ListTenantsRequest(), metadata=operator).tenants
    assert [tenant.name for tenant in listed] == ["acme", "default", "globex"]
    gone = ("CREDENTIAL_REVOKED", "CREDENTIAL_UNKNOWN")

    def reason() -> str:
        try:
            agents.ListAgents(agent_pb.ListAgentsRequest(), metadata=key)
        except grpc.RpcError as error:
            return reason_of(error)
        return ""

    wait_until(lambda: reason() in gone)
    suite.create_tenant("doomed")
    again = bearer(suite.create_key("key", "user", "doomed")[1])
    assert not agents.ListAgents(agent_pb.ListAgentsRequest(), metadata=again).agents
    assert (
        _refused(lambda: suite.tenants.DeleteTenant(tenants_pb.DeleteTenantRequest(name="default"), metadata=operator))
        == "INVALID_FIELD"
    )


def test_a_revoked_key_ends_open_streams_on_every_replica(
    tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(lambda _request: Hang())
    model = {
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "100000",
    }
    with GuardedSuite(tmp_path, **model) as suite:
        channels = [suite.channel("agent")]
        suite.start_agent()
        channels.append(suite.channel("agent"))
        key_id, token = suite.create_key("streaming", "user")
        key = bearer(token)
        streams: list[Any] = []
        for channel in channels:
            agents = AgentServiceStub(channel)
            agent = agents.CreateAgent(agent_pb.CreateAgentRequest(), metadata=key).agent
            request = agent_pb.SendMessageRequest(agent_id=agent.agent_id, text="hello")
            streams.append(agents.SendMessage(request, metadata=key))
        manifest = load_pb.FileManifest(name="a.txt", size=1, sha256=bytes(32).hex())
        loader = LoaderServiceStub(suite.channel("loader"))
        load = loader.CreateLoad(loader_pb.CreateLoadRequest(source_name="s", files=[manifest]), metadata=key).load
        streams.append(loader.WatchLoad(loader_pb.WatchLoadRequest(load_id=load.load_id), metadata=key))
        for stream in streams:
            next(stream)
        suite.keys.RevokeApiKey(keys_pb.RevokeApiKeyRequest(api_key_id=key_id), metadata=bearer(suite.operator))
        revoked = time.monotonic()
        assert [_refused(lambda stream=stream: list(stream)) for stream in streams] == ["CREDENTIAL_REVOKED"] * 3  # type: ignore[misc]
        assert time.monotonic() - revoked < REVOKED_WITHIN
        for channel in channels:
            assert (
                _refused(
                    lambda channel=channel: AgentServiceStub(channel).ListAgents(
                        agent_pb.ListAgentsRequest(), metadata=key
                    )  # type: ignore[misc]
                )
                == "CREDENTIAL_REVOKED"
            )


def test_a_checked_key_works_while_memory_is_away(tmp_path: Path) -> None:
    with GuardedSuite(tmp_path) as suite:
        _, token = suite.create_key("steady", "reader")
        _, unseen = suite.create_key("unseen", "reader")
        stub = IdentityServiceStub(suite.channel("agent"))
        me = stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(token))
        suite.memory.kill9()
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(token)) == me
        assert (
            _refused(lambda: stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(unseen))) == "SERVICE_UNAVAILABLE"
        )
        suite.restart_memory()
        wait_until(lambda: stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=bearer(unseen)), ignore=grpc.RpcError)


def test_a_load_outlives_the_token_that_began_it_and_streams_end_with_it(
    tmp_path: Path, scripted_llm: Callable[..., ScriptedLLM]
) -> None:
    llm = scripted_llm(lambda _request: Hang())
    with Issuer() as issuer:
        issuer.add("first")
        settings = {
            "MEMGPT_SERVER_JWT_ISSUER": ISSUER,
            "MEMGPT_SERVER_JWT_AUDIENCE": AUDIENCE,
            "MEMGPT_SERVER_JWT_JWKS": issuer.address,
            "MEMGPT_SERVER_JWT_LEEWAY": "0",
            "MEMGPT_AGENT_MODEL": "scripted",
            "MEMGPT_AGENT_BASE_URL": llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": "100000",
        }
        with GuardedSuite(tmp_path, **settings) as suite:
            agents, loader = AgentServiceStub(suite.channel("agent")), LoaderServiceStub(suite.channel("loader"))
            later = bearer(issuer.token("first"))
            agent = agents.CreateAgent(agent_pb.CreateAgentRequest(), metadata=later).agent
            content = b"The vault is behind the waterfall."
            manifest = load_pb.FileManifest(name="a.txt", size=len(content), sha256=hashlib.sha256(content).hexdigest())
            short = bearer(issuer.token("first", exp=time.time() + 12))
            wanted = loader_pb.CreateLoadRequest(source_name="s", files=[manifest])
            load_id = loader.CreateLoad(wanted, metadata=short).load.load_id
            watch = loader_pb.WatchLoadRequest(load_id=load_id)
            turn = agent_pb.SendMessageRequest(agent_id=agent.agent_id, text="hello", request_id="r")
            streams: list[Any] = [
                loader.WatchLoad(watch, metadata=short, timeout=60),
                agents.SendMessage(turn, metadata=short, timeout=60),
            ]
            for stream in streams:
                next(stream)
            header = loader_pb.UploadFileRequest.Header(load_id=load_id, name="a.txt")
            suite.memory.popen.send_signal(signal.SIGSTOP)  # so that the file is still being loaded when the token ends
            try:
                upload = [loader_pb.UploadFileRequest(header=header), loader_pb.UploadFileRequest(chunk=content)]
                loader.UploadFile(iter(upload), metadata=short)
                for stream in streams:
                    with pytest.raises(grpc.RpcError) as caught:
                        list(stream)
                    error = from_rpc_error(caught.value)
                    assert error.reason == "CREDENTIAL_EXPIRED"
                    assert str(error) == "the credential has expired; call again with a new one"
            finally:
                suite.memory.popen.send_signal(signal.SIGCONT)
            assert _refused(lambda: loader.GetLoad(loader_pb.GetLoadRequest(load_id=load_id), metadata=short)) == (
                "CREDENTIAL_EXPIRED"
            )
            list(loader.WatchLoad(watch, metadata=later, timeout=120))
            load = loader.GetLoad(loader_pb.GetLoadRequest(load_id=load_id), metadata=later).load
            assert (load.state, load.passage_count) == (load_pb.LOAD_STATE_COMPLETED, 1)
            resumed = agents.ResumeTurn(
                agent_pb.ResumeTurnRequest(agent_id=agent.agent_id, request_id="r"), metadata=later
            )
            assert next(resumed).event.HasField("started")
            resumed.cancel()


def test_tokens_and_certificates_work_side_by_side(tmp_path: Path) -> None:
    """Services know one another by certificates, and callers by certificates, tokens and API keys."""
    authority = Authority(tmp_path / "certificates")
    server, app, stranger = (authority.issue(name) for name in ("server", "app", "stranger"))
    with Issuer() as issuer:
        issuer.add("first")
        settings = {
            "MEMGPT_SERVER_TLS_CERT": str(server.cert),
            "MEMGPT_SERVER_TLS_KEY": str(server.key),
            "MEMGPT_SERVER_TLS_CLIENT_CA": str(authority.ca),
            "MEMGPT_SERVER_CERTIFICATES": "server default service,app acme reader",
            "MEMGPT_SERVER_JWT_ISSUER": ISSUER,
            "MEMGPT_SERVER_JWT_AUDIENCE": AUDIENCE,
            "MEMGPT_SERVER_JWT_JWKS": issuer.address,
            "MEMGPT_MEMORY_FIRST_KEY_FILE": str(tmp_path / "first"),
        }
        for name in ("AGENT", "LOADER"):
            settings |= {
                f"MEMGPT_{name}_MEMORY_TLS": "true",
                f"MEMGPT_{name}_MEMORY_TLS_CA": str(authority.ca),
                f"MEMGPT_{name}_MEMORY_TLS_CERT": str(server.cert),
                f"MEMGPT_{name}_MEMORY_TLS_KEY": str(server.key),
            }
        with Suite(tmp_path / "home", **settings) as suite, ExitStack() as stack:
            first_key = (tmp_path / "first").read_text().strip()

            def connect(certificate: Certificate, address: str) -> grpc.Channel:
                credentials = grpc.ssl_channel_credentials(
                    authority.ca.read_bytes(), certificate.key.read_bytes(), certificate.cert.read_bytes()
                )
                return stack.enter_context(grpc.secure_channel(address, credentials))

            def who(certificate: Certificate, metadata: Metadata = ()) -> tuple[str, int, int]:
                found = set()
                for address in (suite.memory_address, suite.loader_address, suite.agent_address):
                    stub = IdentityServiceStub(connect(certificate, address))
                    me = stub.WhoAmI(identity_pb.WhoAmIRequest(), metadata=metadata)
                    found.add((me.tenant, me.role, me.credential_kind))
                (one,) = found
                return one

            assert who(app) == ("acme", permission_pb2.ROLE_READER, identity_pb.CREDENTIAL_KIND_CERTIFICATE)
            token = issuer.token("first", tenant="globex", role="admin")
            assert who(app, bearer(token)) == (
                "globex",
                permission_pb2.ROLE_ADMIN,
                identity_pb.CREDENTIAL_KIND_JWT,
            )
            issuer.add("second", "ES256")
            # A new key of the issuer is read at most every 10 seconds.
            second = wait_until(lambda: who(app, bearer(issuer.token("second"))), ignore=grpc.RpcError)
            assert second[0] == "acme"
            assert who(app, bearer(first_key))[1] == permission_pb2.ROLE_OPERATOR
            assert _refused(lambda: who(stranger)) == "CREDENTIAL_UNKNOWN"
            expired = bearer(issuer.token("first", exp=time.time() - 60))
            assert _refused(lambda: who(app, expired)) == "CREDENTIAL_EXPIRED"
            agents = AgentServiceStub(connect(app, suite.agent_address))
            created = agents.CreateAgent(agent_pb.CreateAgentRequest(name="by token"), metadata=bearer(token)).agent
            assert created.name == "by token"
            assert _refused(lambda: agents.CreateAgent(agent_pb.CreateAgentRequest())) == "NOT_PERMITTED"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "without credentials; set server.service_key_file"),
        ({"MEMGPT_SERVER_SERVICE_KEY": "k" * 32}, "without TLS"),
    ],
)
def test_an_exposed_service_does_not_start(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with ServiceProcess("memgpt_agent", tmp_path, MEMGPT_AGENT_HOST="0.0.0.0", **settings) as process:
        assert process.wait() == 2
        (line,) = process.logged().splitlines()
        assert line.startswith("memgpt-agent: agent would listen on 0.0.0.0, which other machines can reach")
        assert message in line


@pytest.mark.parametrize(
    "settings",
    [
        {"MEMGPT_SERVER_ALLOW_ANONYMOUS": "true"},
        {"MEMGPT_SERVER_SERVICE_KEY": "k" * 32, "MEMGPT_SERVER_ALLOW_PLAINTEXT": "true"},
    ],
)
def test_an_exposed_service_starts_if_told(tmp_path: Path, settings: dict[str, str]) -> None:
    with ServiceProcess("memgpt_memory", tmp_path, MEMGPT_MEMORY_HOST="0.0.0.0", **settings) as process:
        assert process.wait_ready()
