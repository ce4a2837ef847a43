"""Conversion of the pieces of exported agents."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import archival_memory_service_pb2, block_pb2, message_pb2, passage_pb2, tool_pb2
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportRewind, ExportWindow
from memgpt.memory.v1.heartbeat_pb2 import Heartbeats
from memgpt_runtime import reasons
from memgpt_runtime.agent_rules import duration_microseconds, settings_problems
from memgpt_runtime.validation import Problems, validate

from memgpt_memory.agents import AgentRow, AgentState, Block, Rewind, Rewinds, ToolServer
from memgpt_memory.clock import now
from memgpt_memory.core import Core
from memgpt_memory.maintenance.transfer import (
    READ_VERSIONS,
    ExportedHeartbeats,
    ExportedWindow,
    ExportTotals,
    Piece,
    Settings,
)
from memgpt_memory.messages import Message
from memgpt_memory.passages import Passage
from memgpt_memory.rpc import _conversion as convert

_LATEST = 253_370_764_800
"""The end of the year 9998 in seconds since 1970: later times cannot be represented in every time zone."""


async def to_proto(core: Core, piece: AgentState | Piece) -> AgentPiece:
    """Convert a piece to protobuf."""
    match piece:
        case AgentState():
            return AgentPiece(agent=await convert.agent(core, piece))
        case Block():
            return AgentPiece(block=convert.block(piece))
        case ToolServer():
            return AgentPiece(tool_server=convert.tool_server(piece))
        case ExportedHeartbeats():
            return AgentPiece(heartbeats=Heartbeats(plan=piece.plan))
        case ExportedWindow():
            rewinds = [
                ExportRewind(first=one.first, end=one.end, turn_id=one.turn_id, create_time=convert.timestamp(one.time))
                for one in piece.rewinds
            ]
            return AgentPiece(window=ExportWindow(start_sequence=piece.start, summary=piece.summary, rewinds=rewinds))
        case Message():
            return AgentPiece(message=convert.message(piece, Rewinds()))
        case Passage():
            return AgentPiece(passage=convert.passage(piece))
        case ExportTotals():
            return AgentPiece(
                end=ExportEnd(
                    block_count=piece.blocks,
                    message_count=piece.messages,
                    passage_count=piece.notes,
                    tool_server_count=piece.tool_servers,
                    heartbeats_count=piece.heartbeats,
                )
            )


def settings(tenant: str, first: pb.ImportAgentRequest, second: AgentPiece) -> Settings:
    """Return the settings in the first two pieces.

    Raises:
        FailedPrecondition: The export has another format.
        InvalidArgument: They are not a header and an agent, or such an agent cannot be created.
    """
    if not (first.piece.HasField("header") and second.HasField("agent")):
        raise reasons.invalid_field("the stream must begin with a header and an agent", field="piece")
    version = first.piece.header.format_version
    if version not in READ_VERSIONS:
        raise reasons.wrong_state(
            f"the agent was exported in format {version}, but this version knows the formats "
            f"{' and '.join(map(str, READ_VERSIONS))}; import it with the version that exported it, or a newer one",
            resource="export",
            state="UNKNOWN_FORMAT",
        )
    agent = second.agent
    # The constraints are those of a new agent, and are declared only in that request.
    new = pb.CreateAgentRequest(
        name=first.name or agent.name,
        preset=agent.preset,
        persona=agent.persona,
        human=agent.human,
        system=agent.system,
        model=agent.model,
        context_window=agent.context_window,
        time_zone=agent.time_zone or "UTC",
        description=agent.description,
        tags=agent.tags,
        user_id=agent.user_id,
        message_ttl=agent.message_ttl,
        note_ttl=agent.note_ttl,
    )
    problems = Problems()
    problems.check(validate, new)
    settings_problems(
        problems,
        name=new.name,
        time_zone=new.time_zone,
        context_window=new.context_window,
        message_ttl=new.message_ttl,
        note_ttl=new.note_ttl,
    )
    problems.end()
    time = now()
    row = AgentRow(
        tenant=tenant,
        name=new.name,
        preset=new.preset,
        persona=new.persona,
        human=new.human,
        model=new.model,
        context_window=new.context_window,
        time_zone=new.time_zone,
        tags=list(dict.fromkeys(new.tags)),
        origin=agent.origin,
        user_id=new.user_id,
        message_ttl=duration_microseconds(new.message_ttl),
        note_ttl=duration_microseconds(new.note_ttl),
        created=time,
        updated=time,
    )
    shared = {one.label: one.block_id for one in first.shared_blocks}
    sources = [attachment.source_name for attachment in agent.attachments]
    return Settings(row, new.system, new.description, sources, shared)


def from_proto(piece: AgentPiece) -> Piece:
    """Convert a piece after the first two.

    Raises:
        InvalidArgument: It exceeds the limits of what other calls can store.
    """
    match piece.WhichOneof("piece"):
        case "block":
            block = piece.block
            validate(
                block_pb2.BlockEdit(
                    label=block.label, value=block.value, limit=block.limit, description=block.description
                )
            )
            return Block(block.label, block.value, block.limit, "", 0, block.read_only, block.description)
        case "tool_server":
            return _tool_server(piece.tool_server)
        case "heartbeats":
            if not piece.heartbeats.plan:
                raise reasons.invalid_field("the plan is empty; leave the piece out", field="piece.heartbeats.plan")
            return ExportedHeartbeats(piece.heartbeats.plan)
        case "window":
            return ExportedWindow(piece.window.start_sequence, piece.window.summary, _rewinds(piece.window))
        case "message":
            return _message(piece.message)
        case "passage":
            return _passage(piece.passage)
        case "end":
            end = piece.end
            return ExportTotals(
                end.block_count, end.message_count, end.passage_count, end.tool_server_count, end.heartbeats_count
            )
        case _:
            raise reasons.invalid_field("the header and the agent must come first, and once", field="piece")


def _tool_server(proto: tool_pb2.ToolServer) -> ToolServer:
    if not proto.functions:
        raise reasons.invalid_field("an address of tools must have functions", field="piece.tool_server.functions")
    registered = now()
    if proto.HasField("register_time"):
        registered = _time(proto.register_time, "piece.tool_server.register_time")
    return convert.tool_server_back(proto).model_copy(update={"registered": registered})


def _message(proto: message_pb2.Message) -> Message:
    new = message_pb2.NewMessage(
        role=proto.role,
        text=proto.text,
        function_call=proto.function_call if proto.HasField("function_call") else None,
        call_id=proto.call_id,
        usage=proto.usage if proto.HasField("usage") else None,
    )
    problems = Problems()
    problems.check(validate, new)
    convert.new_message_problems(new, "piece.message", problems)
    problems.end()
    if proto.turn_id:
        validate(pb.GetAgentRequest(agent_id=proto.turn_id))  # an id, by the same rule
    stored = convert.new_message(new)
    return Message(
        "",
        "",
        proto.sequence,
        stored.role,
        stored.text,
        _time(proto.create_time, "piece.message.create_time"),
        proto.turn_id,
        max(0, proto.step),
        stored.function_call,
        stored.call_id,
        stored.usage,
        proto.replaces if proto.HasField("replaces") else None,
    )


def _rewinds(window: ExportWindow) -> list[Rewind]:
    return [
        Rewind(one.first, one.end, one.turn_id, _time(one.create_time, "piece.window.rewinds.create_time"))
        for one in window.rewinds
    ]


def _passage(proto: passage_pb2.Passage) -> Passage:
    validate(archival_memory_service_pb2.InsertPassagesRequest(agent_id="any", texts=[proto.text], tags=proto.tags))
    if not proto.text.strip():
        raise reasons.invalid_field("a note must contain more than white space", field="piece.passage.text")
    time = _time(proto.create_time, "piece.passage.create_time")
    return Passage("", proto.text, time, tags=tuple(proto.tags))


def _time(proto: Timestamp, field: str) -> int:
    if not (0 <= proto.seconds < _LATEST and 0 <= proto.nanos < 1_000_000_000):
        raise reasons.invalid_field("a time must be in the years 1970 to 9998", field=field)
    return convert.microseconds(proto)
