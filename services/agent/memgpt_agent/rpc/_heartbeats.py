"""RPCs on timed heartbeats: set, list, cancel, and limit them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1 import heartbeat_pb2
from memgpt_runtime import clock, reasons
from memgpt_runtime.ids import new_id

from memgpt_agent import envelopes
from memgpt_agent.domain import StoredPlan
from memgpt_agent.heartbeat_plan import (
    DEFAULT_TURNS_PER_DAY,
    Heartbeat,
    HeartbeatPlan,
    PlanError,
    check_cron,
)
from memgpt_agent.heartbeats.store import change
from memgpt_agent.rpc._base import ServicerBase


class HeartbeatRpcs(ServicerBase):
    """RPCs on timed heartbeats."""

    async def SetHeartbeat(self, request: pb.SetHeartbeatRequest, context: Any) -> pb.SetHeartbeatResponse:
        stored = await self._memory.get_plan(request.agent_id)
        new = _heartbeat(request, stored)
        try:
            changed = await change(self._memory, request.agent_id, lambda plan: plan.with_heartbeat(_kept(plan, new)))
        except PlanError as error:
            raise reasons.wrong_state(str(error), resource="heartbeats", state="LIMIT") from error
        kept = next(one for one in changed.plan.heartbeats if one.heartbeat_id == new.heartbeat_id)
        return pb.SetHeartbeatResponse(heartbeat=_proto(kept, stored.time_zone))

    async def ListHeartbeats(self, request: pb.ListHeartbeatsRequest, context: Any) -> pb.ListHeartbeatsResponse:
        stored = await self._memory.get_plan(request.agent_id)
        response = pb.ListHeartbeatsResponse(
            heartbeats=[_proto(one, stored.time_zone) for one in stored.plan.heartbeats], limits=_limits(stored.plan)
        )
        if stored.plan.paused_until > clock.seconds():
            response.paused_until.CopyFrom(_timestamp(stored.plan.paused_until))
        return response

    async def CancelHeartbeat(self, request: pb.CancelHeartbeatRequest, context: Any) -> pb.CancelHeartbeatResponse:
        await change(self._memory, request.agent_id, lambda plan: plan.without(request.heartbeat_id))
        return pb.CancelHeartbeatResponse()

    async def SetHeartbeatLimits(
        self, request: pb.SetHeartbeatLimitsRequest, context: Any
    ) -> pb.SetHeartbeatLimitsResponse:
        limits = {
            "self_scheduled": request.limits.self_scheduled,
            "max_turns_per_day": request.limits.max_turns_per_day or DEFAULT_TURNS_PER_DAY,
            "max_tokens_per_day": request.limits.max_tokens_per_day,
        }
        changed = await change(self._memory, request.agent_id, lambda plan: plan.model_copy(update=limits))
        return pb.SetHeartbeatLimitsResponse(limits=_limits(changed.plan))


def _heartbeat(request: pb.SetHeartbeatRequest, stored: StoredPlan) -> Heartbeat:
    """Return the heartbeat of a request.

    Raises:
        InvalidArgument: Its cron expression has no times in the agent's time zone.
    """
    given, created = request.heartbeat, clock.seconds()
    new = Heartbeat(heartbeat_id=given.heartbeat_id or _new_id(request), reason=given.reason, created=created)
    match given.WhichOneof("when"):
        case "interval":
            return new.model_copy(update={"interval": given.interval.ToMicroseconds() / 1e6})
        case "cron":
            try:
                check_cron(given.cron, created, envelopes.zone(stored.time_zone))
            except PlanError as error:
                raise reasons.invalid_field(str(error), field="heartbeat.cron") from error
            return new.model_copy(update={"cron": given.cron})
        case _:
            return new.model_copy(update={"at": given.at.ToMicroseconds() / 1e6})


def _new_id(request: pb.SetHeartbeatRequest) -> str:
    if not request.request_id:
        return new_id("hb")
    return f"hb_{hashlib.sha256(f'{request.agent_id}/{request.request_id}'.encode()).hexdigest()[:26]}"


def _kept(plan: HeartbeatPlan, new: Heartbeat) -> Heartbeat:
    """Return the stored heartbeat if the request only repeats it, so that its times stay the same."""
    for one in plan.heartbeats:
        same = one.model_copy(update={"created": new.created, "last": 0.0, "last_offset": None, "by_agent": False})
        if same == new:
            return one
    return new


def _proto(value: Heartbeat, time_zone: str) -> heartbeat_pb2.Heartbeat:
    proto = heartbeat_pb2.Heartbeat(heartbeat_id=value.heartbeat_id, reason=value.reason, by_agent=value.by_agent)
    if value.interval:
        proto.interval.FromMicroseconds(round(value.interval * 1e6))
    elif value.cron:
        proto.cron = value.cron
    else:
        proto.at.CopyFrom(_timestamp(value.at))
    following = value.following(clock.seconds(), envelopes.zone(time_zone))
    if following is not None:
        proto.next_time.CopyFrom(_timestamp(following))
    if value.last:
        proto.last_time.CopyFrom(_timestamp(value.last))
    return proto


def _limits(plan: HeartbeatPlan) -> heartbeat_pb2.HeartbeatLimits:
    return heartbeat_pb2.HeartbeatLimits(
        self_scheduled=plan.self_scheduled,
        max_turns_per_day=plan.max_turns_per_day,
        max_tokens_per_day=plan.max_tokens_per_day,
    )


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None))
    return timestamp
