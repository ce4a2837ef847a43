"""Faults at random in two Agents, two Loaders and Memory behind Envoy, under clients with turns, searches and loads:
nothing acknowledged is lost, nothing happens twice, nothing changes its order.

``--faults 200 --clients 16`` is the long run, of half an hour or so. With ``--on-server`` it runs on a Milvus server,
which is restarted and cut off from Memory as well.
"""

from __future__ import annotations

import faulthandler
import hashlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client import Aborted, MemGPT, ServiceError, from_rpc_error, is_resumable
from memgpt.loader.v1.load_pb2 import (
    FILE_STATE_AWAITING_UPLOAD,
    FILE_STATE_LOADED,
    FILE_STATE_UNCHANGED,
    LOAD_STATE_COMPLETED,
    FileManifest,
)
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED
from memgpt.tool.v1.tool_service_pb2 import CallToolResponse

from tests.e2e import turns
from tests.support.edge import Edge
from tests.support.milvus_server import MilvusServer
from tests.support.partition import Link
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import ScriptedLLM
from tests.support.scripted_tool import ScriptedTool
from tests.support.threads import running
from tests.support.waiting import wait_until

T = TypeVar("T")

PATIENCE = 480.0
"""Seconds within which every operation must succeed, also on a busy machine."""

RESTART = 300.0
"""Seconds within which a service or Milvus must be back after a restart."""

UNHEALTHY = 60.0
"""Seconds after which Milvus is restarted that reports to be unhealthy."""

KINDS = ("kill", "term", "stop", "partition")

OPERATION = 2 * PATIENCE
"""Seconds after which an operation of a client that neither succeeds nor fails counts as hanging."""


class Service:
    """A service on a port of its own; all but Memory reach Memory by a link."""

    def __init__(self, module: str, home: Path, memory_address: str | None, **settings: str) -> None:
        self.name = module.removeprefix("memgpt_")
        self.link = Link(memory_address).__enter__() if memory_address else None
        if self.link:
            settings[f"{module.upper()}_MEMORY_ADDRESS"] = self.link.address
        # Behind Envoy its address stays; all start at once, which takes a third of the time.
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        settings[f"{module.upper()}_PORT"] = str(port)
        self._module, self._home, self._settings = module, home, settings
        self._process = self._start()

    def _start(self) -> ServiceProcess:
        return ServiceProcess(self._module, self._home, **self._settings)

    def fault(self, kind: str, seconds: float) -> None:
        """Suffer a fault, and wait until it is over."""
        if kind == "stop":
            self._process.send(signal.SIGSTOP)
            time.sleep(seconds)
            self._process.send(signal.SIGCONT)
        elif kind == "partition":
            assert self.link
            self.link.cut()
            time.sleep(seconds)
            self.link.mend()
        else:
            if kind == "kill":
                self._process.kill9()
            else:
                self._process.terminate(60)
            self._process.close()
            self._process = self._start()
            self._process.wait_ready(RESTART)

    def close(self) -> None:
        self._process.close()
        if self.link:
            self.link.__exit__(None, None, None)


class Milvus:
    """A Milvus server, which Memory reaches by a link; it is restarted as by an orchestrator.

    That is when it ends by itself, as after a stop, or starvation, that outlasts its session, or when it reports for a
    minute that it is unhealthy: sometimes it hangs at that end.

    Attributes:
        ends: How often it was restarted so.
    """

    name = "milvus"

    def __init__(self, server: MilvusServer) -> None:
        self._server = server
        self.link = Link(server.uri.removeprefix("http://")).__enter__()
        self.uri = f"http://{self.link.address}"
        self.ends = 0
        self._faulty = threading.Lock()
        self._closed = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise)
        self._supervisor.start()

    def _supervise(self) -> None:
        healthy = time.monotonic()
        while not self._closed.wait(0.5):
            with self._faulty:
                if self._server.is_healthy():
                    healthy = time.monotonic()
                elif self._server.ended or time.monotonic() - healthy > UNHEALTHY:
                    self.ends += 1
                    self._server.restart(RESTART)

    def fault(self, kind: str, seconds: float) -> None:
        """Suffer a fault, and wait until it is over."""
        with self._faulty:
            if kind == "stop":
                self._server.suspend()
                time.sleep(seconds)
                self._server.resume()
            elif kind == "partition":
                self.link.cut()
                time.sleep(seconds)
                self.link.mend()
            else:
                self._server.restart(RESTART)

    def close(self) -> None:
        self._closed.set()
        self._supervisor.join()
        self.link.__exit__(None, None, None)


class Client:
    """Talks to its own agent, searches its notes, and loads files into its own source, one after the other.

    Attributes:
        marks: Texts of the turns in order; each is also the request's id.
        files: Contents of loaded files by name.
        searches: How many searches found what they looked for.
        failures: What went wrong.
        operation: What it does, and since when; None when it is done.
    """

    def __init__(self, edge: Edge, memory_address: str, tool_address: str, folder: Path) -> None:
        self._memgpt = MemGPT(edge.address, edge.address, memory=memory_address)
        self._channel = grpc.insecure_channel(memory_address, [("grpc.use_local_subchannel_pool", 1)])
        self._luck = random.Random()
        self._folder = folder
        folder.mkdir()
        agent = self._memgpt.agents.create(core_memory_limit=20_000)
        self._memgpt.agents.register_tools(agent.agent_id, tool_address)
        self.agent_id = agent.agent_id
        self.source = f"source of {self.agent_id}"
        self.marks: list[str] = []
        self.files: dict[str, str] = {}
        self.searches = 0
        self.failures: list[str] = []
        self.operation: tuple[str, float] | None = None

    def work(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                self._turn(f"{self.agent_id[-6:]}x{len(self.marks)}")
                self._search(self._luck.choice(self.marks))
                self._load(f"file {len(self.files)}.txt")
        except (ServiceError, AssertionError) as error:
            self.failures.append(f"{self.agent_id}: {self.operation}: {error}")
        finally:
            self.operation = None

    @property
    def hangs(self) -> str:
        """What has taken too long; empty if nothing has."""
        if (operation := self.operation) and time.monotonic() - operation[1] > OPERATION:
            return f"{self.agent_id}: {operation[0]} has not ended after {OPERATION:.0f} s"
        return ""

    def close(self) -> None:
        self._channel.close()
        self._memgpt.close()

    def _insist(self, what: str, attempt: Callable[[], T]) -> T:
        """Repeat what a fault broke; anything else is an error."""
        self.operation = what, time.monotonic()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return attempt()
            except ServiceError as error:
                if time.monotonic() > deadline or not (is_resumable(error) or isinstance(error, Aborted)):
                    raise
                time.sleep(0.1)

    def _turn(self, mark: str) -> None:
        request = agent_pb.SendMessageRequest(agent_id=self.agent_id, request_id=mark, text=mark, skip_verify=True)
        self.marks.append(mark)

        def attempt() -> None:
            for event in self._memgpt.agents.send(request):
                if event.sequence:
                    assert event.sequence == request.after_sequence + 1, f"{mark}: {event}"
                    request.after_sequence = event.sequence
                if event.HasField("done"):
                    assert event.done.state == TURN_STATE_COMPLETED, f"{mark}: {event}"

        self._insist(f"turn {mark}", attempt)

    def _search(self, mark: str) -> None:
        scope = archival_pb.PassageScope(agent_id=self.agent_id)
        request = archival_pb.SearchPassagesRequest(scope=scope, query=f"note {mark}", page_size=100)

        def attempt() -> list[str]:
            try:
                hits = ArchivalMemoryServiceStub(self._channel).SearchPassages(request, timeout=60).hits
            except grpc.RpcError as error:
                raise from_rpc_error(error) from error
            return [hit.passage.text for hit in hits]

        assert f"note {mark}" in self._insist(f"search for {mark}", attempt), f"{mark} is not found"
        self.searches += 1

    def _load(self, name: str) -> None:
        text = f"What {self.agent_id} has loaded as {name}."
        data, path = text.encode(), self._folder / name
        path.write_bytes(data)
        manifest = FileManifest(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())

        def attempt() -> None:
            load = self._memgpt.loads.create(self.source, [manifest])
            if load.files[0].state == FILE_STATE_AWAITING_UPLOAD:
                self._memgpt.loads.upload(load.load_id, name, path)
            for event in self._memgpt.loads.watch(load.load_id):
                if event.file.state == FILE_STATE_AWAITING_UPLOAD:  # its Loader is gone
                    self._memgpt.loads.upload(load.load_id, name, path)
                if event.HasField("ended"):
                    assert event.ended.state == LOAD_STATE_COMPLETED, event
                    assert event.ended.files[0].state in (FILE_STATE_LOADED, FILE_STATE_UNCHANGED), event

        self._insist(f"load of {name}", attempt)
        self.files[name] = text


@contextmanager
def working(clients: list[Client]) -> Iterator[None]:
    stop = threading.Event()
    try:
        # After the last fault a client has one turn, one search and one load to finish.
        with running([partial(client.work, stop) for client in clients], 3 * PATIENCE):
            try:
                yield
            finally:
                stop.set()
    finally:
        for client in clients:
            if client.operation:
                print(f"{client.agent_id} is still at its {client.operation[0]}")


def problems_of(clients: list[Client]) -> list[str]:
    """Return what failed and what hangs; the stacks of all threads are on stderr if something does."""
    hanging = [client.hangs for client in clients if client.hangs]
    if hanging:
        faulthandler.dump_traceback(2)
    return hanging + [each for client in clients for each in client.failures]


def amounts_of(clients: list[Client]) -> dict[str, int]:
    """Return what the clients have done."""
    return {
        "turns": sum(len(client.marks) for client in clients),
        "searches": sum(client.searches for client in clients),
        "loads": sum(len(client.files) for client in clients),
    }


def has_moved(clients: list[Client], before: dict[str, int]) -> bool:
    """Whether a client has done something more since, or has a problem."""
    return amounts_of(clients) != before or bool(problems_of(clients))


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """Number of faults."""
    return int(request.config.getoption("--faults"))


@pytest.fixture
def milvus(request: pytest.FixtureRequest) -> Iterator[Milvus | None]:
    """The Milvus server; None for Milvus Lite."""
    if not request.config.getoption("--on-server"):
        yield None
        return
    server = Milvus(request.getfixturevalue("own_milvus_server"))
    yield server
    server.close()


@pytest.mark.timeout(0)
def test_faults_at_random(
    tmp_path: Path,
    scripted_llm: Callable[..., ScriptedLLM],
    milvus: Milvus | None,
    faults: int,
    clients: int,
) -> None:
    luck = random.Random()
    llm = scripted_llm(turns.answer)
    done: Counter[str] = Counter()
    with ExitStack() as stack:
        tool = stack.enter_context(ScriptedTool({"ring": lambda _: CallToolResponse(result="It rang.")}))
        common = {"MEMGPT_SERVER_DRAIN_PAUSE": "0.5", "MEMGPT_SERVER_DRAIN_GRACE": "2"}
        store = {"MEMGPT_MEMORY_URI": milvus.uri} if milvus else {}
        lease = {"MEMGPT_MEMORY_LEASE_SECONDS": "4"}
        memory = Service("memgpt_memory", tmp_path, None, **common, **lease, **store)
        stack.callback(memory.close)
        model = {
            "MEMGPT_AGENT_MODEL": "scripted",
            "MEMGPT_AGENT_BASE_URL": llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
            "MEMGPT_AGENT_TOOL_ADDRESSES": tool.address,
        }
        replicas = []
        patience = {"MEMGPT_LOADER_STORE_RETRY_SECONDS": f"{PATIENCE:.0f}"}
        for module, settings in (("memgpt_agent", common | model), ("memgpt_loader", common | patience)) * 2:
            replicas.append(Service(module, tmp_path, memory.address, **settings))
            stack.callback(replicas[-1].close)
        agents, loaders = ([each.address for each in replicas if each.name == name] for name in ("agent", "loader"))
        edge = stack.enter_context(Edge(tmp_path, agents=agents, loaders=loaders))
        edge.wait_until("agent", 2)
        edge.wait_until("loader", 2)
        victims: list[Service | Milvus] = [*replicas, memory]
        workers = [Client(edge, memory.address, tool.address, tmp_path / f"files{n}") for n in range(clients)]
        for worker in workers:
            stack.callback(worker.close)
        with working(workers):
            for number in range(faults or 6):
                time.sleep(luck.uniform(0.0, 1.0))
                kind = KINDS[number % len(KINDS)]
                victim = luck.choice(victims)
                if milvus and number % (len(KINDS) + 1) == len(KINDS):  # every fifth fault, of each kind in turn
                    victim = milvus
                elif kind == "partition":
                    victim = luck.choice(replicas)
                victim.fault(kind, luck.uniform(5.0, 20.0 if faults else 6.0))
                done[f"{kind} {victim.name}"] += 1
                print(f"fault {number + 1}: {kind} {victim.name}, {amounts_of(workers)}", flush=True)
                if victim is milvus:  # it replays its log first, and might never end that under a fault a minute
                    wait_until(partial(has_moved, workers, amounts_of(workers)), PATIENCE)
                assert problems_of(workers) == [], dict(done)
        amounts = amounts_of(workers)
        print(
            f"faults: {sum(done.values())}, {dict(done)}, {amounts}, Milvus ended {milvus.ends if milvus else 0} times"
        )
        assert problems_of(workers) == []
        check(workers, memory.address, edge, tool)


def check(workers: list[Client], memory_address: str, edge: Edge, tool: ScriptedTool) -> None:
    """Assert that everything happened once and in order."""
    keys: set[str] = set()
    with MemGPT(edge.address, edge.address, memory=memory_address) as memgpt:
        for worker in workers:
            messages = turns.history(memory_address, worker.agent_id)
            turns.check_transcript(messages, worker.marks)
            keys |= {f"{m.turn_id}-{m.step}" for m in messages if m.function_call.name == "ring"}
            context = memgpt.agents.context(worker.agent_id)
            assert context.agent.passage_count == len(worker.marks), "each note once"
            human = next(block.value for block in context.blocks if block.label == "human")
            assert [line for line in human.splitlines() if line.startswith("saw ")] == [
                f"saw {mark}" for mark in worker.marks
            ]
            source = memgpt.sources.find(worker.source)
            passages = {passage.citation.file_name: passage.text for passage in source.passages()}
            assert passages == worker.files, "each file once"
            assert source.passage_count == len(worker.files)
    assert set(tool.keys) == keys, "called under the key of its step, and no other"
    assert len(keys) == sum(len(worker.marks) for worker in workers)
