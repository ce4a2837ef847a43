"""``schedule_heartbeat``: wakes the agent at a time that it chooses. Only for agents that may do so."""

from __future__ import annotations

from datetime import datetime

from memgpt_runtime.ids import new_id

from memgpt_agent import envelopes
from memgpt_agent.domain import Context, Effects
from memgpt_agent.functions.function import Call, Function, FunctionError, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.heartbeat_plan import MAX_REASON_CHARACTERS, Heartbeat, PlanError

_MAX_MINUTES = 366 * 24 * 60


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    now, reason = context.now.timestamp(), call.text("reason")
    if len(reason) > MAX_REASON_CHARACTERS:
        raise FunctionError(f"The reason has {len(reason):,} characters; the limit is {MAX_REASON_CHARACTERS}.")
    at = _time(call, context)
    if not now < at <= now + _MAX_MINUTES * 60:
        raise FunctionError("The time must be in the future, at most 366 days ahead.")
    new = Heartbeat(heartbeat_id=new_id("hb"), at=at, reason=reason, created=now, by_agent=True)
    try:
        plan = context.plan.with_heartbeat(new).text()
    except PlanError as error:
        raise FunctionError(f"Nothing was scheduled: {error}.") from None
    when = envelopes.format_time(datetime.fromtimestamp(at, context.now.tzinfo), context.agent.time_zone)
    return FunctionOutput(f"You will get a heartbeat at {when}.", Effects(plan=plan))


def _time(call: Call, context: Context) -> float:
    minutes, at = call.number("minutes"), call.text("at").strip()
    if bool(minutes) == bool(at):
        raise FunctionError("Give either minutes or at, not both.")
    if minutes:
        return context.now.timestamp() + minutes * 60
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        raise FunctionError(f'"{at}" is not a time. Write it as YYYY-MM-DD HH:MM, such as 2024-01-31 09:00.') from None
    return (time if time.tzinfo else time.replace(tzinfo=envelopes.zone(context.agent.time_zone))).timestamp()


SCHEDULE_HEARTBEAT = Function(
    "schedule_heartbeat",
    "Schedules a heartbeat: an event that wakes you at a later time, even if the user says nothing.",
    (
        Parameter("reason", "string", "What you want to do then; you will be reminded of it."),
        Parameter("minutes", "integer", "In how many minutes; 0 if you give at.", 0, minimum=0, maximum=_MAX_MINUTES),
        Parameter("at", "string", "Or when: YYYY-MM-DD HH:MM in your time zone.", "", may_be_empty=True),
    ),
    _run,
    "To remind the user of something later, or to look again, call schedule_heartbeat.",
)
