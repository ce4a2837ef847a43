"""`memgpt server --testing`: a store for each bearer token, nothing left behind, and repeatable responses."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from google.protobuf.message import Message
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.main import app
from memgpt.cli.services import testing
from memgpt.cli.services.testing import hold_services, temporary_home
from memgpt.client import MemGPT, NotFound, PermissionDenied, Reason, Unauthenticated
from memgpt.common.v1 import identity_service_pb2 as identity_pb
from memgpt.common.v1.identity_service_pb2_grpc import IdentityServiceStub
from memgpt.common.v1.permission_pb2 import ROLE_READER
from memgpt.loader.v1 import load_pb2, loader_service_pb2
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archive_pb
from memgpt.memory.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub

from tests.support.credentials import bearer
from tests.support.processes import service_environment
from tests.support.suite import Suite

CLOCK = "2026-01-01T12:00:00Z"
TEXT = b"The harbor of Brest has tides of seven meters."


class Server:
    """`memgpt server --testing` as a process; what it must not touch is in its folder too.

    Attributes:
        temporary: Its folder for temporary files.
        addresses: Address of each service.
    """

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        # A person's own settings, which do not count.
        (self.home / "config.toml").write_text(f'[memory]\nuri = "{folder}/own.db"\n[agent]\nmodel = "gpt"\n')
        variables = {f"MEMGPT_{name}_PORT": "0" for name in ("MEMORY", "LOADER", "AGENT")}
        variables |= {"MEMGPT_MEMORY_URI": str(folder / "other.db"), "TMPDIR": str(self.temporary), **settings}
        self.process = subprocess.Popen(
            [Suite.program, "server", "--testing", *options],
            env=service_environment(self.home, variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.addresses = dict(re.findall(r"(agent|loader|memory) (\S+:\d+)", line))
        assert len(self.addresses) == 3, self.process.communicate()
        assert self.process.stdout.readline().startswith("Any bearer token is accepted")

    def client(self, token: str | None) -> MemGPT:
        """Return a client with a token."""
        return MemGPT(self.addresses["agent"], self.addresses["loader"], token=token, memory=self.addresses["memory"])

    def stop(self) -> None:
        """Stop it in good order."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("testing"), "--clock", CLOCK) as started:
        yield started


def test_each_token_has_a_store_of_its_own(server: Server) -> None:
    with server.client("alice") as alice, server.client("bob") as bob:
        ada = alice.agents.create("Ada")
        assert [agent.name for agent in bob.agents.list()] == []
        with pytest.raises(NotFound):
            bob.agents.get(ada.agent_id)
        assert bob.agents.create("Ada").agent_id != ada.agent_id, "names are taken within a store only"
        assert alice.whoami().tenant != bob.whoami().tenant
    with server.client("alice") as again:
        assert [agent.agent_id for agent in again.agents.list()] == [ada.agent_id]


def test_other_credentials_are_checked_as_ever(server: Server) -> None:
    with server.client(None) as nobody, pytest.raises(Unauthenticated, match="send any token") as missing:
        nobody.whoami()
    assert missing.value.reason == Reason.CREDENTIAL_MISSING
    with server.client("mgpt_nonsense") as stranger, pytest.raises(Unauthenticated) as malformed:
        stranger.whoami()
    assert malformed.value.reason == Reason.CREDENTIAL_MALFORMED
    with server.client("carol") as carol:
        agent = carol.agents.create("Ada")
        stub = ApiKeyServiceStub(grpc.insecure_channel(server.addresses["memory"]))
        made = stub.CreateApiKey(keys_pb.CreateApiKeyRequest(name="r", role=ROLE_READER), metadata=bearer("carol"))
    with server.client(made.token) as reader:
        assert reader.agents.get(agent.agent_id).name == "Ada"
        with pytest.raises(PermissionDenied):
            reader.agents.create("Eve")


def test_it_is_used_with_grpcurl_and_reflection(server: Server, grpcurl: Path) -> None:
    def run(address: str, *arguments: str) -> str:
        command: list[str | Path] = [
            grpcurl,
            "-plaintext",
            "-H",
            "authorization: Bearer dora",
            *arguments[:-1],
            address,
            arguments[-1],
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    for name, service in (("agent", "AgentService"), ("loader", "LoaderService"), ("memory", "StoreService")):
        assert f"memgpt.{name}.v1.{service}" in run(server.addresses[name], "list")
    created = run(server.addresses["agent"], "-d", '{"name": "Ada"}', "memgpt.agent.v1.AgentService/CreateAgent")
    assert json.loads(created)["agent"]["createTime"] == CLOCK


def _transcript(server: Server, token: str) -> list[bytes]:
    """Make calls of all three services, one after the other; return everything that they respond."""
    channels = {name: grpc.insecure_channel(address) for name, address in server.addresses.items()}
    agents, loads = AgentServiceStub(channels["agent"]), LoaderServiceStub(channels["loader"])
    archive = ArchivalMemoryServiceStub(channels["memory"])
    transcript: list[bytes] = []

    def note(response: Message, call: Any) -> None:
        transcript.append(response.SerializeToString(deterministic=True))
        transcript.append(repr(sorted((key, value) for key, value in call.trailing_metadata())).encode())

    def unary(method: Any, request: Message) -> Any:
        response, call = method.with_call(request, metadata=bearer(token))
        note(response, call)
        return response

    def stream(method: Callable[..., Any], request: Any) -> list[Any]:
        call = method(request, metadata=bearer(token))
        responses = list(call)
        for response in responses:
            note(response, call)
        return responses

    unary(IdentityServiceStub(channels["agent"]).WhoAmI, identity_pb.WhoAmIRequest())
    agent_id = unary(agents.CreateAgent, agent_pb.CreateAgentRequest(name="Ada")).agent.agent_id
    unknown: Any
    with pytest.raises(grpc.RpcError) as unknown:
        agents.GetAgent(agent_pb.GetAgentRequest(agent_id="agent_x"), metadata=bearer(token))
    transcript.append(repr(sorted(map(tuple, unknown.value.trailing_metadata()))).encode())
    for text in ("Hello, I am Bob.", "Remember that I like oysters.", "What do I like?"):
        events = stream(agents.SendMessage, agent_pb.SendMessageRequest(agent_id=agent_id, text=text))
        assert events[-1].event.HasField("done")
    texts = ["One oyster.", "Two ciders.", "Three gulls."]
    unary(archive.InsertPassages, archive_pb.InsertPassagesRequest(agent_id=agent_id, texts=texts))
    search = archive_pb.SearchPassagesRequest(query="oysters", page_size=100)
    search.scope.agent_id = agent_id
    assert unary(archive.SearchPassages, search).total_size >= 3
    manifest = load_pb2.FileManifest(name="tides.txt", size=len(TEXT), sha256=hashlib.sha256(TEXT).hexdigest())
    load = unary(loads.CreateLoad, loader_service_pb2.CreateLoadRequest(source_name="tides", files=[manifest])).load
    header = loader_service_pb2.UploadFileRequest()
    header.header.load_id, header.header.name = load.load_id, "tides.txt"
    upload = iter([header, loader_service_pb2.UploadFileRequest(chunk=TEXT)])
    loads.UploadFile(upload, metadata=bearer(token))
    watched = list(loads.WatchLoad(loader_service_pb2.WatchLoadRequest(load_id=load.load_id), metadata=bearer(token)))
    note(watched[-1].ended, unknown.value)
    key = keys_pb.CreateApiKeyRequest(name="r", role=ROLE_READER)
    unary(ApiKeyServiceStub(channels["memory"]).CreateApiKey, key)
    unary(agents.ListAgents, agent_pb.ListAgentsRequest())
    for channel in channels.values():
        channel.close()
    return transcript


def test_with_a_stopped_clock_the_same_calls_get_the_same_bytes_and_nothing_is_left(
    server: Server, tmp_path: Path
) -> None:
    with server.client("gus") as other:
        other.agents.create("Ada")
    first = _transcript(server, "erin")
    with Server(tmp_path, "--clock", CLOCK) as second:
        assert _transcript(second, "erin") == first
        second.stop()
    assert _transcript(server, "frank") != first, "another token has other ids"
    assert list(second.temporary.iterdir()) == []
    assert [path.name for path in second.home.iterdir()] == ["config.toml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "tmp"]


def test_the_store_of_a_killed_server_is_deleted_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(tmp_path) as killed:
        monkeypatch.setattr(tempfile, "tempdir", str(killed.temporary))
        (left,) = killed.temporary.iterdir()
        assert (left / "milvus.db").exists()
        with temporary_home():
            assert left.exists(), "the server runs"
        killed.process.kill()
        killed.process.wait()
        with temporary_home() as home:
            assert list(killed.temporary.iterdir()) == [home]
    assert list(killed.temporary.iterdir()) == []


class _Orphan:
    """The folder of a killed server, whose services have not ended yet."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "memgpt-testing-left"
        self.folder.mkdir()
        lock = hold_services(self.folder)
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self._service = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[lock])
        os.close(lock)

    def end(self, *_: object) -> None:
        assert self.folder.exists(), "its service writes to it"
        self._service.communicate()


def test_the_services_of_a_killed_server_end_before_their_folder_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    orphan = _Orphan(tmp_path)
    monkeypatch.setattr("memgpt.cli.services.testing.time.sleep", orphan.end)
    with temporary_home() as home:
        assert list(tmp_path.iterdir()) == [home]


def test_a_server_does_not_wait_indefinitely_for_the_services_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(testing, "STOP_TIMEOUT", 0)
    orphan = _Orphan(tmp_path)
    with temporary_home() as home:
        assert set(tmp_path.iterdir()) == {home, orphan.folder}
    orphan.end()
    with temporary_home() as home:
        assert list(tmp_path.iterdir()) == [home]


def test_it_does_not_listen_where_other_machines_reach_it(tmp_path: Path) -> None:
    settings = {"TMPDIR": str(tmp_path), "MEMGPT_MEMORY_PORT": "0", "MEMGPT_MEMORY_HOST": "0.0.0.0"}
    run = subprocess.run(
        [Suite.program, "server", "--testing"],
        env=service_environment(tmp_path / "home", settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert "accept any token; listen on 127.0.0.1" in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--testing", "--clock", "noon"], '"noon" is not a time'),
        (["--testing", "--clock", "1969-12-31"], "before 1970"),
        (["--clock", CLOCK], "--clock needs --testing"),
    ],
)
def test_a_clock_that_cannot_be_stopped_is_refused(options: list[str], problem: str) -> None:
    with pytest.raises(CliError, match=problem) as refused:
        app(["server", *options], standalone_mode=False)
    assert refused.value.code == MISUSE
