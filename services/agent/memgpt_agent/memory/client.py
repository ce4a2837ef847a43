"""Memory over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import context_pb2, heartbeat_pb2
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece
from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceStub
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.block_service_pb2_grpc import BlockServiceStub
from memgpt.memory.v1.profile_service_pb2_grpc import ProfileServiceStub
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub
from memgpt.memory.v1.store_service_pb2_grpc import StoreServiceStub
from memgpt_runtime import errors
from memgpt_runtime.status import from_rpc_error

from memgpt_agent.domain import (
    Context,
    Lease,
    Message,
    MessagePage,
    NewStep,
    Outcome,
    PassagePage,
    PlanEdit,
    Step,
    StoredPlan,
    Turn,
)
from memgpt_agent.memory import memory_protos
from memgpt_agent.memory.port import CancelRequested, CommittedStep, QueuePosition, TurnEvent
from memgpt_agent.memory.resuming import resuming

if TYPE_CHECKING:  # These exist in the stubs only.
    from grpc.aio import UnaryStreamCall
    from memgpt.memory.v1.agent_state_service_pb2_grpc import AgentStateServiceAsyncStub
    from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceAsyncStub
    from memgpt.memory.v1.block_service_pb2_grpc import BlockServiceAsyncStub
    from memgpt.memory.v1.profile_service_pb2_grpc import ProfileServiceAsyncStub
    from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceAsyncStub
    from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceAsyncStub
    from memgpt.memory.v1.store_service_pb2_grpc import StoreServiceAsyncStub

T = TypeVar("T")

_log = structlog.get_logger(__name__)

SERVICE = "the Memory service (agent.memory_address)"
"""Name of the service in errors."""

_PACKAGE = "/memgpt.memory.v1."

REPEATABLE = tuple(
    _PACKAGE + method
    for method in (
        "AgentStateService/CreateAgent",
        "AgentStateService/GetAgent",
        "AgentStateService/ListAgents",
        "AgentStateService/DeleteAgent",
        "AgentStateService/RenewLease",
        "AgentStateService/EndTurn",
        "AgentStateService/ReleaseLease",
        "AgentStateService/RequestCancel",
        "AgentStateService/ListTurns",
        "AgentStateService/PutToolServer",
        "AgentStateService/ListToolServers",
        "AgentStateService/DeleteToolServer",
        "AgentStateService/ListHeartbeats",
        "AgentStateService/LoadContext",
        "AgentStateService/RewindMessages",
        "AgentStateService/EditMessage",
        "ArchivalMemoryService/SearchPassages",
        "RecallMemoryService",
        "BlockService/ListBlocks",
        "BlockService/DeleteBlock",
        "ProfileService/GetProfile",
        "ProfileService/ListProfiles",
        "SourceService/GetSource",
        "SourceService/ListSources",
        "SourceService/DeleteSource",
        "SourceService/AttachSource",
        "SourceService/DetachSource",
        "StoreService",
    )
)
"""Methods that the channel may retry. The loop itself retries CommitStep, for longer."""


async def call(answer: Awaitable[T]) -> T:
    """Await a response of Memory; raise its errors as those of ``memgpt_runtime.errors``."""
    try:
        return await answer
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, SERVICE, name="memory") from error


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(int(seconds * 1e6))
    return duration


class MemoryClient:
    """The Memory service: methods for the loop, in the domain's types, and stubs for calls that are passed through."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Use a channel of ``memgpt_runtime.channel.open_memory_channel`` with ``REPEATABLE``."""
        self.agents: AgentStateServiceAsyncStub = AgentStateServiceStub(channel)
        self.archival: ArchivalMemoryServiceAsyncStub = ArchivalMemoryServiceStub(channel)
        self.blocks: BlockServiceAsyncStub = BlockServiceStub(channel)
        self.profiles: ProfileServiceAsyncStub = ProfileServiceStub(channel)
        self.recall: RecallMemoryServiceAsyncStub = RecallMemoryServiceStub(channel)
        self.sources: SourceServiceAsyncStub = SourceServiceStub(channel)
        self.store: StoreServiceAsyncStub = StoreServiceStub(channel)

    async def begin_turn(
        self,
        agent_id: str,
        request_id: str,
        *,
        fingerprint: bytes,
        messages: Sequence[Message],
        options: bytes,
        nonblocking: bool,
        queue_timeout: float,
        retry: bool = False,
        time_placeholder: str = "",
    ) -> AsyncGenerator[TurnEvent, None]:
        """Yield queue positions, then one grant; see ``port.Memory``."""
        until = time.monotonic() + queue_timeout
        granted = False

        def begin() -> UnaryStreamCall[state_pb.BeginTurnRequest, state_pb.BeginTurnResponse]:
            return self.agents.BeginTurn(
                state_pb.BeginTurnRequest(
                    agent_id=agent_id,
                    request_id=request_id,
                    fingerprint=fingerprint,
                    input=memory_protos.new_messages(messages),
                    options=options,
                    nonblocking=nonblocking,
                    queue_timeout=_duration(max(0.0, until - time.monotonic())),
                    retry=retry,
                    time_placeholder=time_placeholder,
                )
            )

        # After the grant the lease holds the turn, with or without this stream.
        async with aclosing(resuming(begin, SERVICE, lambda: not granted)) as responses:
            async for response in responses:
                if response.HasField("queued"):
                    yield QueuePosition(response.queued.ahead)
                elif response.HasField("granted"):
                    granted = True
                    yield memory_protos.grant(response.granted)
                elif response.HasField("cancel_requested"):
                    yield CancelRequested()

    async def renew_lease(self, agent_id: str, lease: Lease) -> bool:
        """Renew the lease; return whether the turn must be cancelled."""
        request = state_pb.RenewLeaseRequest(agent_id=agent_id, lease=memory_protos.lease_proto(lease))
        return (await call(self.agents.RenewLease(request))).cancel_requested

    async def commit_step(self, agent_id: str, lease: Lease, step: NewStep, context: Context) -> CommittedStep:
        """Commit a step."""
        response = await call(self.agents.CommitStep(memory_protos.commit_request(agent_id, lease, step)))
        committed = memory_protos.step(response.step)
        if not response.HasField("context"):
            return CommittedStep(committed, None)
        start = step.eviction.before_sequence if step.eviction is not None else 0
        kept = (message for message in context.messages if message.sequence >= start)
        return CommittedStep(committed, memory_protos.context(response.context, (*kept, *committed.messages)))

    async def end_turn(self, agent_id: str, lease: Lease, outcome: Outcome, call_result: str = "") -> None:
        """End the turn without a step."""
        request = state_pb.EndTurnRequest(
            agent_id=agent_id,
            lease=memory_protos.lease_proto(lease),
            outcome=memory_protos.outcome(outcome),
            call_result=call_result,
        )
        await call(self.agents.EndTurn(request))

    async def release_lease(self, agent_id: str, lease: Lease) -> None:
        """Release the lease."""
        request = state_pb.ReleaseLeaseRequest(agent_id=agent_id, lease=memory_protos.lease_proto(lease))
        await call(self.agents.ReleaseLease(request))

    async def read_turn(
        self, agent_id: str, request_id: str, *, after_step: int, follow: bool
    ) -> AsyncIterator[Step | Turn]:
        """Yield the committed steps after ``after_step``, then the turn."""
        known = after_step

        def read() -> UnaryStreamCall[state_pb.ReadTurnRequest, state_pb.ReadTurnResponse]:
            return self.agents.ReadTurn(
                state_pb.ReadTurnRequest(
                    agent_id=agent_id, request_id=request_id, after_step=known, replay_only=not follow
                )
            )

        async with aclosing(resuming(read, SERVICE, lambda: True)) as responses:
            async for response in responses:
                if response.HasField("step"):
                    known = response.step.index
                    yield memory_protos.step(response.step)
                elif response.HasField("turn"):
                    yield memory_protos.turn(response.turn)

    async def export_agent(self, agent_id: str) -> AsyncIterator[AgentPiece]:
        """Yield the pieces of an agent."""
        stream = self.agents.ExportAgent(state_pb.ExportAgentRequest(agent_id=agent_id))
        try:
            async for response in stream:
                yield response.piece
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, SERVICE, name="memory") from error
        finally:
            stream.cancel()

    async def import_agent(self, requests: AsyncIterator[state_pb.ImportAgentRequest]) -> state_pb.ImportAgentResponse:
        """Import an agent, piece by piece. What ``requests`` raises ends the import and is raised here."""
        stream = self.agents.ImportAgent()
        try:
            async for request in requests:
                await stream.write(request)
            await stream.done_writing()
            return await call(stream)
        except asyncio.InvalidStateError:
            return await call(stream)  # Memory ended the import early; its status says why
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, SERVICE, name="memory") from error
        finally:
            stream.cancel()

    async def list_plans(self) -> AsyncIterator[StoredPlan]:
        """Yield the timed heartbeats of all agents that have some, of every tenant, without unreadable ones."""
        request = state_pb.ListHeartbeatsRequest(all_tenants=True)
        while True:
            page = await call(self.agents.ListHeartbeats(request))
            for agent in page.agents:
                try:
                    stored = memory_protos.stored_plan(agent)
                except errors.FailedPrecondition:  # those of other agents still matter
                    _log.warning("heartbeat_plan_unreadable", agent_id=agent.agent_id)
                    continue
                yield stored
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def get_plan(self, agent_id: str) -> StoredPlan:
        """Return the timed heartbeats of an agent."""
        page = await call(self.agents.ListHeartbeats(state_pb.ListHeartbeatsRequest(agent_id=agent_id)))
        return memory_protos.stored_plan(page.agents[0])

    async def put_plan(self, agent_id: str, edit: PlanEdit) -> None:
        """Write the timed heartbeats of an agent."""
        heartbeats = heartbeat_pb2.Heartbeats(plan=edit.text, etag=edit.etag)
        await call(self.agents.PutHeartbeats(state_pb.PutHeartbeatsRequest(agent_id=agent_id, heartbeats=heartbeats)))

    async def turns_since(self, agent_id: str, time: float) -> AsyncIterator[Turn]:
        """Yield the turns first requested at ``time`` or later, latest first."""
        request = state_pb.ListTurnsRequest(agent_id=agent_id)
        while True:
            page = await call(self.agents.ListTurns(request))
            for turn in page.turns:
                if turn.create_time.ToMicroseconds() < time * 1e6:
                    return
                yield memory_protos.turn(turn)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def turn_tokens(self, agent_id: str, request_id: str) -> int:
        """Return the tokens of a turn's committed steps."""
        tokens = 0
        async for item in self.read_turn(agent_id, request_id, after_step=-1, follow=False):
            if isinstance(item, Step):
                tokens += sum(message.usage.total for message in item.messages if message.usage is not None)
        return tokens

    async def load_context(self, agent_id: str) -> Context:
        """Return the content of the agent's window now."""
        return memory_protos.context(await self.load_context_proto(agent_id))

    async def load_context_proto(self, agent_id: str) -> context_pb2.AgentContext:
        """Return the content of the agent's window now, as a proto for clients."""
        return (await call(self.agents.LoadContext(state_pb.LoadContextRequest(agent_id=agent_id)))).context

    async def search_archival(self, agent_id: str, query: str, *, page_size: int, skip: int) -> PassagePage:
        """Return a page of the ranking of the agent's notes and attached documents."""
        request = archival_pb.SearchPassagesRequest(
            scope=archival_pb.PassageScope(agent_id=agent_id), query=query, page_size=page_size, skip=skip
        )
        return memory_protos.passage_page(await call(self.archival.SearchPassages(request)))

    async def search_recall(
        self, agent_id: str, query: str, *, before: int | None, page_size: int, skip: int
    ) -> MessagePage:
        """Return a page of the ranking of messages by words and similarity, with their neighbors."""
        request = recall_pb.SearchMessagesRequest(
            agent_id=agent_id,
            query=query,
            mode=recall_pb.RECALL_MODE_HYBRID,
            before_sequence=before,
            neighbors=1,
            page_size=page_size,
            skip=skip,
        )
        return memory_protos.message_page(await call(self.recall.SearchMessages(request)))

    async def list_recall(
        self, agent_id: str, *, start_date: str, end_date: str, page_size: int, skip: int
    ) -> MessagePage:
        """Return a page of the messages between two days, both included, the latest first."""
        request = recall_pb.SearchMessagesRequest(
            agent_id=agent_id, start_date=start_date, end_date=end_date, page_size=page_size, skip=skip
        )
        return memory_protos.message_page(await call(self.recall.SearchMessages(request)))
