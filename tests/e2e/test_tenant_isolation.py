"""Three tenants side by side through Agent and Loader: each sees what an oracle of its own says, and nothing else.

By default a few random runs on Milvus Lite; `--examples=50 --seed=1000` for more and others, `-m milvus_server` on a
Milvus server.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.load_pb2 import LOAD_STATE_COMPLETED, FileManifest
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import source_service_pb2 as source_pb
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_HUMAN
from memgpt.memory.v1.source_pb2 import Source
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub
from memgpt_runtime.ids import new_id
from memgpt_runtime.status import from_rpc_error

from tests.support.credentials import GuardedSuite, bearer, reason_of
from tests.support.ports import free_ports

_TENANTS = ("acme", "globex", "initech")
_NAMES = ("one", "two", "三")
_ROUNDS = 14
_CHECK_EVERY = 7


class Tenant:
    """A tenant's client, and what the tenant should see.

    Attributes:
        mark: Is in every text of the tenant, and in none of another one.
        agents: Names of its agents by id.
        turns: Request ids of each agent's turns.
        texts: What was said to each agent.
        human: The block of each agent that was written last.
        attached: Names of the sources of each agent.
        sources: Ids of its sources by name.
        files: Names of the files of each source, by its name.
        loads: Ids of its loads.
        profiles: Texts of its profiles by name.
    """

    def __init__(self, suite: GuardedSuite, name: str, chance: Random) -> None:
        self.name, self.mark = name, f"mark{secrets.token_hex(6)}"
        self.agents: dict[str, str] = {}
        self.turns: dict[str, list[str]] = {}
        self.texts: dict[str, list[str]] = {}
        self.human: dict[str, str] = {}
        self.attached: dict[str, set[str]] = {}
        self.sources: dict[str, str] = {}
        self.files: dict[str, set[str]] = {}
        self.loads: list[str] = []
        self.profiles: dict[str, str] = {}
        self._chance, self._requests = chance, 0
        self._metadata = bearer(suite.create_key(f"key {secrets.token_hex(4)}", "admin", name)[1])
        self._agent: Any = AgentServiceStub(suite.channel("agent"))
        self._loader: Any = LoaderServiceStub(suite.channel("loader"))
        self._sources: Any = SourceServiceStub(suite.channel("memory"))

    def ask(self, method: str, request: Any) -> Any:
        """Call the Agent; return its response, or the list of its responses."""
        return _result(getattr(self._agent, method)(request, metadata=self._metadata, timeout=60))

    def load(self, method: str, request: Any) -> Any:
        """Call the Loader; return its response, or the list of its responses."""
        return _result(getattr(self._loader, method)(request, metadata=self._metadata, timeout=60))

    def _request_id(self, kind: str) -> str:
        """Return an id that the other tenants use too."""
        self._requests += 1
        return f"{kind}-{self._requests}"

    def operate(self) -> None:
        """Do something at random."""
        operations: list[Callable[[], None]] = [self._create, self._load_files, self._put_profile]
        if self.agents:
            operations += [self._create, self._talk, self._talk, self._edit, self._attach, self._delete]
        self._chance.choice(operations)()

    def _one(self) -> str:
        return self._chance.choice(list(self.agents))

    def _create(self) -> None:
        name = self._chance.choice(_NAMES)
        request = agent_pb.CreateAgentRequest(
            name=name, description=f"Of {self.mark}.", request_id=self._request_id("agent")
        )
        if name in self.agents.values():
            with pytest.raises(grpc.RpcError) as caught:
                self.ask("CreateAgent", request)
            assert reason_of(caught.value) == "NAME_TAKEN"
            return
        agent_id = self.ask("CreateAgent", request).agent.agent_id
        self.agents[agent_id] = name
        self.turns[agent_id], self.texts[agent_id], self.attached[agent_id] = [], [], set()

    def _talk(self) -> None:
        agent_id, request_id = self._one(), self._request_id("turn")
        text = f"Tell {self.mark} about {request_id}."
        request = agent_pb.SendMessageRequest(agent_id=agent_id, text=text, request_id=request_id)
        events = self.ask("SendMessage", request)
        again = self.ask("ResumeTurn", agent_pb.ResumeTurnRequest(agent_id=agent_id, request_id=request_id))
        assert events
        assert again[-1].event.WhichOneof("event") == events[-1].event.WhichOneof("event")
        self.turns[agent_id].insert(0, request_id)
        self.texts[agent_id].append(text)

    def _edit(self) -> None:
        agent_id, value = self._one(), f"{self.mark} {secrets.token_hex(4)}"
        block = BlockEdit(label="human", value=value)
        self.ask("SetBlock", agent_pb.SetBlockRequest(agent_id=agent_id, block=block))
        self.human[agent_id] = value

    def _load_files(self) -> None:
        source, name = self._chance.choice(_NAMES), f"{self._chance.choice(_NAMES)}.txt"
        data = f"{self.mark} {secrets.token_hex(4)} of {name}".encode()
        manifest = FileManifest(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        request = loader_pb.CreateLoadRequest(source_name=source, files=[manifest], request_id=self._request_id("load"))
        load = self.load("CreateLoad", request).load
        header = loader_pb.UploadFileRequest.Header(load_id=load.load_id, name=name)
        pieces = [loader_pb.UploadFileRequest(header=header), loader_pb.UploadFileRequest(chunk=data)]
        self.load("UploadFile", iter(pieces))
        events = self.load("WatchLoad", loader_pb.WatchLoadRequest(load_id=load.load_id))
        assert events[-1].ended.state == LOAD_STATE_COMPLETED
        self.loads.insert(0, load.load_id)
        self.sources[source] = load.source_id
        self.files.setdefault(source, set()).add(name)

    def _attach(self) -> None:
        if self.sources:
            agent_id, source = self._one(), self._chance.choice(list(self.sources))
            request = agent_pb.AttachSourceRequest(agent_id=agent_id, source_id=self.sources[source])
            self.ask("AttachSource", request)
            self.attached[agent_id].add(source)

    def _put_profile(self) -> None:
        name, text = self._chance.choice(_NAMES), f"{self.mark} {secrets.token_hex(4)}"
        self.ask("PutProfile", agent_pb.PutProfileRequest(kind=PROFILE_KIND_HUMAN, name=name, text=text))
        self.profiles[name] = text

    def _delete(self) -> None:
        agent_id = self._one()
        self.ask("DeleteAgent", agent_pb.DeleteAgentRequest(agent_id=agent_id))
        for held in (self.agents, self.turns, self.texts, self.attached):
            del held[agent_id]
        self.human.pop(agent_id, None)

    def amounts(self) -> str:
        """Return how much the tenant has."""
        turns = sum(map(len, self.turns.values()))
        return f"{self.name} {len(self.agents)} agents, {turns} turns, {len(self.loads)} loads"

    def check(self) -> None:
        """Compare everything that the tenant can read with the oracle."""
        agents = self.ask("ListAgents", agent_pb.ListAgentsRequest()).agents
        assert {agent.agent_id: agent.name for agent in agents} == self.agents
        for agent_id, texts in self.texts.items():
            exported = str(self.ask("ExportAgent", agent_pb.ExportAgentRequest(agent_id=agent_id)))
            assert all(text in exported for text in texts)
            assert self.human.get(agent_id, "") in exported
            turns = self.ask("ListTurns", agent_pb.ListTurnsRequest(agent_id=agent_id)).turns
            assert [turn.request_id for turn in turns] == self.turns[agent_id]
            of_agent = self.ask("GetContext", agent_pb.GetContextRequest(agent_id=agent_id)).agent
            assert {one.source_id for one in of_agent.attachments} == {self.sources[s] for s in self.attached[agent_id]}
        sources = self.ask("ListSources", agent_pb.ListSourcesRequest()).sources
        assert {source.name: source.source_id for source in sources} == self.sources
        for name, source_id in self.sources.items():
            request = source_pb.ListFilesRequest(source_id=source_id)
            files = self._sources.ListFiles(request, metadata=self._metadata).files
            assert {file.version.name for file in files} == self.files[name]
        loads = self.load("ListLoads", loader_pb.ListLoadsRequest()).loads
        assert [load.load_id for load in loads] == self.loads
        added = agent_pb.ListProfilesRequest(kind=PROFILE_KIND_HUMAN, page_size=100)
        profiles = self.ask("ListProfiles", added).profiles
        assert {one.name: one.text for one in profiles if not one.built_in} == self.profiles

    def everything(self) -> str:
        """Return all that the tenant can read, as text."""
        parts: list[Any] = [self.ask("ListAgents", agent_pb.ListAgentsRequest())]
        for agent_id in self.agents:
            parts += self.ask("ExportAgent", agent_pb.ExportAgentRequest(agent_id=agent_id))
        parts += [self.load("GetLoad", loader_pb.GetLoadRequest(load_id=load_id)) for load_id in self.loads]
        parts.append(self.ask("ListProfiles", agent_pb.ListProfilesRequest(kind=PROFILE_KIND_HUMAN, page_size=100)))
        return str(parts)

    def intrude(self, other: Tenant) -> None:
        """Ask for what another tenant has: it is answered as what does not exist."""
        for agent_id in other.agents:
            for call in self._calls_of_agent():
                _same(call, agent_id, new_id("agent"))
        for source_id in other.sources.values():
            for call in self._calls_of_source():
                _same(call, source_id, new_id("source"))
        for load_id in other.loads[:3]:
            for call in self._calls_of_load():
                _same(call, load_id, new_id("load"))
        self._present_tokens(other)

    def _calls_of_agent(self) -> Iterator[Callable[[str], Any]]:
        requests: dict[str, Callable[[str], Any]] = {
            "GetAgent": lambda id_: agent_pb.GetAgentRequest(agent_id=id_),
            "ListTurns": lambda id_: agent_pb.ListTurnsRequest(agent_id=id_),
            "GetContext": lambda id_: agent_pb.GetContextRequest(agent_id=id_),
            "ExportAgent": lambda id_: agent_pb.ExportAgentRequest(agent_id=id_),
            "SendMessage": lambda id_: agent_pb.SendMessageRequest(agent_id=id_, text="hello"),
            "ResumeTurn": lambda id_: agent_pb.ResumeTurnRequest(agent_id=id_, request_id="turn-1"),
            "CancelTurn": lambda id_: agent_pb.CancelTurnRequest(agent_id=id_, request_id="turn-1"),
            "Retry": lambda id_: agent_pb.RetryRequest(agent_id=id_, request_id=new_id("req")),
            "Undo": lambda id_: agent_pb.UndoRequest(agent_id=id_, request_id=new_id("req")),
            "UpdateAgent": lambda id_: agent_pb.UpdateAgentRequest(
                agent=Agent(agent_id=id_, description="taken"), update_mask=FieldMask(paths=["description"])
            ),
            "DeleteAgent": lambda id_: agent_pb.DeleteAgentRequest(agent_id=id_),
            "SetBlock": lambda id_: agent_pb.SetBlockRequest(agent_id=id_, block=BlockEdit(label="human", value="x")),
            "ListTools": lambda id_: agent_pb.ListToolsRequest(agent_id=id_),
            "ListHeartbeats": lambda id_: agent_pb.ListHeartbeatsRequest(agent_id=id_),
            "CancelHeartbeat": lambda id_: agent_pb.CancelHeartbeatRequest(agent_id=id_, heartbeat_id="h"),
            "SetHeartbeat": lambda id_: agent_pb.SetHeartbeatRequest(
                agent_id=id_, heartbeat=Heartbeat(cron="0 9 * * *", reason="Look.")
            ),
        }
        for method, make in requests.items():
            yield lambda id_, method=method, make=make: self.ask(method, make(id_))  # type: ignore[misc]

    def _calls_of_source(self) -> Iterator[Callable[[str], Any]]:
        manifest = FileManifest(name="a.txt", size=1, sha256=bytes(32).hex())
        yield lambda id_: self.ask(
            "UpdateSource",
            agent_pb.UpdateSourceRequest(
                source=Source(source_id=id_, name="taken"), update_mask=FieldMask(paths=["name"])
            ),
        )
        yield lambda id_: self.ask("DeleteSource", agent_pb.DeleteSourceRequest(source_id=id_))
        yield lambda id_: self.load("CreateLoad", loader_pb.CreateLoadRequest(source_id=id_, files=[manifest]))
        yield lambda id_: self.load("ListLoads", loader_pb.ListLoadsRequest(source_id=id_))
        for mine in list(self.agents)[:1]:
            yield lambda id_, mine=mine: self.ask(  # type: ignore[misc]
                "AttachSource", agent_pb.AttachSourceRequest(agent_id=mine, source_id=id_)
            )

    def _calls_of_load(self) -> Iterator[Callable[[str], Any]]:
        yield lambda id_: self.load("GetLoad", loader_pb.GetLoadRequest(load_id=id_))
        yield lambda id_: self.load("WatchLoad", loader_pb.WatchLoadRequest(load_id=id_))
        yield lambda id_: self.load("CancelLoad", loader_pb.CancelLoadRequest(load_id=id_))
        yield lambda id_: self.load(
            "UploadFile",
            iter([loader_pb.UploadFileRequest(header=loader_pb.UploadFileRequest.Header(load_id=id_, name="one.txt"))]),
        )

    def _present_tokens(self, other: Tenant) -> None:
        """Send page tokens of another tenant."""
        listed: list[tuple[Callable[[Tenant], Callable[[str, Any], Any]], str, Any]] = [
            (lambda tenant: tenant.ask, "ListAgents", agent_pb.ListAgentsRequest(page_size=1)),
            (lambda tenant: tenant.ask, "ListSources", agent_pb.ListSourcesRequest(page_size=1)),
            (lambda tenant: tenant.load, "ListLoads", loader_pb.ListLoadsRequest(page_size=1)),
        ]
        for caller, method, request in listed:
            token = caller(other)(method, request).next_page_token
            if token:
                request.page_token = token
                with pytest.raises(grpc.RpcError) as caught:
                    caller(self)(method, request)
                assert reason_of(caught.value) == "INVALID_PAGE_TOKEN"


def _result(call: Any) -> Any:
    return list(call) if isinstance(call, grpc.Call) and hasattr(call, "__iter__") else call


def _same(call: Callable[[str], Any], id_: str, invented: str) -> None:
    """Check that an id has the outcome of an invented one."""
    assert _outcome(call, id_) == _outcome(call, invented)


def _outcome(call: Callable[[str], Any], id_: str) -> tuple[str, ...]:
    try:
        return ("OK", str(call(id_)))
    except grpc.RpcError as error:
        details = from_rpc_error(error)
        metadata = {name: "id" if value == id_ else value for name, value in details.metadata.items()}
        return (str(error.code()), str(details.reason), details.message.replace(id_, "id"), str(metadata))


@pytest.fixture
def metrics_ports() -> dict[str, int]:
    return dict(zip(("MEMORY", "LOADER", "AGENT"), free_ports(3), strict=True))


@pytest.fixture
def suite(tmp_path: Path, milvus_uri: str, metrics_ports: dict[str, int]) -> Iterator[GuardedSuite]:
    ports = {f"MEMGPT_{name}_METRICS_PORT": str(port) for name, port in metrics_ports.items()}
    with GuardedSuite(tmp_path, MEMGPT_MEMORY_URI=milvus_uri, **ports) as suite:
        yield suite


def test_three_tenants_see_their_own_things_only(
    suite: GuardedSuite, metrics_ports: dict[str, int], examples: int, seed: int
) -> None:
    for current in range(seed, seed + (examples or 1)):
        names = [f"{name}-{current}" for name in _TENANTS]
        for name in names:
            suite.create_tenant(name)
        tenants = [Tenant(suite, name, Random(f"{current} {name}")) for name in names]
        with ThreadPoolExecutor(len(tenants)) as threads:
            for number in range(1, _ROUNDS + 1):
                list(threads.map(Tenant.operate, tenants))
                if number % _CHECK_EVERY == 0:
                    _check_all(tenants)
                    _check_metrics(tenants, metrics_ports.values())
        sys.stdout.write(f"seed {current}: {', '.join(tenant.amounts() for tenant in tenants)}\n")


def _check_metrics(tenants: Sequence[Tenant], ports: Iterable[int]) -> None:
    """Metrics name no tenant and nothing that a tenant has."""
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            found = response.read().decode()
        assert "memgpt_" in found
        for tenant in tenants:
            owned = (tenant.mark, tenant.name, *tenant.agents, *tenant.sources.values(), *tenant.loads)
            assert not any(one in found for one in owned)


def _check_all(tenants: list[Tenant]) -> None:
    for tenant in tenants:
        for other in tenants:
            if other is not tenant:
                tenant.intrude(other)
    for tenant in tenants:
        tenant.check()
        everything = tenant.everything()
        assert not any(other.mark in everything for other in tenants if other is not tenant)
