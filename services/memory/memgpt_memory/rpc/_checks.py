"""Checks of requests that their constraints cannot express.

They run before a handler, together with the constraints, so that one error names all invalid fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archive_pb
from memgpt.memory.v1 import message_pb2, profile_service_pb2, source_service_pb2
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1 import shared_block_service_pb2 as shared_pb
from memgpt.memory.v1 import tenant_service_pb2 as tenants_pb
from memgpt_runtime.agent_rules import (
    DEFAULT_BLOCK_LIMIT,
    check_block_value,
    check_not_blank,
    duration_microseconds,
    new_block_problems,
    settings_problems,
)
from memgpt_runtime.names import check_name
from memgpt_runtime.pagination import check_token
from memgpt_runtime.principal import DEFAULT_TENANT, Role
from memgpt_runtime.validation import Check, Problems, validate

from memgpt_memory.clock import now
from memgpt_memory.recall import check_days
from memgpt_memory.rpc import _conversion as convert

UPDATABLE = (
    *("name", "system", "model", "context_window", "time_zone", "description", "tags", "user_id"),
    *("message_ttl", "note_ttl"),
)
"""Settings of an agent that can be changed."""

_UPDATABLE_OF_SOURCES = ("name", "description")

_LONGEST_OVERLAP = 30 * 24 * 3600


def _create_agent(request: state_pb.CreateAgentRequest, problems: Problems) -> None:
    settings_problems(
        problems,
        name=request.name,
        time_zone=request.time_zone,
        context_window=request.context_window,
        message_ttl=request.message_ttl,
        note_ttl=request.note_ttl,
    )
    for index, name in enumerate(request.fallback_names):
        problems.check(check_name, f"fallback_names[{index}]", name)
    new_block_problems(problems, request.blocks, 0)
    _messages(request.messages, "messages", problems)


def _update_agent(request: state_pb.UpdateAgentRequest, problems: Problems) -> None:
    paths = request.update_mask.paths
    _update_mask(request, UPDATABLE, problems)
    if not request.HasField("agent"):
        return
    agent = request.agent
    # The constraints are those of the requests that create and read an agent, and are declared only there.
    problems.check(validate, state_pb.GetAgentRequest(agent_id=agent.agent_id), "agent.")
    new = state_pb.CreateAgentRequest(name="unchanged")
    for path in set(paths).intersection(UPDATABLE):
        value: Any = getattr(agent, path)
        if path == "tags":
            new.tags.extend(value)
        elif isinstance(value, Message):
            getattr(new, path).CopyFrom(value)
        else:
            setattr(new, path, value)
    problems.check(validate, new, "agent.")
    settings_problems(
        problems,
        name=new.name,
        time_zone=new.time_zone,
        context_window=new.context_window,
        message_ttl=new.message_ttl,
        note_ttl=new.note_ttl,
        prefix="agent.",
    )


def _update_source(request: source_service_pb2.UpdateSourceRequest, problems: Problems) -> None:
    _update_mask(request, _UPDATABLE_OF_SOURCES, problems)
    if not request.HasField("source"):
        return
    # The constraints are those of the requests that create and read a source, and are declared only there.
    problems.check(validate, source_service_pb2.GetSourceRequest(source_id=request.source.source_id), "source.")
    changes = {
        path: getattr(request.source, path) for path in request.update_mask.paths if path in _UPDATABLE_OF_SOURCES
    }
    new = source_service_pb2.CreateSourceRequest(**{"name": "unchanged", **changes})
    problems.check(validate, new, "source.")
    problems.check(check_name, "source.name", new.name)


def _update_mask(request: Any, updatable: Sequence[str], problems: Problems) -> None:
    paths = request.update_mask.paths
    wrong = [path for path in paths if path not in updatable]
    if request.HasField("update_mask") and (wrong or not paths):
        problems.add(
            f"update_mask must name some of {', '.join(updatable)}, not {', '.join(wrong)[:200] or 'nothing'}",
            field="update_mask",
        )


def _import_agent(request: state_pb.ImportAgentRequest, problems: Problems) -> None:
    if request.name:
        problems.check(check_name, "name", request.name)
    shared = request.shared_blocks
    if len({one.label for one in shared}) < len(shared) or len({one.block_id for one in shared}) < len(shared):
        problems.add("a label or a shared block repeats", field="shared_blocks")


def _begin_turn(request: state_pb.BeginTurnRequest, problems: Problems) -> None:
    if request.retry and request.input:
        problems.add("a retry has the input of the turn before; leave `input` out", field="input")
    _messages(request.input, "input", problems)


def _commit_step(request: state_pb.CommitStepRequest, problems: Problems) -> None:
    _messages(request.messages, "messages", problems)
    _notes(request.notes, "notes", problems)


def _edit_message(request: state_pb.EditMessageRequest, problems: Problems) -> None:
    problems.check(check_not_blank, request.text, "text")


def _messages(messages: Iterable[message_pb2.NewMessage], field: str, problems: Problems) -> None:
    for index, message in enumerate(messages):
        convert.new_message_problems(message, f"{field}[{index}]", problems)


def _notes(texts: Sequence[str], field: str, problems: Problems) -> None:
    """Add a problem if there are texts, and none of them has anything to store."""
    if texts and not any(text.strip() for text in texts):
        problems.add("a note must contain more than white space", field=field)


def _create_api_key(request: keys_pb.CreateApiKeyRequest, problems: Problems) -> None:
    if (request.agent_ids or request.source_ids) and request.role > Role.USER:
        problems.add("only the roles reader and user can be restricted to agents or sources", field="agent_ids")
    if request.HasField("expire_time") and convert.microseconds(request.expire_time) <= now():
        problems.add("expire_time has passed; use a time in the future", field="expire_time")
    if request.name:
        problems.check(check_name, "name", request.name)


def _get_api_key(request: keys_pb.GetApiKeyRequest, problems: Problems) -> None:
    if bool(request.api_key_id) == bool(request.name):
        problems.add("set either api_key_id or name", field="api_key_id")


def _rotate_api_key(request: keys_pb.RotateApiKeyRequest, problems: Problems) -> None:
    if request.HasField("overlap") and not 0 <= duration_microseconds(request.overlap) <= _LONGEST_OVERLAP * 1_000_000:
        problems.add("overlap must be from 0 to 30 days", field="overlap")


def _delete_tenant(request: tenants_pb.DeleteTenantRequest, problems: Problems) -> None:
    if request.name == DEFAULT_TENANT:
        problems.add(f'the tenant "{DEFAULT_TENANT}" cannot be deleted; delete its agents and sources', field="name")


def _insert_passages(request: archive_pb.InsertPassagesRequest, problems: Problems) -> None:
    _notes(request.texts, "texts", problems)


def _search_passages(request: archive_pb.SearchPassagesRequest, problems: Problems) -> None:
    problems.check(check_not_blank, request.query, "query")
    _passage_filter(request.filter, problems)
    _page_token(request, problems)


def _list_passages(request: archive_pb.ListPassagesRequest, problems: Problems) -> None:
    _passage_filter(request.filter, problems)
    _page_token(request, problems)


def _passage_filter(proto: archive_pb.PassageFilter, problems: Problems) -> None:
    bounded = proto.HasField("created_from") and proto.HasField("created_before")
    if bounded and convert.microseconds(proto.created_before) < convert.microseconds(proto.created_from):
        problems.add("created_before is before created_from; no passage can match", field="filter.created_before")


def _search_messages(request: recall_pb.SearchMessagesRequest, problems: Problems) -> None:
    by_similarity = request.mode in (recall_pb.RECALL_MODE_SEMANTIC, recall_pb.RECALL_MODE_HYBRID)
    if by_similarity and not request.query.strip():
        problems.add("query must contain more than white space", field="query")
    for field in ("start_date", "end_date"):
        if day := getattr(request, field):
            problems.check(check_days, **{field: day})
    if request.start_date and request.end_date:
        problems.check(check_days, start_date=request.start_date, end_date=request.end_date)
    _page_token(request, problems)


def _create_shared_block(request: shared_pb.CreateSharedBlockRequest, problems: Problems) -> None:
    if request.name:
        problems.check(check_name, "name", request.name)
    limit = request.limit or DEFAULT_BLOCK_LIMIT
    problems.check(check_block_value, request.name, len(request.value), limit, "value")


def _name(request: Any, problems: Problems) -> None:
    if request.name:
        problems.check(check_name, "name", request.name)


def _page_token(request: Any, problems: Problems) -> None:
    problems.check(check_token, request.page_token)


_PAGED = (
    state_pb.ListAgentsRequest,
    state_pb.ListHeartbeatsRequest,
    state_pb.ListTurnsRequest,
    keys_pb.ListApiKeysRequest,
    profile_service_pb2.ListProfilesRequest,
    recall_pb.ListMessagesRequest,
    shared_pb.ListBlockAgentsRequest,
    shared_pb.ListSharedBlocksRequest,
    source_service_pb2.ListFilesRequest,
    source_service_pb2.ListLoadRecordsRequest,
    source_service_pb2.ListSourcesRequest,
    tenants_pb.ListTenantsRequest,
)

_OF: Mapping[type[Message], Callable[[Any, Problems], None]] = {
    state_pb.CreateAgentRequest: _create_agent,
    state_pb.UpdateAgentRequest: _update_agent,
    state_pb.ImportAgentRequest: _import_agent,
    state_pb.BeginTurnRequest: _begin_turn,
    state_pb.CommitStepRequest: _commit_step,
    state_pb.EditMessageRequest: _edit_message,
    keys_pb.CreateApiKeyRequest: _create_api_key,
    keys_pb.GetApiKeyRequest: _get_api_key,
    keys_pb.RotateApiKeyRequest: _rotate_api_key,
    tenants_pb.DeleteTenantRequest: _delete_tenant,
    archive_pb.InsertPassagesRequest: _insert_passages,
    archive_pb.SearchPassagesRequest: _search_passages,
    archive_pb.ListPassagesRequest: _list_passages,
    recall_pb.SearchMessagesRequest: _search_messages,
    shared_pb.CreateSharedBlockRequest: _create_shared_block,
    profile_service_pb2.PutProfileRequest: _name,
    source_service_pb2.CreateSourceRequest: _name,
    source_service_pb2.UpdateSourceRequest: _update_source,
}

CHECKS: Mapping[type[Message], Check] = {**dict.fromkeys(_PAGED, _page_token), **_OF}
"""The check of each type of request that has one."""
