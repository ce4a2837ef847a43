"""Checks of requests that their constraints cannot express.

They run before a handler, together with the constraints, so that one error names all invalid fields. Memory, which
checks again what it stores, would be asked only about requests that break no constraint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt_runtime import clock
from memgpt_runtime.agent_rules import check_block_value, check_not_blank, new_block_problems, settings_problems
from memgpt_runtime.names import check_name
from memgpt_runtime.pagination import check_token
from memgpt_runtime.validation import Check, Problems

from memgpt_agent.envelopes import zone
from memgpt_agent.heartbeat_plan import PlanError, check_cron
from memgpt_agent.remote_tools import addresses
from memgpt_agent.rpc.profile_store import check_profile_token

_SHORTEST, _LONGEST = 1.0, 366 * 24 * 3600.0
"""Seconds between two heartbeats, and until a single one."""


def _create_agent(request: pb.CreateAgentRequest, problems: Problems) -> None:
    settings_problems(
        problems,
        name=request.name,
        time_zone=request.time_zone,
        context_window=request.context_window,
        message_ttl=request.message_ttl,
        note_ttl=request.note_ttl,
    )
    new_block_problems(problems, request.blocks, request.core_memory_limit)


def _set_block(request: pb.SetBlockRequest, problems: Problems) -> None:
    block = request.block
    if block.limit:  # otherwise the stored limit applies
        problems.check(check_block_value, block.label, len(block.value), block.limit, "block.value")


def _set_heartbeat(request: pb.SetHeartbeatRequest, problems: Problems) -> None:
    given, now = request.heartbeat, clock.seconds()
    match given.WhichOneof("when"):
        case "interval":
            if not _SHORTEST <= given.interval.seconds + given.interval.nanos / 1e9 <= _LONGEST:
                problems.add("interval must be from 1 second to 366 days", field="heartbeat.interval")
        case "cron":
            try:
                check_cron(given.cron, now, zone("UTC"))
            except PlanError as error:
                problems.add(str(error), field="heartbeat.cron")
        case "at":
            if not 0 < given.at.seconds + given.at.nanos / 1e9 <= now + _LONGEST:
                problems.add("at must be after 1970, and at most 366 days ahead", field="heartbeat.at")


def _register_tools(request: pb.RegisterToolsRequest, problems: Problems) -> None:
    try:
        addresses.normal(request.address)
    except ValueError as error:
        problems.add(str(error), field="address")


def _text(request: Any, problems: Problems) -> None:
    problems.check(check_not_blank, request.text, "text")


def _name(request: Any, problems: Problems) -> None:
    if request.name:
        problems.check(check_name, "name", request.name)


def _import_agent(request: pb.ImportAgentRequest, problems: Problems) -> None:
    _name(request, problems)
    shared = request.shared_blocks
    if len({one.label for one in shared}) < len(shared) or len({one.block_id for one in shared}) < len(shared):
        problems.add("a label or a shared block repeats", field="shared_blocks")


def _page_token(request: Any, problems: Problems) -> None:
    problems.check(check_token, request.page_token)


def _list_profiles(request: pb.ListProfilesRequest, problems: Problems) -> None:
    problems.check(check_profile_token, request.page_token)


CHECKS: Mapping[type[Message], Check] = {
    pb.CreateAgentRequest: _create_agent,
    pb.ImportAgentRequest: _import_agent,
    pb.ListAgentsRequest: _page_token,
    pb.ListProfilesRequest: _list_profiles,
    pb.ListSourcesRequest: _page_token,
    pb.ListTurnsRequest: _page_token,
    pb.PutProfileRequest: _name,
    pb.RegisterToolsRequest: _register_tools,
    pb.RethinkRequest: _text,
    pb.RewriteRequest: _text,
    pb.SendMessageRequest: _text,
    pb.SetBlockRequest: _set_block,
    pb.SetHeartbeatRequest: _set_heartbeat,
}
"""The check of each type of request that has one."""
