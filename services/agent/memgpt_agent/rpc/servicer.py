"""The RPC surface of the Agent: proto ↔ domain, and calls passed on to Memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceServicer
from memgpt.agent.v1.event_pb2 import Started, TurnEvent
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import (
    block_pb2,
    block_service_pb2,
    message_pb2,
    profile_pb2,
    source_service_pb2,
    store_service_pb2,
)
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason, invalid
from memgpt_runtime.ids import new_id

from memgpt_agent import envelopes, profiles
from memgpt_agent.config import AgentSettings
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.usage import measure
from memgpt_agent.domain import Context, Message, Role, TurnState
from memgpt_agent.loop import boot
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.events import Done
from memgpt_agent.loop.turn_loop import TurnLoop
from memgpt_agent.loop.turn_registry import TurnRegistry
from memgpt_agent.loop.turn_request import TurnRequest
from memgpt_agent.memory import memory_protos
from memgpt_agent.memory.client import MemoryClient, call
from memgpt_agent.models.offline.model import NAME as OFFLINE
from memgpt_agent.remote_tools import addresses
from memgpt_agent.remote_tools.client import ToolClient
from memgpt_agent.rpc import agent_names, event_protos
from memgpt_agent.rpc.profile_store import ProfileStore

if TYPE_CHECKING:  # Importing openai takes a second.
    from memgpt_agent.models.openai_model import OpenAIModel

_NAME_TRIES = 8


class AgentServicer(AgentServiceServicer):
    """Implements ``memgpt.agent.v1.AgentService``."""

    def __init__(
        self,
        settings: AgentSettings,
        memory: MemoryClient,
        loop: TurnLoop,
        sessions: TurnRegistry,
        tools: ToolClient,
        endpoint: OpenAIModel | None,
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._loop = loop
        self._sessions = sessions
        self._tools = tools
        self._endpoint = endpoint
        self._profiles = ProfileStore(memory)

    # Agents.

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Any) -> pb.CreateAgentResponse:
        """See the contract."""
        preset = request.preset or profiles.DEFAULT_PRESET
        persona = request.persona or profiles.DEFAULT_PERSONA
        human = request.human or profiles.DEFAULT_HUMAN
        time_zone = request.time_zone or self._settings.time_zone
        try:
            envelopes.zone(time_zone)
        except ValueError as error:
            raise invalid("time_zone", str(error)) from error
        instructions = await self._profiles.text(profile_pb2.PROFILE_KIND_PRESET, preset)
        texts = {
            "persona": await self._profiles.text(profile_pb2.PROFILE_KIND_PERSONA, persona),
            "human": await self._profiles.text(profile_pb2.PROFILE_KIND_HUMAN, human),
        }
        request_id = request.request_id or new_id("req")
        # Memory takes the first that is free, once: here a repetition could choose another, which is free by then.
        names = [request.name] if request.name else [agent_names.agent_name(request_id, n) for n in range(_NAME_TRIES)]
        new = state_pb.CreateAgentRequest(
            request_id=request_id,
            name=names[0],
            other_names=names[1:],
            preset=preset,
            persona=persona,
            human=human,
            system=request.system or instructions,
            model=request.model,
            context_window=request.context_window,
            time_zone=time_zone,
            blocks=_blocks(texts, request),
            messages=memory_protos.new_messages(boot.boot_sequence(_now(), time_zone)),
        )
        return pb.CreateAgentResponse(agent=(await call(self._memory.agents.CreateAgent(new))).agent)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Any) -> pb.GetAgentResponse:
        """See the contract."""
        asked = state_pb.GetAgentRequest()
        if request.HasField("name"):
            asked.name = request.name
        else:
            asked.agent_id = request.agent_id
        return pb.GetAgentResponse(agent=(await call(self._memory.agents.GetAgent(asked))).agent)

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Any) -> pb.ListAgentsResponse:
        """See the contract."""
        asked = state_pb.ListAgentsRequest(page_size=request.page_size, page_token=request.page_token)
        page = await call(self._memory.agents.ListAgents(asked))
        return pb.ListAgentsResponse(
            agents=page.agents, next_page_token=page.next_page_token, total_size=page.total_size
        )

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Any) -> pb.UpdateAgentResponse:
        """See the contract."""
        asked = state_pb.UpdateAgentRequest(agent=request.agent, update_mask=request.update_mask)
        return pb.UpdateAgentResponse(agent=(await call(self._memory.agents.UpdateAgent(asked))).agent)

    async def DeleteAgent(self, request: pb.DeleteAgentRequest, context: Any) -> pb.DeleteAgentResponse:
        """See the contract."""
        asked = state_pb.DeleteAgentRequest(agent_id=request.agent_id, request_id=request.request_id or new_id("req"))
        await call(self._memory.agents.DeleteAgent(asked))
        return pb.DeleteAgentResponse()

    async def ExportAgent(self, request: pb.ExportAgentRequest, context: Any) -> AsyncIterator[pb.ExportAgentResponse]:
        """See the contract."""
        async for piece in self._memory.export_agent(request.agent_id):
            yield pb.ExportAgentResponse(piece=piece)

    async def ImportAgent(
        self, request_iterator: AsyncIterator[pb.ImportAgentRequest], context: Any
    ) -> pb.ImportAgentResponse:
        """See the contract."""
        refused: list[Exception] = []

        async def passed_on() -> AsyncIterator[state_pb.ImportAgentRequest]:
            try:
                async for request in request_iterator:
                    yield state_pb.ImportAgentRequest(
                        piece=request.piece, name=request.name, request_id=request.request_id
                    )
            except Exception as error:
                refused.append(error)
                raise

        try:
            imported = await call(self._memory.agents.ImportAgent(passed_on()))
        except asyncio.CancelledError:
            # What the requests raise reaches gRPC, which merely cancels the call; the caller would wait for ever.
            if refused:
                raise refused[0] from None
            raise
        return pb.ImportAgentResponse(agent=imported.agent, missing_source_names=imported.missing_source_names)

    # Turns.

    async def SendMessage(self, request: pb.SendMessageRequest, context: Any) -> AsyncIterator[pb.SendMessageResponse]:
        """See the contract."""
        if request.HasField("text") and not request.text.strip():
            raise invalid("text", "text must not be blank; say something to the agent")
        request_id = request.request_id or new_id("req")
        turn = TurnRequest(
            agent_id=request.agent_id,
            request_id=request_id,
            fingerprint=_fingerprint(request),
            messages=(await self._input(request),),
            verify=not request.no_verify,
            max_steps=request.max_steps,
            max_tokens=request.max_tokens,
        )
        feed = self._sessions.open(turn)
        async for event in self._events(feed, request_id, request.after_sequence, deltas=request.stream_deltas):
            yield pb.SendMessageResponse(event=event)

    async def ResumeTurn(self, request: pb.ResumeTurnRequest, context: Any) -> AsyncIterator[pb.ResumeTurnResponse]:
        """See the contract."""
        # NOT_FOUND before anything is streamed.
        async for _ in self._memory.read_turn(request.agent_id, request.request_id, after_step=-1, follow=False):
            break
        feed = self._sessions.open(TurnRequest(request.agent_id, request.request_id))
        async for event in self._events(feed, request.request_id, request.after_sequence, deltas=request.stream_deltas):
            yield pb.ResumeTurnResponse(event=event)

    async def CancelTurn(self, request: pb.CancelTurnRequest, context: Any) -> pb.CancelTurnResponse:
        """See the contract."""
        agent = (await call(self._memory.agents.GetAgent(state_pb.GetAgentRequest(agent_id=request.agent_id)))).agent
        asked = state_pb.RequestCancelRequest(
            agent_id=request.agent_id,
            request_id=request.request_id,
            call_result=self._loop.cancelled_call(agent.time_zone),
        )
        return pb.CancelTurnResponse(turn=(await call(self._memory.agents.RequestCancel(asked))).turn)

    async def ListTurns(self, request: pb.ListTurnsRequest, context: Any) -> pb.ListTurnsResponse:
        """See the contract."""
        asked = state_pb.ListTurnsRequest(
            agent_id=request.agent_id, page_size=request.page_size, page_token=request.page_token
        )
        page = await call(self._memory.agents.ListTurns(asked))
        return pb.ListTurnsResponse(turns=page.turns, next_page_token=page.next_page_token)

    async def _events(
        self, feed: EventStream, request_id: str, after_sequence: int, *, deltas: bool
    ) -> AsyncIterator[TurnEvent]:
        """The events of a turn on the wire; a turn that failed for good ends with a status as well, in replays too."""
        first = TurnEvent(started=Started(request_id=request_id, turn_id=feed.turn_id))
        yield first
        silence = self._settings.keep_alive_seconds
        async for event in feed.events(after_sequence=after_sequence, deltas=deltas, keep_alive=silence):
            told = event_protos.event(event)
            if told.HasField("started"):
                told.started.request_id = request_id
            if told != first:
                yield told
            if isinstance(event.body, Done) and event.body.state is TurnState.FAILED:
                raise errors.FailedPrecondition(Reason.MODEL_UNUSABLE, event.body.reason)

    async def _input(self, request: pb.SendMessageRequest) -> Message:
        """What the agent gets, wrapped in its envelope."""
        agent = (await call(self._memory.agents.GetAgent(state_pb.GetAgentRequest(agent_id=request.agent_id)))).agent
        time = envelopes.format_time(_now(), agent.time_zone or "UTC")
        if request.HasField("text"):
            return Message(Role.USER, envelopes.user_message(request.text, time, request.user_name))
        if request.event == pb.SYSTEM_EVENT_LOGIN:
            return Message(Role.USER, _login(await self._memory.load_context(request.agent_id), time))
        if request.event == pb.SYSTEM_EVENT_MEMORY_WARNING:
            return Message(Role.USER, envelopes.system_alert(prompt.MEMORY_PRESSURE_ALERT, time))
        return Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_MANUAL, time))

    # Sources.

    async def AttachSource(self, request: pb.AttachSourceRequest, context: Any) -> pb.AttachSourceResponse:
        """See the contract."""
        asked = source_service_pb2.AttachSourceRequest(agent_id=request.agent_id, source_id=request.source_id)
        return pb.AttachSourceResponse(agent=(await call(self._memory.sources.AttachSource(asked))).agent)

    async def DetachSource(self, request: pb.DetachSourceRequest, context: Any) -> pb.DetachSourceResponse:
        """See the contract."""
        asked = source_service_pb2.DetachSourceRequest(agent_id=request.agent_id, source_id=request.source_id)
        return pb.DetachSourceResponse(agent=(await call(self._memory.sources.DetachSource(asked))).agent)

    async def ListSources(self, request: pb.ListSourcesRequest, context: Any) -> pb.ListSourcesResponse:
        """See the contract."""
        asked = source_service_pb2.ListSourcesRequest(page_size=request.page_size, page_token=request.page_token)
        page = await call(self._memory.sources.ListSources(asked))
        return pb.ListSourcesResponse(
            sources=page.sources, next_page_token=page.next_page_token, total_size=page.total_size
        )

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Any) -> pb.DeleteSourceResponse:
        """See the contract."""
        asked = source_service_pb2.DeleteSourceRequest(
            source_id=request.source_id, request_id=request.request_id or new_id("req")
        )
        await call(self._memory.sources.DeleteSource(asked))
        return pb.DeleteSourceResponse()

    # The window.

    async def GetContext(self, request: pb.GetContextRequest, context: Any) -> pb.GetContextResponse:
        """See the contract."""
        loaded = await self._memory.load_context_proto(request.agent_id)
        domain = memory_protos.context(loaded)
        view = self._loop.view(domain)
        usage, sizes = measure(view.fitted().context, view.window, view.functions)
        head = len(sizes) - len(domain.messages)
        shown = [event_protos.composed_message(message) for message, _ in sizes[:head]] + list(loaded.messages)
        return pb.GetContextResponse(
            agent=loaded.agent,
            blocks=loaded.blocks,
            messages=[
                pb.ContextMessage(message=message, tokens=size) for message, (_, size) in zip(shown, sizes, strict=True)
            ],
            total_tokens=usage.total,
            tokens=pb.ContextTokens(**asdict(usage)),
            context_window=view.window.tokens,
            archival_count=loaded.archival_count,
            summary=loaded.summary,
        )

    async def SetBlock(self, request: pb.SetBlockRequest, context: Any) -> pb.SetBlockResponse:
        """See the contract."""
        asked = block_service_pb2.SetBlockRequest(agent_id=request.agent_id, block=request.block)
        return pb.SetBlockResponse(block=(await call(self._memory.blocks.SetBlock(asked))).block)

    async def DeleteBlock(self, request: pb.DeleteBlockRequest, context: Any) -> pb.DeleteBlockResponse:
        """See the contract."""
        asked = block_service_pb2.DeleteBlockRequest(agent_id=request.agent_id, label=request.label)
        await call(self._memory.blocks.DeleteBlock(asked))
        return pb.DeleteBlockResponse()

    async def Summarize(self, request: pb.SummarizeRequest, context: Any) -> pb.SummarizeResponse:
        """See the contract."""
        count, summary = await self._loop.summarize(request.agent_id, request.request_id or new_id("req"))
        return pb.SummarizeResponse(evicted_count=count, summary=summary)

    # Taking back.

    async def Undo(self, request: pb.UndoRequest, context: Any) -> pb.UndoResponse:
        """See the contract."""
        asked = state_pb.RewindMessagesRequest(
            agent_id=request.agent_id, request_id=request.request_id or new_id("req"), count=request.count
        )
        return pb.UndoResponse(removed_count=(await call(self._memory.agents.RewindMessages(asked))).rewound_count)

    async def Retry(self, request: pb.RetryRequest, context: Any) -> AsyncIterator[pb.RetryResponse]:
        """See the contract."""
        request_id = request.request_id or new_id("req")
        turn = TurnRequest(
            agent_id=request.agent_id,
            request_id=request_id,
            fingerprint=hashlib.sha256(f"{request.agent_id}\0retry".encode()).digest(),
            verify=not request.no_verify,
            max_steps=request.max_steps,
            max_tokens=request.max_tokens,
            retry=True,
        )
        feed = self._sessions.open(turn)
        async for event in self._events(feed, request_id, request.after_sequence, deltas=request.stream_deltas):
            yield pb.RetryResponse(event=event)

    async def Rethink(self, request: pb.RethinkRequest, context: Any) -> pb.RethinkResponse:
        """See the contract."""
        return pb.RethinkResponse(message=await self._edit(request, state_pb.MESSAGE_PART_THOUGHT))

    async def Rewrite(self, request: pb.RewriteRequest, context: Any) -> pb.RewriteResponse:
        """See the contract."""
        return pb.RewriteResponse(message=await self._edit(request, state_pb.MESSAGE_PART_SPOKEN))

    async def _edit(
        self, request: pb.RethinkRequest | pb.RewriteRequest, part: state_pb.MessagePart.ValueType
    ) -> message_pb2.Message:
        if not request.text.strip():
            raise invalid("text", "text must not be blank")
        agent = (await call(self._memory.agents.GetAgent(state_pb.GetAgentRequest(agent_id=request.agent_id)))).agent
        asked = state_pb.EditMessageRequest(
            agent_id=request.agent_id,
            request_id=request.request_id or new_id("req"),
            text=request.text,
            part=part,
            call_result=self._loop.cancelled_call(agent.time_zone),
        )
        return (await call(self._memory.agents.EditMessage(asked))).message

    # Tools.

    async def RegisterTools(self, request: pb.RegisterToolsRequest, context: Any) -> pb.RegisterToolsResponse:
        """See the contract."""
        address, found = await self._tools.list(request.address)
        asked = state_pb.PutToolServerRequest(
            agent_id=request.agent_id, server=memory_protos.tool_server(address, found)
        )
        return pb.RegisterToolsResponse(server=(await call(self._memory.agents.PutToolServer(asked))).server)

    async def ListTools(self, request: pb.ListToolsRequest, context: Any) -> pb.ListToolsResponse:
        """See the contract."""
        asked = state_pb.ListToolServersRequest(agent_id=request.agent_id)
        return pb.ListToolsResponse(servers=(await call(self._memory.agents.ListToolServers(asked))).servers)

    async def UnregisterTools(self, request: pb.UnregisterToolsRequest, context: Any) -> pb.UnregisterToolsResponse:
        """See the contract."""
        # Normal forms are stored; what is no address at all cannot have been.
        address = addresses.normal_or_same(request.address)
        asked = state_pb.DeleteToolServerRequest(agent_id=request.agent_id, address=address)
        await call(self._memory.agents.DeleteToolServer(asked))
        return pb.UnregisterToolsResponse()

    # Profiles and models.

    async def PutProfile(self, request: pb.PutProfileRequest, context: Any) -> pb.PutProfileResponse:
        """See the contract."""
        return pb.PutProfileResponse(profile=await self._profiles.put(request.kind, request.name, request.text))

    async def GetProfile(self, request: pb.GetProfileRequest, context: Any) -> pb.GetProfileResponse:
        """See the contract."""
        return pb.GetProfileResponse(profile=await self._profiles.get(request.kind, request.name))

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Any) -> pb.ListProfilesResponse:
        """See the contract."""
        found, token = await self._profiles.page(request.kind, request.page_size, request.page_token)
        return pb.ListProfilesResponse(profiles=found, next_page_token=token)

    async def DeleteProfile(self, request: pb.DeleteProfileRequest, context: Any) -> pb.DeleteProfileResponse:
        """See the contract."""
        await self._profiles.delete(request.kind, request.name)
        return pb.DeleteProfileResponse()

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        """See the contract."""
        store = await call(self._memory.store.GetStore(store_service_pb2.GetStoreRequest()))
        name = self._settings.model_name()
        mode = self._endpoint.mode().value if self._endpoint is not None and name != OFFLINE else name
        return pb.GetModelResponse(
            model=name,
            mode=mode,
            context_window=self._settings.window_tokens(),
            embedding_model=store.embedding_model,
            backend=store.backend,
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _blocks(profiles: dict[str, str], request: pb.CreateAgentRequest) -> list[block_pb2.BlockEdit]:
    """Core memory of a new agent: the blocks of its profiles, with those that were asked for over and behind them."""
    limit = request.core_memory_limit
    blocks = {label: block_pb2.BlockEdit(label=label, value=text, limit=limit) for label, text in profiles.items()}
    for wished in request.blocks:
        if sum(block.label == wished.label for block in request.blocks) > 1:
            raise invalid("blocks.label", f"the block {wished.label!r} is given twice")
        block = blocks.setdefault(wished.label, block_pb2.BlockEdit(limit=limit))
        block.MergeFrom(wished)
    return list(blocks.values())


def _fingerprint(request: pb.SendMessageRequest) -> bytes:
    """Digest of what makes the turn: how it is followed or bounded may differ from call to call."""
    kind = "text" if request.HasField("text") else f"event {request.event}"
    parts = "\0".join((request.agent_id, kind, request.user_name, request.text))
    return hashlib.sha256(parts.encode()).digest()


def _login(context: Context, time: str) -> str:
    """The event of a login. A new agent's boot sequence holds its first one: that is only pointed at."""
    if boot.awaits_first_answer(context):
        return envelopes.heartbeat(prompt.HEARTBEAT_BEGIN, time)
    last = context.messages[-1].created_at if context.messages else context.agent.updated_at
    return envelopes.login(envelopes.format_time(last, context.agent.time_zone), time)
