"""The synchronous client."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServiceError,
    Unavailable,
    from_rpc_error,
)
from memgpt.client.tls import Tls
from memgpt.common.v1.reasons import Reason
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.load_pb2 import FileManifest, Load, LoadFile, Tags
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1 import store_service_pb2 as store_pb
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.block_pb2 import Block, BlockEdit
from memgpt.memory.v1.message_pb2 import Message
from memgpt.memory.v1.passage_pb2 import Passage
from memgpt.memory.v1.profile_pb2 import Profile, ProfileKind
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub
from memgpt.memory.v1.source_pb2 import Source
from memgpt.memory.v1.store_service_pb2_grpc import StoreServiceStub
from memgpt.memory.v1.tool_pb2 import ToolServer
from memgpt.memory.v1.turn_pb2 import Turn

CALL_TIMEOUT = 60.0
"""Seconds for a unary call that asks no model."""

MODEL_TIMEOUT = 600.0
"""Seconds for a unary call that waits for the agent's turns and for a model."""

STORE_TIMEOUT = 3600.0
"""Seconds for what goes through the files of the whole store."""

CHUNK_BYTES = 64 * 1024
"""Bytes of a file per message of an upload: the most that the Loader takes."""

RESUME_SECONDS = 120.0
"""How long a stream that broke is taken up again without a sign of its service: to be started anew takes less."""

TURN_SECONDS = 30.0
"""The same for a turn, which somebody waits for."""

_FIRST_SECONDS = 5.0
"""The same for a service that has not answered at all yet: it may not be there."""

_PAGE_SIZE = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LOOPBACK = ("127.", "localhost:", "[::1]:")

T = TypeVar("T")
_TurnRequest = TypeVar("_TurnRequest", agent_pb.SendMessageRequest, agent_pb.RetryRequest, agent_pb.ResumeTurnRequest)
_TurnResponse = agent_pb.SendMessageResponse | agent_pb.RetryResponse | agent_pb.ResumeTurnResponse


def open_channel(address: str, tls: Tls | None = None) -> grpc.Channel:
    """A channel to `host:port`: plaintext unless `tls` is given."""
    options = [
        ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        # A connection that is gone without a word is noticed within 40 s, also while a model thinks.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A proxy of this machine is not for calls to the machine itself.
        ("grpc.enable_http_proxy", 0 if address.startswith(_LOOPBACK) else 1),
    ]
    if tls is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, tls.credentials(), options=options)


def new_request_id() -> str:
    """An id of 122 random bits, which names a turn or makes a call repeatable."""
    return uuid.uuid4().hex


class Patience:
    """Says how long to wait before a call is made again whose service is away, and when to give up."""

    def __init__(self, seconds: float, renewed: float = RESUME_SECONDS) -> None:
        """Lasts for so many seconds; `renew` makes them `renewed`."""
        self._end = time.monotonic() + seconds
        self._renewed = renewed
        self._pause = _FIRST_PAUSE

    def renew(self) -> None:
        """The service has shown a sign of life."""
        self._end = time.monotonic() + self._renewed
        self._pause = _FIRST_PAUSE

    def pause(self, error: ServiceError) -> float:
        """Seconds to wait after an error, longer if the service says so; raises the error when patience has ended."""
        pause = max(self._pause, error.retry_after or 0.0)
        if time.monotonic() + pause > self._end:
            raise error
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def _pages(fetch: Callable[[str], tuple[Iterable[T], str]]) -> Iterator[T]:
    token = ""
    while True:
        with _errors():
            items, token = fetch(token)
        yield from items
        if not token:
            return


class MemGPT:
    """The suite, as a client sees it.

    Attributes:
        agents: Agents and their turns.
        sources: What was loaded.
        profiles: Personas, humans and presets.
        loads: Loading of files.
    """

    def __init__(
        self, agent: str, loader: str, tls: Tls | None = None, *, memory: str = "", turn_seconds: float = TURN_SECONDS
    ) -> None:
        """Opens the channels; nothing is sent before the first call.

        Args:
            agent: `host:port` of the Agent.
            loader: `host:port` of the Loader.
            tls: None for plaintext.
            memory: `host:port` of Memory, for `memory` and `store` alone.
            turn_seconds: How long a turn that broke off is taken up again without a sign of the Agent.
        """
        self._channels = [open_channel(agent, tls), open_channel(loader, tls)]
        self._memory, self._tls = memory, tls
        agent_stub = AgentServiceStub(self._channels[0])
        self.agents = Agents(agent_stub, turn_seconds)
        self.sources = Sources(agent_stub)
        self.profiles = Profiles(agent_stub)
        self.loads = Loads(LoaderServiceStub(self._channels[1]))

    @cached_property
    def memory(self) -> Memory:
        """Searches in memory itself; FailedPrecondition when its address is not known."""
        channel = self._memory_channel
        return Memory(ArchivalMemoryServiceStub(channel), RecallMemoryServiceStub(channel))

    @cached_property
    def store(self) -> Store:
        """What an operator does with the store; FailedPrecondition when Memory's address is not known."""
        return Store(StoreServiceStub(self._memory_channel))

    @cached_property
    def _memory_channel(self) -> grpc.Channel:
        if not self._memory:
            raise FailedPrecondition(
                Reason.WRONG_STATE, "this needs Memory itself: set memory_address in [client] of the configuration"
            )
        self._channels.append(open_channel(self._memory, self._tls))
        return self._channels[-1]

    def close(self) -> None:
        """Closes the channels. Turns and loads under way go on without us."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> MemGPT:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Agents:
    """Agents and their turns."""

    def __init__(self, stub: AgentServiceStub, turn_seconds: float = TURN_SECONDS) -> None:
        self._stub = stub
        self._turn_seconds = turn_seconds

    def create(self, request: agent_pb.CreateAgentRequest) -> Agent:
        """Creates an agent; without a `request_id` it gets one, so that a lost answer costs no second agent."""
        if not request.request_id:
            request.request_id = new_request_id()
        with _errors():
            return self._stub.CreateAgent(request, timeout=CALL_TIMEOUT).agent

    def get(self, agent_id: str) -> Agent:
        """Reads an agent by its id."""
        with _errors():
            return self._stub.GetAgent(agent_pb.GetAgentRequest(agent_id=agent_id), timeout=CALL_TIMEOUT).agent

    def find(self, name: str) -> Agent:
        """Reads an agent by its name, or else by its id."""
        with _errors():
            try:
                return self._stub.GetAgent(agent_pb.GetAgentRequest(name=name), timeout=CALL_TIMEOUT).agent
            except grpc.RpcError as error:
                not_found = from_rpc_error(error)
                if not isinstance(not_found, NotFound):
                    raise
        try:
            return self.get(name)
        except (NotFound, InvalidArgument):
            raise not_found from None

    def list(self) -> Iterator[Agent]:
        """All agents, in order of creation."""

        def fetch(token: str) -> tuple[Iterable[Agent], str]:
            request = agent_pb.ListAgentsRequest(page_size=_PAGE_SIZE, page_token=token)
            response = self._stub.ListAgents(request, timeout=CALL_TIMEOUT)
            return response.agents, response.next_page_token

        return _pages(fetch)

    def update(self, agent: Agent, *fields: str) -> Agent:
        """Writes the named fields of `agent` over those that are stored."""
        request = agent_pb.UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=fields))
        with _errors():
            return self._stub.UpdateAgent(request, timeout=CALL_TIMEOUT).agent

    def delete(self, agent_id: str) -> None:
        """Deletes an agent with all it remembers."""
        request = agent_pb.DeleteAgentRequest(agent_id=agent_id, request_id=new_request_id())
        with _errors():
            self._stub.DeleteAgent(request, timeout=CALL_TIMEOUT)

    def export(self, agent_id: str) -> Iterator[AgentPiece]:
        """An agent whole, in pieces, as of one instant."""
        with _errors():
            for response in self._stub.ExportAgent(
                agent_pb.ExportAgentRequest(agent_id=agent_id), timeout=STORE_TIMEOUT
            ):
                yield response.piece

    def import_(self, pieces: Iterable[AgentPiece], name: str = "") -> agent_pb.ImportAgentResponse:
        """Makes an agent out of pieces, all or nothing; what `pieces` raises comes through.

        Args:
            pieces: As `export` yields them.
            name: Its name, if not the exported one.
        """
        failures: list[Exception] = []

        def requests() -> Iterator[agent_pb.ImportAgentRequest]:
            first = {"name": name, "request_id": new_request_id()}
            try:
                for piece in pieces:
                    yield agent_pb.ImportAgentRequest(piece=piece, **first)
                    first = {}
            except Exception as error:
                failures.append(error)
                raise

        try:
            with _errors():
                return self._stub.ImportAgent(requests(), timeout=STORE_TIMEOUT)
        except ServiceError:
            if failures:
                raise failures[0] from None
            raise

    def attach(self, agent_id: str, source_id: str) -> Agent:
        """Lets an agent search a source."""
        request = agent_pb.AttachSourceRequest(agent_id=agent_id, source_id=source_id)
        with _errors():
            return self._stub.AttachSource(request, timeout=CALL_TIMEOUT).agent

    def detach(self, agent_id: str, source_id: str) -> Agent:
        """Takes a source away from an agent."""
        request = agent_pb.DetachSourceRequest(agent_id=agent_id, source_id=source_id)
        with _errors():
            return self._stub.DetachSource(request, timeout=CALL_TIMEOUT).agent

    def register_tools(self, agent_id: str, address: str) -> ToolServer:
        """Lets an agent call the functions of a ToolService at ``host:port``."""
        request = agent_pb.RegisterToolsRequest(agent_id=agent_id, address=address)
        with _errors():
            return self._stub.RegisterTools(request, timeout=CALL_TIMEOUT).server

    def tools(self, agent_id: str) -> Sequence[ToolServer]:
        """The addresses whose functions an agent may call."""
        with _errors():
            return self._stub.ListTools(agent_pb.ListToolsRequest(agent_id=agent_id), timeout=CALL_TIMEOUT).servers

    def unregister_tools(self, agent_id: str, address: str) -> None:
        """Takes the functions of an address away from an agent."""
        request = agent_pb.UnregisterToolsRequest(agent_id=agent_id, address=address)
        with _errors():
            self._stub.UnregisterTools(request, timeout=CALL_TIMEOUT)

    def context(self, agent_id: str) -> agent_pb.GetContextResponse:
        """What fills the agent's context window now."""
        with _errors():
            return self._stub.GetContext(agent_pb.GetContextRequest(agent_id=agent_id), timeout=CALL_TIMEOUT)

    def summarize(self, agent_id: str) -> agent_pb.SummarizeResponse:
        """Summarises and evicts the oldest messages of the window."""
        request = agent_pb.SummarizeRequest(agent_id=agent_id, request_id=new_request_id())
        with _errors():
            return self._stub.Summarize(request, timeout=MODEL_TIMEOUT)

    def set_block(self, agent_id: str, block: BlockEdit) -> Block:
        """Writes a block of core memory, and makes it when there is none of its label."""
        with _errors():
            request = agent_pb.SetBlockRequest(agent_id=agent_id, block=block)
            return self._stub.SetBlock(request, timeout=CALL_TIMEOUT).block

    def delete_block(self, agent_id: str, label: str) -> None:
        """Deletes a block of core memory; one that is absent stays so."""
        with _errors():
            self._stub.DeleteBlock(agent_pb.DeleteBlockRequest(agent_id=agent_id, label=label), timeout=CALL_TIMEOUT)

    def undo(self, agent_id: str, count: int = 0) -> int:
        """Takes back the last user's message and all behind it, or the last `count` messages; answers how many."""
        request = agent_pb.UndoRequest(agent_id=agent_id, request_id=new_request_id(), count=count)
        with _errors():
            return self._stub.Undo(request, timeout=MODEL_TIMEOUT).removed_count

    def retry(self, request: agent_pb.RetryRequest) -> Iterator[TurnEvent]:
        """Undoes the last turn and runs it again; yields what the agent does, as `send`."""
        return self._turn(request, self._stub.Retry)

    def rethink(self, agent_id: str, text: str) -> Message:
        """Puts `text` in place of the last inner thought."""
        request = agent_pb.RethinkRequest(agent_id=agent_id, text=text, request_id=new_request_id())
        with _errors():
            return self._stub.Rethink(request, timeout=MODEL_TIMEOUT).message

    def rewrite(self, agent_id: str, text: str) -> Message:
        """Puts `text` in place of the last words to the user."""
        request = agent_pb.RewriteRequest(agent_id=agent_id, text=text, request_id=new_request_id())
        with _errors():
            return self._stub.Rewrite(request, timeout=MODEL_TIMEOUT).message

    def model(self) -> agent_pb.GetModelResponse:
        """The models and the store that the services use."""
        with _errors():
            return self._stub.GetModel(agent_pb.GetModelRequest(), timeout=CALL_TIMEOUT)

    def send(self, request: agent_pb.SendMessageRequest) -> Iterator[TurnEvent]:
        """Gives the agent an event and yields what it does, up to and with `done`.

        When the connection breaks, the turn is taken up where it was, for a while: durable events come once each.

        Args:
            request: Left as it is; without a `request_id` it gets one of its own.
        """
        return self._turn(request, self._stub.SendMessage)

    def _turn(
        self, asked: _TurnRequest, call: Callable[[_TurnRequest], Iterable[_TurnResponse]]
    ) -> Iterator[TurnEvent]:
        request = type(asked)()
        request.CopyFrom(asked)
        if not request.request_id:
            request.request_id = new_request_id()
        patience = Patience(min(_FIRST_SECONDS, self._turn_seconds), self._turn_seconds)
        while True:
            try:
                with _errors():
                    for response in call(request):
                        request.after_sequence = max(request.after_sequence, response.event.sequence)
                        patience.renew()
                        yield response.event
                        if response.event.HasField("done"):
                            return
                raise Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the turn did")
            except Unavailable as error:
                # With a request id it is the service's own word (of its model, say): repeating is the user's choice.
                if error.request_id is not None:
                    raise
                time.sleep(patience.pause(error))

    def resume(
        self, agent_id: str, request_id: str, after_sequence: int = 0, *, stream_deltas: bool = False
    ) -> Iterator[TurnEvent]:
        """Replays a turn from `after_sequence` on, follows it, and continues it where it stopped; yields as `send`."""
        request = agent_pb.ResumeTurnRequest(
            agent_id=agent_id, request_id=request_id, after_sequence=after_sequence, stream_deltas=stream_deltas
        )
        return self._turn(request, self._stub.ResumeTurn)

    def turns(self, agent_id: str) -> Iterator[Turn]:
        """An agent's turns, the latest first."""

        def fetch(token: str) -> tuple[Iterable[Turn], str]:
            request = agent_pb.ListTurnsRequest(agent_id=agent_id, page_token=token)
            response = self._stub.ListTurns(request, timeout=CALL_TIMEOUT)
            return response.turns, response.next_page_token

        return _pages(fetch)

    def cancel(self, agent_id: str, request_id: str) -> Turn:
        """Cancels a turn, also within a running call of the model or of a tool."""
        request = agent_pb.CancelTurnRequest(agent_id=agent_id, request_id=request_id)
        with _errors():
            return self._stub.CancelTurn(request, timeout=CALL_TIMEOUT).turn


class Sources:
    """What was loaded."""

    def __init__(self, stub: AgentServiceStub) -> None:
        self._stub = stub

    def list(self) -> Iterator[Source]:
        """All sources, in order of creation."""

        def fetch(token: str) -> tuple[Iterable[Source], str]:
            request = agent_pb.ListSourcesRequest(page_size=_PAGE_SIZE, page_token=token)
            response = self._stub.ListSources(request, timeout=CALL_TIMEOUT)
            return response.sources, response.next_page_token

        return _pages(fetch)

    def find(self, name: str) -> Source:
        """The source of this name, or else of this id."""
        sources = list(self.list())
        for source in sources:
            if source.name == name:
                return source
        for source in sources:
            if source.source_id == name:
                return source
        known = ", ".join(repr(source.name) for source in sources[:8]) or "none yet"
        raise NotFound(Reason.SOURCE_NOT_FOUND, f"there is no data source {name!r}; known are: {known}")

    def delete(self, source_id: str) -> None:
        """Deletes a source with its passages, and detaches it from every agent."""
        request = agent_pb.DeleteSourceRequest(source_id=source_id, request_id=new_request_id())
        with _errors():
            self._stub.DeleteSource(request, timeout=MODEL_TIMEOUT)


class Profiles:
    """Personas, humans and presets."""

    def __init__(self, stub: AgentServiceStub) -> None:
        self._stub = stub

    def list(self, kind: ProfileKind.ValueType) -> Iterator[Profile]:
        """Those that ship with the suite, then the others by name."""

        def fetch(token: str) -> tuple[Iterable[Profile], str]:
            request = agent_pb.ListProfilesRequest(kind=kind, page_size=_PAGE_SIZE, page_token=token)
            response = self._stub.ListProfiles(request, timeout=CALL_TIMEOUT)
            return response.profiles, response.next_page_token

        return _pages(fetch)

    def put(self, kind: ProfileKind.ValueType, name: str, text: str) -> Profile:
        """Writes a profile; an existing one is replaced."""
        request = agent_pb.PutProfileRequest(kind=kind, name=name, text=text)
        with _errors():
            return self._stub.PutProfile(request, timeout=CALL_TIMEOUT).profile

    def delete(self, kind: ProfileKind.ValueType, name: str) -> None:
        """Deletes a profile."""
        with _errors():
            self._stub.DeleteProfile(agent_pb.DeleteProfileRequest(kind=kind, name=name), timeout=CALL_TIMEOUT)


class Loads:
    """Loading of files."""

    def __init__(self, stub: LoaderServiceStub) -> None:
        self._stub = stub

    def create(
        self,
        source_name: str,
        files: Iterable[FileManifest],
        description: str = "",
        *,
        sync: bool = False,
        tags: Sequence[str] | None = None,
    ) -> Load:
        """Creates a load; the files in state WANTED are to be uploaded.

        Args:
            source_name: The source; made when there is none.
            files: What is to be loaded.
            description: Of a source that is made.
            sync: Whether other files of the source go.
            tags: Labels of the files, in place of those that they have; None leaves them.
        """
        request = loader_pb.CreateLoadRequest(
            request_id=new_request_id(),
            source_name=source_name,
            description=description,
            files=files,
            sync=sync,
            tags=None if tags is None else Tags(tags=tags),
        )
        with _errors():
            return self._stub.CreateLoad(request, timeout=CALL_TIMEOUT).load

    def upload(self, load_id: str, name: str, path: Path) -> LoadFile:
        """Sends a file's bytes, as fast as the Loader takes them; answers when they are all there.

        Raises:
            OSError: It cannot be read.
        """
        failures: list[OSError] = []

        def pieces() -> Iterator[loader_pb.UploadFileRequest]:
            header = loader_pb.UploadFileRequest.Header(load_id=load_id, name=name)
            yield loader_pb.UploadFileRequest(header=header)
            try:
                while chunk := file.read(CHUNK_BYTES):
                    yield loader_pb.UploadFileRequest(chunk=chunk)
            except OSError as error:  # gRPC, which asks for the pieces, would tell nobody which error it was
                failures.append(error)
                raise

        with path.open("rb") as file:
            try:
                with _errors():
                    return self._stub.UploadFile(pieces()).file
            except ServiceError:
                if failures:
                    raise failures[0] from None
                raise

    def withdraw(self, load_id: str, name: str, why: str) -> LoadFile:
        """Gives a file up that cannot be sent; the load goes on without it."""
        header = loader_pb.UploadFileRequest.Header(load_id=load_id, name=name, withdrawn=why)
        with _errors():
            request = loader_pb.UploadFileRequest(header=header)
            return self._stub.UploadFile(iter([request]), timeout=CALL_TIMEOUT).file

    def list(self) -> Iterator[Load]:
        """Loads, the latest first, without their files."""

        def fetch(token: str) -> tuple[Iterable[Load], str]:
            request = loader_pb.ListLoadsRequest(page_size=_PAGE_SIZE, page_token=token)
            response = self._stub.ListLoads(request, timeout=CALL_TIMEOUT)
            return response.loads, response.next_page_token

        return _pages(fetch)

    def watch(self, load_id: str, waiting: Callable[[], None] = lambda: None) -> Iterator[loader_pb.WatchLoadResponse]:
        """What happens in a load until it ends; taken up again when the Loader, or its Memory, is away for a while.

        Args:
            load_id: The load.
            waiting: Called once each time that it is away.
        """
        sequence = 0
        patience, away = Patience(RESUME_SECONDS), False
        while True:
            try:
                with _errors():
                    request = loader_pb.WatchLoadRequest(load_id=load_id, after_sequence=sequence)
                    for event in self._stub.WatchLoad(request):
                        sequence = max(sequence, event.sequence)
                        patience.renew()
                        away = False
                        yield event
                        if event.HasField("ended"):
                            return
                raise Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the load did")
            except Unavailable as error:
                pause = patience.pause(error)
                if not away:
                    away = True
                    waiting()
                time.sleep(pause)

    def cancel(self, load_id: str) -> Load:
        """Cancels a load: files that are not visible yet are dropped."""
        with _errors():
            return self._stub.CancelLoad(loader_pb.CancelLoadRequest(load_id=load_id), timeout=CALL_TIMEOUT).load


class Memory:
    """Searches in the memory of agents, and in sources."""

    def __init__(self, archival: ArchivalMemoryServiceStub, recall: RecallMemoryServiceStub) -> None:
        self._archival = archival
        self._recall = recall

    def search_passages(self, request: archival_pb.SearchPassagesRequest) -> archival_pb.SearchPassagesResponse:
        """A page of the passages that fit a query."""
        with _errors():
            return self._archival.SearchPassages(request, timeout=CALL_TIMEOUT)

    def list_passages(
        self, scope: archival_pb.PassageScope, wanted: archival_pb.PassageFilter | None = None
    ) -> Iterator[Passage]:
        """The passages of an agent or a source that pass a filter, in order of storing."""

        def fetch(token: str) -> tuple[Iterable[Passage], str]:
            request = archival_pb.ListPassagesRequest(
                scope=scope, filter=wanted, page_size=_PAGE_SIZE, page_token=token
            )
            response = self._archival.ListPassages(request, timeout=CALL_TIMEOUT)
            return response.passages, response.next_page_token

        return _pages(fetch)

    def search_messages(self, request: recall_pb.SearchMessagesRequest) -> recall_pb.SearchMessagesResponse:
        """A page of the messages that fit a query; a first search by likeness embeds all of them, which takes time."""
        with _errors():
            return self._recall.SearchMessages(request, timeout=MODEL_TIMEOUT)


class Store:
    """What an operator does with the store behind Memory."""

    def __init__(self, stub: StoreServiceStub) -> None:
        self._stub = stub

    def reembed(self, embedding_model: str = "") -> Iterator[store_pb.ReembedResponse]:
        """Moves the store to the embedding model that Memory's configuration names; yields how far it is, up to `done`.

        When the connection breaks, the move goes on, and is joined again a few times.

        Args:
            embedding_model: The model that it must be; empty for any.
        """
        request = store_pb.ReembedRequest(embedding_model=embedding_model)
        patience = Patience(_FIRST_SECONDS)
        while True:
            try:
                with _errors():
                    for response in self._stub.Reembed(request):
                        patience.renew()
                        yield response
                        if response.HasField("done"):
                            return
                raise Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the move did")
            except (Unavailable, DeadlineExceeded) as error:
                # A model's endpoint that fails has its own reason; the deadline of a stream is only the stream's.
                if error.reason not in (Reason.SERVICE_UNAVAILABLE, Reason.OUT_OF_TIME):
                    raise
                time.sleep(patience.pause(error))

    def cancel_reembed(self) -> bool:
        """Gives a move up; answers whether there was one."""
        with _errors():
            return self._stub.CancelReembed(store_pb.CancelReembedRequest(), timeout=CALL_TIMEOUT).cancelled

    def compact(self) -> store_pb.CompactResponse:
        """Removes what was deleted or replaced from the store's files."""
        with _errors():
            return self._stub.Compact(store_pb.CompactRequest(), timeout=STORE_TIMEOUT)

    def backup(self) -> Iterator[bytes]:
        """A backup of a Milvus Lite store, in pieces; whole when the iteration ends without an error."""
        with _errors():
            for response in self._stub.Backup(store_pb.BackupRequest(), timeout=STORE_TIMEOUT):
                yield response.chunk
