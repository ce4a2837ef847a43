"""`AgentStateService`: agents, their turns and commits, remote tools and heartbeats; export and import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from memgpt.memory.v1 import agent_pb2, agent_piece_pb2, agent_state_service_pb2_grpc, context_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt_runtime import reasons
from memgpt_runtime.agent_rules import duration_microseconds
from memgpt_runtime.context import principal, tenant
from memgpt_runtime.ids import new_id
from memgpt_runtime.principal import Role

from memgpt_memory.agents import (
    AgentRow,
    AgentState,
    CreateAgent,
    DeleteToolServer,
    LiveAgent,
    PutToolServer,
    SetHeartbeats,
    StepCommit,
    TurnStart,
)
from memgpt_memory.archival import Scope
from memgpt_memory.clock import now
from memgpt_memory.maintenance.transfer import FORMAT_VERSION
from memgpt_memory.restrictions import check_may_create
from memgpt_memory.rpc import _agent_pieces as pieces
from memgpt_memory.rpc import _conversion as convert
from memgpt_memory.rpc._base import Context, Servicer
from memgpt_memory.turns import Edit, Grant, Part, Step, TurnRequest, write_time, write_times

_PAUSE_SECONDS = 150.0
"""Longest pause between two pieces of an import: it runs to its end, so a cancellation would not end a stalled one.
A piece may also wait while silent streams are received, for a minute or two."""

_HEARTBEATS_PAGE = 100
"""Agents on a page of timed heartbeats, each with at most 16 KiB."""

_LIFETIMES = ("message_ttl", "note_ttl")


class AgentStateServicer(Servicer, agent_state_service_pb2_grpc.AgentStateServiceServicer):
    """Agents, their turns, and what fills their context windows."""

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Context) -> pb.CreateAgentResponse:
        check_may_create("agents", principal().agents)
        core, owner = self._core, tenant()

        async def create(seed: str, _: str) -> bytes:
            time = now()
            live = await core.agents.create(
                owner,
                seed,
                AgentRow(
                    tenant=owner,
                    name=request.name,
                    preset=request.preset,
                    persona=request.persona,
                    human=request.human,
                    model=request.model,
                    context_window=request.context_window,
                    time_zone=request.time_zone or "UTC",
                    tags=list(dict.fromkeys(request.tags)),
                    user_id=request.user_id,
                    message_ttl=duration_microseconds(request.message_ttl),
                    note_ttl=duration_microseconds(request.note_ttl),
                    created=time,
                    updated=time,
                ),
                CreateAgent(
                    system=request.system,
                    description=request.description,
                    blocks=[convert.block_edit(block) for block in request.blocks],
                    messages=convert.new_messages(request.messages),
                ),
                fallback_names=request.fallback_names,
            )
            # The stored response has only the agent's id: everything else may be replaced and erased.
            return pb.CreateAgentResponse(agent=agent_pb2.Agent(agent_id=live.id)).SerializeToString()

        # The first messages contain their time, which differs when the request is repeated.
        digest = convert.fingerprint(request, "messages")
        answer = await core.idempotency.run(
            owner, "CreateAgent", request.request_id, digest, lambda: new_id("agent"), create
        )
        live = await core.agents.get(owner, pb.CreateAgentResponse.FromString(answer).agent.agent_id)
        return pb.CreateAgentResponse(agent=await convert.agent(core, live.state))

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        core = self._core
        if request.agent_id:
            live = await core.agents.get(tenant(), request.agent_id)
        else:
            live = await core.agents.get_by_name(tenant(), request.name)
        return pb.GetAgentResponse(agent=await convert.agent(core, live.state))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:
        core = self._core
        size, after = self._after(request)
        page = await core.agents.list(
            tenant(), size, after, tags=request.tags, origin=request.origin, user_id=request.user_id
        )
        agents = [await convert.agent(core, live.state) for live in page.items]
        shown, following = self._fit(agents, page.next_token, lambda agent: agent.agent_id)
        return pb.ListAgentsResponse(
            agents=shown,
            next_page_token=self._next(request, following),
            total_size=page.total,
        )

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Context) -> pb.UpdateAgentResponse:
        core = self._core
        paths = list(request.update_mask.paths)
        changes = {path: getattr(request.agent, path) for path in paths if path != "tags"}
        if "tags" in paths:
            changes["tags"] = list(dict.fromkeys(request.agent.tags))
        if not changes.get("time_zone", "UTC"):
            changes["time_zone"] = "UTC"
        changes.update((path, duration_microseconds(changes[path])) for path in _LIFETIMES if path in changes)
        live = await core.agents.update(tenant(), request.agent.agent_id, changes, request.agent.etag)
        return pb.UpdateAgentResponse(agent=await convert.agent(core, live.state))

    async def DeleteAgent(self, request: pb.DeleteAgentRequest, context: Context) -> pb.DeleteAgentResponse:
        core, owner = self._core, tenant()

        async def delete(_: str, __: str) -> bytes:
            await core.agents.delete(owner, request.agent_id)
            return b""

        await core.idempotency.run(
            owner, "DeleteAgent", request.request_id, convert.fingerprint(request), lambda: new_id("delete"), delete
        )
        return pb.DeleteAgentResponse()

    async def BeginTurn(self, request: pb.BeginTurnRequest, context: Context) -> AsyncIterator[pb.BeginTurnResponse]:
        core, owner = self._core, tenant()
        live = await core.agents.get(owner, request.agent_id)
        start: TurnStart | Edit | None = None
        if request.retry:
            start = Edit(core.edits.retry)
        elif request.input:
            messages = convert.new_messages(request.input)
            start = TurnStart(write_times(messages, request.time_placeholder, now(), live.row.time_zone))
        asked = TurnRequest(
            request.request_id,
            start,
            fingerprint=request.fingerprint,
            options=request.options,
            nonblocking=request.nonblocking,
            queue_timeout=request.queue_timeout.ToTimedelta().total_seconds()
            if request.HasField("queue_timeout")
            else None,
            admit=partial(core.quotas.admit_turn, owner),
        )
        async with core.quotas.turn(owner):
            async for event in core.turns.begin(live, asked):
                if isinstance(event, int):
                    yield pb.BeginTurnResponse(queued=pb.QueuePosition(ahead=event))
                    continue
                yield pb.BeginTurnResponse(granted=await self._granted(live, event))
                if event.lease is not None and await core.turns.cancelled(live, event.lease):
                    yield pb.BeginTurnResponse(cancel_requested=pb.CancelRequested())

    async def _granted(self, live: LiveAgent, grant: Grant) -> pb.TurnGrant:
        return pb.TurnGrant(
            turn=convert.turn(grant.turn),
            resumed=grant.resumed,
            options=bytes.fromhex(grant.turn.options),
            lease=None if grant.lease is None else convert.lease(grant.lease),
            context=None if grant.lease is None else await self._context(live),
        )

    async def RenewLease(self, request: pb.RenewLeaseRequest, context: Context) -> pb.RenewLeaseResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        lease, cancel = await core.turns.renew(live, convert.lease_back(request.lease))
        return pb.RenewLeaseResponse(lease=convert.lease(lease), cancel_requested=cancel)

    async def CommitStep(self, request: pb.CommitStepRequest, context: Context) -> pb.CommitStepResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        eviction = request.eviction
        step = await core.turns.commit(
            live,
            convert.lease_back(request.lease),
            request.step,
            StepCommit(
                messages=convert.new_messages(request.messages),
                blocks=[convert.block_edit(block) for block in request.blocks],
                notes=list(request.notes),
                evict_before=eviction.before_sequence if request.HasField("eviction") else None,
                summary=eviction.summary,
                heartbeats=convert.heartbeat_edit(request.heartbeats) if request.HasField("heartbeats") else None,
                outcome=convert.outcome(request.outcome) if request.HasField("outcome") else None,
            ),
        )
        return pb.CommitStepResponse(
            step=convert.step(step, live.state.rewinds),
            context=None if request.HasField("outcome") else await self._context(live, messages=False),
        )

    async def EndTurn(self, request: pb.EndTurnRequest, context: Context) -> pb.EndTurnResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        state, reason = convert.outcome(request.outcome)
        turn = await core.turns.end(live, convert.lease_back(request.lease), state, reason, request.call_result)
        return pb.EndTurnResponse(turn=convert.turn(turn))

    async def ReleaseLease(self, request: pb.ReleaseLeaseRequest, context: Context) -> pb.ReleaseLeaseResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        await core.turns.release(live, convert.lease_back(request.lease))
        return pb.ReleaseLeaseResponse()

    async def RequestCancel(self, request: pb.RequestCancelRequest, context: Context) -> pb.RequestCancelResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        result = write_time(request.call_result, request.time_placeholder, now(), live.row.time_zone)
        turn = await core.turns.cancel(live, request.request_id, result)
        return pb.RequestCancelResponse(turn=convert.turn(turn))

    async def ReadTurn(self, request: pb.ReadTurnRequest, context: Context) -> AsyncIterator[pb.ReadTurnResponse]:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        async for item in core.turns.read(live, request.request_id, request.after_step, follow=not request.replay_only):
            if isinstance(item, Step):
                yield pb.ReadTurnResponse(step=convert.step(item, live.state.rewinds))
            else:
                yield pb.ReadTurnResponse(turn=convert.turn(item))

    async def ListTurns(self, request: pb.ListTurnsRequest, context: Context) -> pb.ListTurnsResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        size, after = self._after(request)
        page = await core.turns.list(live, size, after)
        return pb.ListTurnsResponse(
            turns=[convert.turn(turn) for turn in page.items], next_page_token=self._next(request, page.next_token)
        )

    async def LoadContext(self, request: pb.LoadContextRequest, context: Context) -> pb.LoadContextResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        return pb.LoadContextResponse(context=await self._context(live))

    async def _context(self, live: LiveAgent, *, messages: bool = True) -> context_pb2.AgentContext:
        core = self._core
        state, found = await core.agents.read_context(live, messages=messages)
        return context_pb2.AgentContext(
            agent=await convert.agent(core, state),
            blocks=map(convert.block, await core.core_memory.list(state)),
            summary=state.summary,
            messages=[convert.message(message, state.rewinds) for message in found],
            archival_count=await core.archive.count(Scope(state.row.tenant, live, None)),
            tool_servers=map(convert.tool_server, state.tools),
            heartbeats=convert.heartbeats(state),
        )

    async def PutToolServer(self, request: pb.PutToolServerRequest, context: Context) -> pb.PutToolServerResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        server = convert.tool_server_back(request.server).model_copy(update={"registered": now()})
        await self._core.agents.repository.execute(live, PutToolServer(server))
        return pb.PutToolServerResponse(server=convert.tool_server(server))

    async def ListToolServers(self, request: pb.ListToolServersRequest, context: Context) -> pb.ListToolServersResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        return pb.ListToolServersResponse(servers=map(convert.tool_server, live.state.tools))

    async def DeleteToolServer(
        self, request: pb.DeleteToolServerRequest, context: Context
    ) -> pb.DeleteToolServerResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        await self._core.agents.repository.execute(live, DeleteToolServer(request.address))
        return pb.DeleteToolServerResponse()

    async def PutHeartbeats(self, request: pb.PutHeartbeatsRequest, context: Context) -> pb.PutHeartbeatsResponse:
        live = await self._core.agents.get(tenant(), request.agent_id)
        await self._core.agents.repository.execute(live, SetHeartbeats(convert.heartbeat_edit(request.heartbeats)))
        return pb.PutHeartbeatsResponse(heartbeats=convert.heartbeats(live.state))

    async def ListHeartbeats(self, request: pb.ListHeartbeatsRequest, context: Context) -> pb.ListHeartbeatsResponse:
        agents = self._core.agents
        if request.agent_id:
            live = await agents.get(tenant(), request.agent_id)
            return pb.ListHeartbeatsResponse(agents=[convert.agent_heartbeats(live.state)])
        if request.all_tenants:
            _check_own_work()
        size, after = self._after(request)
        owner = None if request.all_tenants else tenant()
        page = await agents.with_heartbeats(owner, min(size, _HEARTBEATS_PAGE), after)
        return pb.ListHeartbeatsResponse(
            agents=[convert.agent_heartbeats(live.state) for live in page.items],
            next_page_token=self._next(request, page.next_token),
        )

    async def RewindMessages(self, request: pb.RewindMessagesRequest, context: Context) -> pb.RewindMessagesResponse:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)

        async def undo(state: AgentState) -> TurnStart:
            return await core.edits.undo(state, request.count)

        turn = await core.turns.edit(live, TurnRequest(request.request_id, Edit(undo), convert.fingerprint(request)))
        return pb.RewindMessagesResponse(rewound_count=live.state.rewinds.by_turn(turn.turn_id))

    async def EditMessage(self, request: pb.EditMessageRequest, context: Context) -> pb.EditMessageResponse:
        core, owner = self._core, tenant()
        live = await core.agents.get(owner, request.agent_id)
        # The result contains the time, which differs when the request is repeated.
        digest = convert.fingerprint(request, "call_result", "time_placeholder")
        part = Part.THOUGHT if request.part == pb.MESSAGE_PART_THOUGHT else Part.SPOKEN

        async def edit(state: AgentState) -> TurnStart:
            return await core.edits.edit(state, part, request.text)

        result = write_time(request.call_result, request.time_placeholder, now(), live.row.time_zone)
        asked = TurnRequest(
            request.request_id, Edit(edit, result), digest, admit=partial(core.quotas.admit_edit, owner)
        )
        turn = await core.turns.edit(live, asked)
        edited = await core.agents.messages.read(live.id, [turn.first_sequence])
        if not edited:
            raise reasons.message_not_found("the edited message has been forgotten", sequence=turn.first_sequence)
        return pb.EditMessageResponse(message=convert.message(edited[0], live.state.rewinds))

    async def ExportAgent(
        self, request: pb.ExportAgentRequest, context: Context
    ) -> AsyncIterator[pb.ExportAgentResponse]:
        core = self._core
        live = await core.agents.get(tenant(), request.agent_id)
        header = agent_piece_pb2.ExportHeader(format_version=FORMAT_VERSION, export_time=convert.timestamp(now()))
        yield pb.ExportAgentResponse(piece=agent_piece_pb2.AgentPiece(header=header))
        async for piece in core.transfers.export(live):
            yield pb.ExportAgentResponse(piece=await pieces.to_proto(core, piece))

    async def ImportAgent(
        self, request_iterator: AsyncIterator[pb.ImportAgentRequest], context: Context
    ) -> pb.ImportAgentResponse:
        check_may_create("agents", principal().agents)
        core, owner = self._core, tenant()
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None:
            raise reasons.invalid_field("the stream must begin with a header and an agent", field="piece")
        stream = _pieces(first, requests)
        header, agent = await anext(stream), await anext(stream, None)
        if agent is None:
            raise reasons.invalid_field("the stream must begin with a header and an agent", field="piece")
        settings = pieces.settings(owner, first, agent)

        async def take(seed: str, _: str) -> bytes:
            rest = (pieces.from_proto(piece) async for piece in stream)
            live, missing = await core.transfers.take(seed, settings, rest)
            return pb.ImportAgentResponse(
                agent=agent_pb2.Agent(agent_id=live.id), missing_source_names=missing
            ).SerializeToString()

        # Only the beginning of a stream is known before it is read; it contains the time of the export.
        beginning = pb.ImportAgentRequest(piece=agent, name=first.name, shared_blocks=first.shared_blocks)
        digest = convert.fingerprint(beginning) + convert.fingerprint(pb.ImportAgentRequest(piece=header))
        answer = await core.idempotency.run(
            owner, "ImportAgent", first.request_id, digest, lambda: new_id("agent"), take
        )
        response = pb.ImportAgentResponse.FromString(answer)
        live = await core.agents.get(owner, response.agent.agent_id)
        response.agent.CopyFrom(await convert.agent(core, live.state))
        return response


def _check_own_work() -> None:
    """Check that a service calls for its own work, which concerns all tenants, and not on behalf of a caller."""
    caller = principal()
    if caller.role is not Role.SERVICE:
        raise reasons.not_permitted(
            f"the heartbeats of all tenants need the role service; the credential has the role {caller.role}",
            permission="INTERNAL",
            role=caller.role,
        )


async def _pieces(
    first: pb.ImportAgentRequest, others: AsyncIterator[pb.ImportAgentRequest]
) -> AsyncIterator[agent_piece_pb2.AgentPiece]:
    """Yield the pieces in the requests of an import, and end one that pauses for long."""
    request: pb.ImportAgentRequest | None = first
    while request is not None:
        yield request.piece
        for piece in request.more_pieces:
            yield piece
        try:
            async with asyncio.timeout(_PAUSE_SECONDS):
                request = await anext(others, None)
        except TimeoutError:
            raise reasons.deadline_exceeded(
                f"the import paused for more than {_PAUSE_SECONDS:g} s; nothing was imported; send it again",
                limit_seconds=_PAUSE_SECONDS,
            ) from None
