"""Conversion between protobuf and the values of the domain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.common.v1 import file_note_pb2
from memgpt.memory.v1 import (
    agent_pb2,
    block_pb2,
    heartbeat_pb2,
    message_pb2,
    passage_pb2,
    shared_block_pb2,
    source_pb2,
    tool_pb2,
    turn_pb2,
)
from memgpt.memory.v1 import (
    agent_state_service_pb2 as state_pb,
)
from memgpt_runtime.context import tenant
from memgpt_runtime.validation import Problems

from memgpt_memory.agents import (
    AgentState,
    Block,
    HeartbeatEdit,
    Lease,
    Rewinds,
    ToolFunction,
    ToolServer,
    TurnRow,
    TurnState,
    heartbeats_etag,
    settings_etag,
)
from memgpt_memory.archival import Scope
from memgpt_memory.blocks import BlockEdit, SharedBlock
from memgpt_memory.core import Core
from memgpt_memory.messages import FunctionCall, Message, NewMessage, Role, Usage
from memgpt_memory.passages import Passage, StoredNote, VisibleVersion
from memgpt_memory.sources import FileRow, LiveSource
from memgpt_memory.turns import Step

ROLES = {
    Role.USER: message_pb2.ROLE_USER,
    Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
    Role.TOOL: message_pb2.ROLE_TOOL,
}
ROLES_BACK = {value: role for role, value in ROLES.items()}
_STATES = {state: turn_pb2.TurnState.Value(f"TURN_STATE_{state.name}") for state in TurnState}
_STATES_BACK = {value: state for state, value in _STATES.items()}


def fingerprint(request: ProtoMessage, *but: str) -> bytes:
    """Return a digest of a request without its `request_id`, and without the fields `but`."""
    bare = type(request)()
    bare.CopyFrom(request)
    for name in ("request_id", *but):
        bare.ClearField(name)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def timestamp(microseconds: int) -> Timestamp | None:
    """Convert a time to a timestamp; 0 means unset."""
    if not microseconds:
        return None
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1_000)


def microseconds(time: Timestamp) -> int:
    """Return the microseconds of a timestamp, rounded up."""
    return time.seconds * 1_000_000 + -(-time.nanos // 1_000)


def duration(microseconds: int) -> Duration | None:
    """Convert a duration; 0 means unset."""
    if not microseconds:
        return None
    return Duration(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1_000)


def cosine(score: float | None) -> float | None:
    """Clamp a similarity to its range; rounded vectors may give slightly more than 1."""
    return None if score is None else max(-1.0, min(score, 1.0))


def new_message_problems(proto: message_pb2.NewMessage, field: str, problems: Problems) -> None:
    """Add a problem if a message has a call or a call's id where it must not, or none where it must.

    Args:
        proto: The message.
        field: Path of the message.
        problems: Where to add it.
    """
    if proto.HasField("function_call") and proto.role != message_pb2.ROLE_ASSISTANT:
        problems.add("only an assistant's message may call a function", field=f"{field}.function_call")
    if bool(proto.call_id) != (proto.role == message_pb2.ROLE_TOOL):
        problems.add("call_id is required in a tool's message and not allowed in others", field=f"{field}.call_id")


def new_message(proto: message_pb2.NewMessage) -> NewMessage:
    """Return a checked message to be stored."""
    call = proto.function_call
    return NewMessage(
        ROLES_BACK[proto.role],
        proto.text,
        FunctionCall(call.call_id, call.name, call.arguments, call.endpoint_data)
        if proto.HasField("function_call")
        else None,
        proto.call_id,
        _usage(proto.usage) if proto.HasField("usage") else None,
    )


def _usage(proto: message_pb2.Usage) -> Usage:
    return Usage(proto.prompt_tokens, proto.completion_tokens, proto.cached_tokens)


def new_messages(protos: Iterable[message_pb2.NewMessage]) -> list[NewMessage]:
    """Return messages to be stored."""
    return [new_message(proto) for proto in protos]


def message(value: Message, rewinds: Rewinds) -> message_pb2.Message:
    """Return a stored message, with the one of the agent's `rewinds` that took it back."""
    call, usage, rewind = value.function_call, value.usage, rewinds.of(value.sequence)
    return message_pb2.Message(
        message_id=value.id,
        agent_id=value.agent_id,
        sequence=value.sequence,
        role=ROLES[value.role],
        text=value.text,
        function_call=message_pb2.FunctionCall(
            call_id=call.call_id, name=call.name, arguments=call.arguments, endpoint_data=call.endpoint_data
        )
        if call
        else None,
        call_id=value.call_id,
        usage=message_pb2.Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
        )
        if usage
        else None,
        turn_id=value.turn_id,
        step=value.step,
        create_time=timestamp(value.created),
        rewind=message_pb2.Rewind(turn_id=rewind.turn_id, time=timestamp(rewind.time)) if rewind else None,
        replaces=value.replaces,
    )


def block_edit(proto: block_pb2.BlockEdit) -> BlockEdit:
    """Return an edit of a block."""
    return BlockEdit(
        proto.label,
        proto.value if proto.HasField("value") else None,
        proto.etag,
        proto.limit,
        proto.read_only if proto.HasField("read_only") else None,
        proto.description if proto.HasField("description") else None,
    )


def block(value: Block) -> block_pb2.Block:
    """Return a block."""
    return block_pb2.Block(
        label=value.label,
        value=value.value,
        limit=value.limit,
        etag=value.etag,
        update_time=timestamp(value.updated),
        read_only=value.read_only,
        description=value.description,
        shared_block_id=value.shared_id,
    )


def shared_block(value: SharedBlock) -> shared_block_pb2.SharedBlock:
    """Return a shared block."""
    row = value.row
    return shared_block_pb2.SharedBlock(
        block_id=value.id,
        name=row.name,
        value=value.value,
        limit=row.limit,
        etag=value.etag,
        create_time=timestamp(row.created),
        update_time=timestamp(row.updated),
        read_only=row.read_only,
        user_id=row.user_id,
        description=row.description,
    )


def shared_block_edit(proto: shared_block_pb2.SharedBlockEdit, label: str) -> BlockEdit:
    """Return an edit of a shared block; `label` appears in errors."""
    return BlockEdit(
        label,
        proto.value if proto.HasField("value") else None,
        proto.etag,
        proto.limit,
        proto.read_only if proto.HasField("read_only") else None,
        proto.description if proto.HasField("description") else None,
    )


async def agent(core: Core, state: AgentState) -> agent_pb2.Agent:
    """Return an agent with its attachments; deleted sources are left out."""
    row = state.row
    return agent_pb2.Agent(
        agent_id=state.id,
        name=row.name,
        preset=row.preset,
        persona=row.persona,
        human=row.human,
        system=state.system,
        model=row.model,
        context_window=row.context_window,
        time_zone=row.time_zone,
        message_count=state.message_count,
        passage_count=state.note_count,
        attachments=[
            agent_pb2.Attachment(
                source_id=found.id,
                source_name=found.row.name,
                passage_count=found.totals.passages,
                attach_time=timestamp(link.attached),
            )
            for link, found in await core.attachments.of(state)
        ],
        create_time=timestamp(row.created),
        update_time=timestamp(row.updated),
        etag=settings_etag(row),
        rewound_count=state.rewound_count,
        user_id=row.user_id,
        message_ttl=duration(row.message_ttl),
        note_ttl=duration(row.note_ttl),
        description=state.description,
        tags=row.tags,
        origin=row.origin,
    )


def heartbeats(state: AgentState) -> heartbeat_pb2.Heartbeats:
    """Return the timed heartbeats of an agent."""
    return heartbeat_pb2.Heartbeats(plan=state.heartbeats, etag=heartbeats_etag(state.row))


def heartbeat_edit(proto: heartbeat_pb2.Heartbeats) -> HeartbeatEdit:
    """Return a new text of the timed heartbeats."""
    return HeartbeatEdit(proto.plan, proto.etag)


def agent_heartbeats(state: AgentState) -> state_pb.AgentHeartbeats:
    """Return an agent with its timed heartbeats."""
    return state_pb.AgentHeartbeats(
        agent_id=state.id, time_zone=state.row.time_zone, heartbeats=heartbeats(state), tenant=state.row.tenant
    )


def tool_server(value: ToolServer) -> tool_pb2.ToolServer:
    """Return an address with its functions."""
    return tool_pb2.ToolServer(
        address=value.address,
        functions=[
            tool_pb2.ToolFunction(name=one.name, description=one.description, parameters=one.parameters)
            for one in value.functions
        ],
        register_time=timestamp(value.registered),
    )


def tool_server_back(proto: tool_pb2.ToolServer) -> ToolServer:
    """Return an address with its functions, to be registered."""
    return ToolServer(
        address=proto.address,
        functions=[
            ToolFunction(name=one.name, description=one.description, parameters=one.parameters)
            for one in proto.functions
        ],
    )


def source(core: Core, live: LiveSource) -> source_pb2.Source:
    """Return a source."""
    return source_pb2.Source(
        source_id=live.id,
        name=live.row.name,
        description=live.row.description,
        document_count=live.totals.documents,
        passage_count=live.totals.passages,
        file_count=live.totals.files,
        embedding_model=core.sources.embedding_model,
        create_time=timestamp(live.row.created),
        update_time=timestamp(live.updated),
        etag=live.row.etag,
    )


def source_file(name: str, version: VisibleVersion) -> source_pb2.SourceFile:
    """Return a visible file."""
    return source_pb2.SourceFile(
        version=source_pb2.FileVersion(
            name=name,
            sha256=version.sha256,
            size=version.size,
            media_type=version.media_type,
            chunker_version=version.chunker_version,
        ),
        document_count=version.documents,
        passage_count=version.passages,
        create_time=timestamp(version.created),
        tags=version.tags,
        notes=[
            file_note_pb2.FileNote(
                kind=cast("file_note_pb2.FileNoteKind.ValueType", note.kind),
                count=note.count,
                where=note.where,
                message=note.message,
            )
            for note in version.notes
        ],
    )


def stored_notes(notes: Iterable[file_note_pb2.FileNote]) -> list[StoredNote]:
    """Return notes of a file, to be stored with it."""
    return [StoredNote(kind=note.kind, count=note.count, where=note.where, message=note.message) for note in notes]


def files(rows: Iterable[tuple[FileRow, VisibleVersion]]) -> list[source_pb2.SourceFile]:
    """Return visible files."""
    return [source_file(row.name, version) for row, version in rows]


def passage(value: Passage) -> passage_pb2.Passage:
    """Return a stored passage."""
    cite = value.citation
    return passage_pb2.Passage(
        passage_id=value.id,
        agent_id=value.agent_id,
        text=value.text,
        citation=passage_pb2.Citation(
            source_id=cite.source_id,
            source_name=cite.source_name,
            file_name=cite.file_name,
            page=cite.page,
            start=cite.start,
            end=cite.end,
        )
        if cite
        else None,
        tags=value.tags,
        create_time=timestamp(value.created),
    )


def turn(row: TurnRow) -> turn_pb2.Turn:
    """Return a turn."""
    return turn_pb2.Turn(
        turn_id=row.turn_id,
        agent_id=row.agent_id,
        request_id=row.request_id,
        state=_STATES[row.state],
        reason=row.reason,
        committed_steps=row.steps,
        create_time=timestamp(row.created),
        end_time=timestamp(row.ended),
    )


def lease(value: Lease) -> turn_pb2.Lease:
    """Return a lease."""
    return turn_pb2.Lease(turn_id=value.turn_id, epoch=value.epoch, expire_time=timestamp(value.expires))


def lease_back(proto: turn_pb2.Lease) -> Lease:
    """Return a lease as a caller presents it."""
    return Lease(proto.turn_id, proto.epoch)


def outcome(proto: turn_pb2.TurnOutcome) -> tuple[TurnState, str]:
    """Return how a turn ended."""
    return _STATES_BACK[proto.state], proto.reason


def step(value: Step, rewinds: Rewinds) -> turn_pb2.Step:
    """Return a committed step of an agent with `rewinds`."""
    return turn_pb2.Step(index=value.index, messages=[message(one, rewinds) for one in value.messages])


async def scope(core: Core, agent_id: str, source_id: str) -> Scope:
    """Return the scope to search or list, from the id that is set.

    Raises:
        NotFound: There is no such agent or source.
    """
    owner = tenant()
    if agent_id:
        return Scope(owner, await core.agents.get(owner, agent_id), None)
    return Scope(owner, None, await core.sources.get(owner, source_id))
