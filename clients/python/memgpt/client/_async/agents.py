"""Agents and their turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.client._async.calls import PAGE_SIZE, AsyncPage, AsyncPages, call, stream
from memgpt.client._async.turns import AsyncTurn
from memgpt.client._ids import new_request_id
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
    from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceAsyncStub
    from memgpt.client._async.client import AsyncMemGPT
    from memgpt.client._async.sources import AsyncSource

OnInterrupt = Callable[[ServiceError], None]
"""Called when the stream of a turn breaks, before the turn is resumed."""


class AsyncAgent:
    """An agent, and what one does with it every day.

    Attributes:
        info: The agent as it was last read.
    """

    def __init__(self, client: AsyncMemGPT, info: agent_pb2.Agent) -> None:
        self._client = client
        self.info = info

    def __repr__(self) -> str:
        return f"<Agent {self.name!r} {self.agent_id}>"

    @property
    def agent_id(self) -> str:
        """Identity."""
        return self.info.agent_id

    @property
    def name(self) -> str:
        """Name for people."""
        return self.info.name

    @property
    def message_count(self) -> int:
        """Messages in its recall memory."""
        return self.info.message_count

    @property
    def passage_count(self) -> int:
        """Its own notes in archival memory."""
        return self.info.passage_count

    def send(self, text: str, *, stream_deltas: bool = False, user_name: str = "", request_id: str = "") -> AsyncTurn:
        """Give the agent a message of the user.

        Args:
            text: The message.
            stream_deltas: Whether the model's text comes in pieces as well, as it is written.
            user_name: Told to the agent; may be empty.
            request_id: Names the turn; a new id if empty. Sent again, it replays and continues the same turn.

        Returns:
            The turn: iterate over its events, or take its `reply`.
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

    async def ask(self, text: str) -> str:
        """Give the agent a message and return its reply."""
        return await self.send(text).reply()

    def resume(self, request_id: str, after_sequence: int = 0, *, stream_deltas: bool = False) -> AsyncTurn:
        """Replay a turn, follow it where it runs, and continue it where it stopped."""
        return self._client.agents.resume(self.agent_id, request_id, after_sequence, stream_deltas=stream_deltas)

    def turns(self) -> AsyncPages[TurnRecord]:
        """The turns, the latest first."""
        return self._client.agents.turns(self.agent_id)

    async def attach(self, source: AsyncSource | str) -> None:
        """Let the agent search a source, given as such or by name or id."""
        found = await self._client.sources.find(source) if isinstance(source, str) else source
        self.info = (await self._client.agents.attach(self.agent_id, found.source_id)).info

    async def detach(self, source: AsyncSource | str) -> None:
        """Take a source away from the agent."""
        found = await self._client.sources.find(source) if isinstance(source, str) else source
        self.info = (await self._client.agents.detach(self.agent_id, found.source_id)).info

    def search(self, query: str, **options: Any) -> AsyncPages[PassageHit]:
        """Search its notes and attached sources; see `AsyncMemory.search` for the options."""
        return self._client.memory.search(query, agent_id=self.agent_id, **options)

    def notes(self) -> AsyncPages[Passage]:
        """Its own notes, in order of storing."""
        return self._client.memory.notes(self.agent_id)

    async def context(self) -> agent_pb.GetContextResponse:
        """What fills its context window now."""
        return await self._client.agents.context(self.agent_id)

    async def set_block(self, label: str, value: str) -> Block:
        """Write a block of its core memory."""
        return await self._client.agents.set_block(self.agent_id, BlockEdit(label=label, value=value))

    async def update(self, **fields: str | int) -> None:
        """Change `name`, `system`, `model`, `context_window` or `time_zone`."""
        self.info = (await self._client.agents.update(self.agent_id, fields)).info

    async def undo(self, count: int = 0) -> int:
        """Take back the last message of the user and all that followed, or the last `count` messages."""
        return await self._client.agents.undo(self.agent_id, count)

    async def refresh(self) -> None:
        """Read the agent again."""
        self.info = (await self._client.agents.get(self.agent_id)).info

    async def delete(self) -> None:
        """Delete the agent with all it remembers."""
        await self._client.agents.delete(self.agent_id)


class AsyncAgents:
    """Agents and their turns."""

    def __init__(self, client: AsyncMemGPT, stub: AgentServiceAsyncStub, turn_seconds: float = TURN_SECONDS) -> None:
        self._client = client
        self._stub = stub
        self._turn_seconds = turn_seconds

    def _agent(self, info: agent_pb2.Agent) -> AsyncAgent:
        return AsyncAgent(self._client, info)

    async def create(
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
    ) -> AsyncAgent:
        """Create an agent.

        Args:
            name: Its name; the server makes one up if empty. A whole request takes the place of all arguments.
            persona: Name of its persona; the server's default if empty, as below.
            human: Name of its human profile.
            preset: Name of its preset.
            system: Instructions instead of the preset's.
            model: The chat model it asks.
            context_window: Tokens of its context window.
            core_memory_limit: Characters of the blocks ``persona`` and ``human``.
            time_zone: IANA name.
            blocks: Further blocks of core memory.

        Raises:
            AlreadyExists: The name is taken.
            NotFound: There is no such profile.
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
            )
        else:
            request = name
        if not request.request_id:  # so that a repeated call makes no second agent
            request.request_id = new_request_id()
        return self._agent((await call(self._stub.CreateAgent, request, CALL_TIMEOUT)).agent)

    async def get(self, agent_id: str) -> AsyncAgent:
        """Read an agent by its id."""
        request = agent_pb.GetAgentRequest(agent_id=agent_id)
        return self._agent((await call(self._stub.GetAgent, request, CALL_TIMEOUT)).agent)

    async def find(self, name: str) -> AsyncAgent:
        """Read an agent by its name, or else by its id.

        Raises:
            NotFound: There is no such agent.
        """
        request = agent_pb.GetAgentRequest(name=name)
        try:
            return self._agent((await call(self._stub.GetAgent, request, CALL_TIMEOUT)).agent)
        except NotFound as error:
            not_found = error
        try:
            return await self.get(name)
        except (NotFound, InvalidArgument):
            raise not_found from None

    def list(self) -> AsyncPages[AsyncAgent]:
        """All agents, in order of creation."""

        async def fetch(token: str) -> AsyncPage[AsyncAgent]:
            request = agent_pb.ListAgentsRequest(page_size=PAGE_SIZE, page_token=token)
            response = await call(self._stub.ListAgents, request, CALL_TIMEOUT)
            return AsyncPage([self._agent(info) for info in response.agents], response)

        return AsyncPages(fetch)

    async def update(self, agent_id: str, fields: Mapping[str, str | int], etag: str = "") -> AsyncAgent:
        """Change settings of an agent.

        Args:
            agent_id: The agent.
            fields: Any of `name`, `system`, `model`, `context_window` and `time_zone`, with the new values.
            etag: The change fails if the agent has another one by now; empty to change it in any case.

        Raises:
            Aborted: The etag is outdated.
        """
        changed = agent_pb2.Agent(agent_id=agent_id, etag=etag, **fields)  # type: ignore[arg-type]
        request = agent_pb.UpdateAgentRequest(agent=changed, update_mask=FieldMask(paths=list(fields)))
        return self._agent((await call(self._stub.UpdateAgent, request, CALL_TIMEOUT)).agent)

    async def delete(self, agent_id: str) -> None:
        """Delete an agent with all it remembers."""
        request = agent_pb.DeleteAgentRequest(agent_id=agent_id, request_id=new_request_id())
        await call(self._stub.DeleteAgent, request, CALL_TIMEOUT)

    async def export(self, agent_id: str) -> AsyncIterator[AgentPiece]:
        """Yield an agent whole, in pieces, as of one instant."""
        request = agent_pb.ExportAgentRequest(agent_id=agent_id)
        async for response in stream(self._stub.ExportAgent(request, timeout=STORE_TIMEOUT)):
            yield response.piece

    async def import_(self, pieces: Iterable[AgentPiece], name: str = "") -> agent_pb.ImportAgentResponse:
        """Make an agent out of pieces, all or nothing; an exception of `pieces` passes through.

        Args:
            pieces: As `export` yields them.
            name: Its name; the exported one if empty.
        """
        failures: list[Exception] = []

        def requests() -> Iterable[agent_pb.ImportAgentRequest]:
            first = {"name": name, "request_id": new_request_id()}
            try:
                for piece in pieces:
                    yield agent_pb.ImportAgentRequest(piece=piece, **first)
                    first = {}
            except Exception as error:
                failures.append(error)
                raise

        try:
            return await call(self._stub.ImportAgent, requests(), STORE_TIMEOUT)
        except ServiceError:
            if failures:
                raise failures[0] from None
            raise

    async def attach(self, agent_id: str, source_id: str) -> AsyncAgent:
        """Let an agent search a source."""
        request = agent_pb.AttachSourceRequest(agent_id=agent_id, source_id=source_id)
        return self._agent((await call(self._stub.AttachSource, request, CALL_TIMEOUT)).agent)

    async def detach(self, agent_id: str, source_id: str) -> AsyncAgent:
        """Take a source away from an agent."""
        request = agent_pb.DetachSourceRequest(agent_id=agent_id, source_id=source_id)
        return self._agent((await call(self._stub.DetachSource, request, CALL_TIMEOUT)).agent)

    async def register_tools(self, agent_id: str, address: str) -> ToolServer:
        """Let an agent call the functions of a ToolService at ``host:port``."""
        request = agent_pb.RegisterToolsRequest(agent_id=agent_id, address=address)
        return (await call(self._stub.RegisterTools, request, CALL_TIMEOUT)).server

    async def tools(self, agent_id: str) -> Sequence[ToolServer]:
        """Return the addresses whose functions an agent may call."""
        request = agent_pb.ListToolsRequest(agent_id=agent_id)
        return (await call(self._stub.ListTools, request, CALL_TIMEOUT)).servers

    async def unregister_tools(self, agent_id: str, address: str) -> None:
        """Take the functions of an address away from an agent."""
        request = agent_pb.UnregisterToolsRequest(agent_id=agent_id, address=address)
        await call(self._stub.UnregisterTools, request, CALL_TIMEOUT)

    async def context(self, agent_id: str) -> agent_pb.GetContextResponse:
        """Return what fills the agent's context window now."""
        request = agent_pb.GetContextRequest(agent_id=agent_id)
        return await call(self._stub.GetContext, request, CALL_TIMEOUT)

    async def summarize(self, agent_id: str) -> agent_pb.SummarizeResponse:
        """Summarize and evict the oldest messages of the window."""
        request = agent_pb.SummarizeRequest(agent_id=agent_id, request_id=new_request_id())
        return await call(self._stub.Summarize, request, MODEL_TIMEOUT)

    async def set_block(self, agent_id: str, block: BlockEdit) -> Block:
        """Write a block of core memory; it is made if the agent has none of its label."""
        request = agent_pb.SetBlockRequest(agent_id=agent_id, block=block)
        return (await call(self._stub.SetBlock, request, CALL_TIMEOUT)).block

    async def delete_block(self, agent_id: str, label: str) -> None:
        """Delete a block of core memory; one that is absent stays so."""
        request = agent_pb.DeleteBlockRequest(agent_id=agent_id, label=label)
        await call(self._stub.DeleteBlock, request, CALL_TIMEOUT)

    async def undo(self, agent_id: str, count: int = 0) -> int:
        """Take back messages and return how many.

        Args:
            agent_id: The agent.
            count: The last so many; 0 for the last message of the user and all that followed.
        """
        request = agent_pb.UndoRequest(agent_id=agent_id, request_id=new_request_id(), count=count)
        return (await call(self._stub.Undo, request, MODEL_TIMEOUT)).removed_count

    async def rethink(self, agent_id: str, text: str) -> Message:
        """Replace the last inner thought."""
        request = agent_pb.RethinkRequest(agent_id=agent_id, text=text, request_id=new_request_id())
        return (await call(self._stub.Rethink, request, MODEL_TIMEOUT)).message

    async def rewrite(self, agent_id: str, text: str) -> Message:
        """Replace the last message to the user."""
        request = agent_pb.RewriteRequest(agent_id=agent_id, text=text, request_id=new_request_id())
        return (await call(self._stub.Rewrite, request, MODEL_TIMEOUT)).message

    async def model(self) -> agent_pb.GetModelResponse:
        """Return the models and the store that the services use."""
        return await call(self._stub.GetModel, agent_pb.GetModelRequest(), CALL_TIMEOUT)

    def send(self, request: agent_pb.SendMessageRequest, on_interrupt: OnInterrupt | None = None) -> AsyncTurn:
        """Give an agent a message or an event; see `AsyncTurn`.

        Args:
            request: Copied; without a `request_id` the copy gets a new one.
            on_interrupt: See `OnInterrupt`.
        """
        return self._turn(request, self._stub.SendMessage, on_interrupt)

    def retry(self, request: agent_pb.RetryRequest, on_interrupt: OnInterrupt | None = None) -> AsyncTurn:
        """Undo the last turn and run it again; the rest is as for `send`."""
        return self._turn(request, self._stub.Retry, on_interrupt)

    def resume(
        self,
        agent_id: str,
        request_id: str,
        after_sequence: int = 0,
        *,
        stream_deltas: bool = False,
        on_interrupt: OnInterrupt | None = None,
    ) -> AsyncTurn:
        """Replay a turn, follow it where it runs, and continue it where it stopped.

        Args:
            agent_id: The agent.
            request_id: The turn.
            after_sequence: Durable events up to and including this one are left out.
            stream_deltas: Whether the model's text comes in pieces as well.
            on_interrupt: See `OnInterrupt`.
        """
        request = agent_pb.ResumeTurnRequest(
            agent_id=agent_id, request_id=request_id, after_sequence=after_sequence, stream_deltas=stream_deltas
        )
        return self._turn(request, self._stub.ResumeTurn, on_interrupt)

    def _turn(self, request: Any, method: Callable[[Any], Any], on_interrupt: OnInterrupt | None) -> AsyncTurn:
        async def cancel(request_id: str) -> TurnRecord:
            return await self.cancel(request.agent_id, request_id)

        return AsyncTurn(TurnProgress(request, self._turn_seconds), method, cancel, on_interrupt)

    def turns(self, agent_id: str) -> AsyncPages[TurnRecord]:
        """An agent's turns, the latest first."""

        async def fetch(token: str) -> AsyncPage[TurnRecord]:
            request = agent_pb.ListTurnsRequest(agent_id=agent_id, page_token=token)
            response = await call(self._stub.ListTurns, request, CALL_TIMEOUT)
            return AsyncPage(response.turns, response)

        return AsyncPages(fetch)

    async def cancel(self, agent_id: str, request_id: str) -> TurnRecord:
        """Cancel a turn, also within a running call of the model or of a tool."""
        request = agent_pb.CancelTurnRequest(agent_id=agent_id, request_id=request_id)
        return (await call(self._stub.CancelTurn, request, CALL_TIMEOUT)).turn
