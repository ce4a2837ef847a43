# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""Agents and their turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat, HeartbeatLimits
from memgpt.client._ids import new_request_id
from memgpt.client._imports import batched
from memgpt.client._sync.calls import PAGE_SIZE, Page, Pages, call, stream
from memgpt.client._sync.turns import Turn
from memgpt.client._turns import TURN_SECONDS, TurnProgress
from memgpt.client.channel import CALL_TIMEOUT, MODEL_TIMEOUT, STORE_TIMEOUT
from memgpt.client.errors import InvalidArgument, NotFound, ServiceError
from memgpt.memory.v1 import agent_pb2
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece
from memgpt.memory.v1.block_pb2 import Block, BlockEdit
from memgpt.memory.v1.message_pb2 import Message
from memgpt.memory.v1.passage_pb2 import Passage, PassageHit
from memgpt.memory.v1.tool_pb2 import ToolServer
from memgpt.memory.v1.turn_pb2 import Turn as TurnRecord

if TYPE_CHECKING:
    from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
    from memgpt.client._sync.client import MemGPT
    from memgpt.client._sync.sources import Source

Setting = str | int | Sequence[str] | timedelta
"""A new value of a setting of an agent."""

_INDEFINITELY = timedelta()

OnInterrupt = Callable[[ServiceError], None]
"""Called when the stream of a turn breaks, before the turn is resumed."""


class Agent:
    """An agent, with shortcuts for the most common operations.

    Attributes:
        info: The agent as it was last read.
    """

    def __init__(self, client: MemGPT, info: agent_pb2.Agent) -> None:
        self._client = client
        self.info = info

    def __repr__(self) -> str:
        return f"<Agent {self.name!r} {self.agent_id}>"

    @property
    def agent_id(self) -> str:
        """Id of the agent."""
        return self.info.agent_id

    @property
    def name(self) -> str:
        """Display name."""
        return self.info.name

    @property
    def message_count(self) -> int:
        """Number of messages in its recall memory."""
        return self.info.message_count

    @property
    def passage_count(self) -> int:
        """Number of its own notes in archival memory."""
        return self.info.passage_count

    def send(self, text: str, *, stream_deltas: bool = False, user_name: str = "", request_id: str = "") -> Turn:
        """Send a message from the user to the agent.

        Args:
            text: The message.
            stream_deltas: Whether to yield the model's text also in pieces while it is generated.
            user_name: Name of the user, which the agent sees; may be empty.
            request_id: Id of the turn; a new one if empty. Sending it again replays and continues the same turn.

        Returns:
            The turn: iterate over its events, or call `reply`.
        """
        return self._client.agents.send(
            agent_pb.SendMessageRequest(
                agent_id=self.agent_id,
                text=text,
                stream_deltas=stream_deltas,
                user_name=user_name,
                request_id=request_id,
            )
        )

    def ask(self, text: str) -> str:
        """Send a message to the agent and return its reply."""
        return self.send(text).reply()

    def resume(self, request_id: str, after_sequence: int = 0, *, stream_deltas: bool = False) -> Turn:
        """Replay a turn, follow it where it runs, and continue it where it stopped."""
        return self._client.agents.resume(self.agent_id, request_id, after_sequence, stream_deltas=stream_deltas)

    def turns(self) -> Pages[TurnRecord]:
        """List the turns, the latest first."""
        return self._client.agents.turns(self.agent_id)

    def attach(self, source: Source | str) -> None:
        """Let the agent search a source.

        Args:
            source: The source, or its name or id.
        """
        found = self._client.sources.find(source) if isinstance(source, str) else source
        self.info = (self._client.agents.attach(self.agent_id, found.source_id)).info

    def detach(self, source: Source | str) -> None:
        """Detach a source from the agent.

        Args:
            source: The source, or its name or id.
        """
        found = self._client.sources.find(source) if isinstance(source, str) else source
        self.info = (self._client.agents.detach(self.agent_id, found.source_id)).info

    def search(self, query: str, **options: Any) -> Pages[PassageHit]:
        """Search the agent's notes and attached sources; see `Memory.search` for the options."""
        return self._client.memory.search(query, agent_id=self.agent_id, **options)

    def notes(self) -> Pages[Passage]:
        """List the agent's own notes, oldest first."""
        return self._client.memory.notes(self.agent_id)

    def context(self) -> agent_pb.GetContextResponse:
        """Return what fills the agent's context window now."""
        return self._client.agents.context(self.agent_id)

    def set_block(self, label: str, value: str) -> Block:
        """Write a block of the agent's core memory."""
        return self._client.agents.set_block(self.agent_id, BlockEdit(label=label, value=value))

    def update(self, **fields: Setting) -> None:
        """Change settings; see `Agents.update`."""
        self.info = (self._client.agents.update(self.agent_id, fields)).info

    def undo(self, count: int = 0) -> int:
        """Take back messages and return how many.

        Args:
            count: Number of messages; 0 for the last message of the user and everything after it.
        """
        return self._client.agents.undo(self.agent_id, count)

    def refresh(self) -> None:
        """Read the agent again."""
        self.info = (self._client.agents.get(self.agent_id)).info

    def delete(self) -> None:
        """Delete the agent with its whole memory."""
        self._client.agents.delete(self.agent_id)


class Agents:
    """Agents and their turns."""

    def __init__(self, client: MemGPT, stub: AgentServiceStub, turn_seconds: float = TURN_SECONDS) -> None:
        self._client = client
        self._stub = stub
        self._turn_seconds = turn_seconds

    def _agent(self, info: agent_pb2.Agent) -> Agent:
        return Agent(self._client, info)

    def create(
        self,
        name: str | agent_pb.CreateAgentRequest = "",
        *,
        persona: str = "",
        human: str = "",
        preset: str = "",
        system: str = "",
        model: str = "",
        context_window: int = 0,
        core_memory_limit: int = 0,
        time_zone: str = "",
        blocks: Iterable[BlockEdit] = (),
        description: str = "",
        tags: Iterable[str] = (),
        user_id: str = "",
        message_ttl: timedelta = _INDEFINITELY,
        note_ttl: timedelta = _INDEFINITELY,
    ) -> Agent:
        """Create an agent.

        Args:
            name: Its name; the server generates one if empty. A request object replaces all other arguments.
            persona: Name of its persona; the server's default if empty, as for the arguments below.
            human: Name of its human profile.
            preset: Name of its preset.
            system: System instructions that replace the preset's.
            model: Name of its chat model.
            context_window: Size of its context window in tokens.
            core_memory_limit: Maximum characters of each of the blocks ``persona`` and ``human``.
            time_zone: IANA name of its time zone, such as ``Europe/Paris``.
            blocks: Additional blocks of core memory.
            description: Description for people.
            tags: Tags to find it by.
            user_id: The user that it belongs to, as the caller names users.
            message_ttl: How long its messages are kept; zero for indefinitely.
            note_ttl: The same for its notes.

        Raises:
            AlreadyExists: The name is taken.
            NotFound: A named profile does not exist.
        """
        if isinstance(name, str):
            request = agent_pb.CreateAgentRequest(
                name=name,
                persona=persona,
                human=human,
                preset=preset,
                system=system,
                model=model,
                context_window=context_window,
                core_memory_limit=core_memory_limit,
                time_zone=time_zone,
                blocks=blocks,
                description=description,
                tags=tags,
                user_id=user_id,
                message_ttl=_duration(message_ttl),
                note_ttl=_duration(note_ttl),
            )
        else:
            request = agent_pb.CreateAgentRequest()
            request.CopyFrom(name)  # with the caller's own, the next call would return the same agent
        if not request.request_id:  # so that a retried call does not create a second agent
            request.request_id = new_request_id()
        return self._agent((call(self._stub.CreateAgent, request, CALL_TIMEOUT)).agent)

    def get(self, agent_id: str) -> Agent:
        """Get an agent by id.

        Raises:
            NotFound: The agent does not exist.
        """
        request = agent_pb.GetAgentRequest(agent_id=agent_id)
        return self._agent((call(self._stub.GetAgent, request, CALL_TIMEOUT)).agent)

    def find(self, name: str) -> Agent:
        """Find an agent by name, or else by id.

        Raises:
            NotFound: The agent does not exist.
        """
        request = agent_pb.GetAgentRequest(name=name)
        try:
            return self._agent((call(self._stub.GetAgent, request, CALL_TIMEOUT)).agent)
        except NotFound as error:
            not_found = error
        try:
            return self.get(name)
        except (NotFound, InvalidArgument):
            raise not_found from None

    def list(self, *, tags: Sequence[str] = (), origin: str = "", user_id: str = "") -> Pages[Agent]:
        """List agents in order of creation.

        Args:
            tags: Only agents with all of these tags.
            origin: Only agents that were imported from this origin; empty for all.
            user_id: Only agents of this user; empty for all.
        """

        def fetch(token: str) -> Page[Agent]:
            request = agent_pb.ListAgentsRequest(
                page_size=PAGE_SIZE, page_token=token, tags=tags, origin=origin, user_id=user_id
            )
            response = call(self._stub.ListAgents, request, CALL_TIMEOUT)
            return Page([self._agent(info) for info in response.agents], response)

        return Pages(fetch)

    def update(self, agent_id: str, fields: Mapping[str, Setting], etag: str = "") -> Agent:
        """Change settings of an agent.

        Args:
            agent_id: Id of the agent.
            fields: Any of `name`, `system`, `model`, `context_window`, `time_zone`, `description`, `tags`, `user_id`,
                `message_ttl` and `note_ttl`, with the new values.
            etag: Etag of the agent as it was read; the change fails if it is outdated. Empty to change it in any case.

        Raises:
            Aborted: The etag is outdated.
        """
        values = {name: _duration(value) if isinstance(value, timedelta) else value for name, value in fields.items()}
        changed = agent_pb2.Agent(agent_id=agent_id, etag=etag, **values)  # type: ignore[arg-type]
        request = agent_pb.UpdateAgentRequest(agent=changed, update_mask=FieldMask(paths=list(fields)))
        return self._agent((call(self._stub.UpdateAgent, request, CALL_TIMEOUT)).agent)

    def delete(self, agent_id: str) -> None:
        """Delete an agent with its whole memory."""
        request = agent_pb.DeleteAgentRequest(agent_id=agent_id, request_id=new_request_id())
        call(self._stub.DeleteAgent, request, CALL_TIMEOUT)

    def export(self, agent_id: str) -> Iterator[AgentPiece]:
        """Yield a consistent snapshot of an agent in pieces."""
        request = agent_pb.ExportAgentRequest(agent_id=agent_id)
        for response in stream(self._stub.ExportAgent(request, timeout=STORE_TIMEOUT)):
            yield response.piece

    def import_(
        self, pieces: Iterable[AgentPiece], name: str = "", *, shared_blocks: Mapping[str, str] | None = None
    ) -> agent_pb.ImportAgentResponse:
        """Create an agent from exported pieces, or nothing if that fails. Exceptions raised by `pieces` propagate.

        Args:
            pieces: The pieces that `export` yielded.
            name: Name of the new agent; the exported name if empty.
            shared_blocks: Ids of shared blocks by label, which the agent gets in place of these blocks of `pieces`.
        """
        failures: list[Exception] = []

        def requests() -> Iterable[agent_pb.ImportAgentRequest]:
            try:
                yield from batched(pieces, name, shared_blocks or {})
            except Exception as error:
                failures.append(error)
                raise

        try:
            return call(self._stub.ImportAgent, requests(), STORE_TIMEOUT)
        except ServiceError:
            if failures:
                raise failures[0] from None
            raise

    def attach(self, agent_id: str, source_id: str) -> Agent:
        """Attach a source, so that the agent can search it."""
        request = agent_pb.AttachSourceRequest(agent_id=agent_id, source_id=source_id)
        return self._agent((call(self._stub.AttachSource, request, CALL_TIMEOUT)).agent)

    def detach(self, agent_id: str, source_id: str) -> Agent:
        """Detach a source from an agent."""
        request = agent_pb.DetachSourceRequest(agent_id=agent_id, source_id=source_id)
        return self._agent((call(self._stub.DetachSource, request, CALL_TIMEOUT)).agent)

    def register_tools(self, agent_id: str, address: str) -> ToolServer:
        """Let an agent call the functions of a ToolService at ``host:port``."""
        request = agent_pb.RegisterToolsRequest(agent_id=agent_id, address=address)
        return (call(self._stub.RegisterTools, request, CALL_TIMEOUT)).server

    def tools(self, agent_id: str) -> Sequence[ToolServer]:
        """Return the addresses whose functions an agent may call."""
        request = agent_pb.ListToolsRequest(agent_id=agent_id)
        return (call(self._stub.ListTools, request, CALL_TIMEOUT)).servers

    def unregister_tools(self, agent_id: str, address: str) -> None:
        """Stop an agent from calling the functions of an address."""
        request = agent_pb.UnregisterToolsRequest(agent_id=agent_id, address=address)
        call(self._stub.UnregisterTools, request, CALL_TIMEOUT)

    def heartbeats(self, agent_id: str) -> agent_pb.ListHeartbeatsResponse:
        """Return an agent's timed heartbeats, its limits, and until when they are paused."""
        request = agent_pb.ListHeartbeatsRequest(agent_id=agent_id)
        return call(self._stub.ListHeartbeats, request, CALL_TIMEOUT)

    def set_heartbeat(self, agent_id: str, heartbeat: Heartbeat) -> Heartbeat:
        """Set a timed heartbeat: a new one, or one that replaces another with its id.

        Raises:
            InvalidArgument: Its cron expression is not valid, or never comes.
            FailedPrecondition: The agent has 32 heartbeats.
        """
        request = agent_pb.SetHeartbeatRequest(agent_id=agent_id, heartbeat=heartbeat, request_id=new_request_id())
        return (call(self._stub.SetHeartbeat, request, CALL_TIMEOUT)).heartbeat

    def cancel_heartbeat(self, agent_id: str, heartbeat_id: str) -> None:
        """Cancel a timed heartbeat. Idempotent."""
        request = agent_pb.CancelHeartbeatRequest(agent_id=agent_id, heartbeat_id=heartbeat_id)
        call(self._stub.CancelHeartbeat, request, CALL_TIMEOUT)

    def set_heartbeat_limits(self, agent_id: str, limits: HeartbeatLimits) -> HeartbeatLimits:
        """Limit what an agent may do on timed heartbeats, in place of the limits before."""
        request = agent_pb.SetHeartbeatLimitsRequest(agent_id=agent_id, limits=limits)
        return (call(self._stub.SetHeartbeatLimits, request, CALL_TIMEOUT)).limits

    def context(self, agent_id: str) -> agent_pb.GetContextResponse:
        """Return what fills the agent's context window now."""
        request = agent_pb.GetContextRequest(agent_id=agent_id)
        return call(self._stub.GetContext, request, CALL_TIMEOUT)

    def summarize(self, agent_id: str) -> agent_pb.SummarizeResponse:
        """Summarize and evict the oldest messages of the window."""
        request = agent_pb.SummarizeRequest(agent_id=agent_id, request_id=new_request_id())
        return call(self._stub.Summarize, request, MODEL_TIMEOUT)

    def set_block(self, agent_id: str, block: BlockEdit) -> Block:
        """Write a block of core memory; it is created if the agent has no block with this label."""
        request = agent_pb.SetBlockRequest(agent_id=agent_id, block=block)
        return (call(self._stub.SetBlock, request, CALL_TIMEOUT)).block

    def delete_block(self, agent_id: str, label: str) -> None:
        """Delete a block of core memory. Idempotent."""
        request = agent_pb.DeleteBlockRequest(agent_id=agent_id, label=label)
        call(self._stub.DeleteBlock, request, CALL_TIMEOUT)

    def undo(self, agent_id: str, count: int = 0) -> int:
        """Take back messages and return how many.

        Args:
            agent_id: The agent.
            count: Number of messages; 0 for the last message of the user and everything after it.
        """
        request = agent_pb.UndoRequest(agent_id=agent_id, request_id=new_request_id(), count=count)
        return (call(self._stub.Undo, request, MODEL_TIMEOUT)).removed_count

    def rethink(self, agent_id: str, text: str) -> Message:
        """Replace the last inner thought."""
        request = agent_pb.RethinkRequest(agent_id=agent_id, text=text, request_id=new_request_id())
        return (call(self._stub.Rethink, request, MODEL_TIMEOUT)).message

    def rewrite(self, agent_id: str, text: str) -> Message:
        """Replace the last message to the user."""
        request = agent_pb.RewriteRequest(agent_id=agent_id, text=text, request_id=new_request_id())
        return (call(self._stub.Rewrite, request, MODEL_TIMEOUT)).message

    def model(self) -> agent_pb.GetModelResponse:
        """Return the models and the store that the services use."""
        return call(self._stub.GetModel, agent_pb.GetModelRequest(), CALL_TIMEOUT)

    def send(self, request: agent_pb.SendMessageRequest, on_interrupt: OnInterrupt | None = None) -> Turn:
        """Send a message or an event to an agent; see `Turn`.

        Args:
            request: The request, which is copied; the copy gets a new `request_id` if it has none.
            on_interrupt: See `OnInterrupt`.
        """
        return self._turn(request, self._stub.SendMessage, on_interrupt)

    def retry(self, request: agent_pb.RetryRequest, on_interrupt: OnInterrupt | None = None) -> Turn:
        """Undo the last turn and run it again. Otherwise like `send`."""
        return self._turn(request, self._stub.Retry, on_interrupt)

    def resume(
        self,
        agent_id: str,
        request_id: str,
        after_sequence: int = 0,
        *,
        stream_deltas: bool = False,
        on_interrupt: OnInterrupt | None = None,
    ) -> Turn:
        """Replay a turn, follow it where it runs, and continue it where it stopped.

        Args:
            agent_id: The agent.
            request_id: The turn.
            after_sequence: Sequence number of the last durable event to leave out; 0 to replay all.
            stream_deltas: Whether to yield the model's text also in pieces.
            on_interrupt: See `OnInterrupt`.
        """
        request = agent_pb.ResumeTurnRequest(
            agent_id=agent_id, request_id=request_id, after_sequence=after_sequence, stream_deltas=stream_deltas
        )
        return self._turn(request, self._stub.ResumeTurn, on_interrupt)

    def _turn(self, request: Any, method: Callable[[Any], Any], on_interrupt: OnInterrupt | None) -> Turn:
        def cancel(request_id: str) -> TurnRecord:
            return self.cancel(request.agent_id, request_id)

        return Turn(TurnProgress(request, self._turn_seconds), method, cancel, on_interrupt)

    def turns(self, agent_id: str) -> Pages[TurnRecord]:
        """List an agent's turns, the latest first."""

        def fetch(token: str) -> Page[TurnRecord]:
            request = agent_pb.ListTurnsRequest(agent_id=agent_id, page_token=token)
            response = call(self._stub.ListTurns, request, CALL_TIMEOUT)
            return Page(response.turns, response)

        return Pages(fetch)

    def cancel(self, agent_id: str, request_id: str) -> TurnRecord:
        """Cancel a turn, even during a call of the model or of a tool."""
        request = agent_pb.CancelTurnRequest(agent_id=agent_id, request_id=request_id)
        return (call(self._stub.CancelTurn, request, CALL_TIMEOUT)).turn


def _duration(value: timedelta) -> Duration | None:
    """Return a duration for a request; None for zero."""
    if not value:
        return None
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
