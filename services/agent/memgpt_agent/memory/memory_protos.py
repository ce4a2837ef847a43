"""Conversion between Memory's protos and the domain."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import (
    agent_pb2,
    agent_state_service_pb2,
    archival_memory_service_pb2,
    block_pb2,
    context_pb2,
    message_pb2,
    passage_pb2,
    recall_memory_service_pb2,
    tool_pb2,
    turn_pb2,
)
from memgpt_runtime import reasons
from memgpt_runtime.principal import DEFAULT_TENANT

from memgpt_agent.domain import (
    Agent,
    Attachment,
    Block,
    BlockEdit,
    Citation,
    Context,
    FunctionCall,
    Lease,
    Message,
    MessageHit,
    MessagePage,
    NewStep,
    Outcome,
    PassageHit,
    PassagePage,
    Role,
    Step,
    StoredPlan,
    Tool,
    Turn,
    TurnState,
    Usage,
)
from memgpt_agent.heartbeat_plan import HeartbeatPlan
from memgpt_agent.memory.port import TurnGrant

ROLES = {
    Role.SYSTEM: message_pb2.ROLE_SYSTEM,
    Role.USER: message_pb2.ROLE_USER,
    Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
    Role.TOOL: message_pb2.ROLE_TOOL,
}
_ROLE_OF = {number: role for role, number in ROLES.items()}

STATES = {
    TurnState.QUEUED: turn_pb2.TURN_STATE_QUEUED,
    TurnState.RUNNING: turn_pb2.TURN_STATE_RUNNING,
    TurnState.COMPLETED: turn_pb2.TURN_STATE_COMPLETED,
    TurnState.STOPPED: turn_pb2.TURN_STATE_STOPPED,
    TurnState.CANCELLED: turn_pb2.TURN_STATE_CANCELLED,
    TurnState.FAILED: turn_pb2.TURN_STATE_FAILED,
}
_STATE_OF = {number: state for state, number in STATES.items()}


# From Memory.


def moment(timestamp: Timestamp) -> datetime:
    """Convert a point in time."""
    return timestamp.ToDatetime(tzinfo=UTC)


def message(proto: message_pb2.Message) -> Message:
    """Convert a stored message."""
    call = proto.function_call
    return Message(
        role=_ROLE_OF[proto.role],
        text=proto.text,
        function_call=FunctionCall(call.call_id, call.name, call.arguments, call.endpoint_data)
        if proto.HasField("function_call")
        else None,
        call_id=proto.call_id,
        usage=_usage(proto.usage) if proto.HasField("usage") else None,
        sequence=proto.sequence,
        created_at=moment(proto.create_time),
    )


def step(proto: turn_pb2.Step) -> Step:
    """Convert a committed step."""
    return Step(proto.index, tuple(map(message, proto.messages)))


def turn(proto: turn_pb2.Turn) -> Turn:
    """Convert a turn."""
    return Turn(proto.turn_id, proto.request_id, _STATE_OF[proto.state], proto.reason, proto.committed_steps)


def lease(proto: turn_pb2.Lease) -> Lease:
    """Convert a lease."""
    return Lease(proto.turn_id, proto.epoch)


def grant(proto: agent_state_service_pb2.TurnGrant) -> TurnGrant:
    """Convert the grant of a turn."""
    return TurnGrant(
        turn(proto.turn),
        lease(proto.lease) if proto.HasField("lease") else None,
        proto.resumed,
        proto.options,
        context(proto.context) if proto.HasField("context") else None,
    )


def agent(proto: agent_pb2.Agent) -> Agent:
    """Convert an agent."""
    return Agent(
        agent_id=proto.agent_id,
        name=proto.name,
        system=proto.system,
        model=proto.model,
        context_window=proto.context_window,
        time_zone=proto.time_zone or "UTC",
        attachments=tuple(Attachment(a.source_name, a.passage_count) for a in proto.attachments),
        updated_at=moment(proto.update_time),
    )


def context(proto: context_pb2.AgentContext, messages: tuple[Message, ...] | None = None) -> Context:
    """Convert the content of a window. ``messages`` replace those that were left out of ``proto``."""
    return Context(
        agent=agent(proto.agent),
        blocks=tuple(
            Block(
                b.label,
                b.value,
                b.limit,
                b.etag,
                moment(b.update_time),
                b.read_only,
                b.description,
                shared=bool(b.shared_block_id),
            )
            for b in proto.blocks
        ),
        summary=proto.summary,
        messages=tuple(map(message, proto.messages)) if messages is None else messages,
        recall_count=proto.agent.message_count - proto.agent.rewound_count,
        archival_count=proto.archival_count,
        tools=tuple(tool for server in proto.tool_servers for tool in tools(server)),
        plan=_plan(proto.heartbeats.plan),
        plan_etag=proto.heartbeats.etag,
    )


def stored_plan(proto: agent_state_service_pb2.AgentHeartbeats) -> StoredPlan:
    """Convert the timed heartbeats of an agent.

    Raises:
        FailedPrecondition: They cannot be read.
    """
    tenant, plan = proto.tenant or DEFAULT_TENANT, _plan(proto.heartbeats.plan)
    return StoredPlan(proto.agent_id, proto.time_zone or "UTC", plan, proto.heartbeats.etag, tenant)


def _plan(text: str) -> HeartbeatPlan:
    try:
        return HeartbeatPlan.parse(text)
    except ValueError as error:
        raise reasons.wrong_state(
            "the agent's timed heartbeats cannot be read: a later version wrote them, or they are damaged; use that "
            "version, or export the agent and import it with --no-heartbeats",
            resource="heartbeats",
            state="UNREADABLE",
        ) from error


def tools(proto: tool_pb2.ToolServer) -> tuple[Tool, ...]:
    """Convert the functions of an address."""
    return tuple(Tool(one.name, one.description, one.parameters, proto.address) for one in proto.functions)


def tool_server(address: str, found: Iterable[Tool]) -> tool_pb2.ToolServer:
    """Convert an address with its functions, to be stored."""
    functions = [
        tool_pb2.ToolFunction(name=one.name, description=one.description, parameters=one.parameters) for one in found
    ]
    return tool_pb2.ToolServer(address=address, functions=functions)


def passage_page(proto: archival_memory_service_pb2.SearchPassagesResponse) -> PassagePage:
    """Convert a page of passages."""
    return PassagePage(tuple(_hit(hit.passage) for hit in proto.hits), proto.total_size)


def message_page(proto: recall_memory_service_pb2.SearchMessagesResponse) -> MessagePage:
    """Convert a page of messages, with the nearest neighbor on either side if there are any."""
    around = proto.neighbors or [recall_memory_service_pb2.MessageNeighbors()] * len(proto.messages)
    hits = (
        MessageHit(
            message(found),
            message(beside.before[-1]) if beside.before else None,
            message(beside.after[0]) if beside.after else None,
        )
        for found, beside in zip(proto.messages, around, strict=True)
    )
    return MessagePage(tuple(hits), proto.total_size)


def _hit(proto: passage_pb2.Passage) -> PassageHit:
    cited = proto.citation
    citation = Citation(cited.source_name, cited.file_name, cited.page) if proto.HasField("citation") else None
    return PassageHit(proto.text, moment(proto.create_time), citation)


def _usage(proto: message_pb2.Usage) -> Usage:
    return Usage(proto.prompt_tokens, proto.completion_tokens, proto.cached_tokens)


# To Memory.


def usage_proto(value: Usage) -> message_pb2.Usage:
    """Convert a count of tokens."""
    return message_pb2.Usage(
        prompt_tokens=value.prompt_tokens,
        completion_tokens=value.completion_tokens,
        cached_tokens=value.cached_tokens,
    )


def new_message(value: Message) -> message_pb2.NewMessage:
    """Convert a message to be stored."""
    proto = message_pb2.NewMessage(role=ROLES[value.role], text=value.text, call_id=value.call_id)
    if value.function_call is not None:
        call = value.function_call
        proto.function_call.CopyFrom(
            message_pb2.FunctionCall(
                call_id=call.call_id, name=call.name, arguments=call.arguments, endpoint_data=call.endpoint_data
            )
        )
    if value.usage is not None:
        proto.usage.CopyFrom(usage_proto(value.usage))
    return proto


def new_messages(values: Iterable[Message]) -> list[message_pb2.NewMessage]:
    """Convert messages to be stored."""
    return [new_message(value) for value in values]


def lease_proto(value: Lease) -> turn_pb2.Lease:
    """Convert a lease."""
    return turn_pb2.Lease(turn_id=value.turn_id, epoch=value.epoch)


def outcome(value: Outcome) -> turn_pb2.TurnOutcome:
    """Convert the end of a turn."""
    return turn_pb2.TurnOutcome(state=STATES[value.state], reason=value.reason)


def block_edit(value: BlockEdit) -> block_pb2.BlockEdit:
    """Convert the new value of a block."""
    return block_pb2.BlockEdit(label=value.label, value=value.value, etag=value.etag, limit=value.limit)


def commit_request(agent_id: str, held: Lease, value: NewStep) -> agent_state_service_pb2.CommitStepRequest:
    """Convert a step to the request that commits it."""
    request = agent_state_service_pb2.CommitStepRequest(
        agent_id=agent_id,
        lease=lease_proto(held),
        step=value.index,
        messages=new_messages(value.messages),
        blocks=[block_edit(edit) for edit in value.blocks],
        notes=value.notes,
    )
    if value.eviction is not None:
        request.eviction.before_sequence = value.eviction.before_sequence
        request.eviction.summary = value.eviction.summary
    if value.plan is not None:
        request.heartbeats.plan, request.heartbeats.etag = value.plan.text, value.plan.etag
    if value.outcome is not None:
        request.outcome.CopyFrom(outcome(value.outcome))
    return request
